"""An independent check of what a market did: replays the log with the plain Python book and its own arithmetic.

It trusts the order log only: which messages were sent, and which the market says it accepted. Matching, cash,
inventory, resting quantities, fees and every rule are worked out again, without the compiled code.
"""

from collections import Counter
from decimal import Decimal

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.market import reasons
from difffinance.market.matching import AUCTION, CANCEL, CONTINUOUS, HALTED, LIMIT
from difffinance.market.reference import ReferenceBook
from difffinance.market.rules import SessionRules, price_band, session_rules
from difffinance.market.settlement import PHASE_CHANGE
from difffinance.market.supervision import (
    CLOSED,
    CLOSING_AUCTION,
    FIXED_PRICE,
    LIMIT_STATE,
    OPEN,
    REOPENING,
    SPECIAL_QUOTE,
)
from difffinance.simulation.audit_venue import VenueAudit
from difffinance.simulation.episode import Episode

# Which phases end with an auction, and in which ones.
_UNCROSSED = {REOPENING: (OPEN, CLOSED), CLOSING_AUCTION: (CLOSED, FIXED_PRICE), SPECIAL_QUOTE: (OPEN,)}
_ACCEPTED = (reasons.OK, reasons.NO_LIQUIDITY)


def find_violations(episode: Episode, market: MarketConfig, agents: AgentsConfig) -> Counter[str]:
    """Return how often each rule was broken in `episode`; an empty counter when none was."""
    return _Audit(episode, market, agents).run()


