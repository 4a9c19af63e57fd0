"""Hong Kong: volatility control by size class and of futures, spread table, stamp duty; no daily limit (SCIENCE 11).

Beyond SCIENCE: size classes from 2020-05-11 (HKEX; from 2016-08-22 the control covered index members at 10%); spread
table of the exchange's Second Schedule with the reduction of 2025-08-04 (HKEX; a second one of 2026 is not in it);
stamp duty of both sides, rounded up to the dollar (IRD: 0.13% from 2021-08-01, 0.1% from 2023-11-17 and before).
Index futures (HKEX): day session, control from 2017-01-16, one index point a tick, no stamp duty; not their evening
session, opening auction and fees by the contract.
Levies, trading and settlement fees are not modelled. Board lots differ by stock: `market.lot_size`.
"""

import datetime as dt
from decimal import Decimal

from difffinance.market.rulebooks.parts import FeeTable, NoBand, Session, TickTable, TradeBand
from difffinance.market.rulebooks.reading import in_force
from difffinance.market.rulebooks.rulebook import Rulebook

FUTURES = "hk.futures"
NAMES = ("hk.large", "hk.mid", "hk.small", FUTURES)
# Not in the first 15 minutes of a session nor in the last 20 minutes of the day.
_WINDOWS = (("09:45", "12:00"), ("13:15", "15:40"))
_FUTURES_WINDOWS = (("09:30", "12:00"), ("13:15", "16:10"))


def _control(fraction: str, windows: tuple[tuple[str, str], ...] = _WINDOWS) -> TradeBand:
    return TradeBand(Decimal(fraction), windows)


BANDS = {
    "hk.large": (("2016-08-22", _control("0.10")),),
    "hk.mid": (("2020-05-11", _control("0.15")),),
    "hk.small": (("2020-05-11", _control("0.20")),),
    FUTURES: (("2017-01-16", _control("0.05", _FUTURES_WINDOWS)),),
}
COOLING_SECONDS = 300

STAMP = (("1990-01-01", Decimal("0.001")), ("2021-08-01", Decimal("0.0013")), ("2023-11-17", Decimal("0.001")))


def _spreads(ten: str, twenty: str) -> TickTable:
    rows = (
        ("0.25", "0.001"), ("0.50", "0.005"), ("10", "0.01"), ("20", ten), ("50", twenty), ("100", "0.05"),
        ("200", "0.1"), ("500", "0.2"), ("1000", "0.5"), ("2000", "1"), ("5000", "2"),
    )  # fmt: skip
    return TickTable((*((Decimal(end), Decimal(tick)) for end, tick in rows), (None, Decimal(5))), inclusive=True)


TICKS = (("1990-01-01", _spreads("0.02", "0.05")), ("2025-08-04", _spreads("0.01", "0.02")))

SESSIONS = (
    Session("09:00", "09:30", "auction"),
    Session("09:30", "12:00", "continuous"),
    Session("12:00", "13:00", "break"),
    Session("13:00", "16:00", "continuous"),
    Session("16:00", "16:10", "auction"),
)
FUTURES_SESSIONS = (
    Session("09:15", "12:00", "continuous"),
    Session("12:00", "13:00", "break"),
    Session("13:00", "16:30", "continuous"),
)


def rulebook(name: str, day: dt.date) -> Rulebook:
    """Return the rules of a size class, or of index futures, on one day."""
    stamp, ticks = in_force(STAMP, day) or STAMP[0][1], in_force(TICKS, day) or TICKS[0][1]
    band, futures = in_force(BANDS[name], day), name == FUTURES
    return Rulebook(
        name,
        day,
        band=band or NoBand(),
        fee_table=FeeTable() if futures else FeeTable(stamp, stamp, stamp_step=Decimal(1)),
        ticks=TickTable(((None, Decimal(1)),)) if futures else ticks,
        cooling_seconds=COOLING_SECONDS if band else None,
        sessions=FUTURES_SESSIONS if futures else SESSIONS,
    )
