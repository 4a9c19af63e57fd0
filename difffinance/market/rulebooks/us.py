"""United States: limit up-limit down by tier, market-wide breaker, Rule 201, ticks (SCIENCE 11).

Beyond SCIENCE: LULD bands and today's breaker levels began 2013-04-08 (tier 2: 2013-08-05), the doubling at the open
ended with Amendment 18 on 2020-02-24, Rule 201 took effect 2011-02-28; access fees (Rule 610(c)) were capped at 0.003
USD, 0.3% below 1.00, before (89 FR 81620 has both caps). Other exchange and regulatory fees are not modelled: what a
broker passes on belongs into `commission_rate`.
"""

import datetime as dt
from decimal import Decimal

from difffinance.market.rulebooks.parts import (
    CENT,
    AccessFeeCap,
    AveragePriceBand,
    Band,
    Breaker,
    Level,
    LimitState,
    NoBand,
    Session,
    TickTable,
)
from difffinance.market.rulebooks.reading import in_force
from difffinance.market.rulebooks.rulebook import Rulebook

NAMES = ("us.tier1", "us.tier2")
FIVE, TEN = Decimal("0.05"), Decimal("0.10")
_OPEN = ("09:30", "09:45")

BANDS: dict[str, tuple[tuple[str, Band], ...]] = {
    "us.tier1": (
        ("2013-04-08", AveragePriceBand(FIVE, True, _OPEN)),
        ("2020-02-24", AveragePriceBand(FIVE, True, None)),
    ),
    "us.tier2": (
        ("2013-08-05", AveragePriceBand(TEN, True, _OPEN)),
        ("2020-02-24", AveragePriceBand(TEN, False, None)),
    ),
}
LIMIT_STATE = LimitState(15, 300)

# S&P 500 from its previous close; levels 1 and 2 once each and not at or after 15:25.
_FALLS = Breaker(
    (
        Level(Decimal("0.07"), 15, "15:25"),
        Level(Decimal("0.13"), 15, "15:25"),
        Level(Decimal("0.20"), "close"),
    ),
    False,
    ("09:30", "16:00"),
)
BREAKERS = (("2013-04-08", _FALLS),)
SHORT_FALL = (("2011-02-28", TEN),)

TICKS = TickTable(((Decimal("1.00"), Decimal("0.0001")), (None, CENT)))
# Half cents and the lower cap of access fees. Adopted 2024-09-18 for 2025-11-03, delayed by exemptive order: the first
# day is a parameter.
HALF_CENT_FROM = dt.date(2026, 11, 2)
HALF_CENT = (Decimal("0.005"), Decimal("0.015"))  # tick, largest average quoted spread
ACCESS_FEES = (("2007-07-09", AccessFeeCap(Decimal("0.003"), Decimal("0.003"))),)
LOWER_ACCESS_FEE = AccessFeeCap(Decimal("0.001"), Decimal("0.001"))

SESSIONS = (Session("09:30", "16:00", "continuous"),)


def rulebook(name: str, day: dt.date, half_cent_from: dt.date = HALF_CENT_FROM) -> Rulebook:
    """Return the rules of a tier on one day."""
    band = in_force(BANDS[name], day)
    return Rulebook(
        name,
        day,
        band=band or NoBand(),
        ticks=TICKS,
        half_cent=HALF_CENT if day >= half_cent_from else None,
        access_fee=LOWER_ACCESS_FEE if day >= half_cent_from else in_force(ACCESS_FEES, day),
        breaker=in_force(BREAKERS, day),
        limit_state=LIMIT_STATE if band else None,
        short_fall=in_force(SHORT_FALL, day),
        sessions=SESSIONS,
    )