class _Audit:
    def __init__(self, episode: Episode, market: MarketConfig, agents: AgentsConfig) -> None:
        self.episode, self.market, self.rules = episode, market, session_rules(market)
        self.found: Counter[str] = Counter()
        self.book = ReferenceBook()
        self.owner: dict[int, int] = {}
        self.money = market.tick_size * market.lot_size
        seats = len(episode.kinds)
        self.held = [round(agents.inventory / market.lot_size)] * seats
        self.cash = [round(agents.capital / self.money)] * seats
        self.fees, self.bought = [0.0] * seats, [0] * seats
        self.best: dict[int, int] = {}
        self.mid = 0.0
        self.band: tuple[Decimal, Decimal] | None = None
        named = market.rulebook != "none"
        self.venue = VenueAudit(market, self.book, self._check) if named else None
        if market.price_limit is not None and not named:
            tick, close = Decimal(str(market.tick_size)), Decimal(str(market.start_price))
            self.band = price_band(close, Decimal(str(market.price_limit)), tick)

    def run(self) -> Counter[str]:
        """Replay everything."""
        for order_id, side, price, quantity, owner in self.episode.opening.tolist():
            self._send(-1, LIMIT, order_id, side, price, quantity, owner)
        for events, fills in zip(self.episode.events, self.episode.fills, strict=True):
            start = len(self.book.trades)
            for event in events.tolist():
                self._replay(*event)
            if self.book.trades[start:] != fills.tolist():
                self.found["price-time priority: fills differ from the plain book"] += 1
        self._compare_accounts()
        return self.found

    def _replay(
        self, ts: int, kind: int, side: int, order_id: int, price: int, quantity: int, owner: int, code: int,
        done: int, first_fill: int,
    ) -> None:  # fmt: skip
        if kind == PHASE_CHANGE:
            self._change_phase(ts, code, price, side)
            return
        self._message(ts, kind, side, order_id, price, quantity, owner, code, done)
        if self.venue is not None:
            self.venue.settled(ts)

    def _message(
        self, ts: int, kind: int, side: int, order_id: int, price: int, quantity: int, owner: int, code: int, done: int
    ) -> None:
        if code not in _ACCEPTED:
            self._check(done == 0, "a refused message changed the book")
            if self.venue is not None:
                self.venue.refused(ts, code)
            return
        if kind == CANCEL:
            if self.venue is not None:
                self.venue.carry_on(ts)
            self._check(self.owner.get(order_id) == owner, "cancelled the order of another")
            self._check(self.book.cancel(order_id, quantity).quantity == done, "cancelled another quantity")
            self._look()
            return
        if owner < len(self.held):
            self._check_order(kind, side, quantity, owner)
        if kind == LIMIT:
            self._check_price(price)
        if self.venue is not None:
            self.venue.order(ts, kind, side, price, quantity, self._left_to_sell(owner))
        self._send(ts, kind, order_id, side, price, quantity, owner)

    def _left_to_sell(self, owner: int) -> int | None:
        if owner >= len(self.held):
            return None
        return self.held[owner] - sum(o.quantity for o in self.book.orders.values() if o.owner == owner and o.side < 0)

    def _change_phase(self, ts: int, phase: int, price: int, side: int) -> None:
        if self.venue is None:
            self._check(False, "a phase without a rulebook")
            return
        if phase in _UNCROSSED.get(self.venue.phase, ()):
            start = len(self.book.trades)
            self.venue.uncross(ts)
            for seller, buyer, at, traded in self.book.trades[start:]:
                self._exchange(buyer, self.owner[buyer], 1, at, traded)
                self._exchange(seller, self.owner[seller], -1, at, traded)
            self._look()
        self.venue.change_phase(ts, phase, price, side)
        if phase == FIXED_PRICE:
            self.best, self.mid = {}, float(self.venue.last / self.venue.tick)
        trades = phase <= LIMIT_STATE or phase == FIXED_PRICE
        code = self.book.set_phase(CONTINUOUS if trades else AUCTION if phase in _UNCROSSED else HALTED)
        self._check(code == reasons.OK, "trading went on with a crossed book")

    def _check_order(self, kind: int, side: int, quantity: int, seat: int) -> None:
        rules, held = self.rules, self.held[seat]
        resting = [o.quantity for o in self.book.orders.values() if o.owner == seat and o.side == side]
        after = held + side * (sum(resting) + quantity)
        self._check(0 < quantity <= rules.max_order, "max_order")
        self._check(kind != LIMIT or sum(resting) + quantity <= rules.max_open, "max_open")
        self._check(kind != LIMIT or len(resting) < rules.max_resting_orders, "too_many_orders")
        self._check(after <= rules.max_position if side > 0 else after >= rules.min_position, "position_limit")
        if rules.t_plus_one and side < 0:
            self._check(quantity + sum(resting) <= held - self.bought[seat], "not_sellable")
        wealth = self.cash[seat] + held * self.mid - self.fees[seat] / self.money
        grows = abs(after) > abs(held)
        self._check(not grows or abs(after) * self.mid <= rules.max_leverage * wealth * (1 + 1e-9), "leverage")

    def _check_price(self, ticks: int) -> None:
        if self.band is not None:
            price = ticks * self.rules.tick_size
            self._check(self.band[0] <= price <= self.band[1], "price_limit")

    def _send(self, ts: int, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int) -> None:
        self.owner[order_id] = owner
        start = len(self.book.trades)
        if self.venue is None:
            self.book.place(kind, order_id, side, price, quantity, owner)
        else:
            self.venue.send(ts, kind, order_id, side, price, quantity, owner)
        for maker, _, at, traded in self.book.trades[start:]:
            self._check_price(at)
            if self.venue is not None:
                self.venue.trade(ts, at)
                if owner < len(self.held):
                    self.fees[owner] += float(self.venue.access_fee(at, traded))
            self._exchange(order_id, owner, side, at, traded)
            self._exchange(maker, self.owner[maker], -side, at, traded)
        self._look()

    def _exchange(self, order_id: int, party: int, sign: int, price: int, quantity: int) -> None:
        if party < len(self.held):
            self._settle(order_id, party, sign, price, quantity)

    def _look(self) -> None:
        bid, ask = self.book.best_bid, self.book.best_ask
        if bid is not None and ask is not None and self.book.phase == CONTINUOUS:
            self._check(bid < ask, "the book crossed")
        # An empty side is valued at its last best price.
        self.best |= {s: p for s, p in ((1, bid), (-1, ask)) if p is not None}
        if len(self.best) == 2 and self.best[1] < self.best[-1]:
            self.mid = (self.best[1] + self.best[-1]) / 2

    def _settle(self, order_id: int, seat: int, sign: int, price: int, quantity: int) -> None:
        self.held[seat] += sign * quantity
        self.cash[seat] -= sign * quantity * price
        self.bought[seat] += quantity if sign > 0 else 0
        if self.venue is None:
            self.fees[seat] += price * quantity * self.money * self.market.fee_bps / 1e4
        else:
            self.fees[seat] += float(self.venue.fees(order_id, sign, price * quantity))
        rules: SessionRules = self.rules
        self._check(rules.min_position <= self.held[seat] <= rules.max_position, "position_limit after a fill")

    def _compare_accounts(self) -> None:
        for seat, (held, cash, fees) in enumerate(zip(self.held, self.cash, self.fees, strict=True)):
            net = cash * self.money - fees
            self._check(held * self.market.lot_size == self.episode.inventory[-1, seat], "inventory differs")
            self._check(abs(net - self.episode.cash[-1, seat]) <= 1e-9 * (1 + abs(net)), "cash net of fees differs")

    def _check(self, good: bool, what: str) -> None:
        if not good:
            self.found[what] += 1
