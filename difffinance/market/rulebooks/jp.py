"""Tokyo: daily limits in yen, special quotes, ticks (SCIENCE 11).

Beyond SCIENCE: the rows above 150,000 yen are those of the exchange's page of daily price limits (same digits,
10,000,000 from 50,000,000 on); ticks are those of "other issues" (not TOPIX 500); its notices of broadened limits
(18 Apr 2023: base 1,769, upper limit 3,370) round the upper limit up to the tick. A special quote off the tick is moved
back to it. Limits and ticks are today's on every day; the sessions go by date. Not modelled: sequential trade quotes,
the allocation of what trades at a limit at the close, fees and trading units (`commission_rate`, `market.lot_size`).
"""

import datetime as dt
from decimal import Decimal

from difffinance.market.rulebooks.parts import Session, StepBand, TickTable
from difffinance.market.rulebooks.rulebook import Rulebook

NAMES = ("jp",)
_Steps = tuple[tuple[Decimal | None, Decimal], ...]


def _steps(rows: tuple[tuple[int, int], ...], last: int) -> _Steps:
    return (*((Decimal(end), Decimal(step)) for end, step in rows), (None, Decimal(last)))


_LOW = ((100, 30), (200, 50), (500, 80), (700, 100), (1_000, 150))
# Above 1,000 yen the digits repeat with each power of ten.
_DIGITS = ((1_500, 300), (2_000, 400), (3_000, 500), (5_000, 700), (7_000, 1_000), (10_000, 1_500))
_REPEATED = tuple((below * 10**k, limit * 10**k) for k in range(4) for below, limit in _DIGITS)
LIMITS = _steps((*_LOW, *_REPEATED, (15_000_000, 3_000_000), (20_000_000, 4_000_000), (30_000_000, 5_000_000),
                 (50_000_000, 7_000_000)), 10_000_000)  # fmt: skip

# A special quote moves by a tenth of the limit, in whole yen by its own table below 200.
QUOTE_STEPS: _Steps = (
    (Decimal(200), Decimal(5)),
    *((below, limit / 10) for below, limit in LIMITS if below is None or below > 200),
)

QUOTE_SECONDS, WIDEN_AFTER = 180, 2  # days

_TICK_ROWS = (
    (3_000, 1), (5_000, 5), (30_000, 10), (50_000, 50), (300_000, 100), (500_000, 500), (3_000_000, 1_000),
    (5_000_000, 5_000), (30_000_000, 10_000), (50_000_000, 50_000),
)  # fmt: skip
TICKS = TickTable(_steps(_TICK_ROWS, 100_000), inclusive=True)

_MORNING = (Session("09:00", "11:30", "continuous"), Session("11:30", "12:30", "break"))
SESSIONS_BEFORE = (*_MORNING, Session("12:30", "15:00", "continuous"))
SESSIONS = (*_MORNING, Session("12:30", "15:25", "continuous"), Session("15:25", "15:30", "auction"))


def rulebook(name: str, day: dt.date) -> Rulebook:
    """Return the rules of Tokyo on one day."""
    return Rulebook(
        name,
        day,
        band=StepBand(LIMITS, TICKS),
        ticks=TICKS,
        sessions=SESSIONS if day >= dt.date(2024, 11, 5) else SESSIONS_BEFORE,
        quote_steps=QUOTE_STEPS,
        quote_seconds=QUOTE_SECONDS,
        widen_after=WIDEN_AFTER,
    )
