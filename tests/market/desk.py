"""A venue with two seats and no background, for tests of one rule at a time."""

import numpy as np

from difffinance.config import MarketConfig
from difffinance.market import reasons
from difffinance.market.enforcement import with_trading_day
from difffinance.market.floor import submit
from difffinance.market.layout import FILLS
from difffinance.market.matching import LIMIT, MARKET
from difffinance.market.phases import carry_on
from difffinance.market.rules import session_rules
from difffinance.market.settlement import EVENTS
from difffinance.market.supervision import PHASE, SECOND_NS
from difffinance.market.venue import Venue


class Desk:
    """Seats 0 and 1 send orders one nanosecond after the other; `low` and `high` (ticks) are the prices in use."""

    def __init__(self, low, high, *, inventory=100_000, **fields):
        config = with_trading_day(MarketConfig(max_leverage=1e9, **fields))
        self.venue = Venue(config, session_rules(config), np.full(2, 1e9), np.full(2, inventory))
        self.venue.book.cover(low, high)
        self.venue.make_room(100)
        self.floor, self.ts = self.venue.floor, 0

    def limit(self, side, price, quantity, seat=0):
        self.ts += 1
        return submit(self.venue.floor_handle, self.ts, LIMIT, side, price, quantity, seat)

    def market(self, side, quantity, seat=0):
        self.ts += 1
        return submit(self.venue.floor_handle, self.ts, MARKET, side, 0, quantity, seat)

    def wait(self, ns):
        self.ts += ns
        carry_on(self.venue.floor_handle, self.ts)

    def at(self, second):
        """Go to a second of the day; return the phase."""
        self.wait(second * SECOND_NS - self.ts)
        return self.phase

    def refusals(self, seat=0):
        """Return what was refused since the last time, by reason."""
        counts = self.floor.refused[seat].tolist()
        self.floor.refused[seat] = 0
        return {name: count for name, count in zip(reasons.NAMES, counts, strict=True) if count}

    @property
    def phase(self):
        return int(self.floor.session[PHASE])

    @property
    def trades(self):
        return [(int(f["price"]), int(f["quantity"])) for f in self.floor.fills[: self.floor.top[FILLS]]]

    @property
    def events(self):
        return self.floor.events[: self.floor.counts[EVENTS]]
