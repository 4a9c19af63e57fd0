"""China A-shares: Shanghai and Shenzhen main boards, STAR, ChiNext, Beijing (SCIENCE 11).

Beyond SCIENCE: the largest STAR and ChiNext orders, and the 10-minute pauses of their first five days, are those of
the boards' trading rules of 2019 and 2020. Not modelled: the 44% / 36% first day of approval-system listings (before
registration every day counts as an ordinary one), Beijing's own handling fee, fees before August 2015, stamp duty
on buyers (before 2008).
"""

import datetime as dt
from decimal import Decimal

from difffinance.errors import InputError
from difffinance.market.rulebooks.parts import (
    CENT,
    Band,
    Breaker,
    FeeTable,
    Level,
    LotRule,
    NoBand,
    PauseRule,
    PercentBand,
    PriceCollar,
    Session,
    TickTable,
)
from difffinance.market.rulebooks.reading import in_force
from difffinance.market.rulebooks.rulebook import Rulebook

NAMES = ("cn.main", "cn.main.st", "cn.star", "cn.chinext", "cn.bse")
TEN, TWENTY, THIRTY = Decimal("0.1"), Decimal("0.2"), Decimal("0.3")

OPENED = {"cn.star": "2019-07-22", "cn.bse": "2021-11-15", "cn.chinext": "2009-10-30"}

BANDS: dict[str, tuple[tuple[str, Band], ...]] = {
    "cn.main": (("1996-12-16", PercentBand(TEN)), ("2023-04-10", PercentBand(TEN, free_days=5))),
    "cn.main.st": (("1996-12-16", PercentBand(Decimal("0.05"))), ("2026-07-06", PercentBand(TEN))),
    "cn.star": (("2019-07-22", PercentBand(TWENTY, free_days=5)),),
    "cn.chinext": (("2009-10-30", PercentBand(TEN)), ("2020-08-24", PercentBand(TWENTY, free_days=5))),
    "cn.bse": (("2021-11-15", PercentBand(THIRTY, free_days=1)),),
}

_ROUND = LotRule(least=100, step=100, most=1_000_000, owned=True)
LOTS: dict[str, tuple[tuple[str, LotRule], ...]] = {
    "cn.main": (("1990-12-19", _ROUND),),
    "cn.main.st": (("1990-12-19", _ROUND),),
    "cn.star": (("2019-07-22", LotRule(200, 1, 100_000, 50_000, owned=True)),),
    "cn.chinext": (
        ("2009-10-30", _ROUND),
        ("2020-08-24", LotRule(100, 100, 300_000, 150_000, owned=True)),
    ),
    "cn.bse": (("2021-11-15", LotRule(100, 1, 1_000_000, owned=True)),),
}

# Stamp duty of the seller, handling of both sides, transfer of both sides; management never changed.
STAMP = (("2008-09-19", Decimal("0.001")), ("2023-08-28", Decimal("0.0005")))
HANDLING = (("2015-08-01", Decimal("0.0000487")), ("2023-08-28", Decimal("0.0000341")))
TRANSFER = (("2015-08-01", Decimal("0.00002")), ("2022-04-29", Decimal("0.00001")))
MANAGEMENT = Decimal("0.00002")
COMMISSION, LARGEST_COMMISSION, LEAST_COMMISSION = Decimal("0.00025"), Decimal("0.003"), Decimal(5)

_WIDE_COLLAR = PriceCollar(Decimal("0.02"), ticks=10)
COLLARS: dict[str, tuple[tuple[str, PriceCollar], ...]] = {
    "cn.main": (("2023-04-10", _WIDE_COLLAR),),
    "cn.main.st": (("2023-04-10", _WIDE_COLLAR),),
    "cn.star": (("2019-07-22", PriceCollar(Decimal("0.02"))), ("2023-04-10", _WIDE_COLLAR)),
    "cn.chinext": (("2020-08-24", PriceCollar(Decimal("0.02"))), ("2023-04-10", _WIDE_COLLAR)),
    "cn.bse": (("2021-11-15", PriceCollar(Decimal("0.05"), ticks=10)),),
}

_FIVE_DAYS = PauseRule((THIRTY, Decimal("0.6")), 10, 5, "14:57")
PAUSES: dict[str, tuple[tuple[str, PauseRule], ...]] = {
    "cn.main": (("2023-04-10", _FIVE_DAYS),),
    "cn.star": (("2019-07-22", _FIVE_DAYS),),
    "cn.chinext": (("2020-08-24", _FIVE_DAYS),),
    "cn.bse": (("2021-11-15", PauseRule((THIRTY, Decimal("0.6")), 10, 1, "14:57")),),
}

# CSI 300 from its previous close; suspended after four sessions.
_INDEX = Breaker(
    (Level(Decimal("0.05"), 15, "14:45", "close"), Level(Decimal("0.07"), "close")), True, ("09:30", "15:00")
)
BREAKERS: tuple[tuple[str, Breaker | None], ...] = (("2016-01-01", _INDEX), ("2016-01-08", None))

_DAY = (
    Session("09:15", "09:25", "auction"),
    Session("09:25", "09:30", "break"),
    Session("09:30", "11:30", "continuous"),
    Session("11:30", "13:00", "break"),
    Session("13:00", "14:57", "continuous"),
    Session("14:57", "15:00", "auction"),
)
_AFTER = (Session("15:00", "15:05", "break"), Session("15:05", "15:30", "fixed_price"))
AFTER_HOURS = {"cn.star": "2019-07-22", "cn.chinext": "2020-08-24"}  # the others: from 2026-07-06


def rulebook(name: str, day: dt.date) -> Rulebook:
    """Return the rules of a board on one day."""
    if day < dt.date.fromisoformat(OPENED.get(name, "1990-12-19")):
        raise InputError(f"{name} was not open on {day}. Allowed: from {OPENED.get(name, '1990-12-19')}.")
    after = day >= dt.date.fromisoformat(AFTER_HOURS.get(name, "2026-07-06"))
    return Rulebook(
        name,
        day,
        band=in_force(BANDS[name], day) or NoBand(),
        fee_table=_fee_table(day),
        lots=in_force(LOTS[name], day) or _ROUND,
        ticks=TickTable(((None, CENT),)),
        breaker=in_force(BREAKERS, day),
        pauses=in_force(PAUSES.get(name, ()), day),
        collar=in_force(COLLARS[name], day),
        short_sales=False,
        t_plus_one=True,
        sessions=_DAY + _AFTER if after else _DAY,
    )


def _fee_table(day: dt.date) -> FeeTable | None:
    stamp, handling, transfer = in_force(STAMP, day), in_force(HANDLING, day), in_force(TRANSFER, day)
    if stamp is None or handling is None or transfer is None:
        return None
    return FeeTable(Decimal(0), stamp, handling, MANAGEMENT, transfer, COMMISSION, LARGEST_COMMISSION, LEAST_COMMISSION)
