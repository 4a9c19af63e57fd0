"""The plain Python twin of the compiled book: the same rules from dicts, deques and heaps, to be read and compared."""

import copy
import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from difffinance.market import reasons
from difffinance.market.engine import IDS, Indication, Outcome, check_phase, check_reference, off_grid, unreadable
from difffinance.market.layout import ADDED, CHANGED, FILL, LOG, REFRESHED, REMOVED, TRADED
from difffinance.market.matching import (
    AUCTION,
    CANCEL,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CONTINUOUS,
    FILL_OR_KILL,
    HALTED,
    HIDDEN,
    ICEBERG,
    IMMEDIATE,
    LIMIT,
    MARKET,
    MAX_LOTS,
    MAX_SPAN,
    MAX_TIPS,
    NO_PREVENTION,
    POST_ONLY,
    REPLACE,
)
from difffinance.records import Array

_RESTING = (LIMIT, POST_ONLY, HIDDEN, ICEBERG)


@dataclass(eq=False)
class Resting:
    """An order in the book: `quantity` trades next, `reserve` is what an iceberg keeps back."""

    order_id: int
    side: int
    price: int
    quantity: int
    owner: int
    kind: int
    reserve: int = 0
    peak: int = 0

    @property
    def open(self) -> int:
        """All that is left of it."""
        return self.quantity + self.reserve

    @property
    def place(self) -> tuple[int, int, bool]:
        """The queue it stands in."""
        return self.side, self.price, self.kind == HIDDEN


class ReferenceBook:
    """Price, display, time. The interface is that of `engine.Book`."""

    def __init__(
        self, *, low: int | None = None, high: int | None = None, self_trade: int = NO_PREVENTION, crowd: int = -1
    ) -> None:
        self.low, self.high, self.self_trade, self.crowd = low or 1, high or 1 << 60, self_trade, crowd
        self.phase = CONTINUOUS
        self.seen: list[int] = []  # lowest and highest price admitted
        self.orders: dict[int, Resting] = {}
        self.queues: dict[tuple[int, int, bool], deque[Resting]] = {}
        self.waiting: dict[int, deque[Resting]] = {1: deque(), -1: deque()}
        self.heaps: dict[int, list[int]] = {1: [], -1: []}  # prices, best first; empty levels leave lazily
        self.used: set[int] = set()
        self.trades: list[tuple[int, int, int, int]] = []
        self.events: list[tuple[int, int, int, int, int, int, int]] = []
        self.refused = [0] * len(reasons.NAMES)
        self.next_id = 0

    def limit(self, side: int, price: float, quantity: float, *, owner: int = 0, kind: int = LIMIT) -> Outcome:
        """Place a limit order."""
        return self._send(kind, self.next_id, side, price, quantity, owner)

    def market(self, side: int, quantity: float, *, owner: int = 0) -> Outcome:
        """Place a market order."""
        return self._send(MARKET, self.next_id, side, 0, quantity, owner)

    def iceberg(self, side: int, price: float, quantity: float, display: float, *, owner: int = 0) -> Outcome:
        """Place an iceberg."""
        return self._send(ICEBERG, self.next_id, side, price, quantity, owner, display)

    def cancel(self, order_id: int, quantity: float = 0) -> Outcome:
        """Cancel `quantity` lots of a resting order; 0 cancels it whole."""
        return self._send(CANCEL, order_id, 0, 0, quantity, 0)

    def replace(self, order_id: int, price: float, quantity: float) -> Outcome:
        """Give a resting order a new price and a new open quantity."""
        return self._send(REPLACE, order_id, 0, price, quantity, 0)

    def _send(
        self, kind: int, order_id: int, side: int, price: float, quantity: float, owner: int, display: float = 0
    ) -> Outcome:
        code = unreadable(kind, side, order_id, owner) or off_grid(price, quantity, display)
        if code != reasons.OK:
            self.refused[code] += 1
            return Outcome(code, order_id, 0)
        return self.place(kind, order_id, side, int(price), int(quantity), owner, int(display))

    def run(self, messages: Array) -> tuple[Array, Array]:
        """Process a stream of `MESSAGE` rows; return each one's reason and quantity filled or cancelled."""
        outcomes = []
        for kind, side, order_id, price, quantity, display, owner in messages.tolist():
            outcomes.append(self.place(kind, order_id, side, price, quantity, owner, display))
        return np.array([o.code for o in outcomes], np.int8), np.array([o.quantity for o in outcomes], np.int64)

    def place(
        self, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int, display: int = 0
    ) -> Outcome:
        """Process one message of any kind; the id of a new order is of the caller's choice."""
        if kind == CANCEL:
            code, done = self._cancel(order_id, quantity)
        elif kind == REPLACE:
            code, done = self._replace(order_id, price, quantity)
        elif not 0 <= order_id < IDS:
            code, done = reasons.BAD_ID, 0
        else:
            self.next_id = max(self.next_id, order_id + 1)
            code, done = self._new(kind, order_id, side, price, quantity, owner, display)
        if code != reasons.OK:
            self.refused[code] += 1
        return Outcome(code, order_id, done)

    def _cancel(self, order_id: int, quantity: int) -> tuple[int, int]:
        order = self.orders.get(order_id)
        if quantity < 0:
            return reasons.BAD_QUANTITY, 0
        if order is None:
            return reasons.UNKNOWN_ORDER, 0
        if quantity == 0 or quantity >= order.open:
            gone = order.open
            self._remove(order)
            return reasons.OK, gone
        from_reserve = min(quantity, order.reserve)
        order.reserve -= from_reserve
        order.quantity -= quantity - from_reserve
        self._note(CHANGED, order)
        return reasons.OK, quantity

    def _new(
        self, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int, display: int
    ) -> tuple[int, int]:
        code = self._refusal(kind, order_id, side, price, quantity, display)
        if code == reasons.OK and kind == POST_ONLY and self._reachable(side, price):
            code = reasons.WOULD_TRADE
        if code == reasons.OK and kind == FILL_OR_KILL:
            trial = copy.deepcopy(self)
            if trial._new(IMMEDIATE, order_id, side, price, quantity, owner, 0)[1] < quantity:
                code = reasons.NOT_FILLABLE
        if code != reasons.OK:
            return code, 0
        self.used.add(order_id)
        if kind != MARKET:
            self.seen = [min([price, *self.seen]), max([price, *self.seen])]
        return self._enter(Resting(order_id, side, 0 if kind == MARKET else price, quantity, owner, kind, 0, display))

    def _refusal(self, kind: int, order_id: int, side: int, price: int, quantity: int, display: int) -> int:
        checks = [
            (side not in (1, -1), reasons.BAD_SIDE),
            (not 0 < quantity <= MAX_LOTS, reasons.BAD_QUANTITY),
            (order_id in self.used, reasons.REUSED_ID),
            (kind not in (*_RESTING, MARKET, IMMEDIATE, FILL_OR_KILL), reasons.BAD_KIND),
            (kind == ICEBERG and not 0 < quantity <= display * MAX_TIPS, reasons.BAD_DISPLAY),
            (self.phase == HALTED, reasons.HALTED),
            (self.phase == AUCTION and kind in (IMMEDIATE, FILL_OR_KILL, POST_ONLY), reasons.NOT_IN_AUCTION),
        ]
        last = reasons.OK if kind == MARKET else self._price_refusal(price)
        return next((code for wrong, code in checks if wrong), last)

    def _price_refusal(self, price: int) -> int:
        if price <= 0:
            return reasons.BAD_PRICE
        if not self.low <= price <= self.high:
            return reasons.PRICE_LIMIT
        if max([price, *self.seen]) - min([price, *self.seen]) >= MAX_SPAN:
            return reasons.PRICE_SPAN
        return reasons.OK

    def _reachable(self, side: int, price: int) -> bool:
        best = self._best(-side)
        return best is not None and (best - price) * side <= 0

    def _enter(self, order: Resting) -> tuple[int, int]:
        filled = lost = 0
        while order.quantity > 0 and self.phase == CONTINUOUS:
            best = self._best(-order.side)
            if best is None or (order.kind != MARKET and (best - order.price) * order.side > 0):
                break
            maker = (self.queues.get((-order.side, best, False)) or self.queues[-order.side, best, True])[0]
            if self.self_trade != NO_PREVENTION and order.owner == maker.owner != self.crowd:
                lost += self._prevent(order, maker)
                continue
            traded = min(maker.quantity, order.quantity)
            self._trade(maker, order.order_id, best, traded, order.side)
            order.quantity -= traded
            filled += traded
        if order.quantity == 0:
            return (reasons.SELF_TRADE if lost else reasons.OK), filled
        if order.kind not in _RESTING and not (order.kind == MARKET and self.phase == AUCTION):
            return reasons.NO_LIQUIDITY, filled
        self.orders[order.order_id] = order
        if order.kind == ICEBERG:
            order.reserve, order.quantity = max(order.quantity - order.peak, 0), min(order.peak, order.quantity)
        if order.kind == MARKET:
            self.waiting[order.side].append(order)
        else:
            self.queues.setdefault(order.place, deque()).append(order)
            heapq.heappush(self.heaps[order.side], -order.side * order.price)
        self._note(ADDED, order)
        return (reasons.SELF_TRADE if lost else reasons.OK), filled

    def _prevent(self, order: Resting, maker: Resting) -> int:
        """Keep an order from trading with its owner's; return what it loses."""
        if self.self_trade == CANCEL_NEWEST:
            lost, order.quantity = order.quantity, 0
            return lost
        if self.self_trade == CANCEL_OLDEST:
            self._remove(maker)
            return 0
        lost = min(order.quantity, maker.open)
        self._cancel(maker.order_id, lost)
        order.quantity -= lost
        return lost

    def _replace(self, order_id: int, price: int, quantity: int) -> tuple[int, int]:
        order = self.orders.get(order_id)
        if order is None:
            return reasons.UNKNOWN_ORDER, 0
        checks = [
            (not 0 < quantity <= MAX_LOTS, reasons.BAD_QUANTITY),
            (order.kind == MARKET, reasons.BAD_KIND),
            (self.phase == HALTED, reasons.HALTED),
            (order.kind == ICEBERG and quantity > order.peak * MAX_TIPS, reasons.BAD_DISPLAY),
        ]
        code = next((code for wrong, code in checks if wrong), self._price_refusal(price))
        if code != reasons.OK:
            return code, 0
        if price == order.price and quantity <= order.open:
            if quantity < order.open:
                self._cancel(order_id, order.open - quantity)
            return reasons.OK, 0
        if order.kind == POST_ONLY and self.phase == CONTINUOUS and self._reachable(order.side, price):
            return reasons.WOULD_TRADE, 0
        self._remove(order)
        self.seen = [min([price, *self.seen]), max([price, *self.seen])]
        return self._enter(Resting(order_id, order.side, price, quantity, order.owner, order.kind, 0, order.peak))

    def _trade(self, maker: Resting, taker: int, price: int, quantity: int, side: int) -> None:
        self.trades.append((maker.order_id, taker, price, quantity))
        self.events.append((TRADED, side, maker.order_id, price, quantity, 0, taker))
        self._take(maker, quantity)

    def _take(self, order: Resting, quantity: int) -> None:
        order.quantity -= quantity
        if order.quantity > 0:
            return
        queue = self.waiting[order.side] if order.kind == MARKET else self.queues[order.place]
        queue.remove(order)
        if order.reserve > 0:
            order.quantity = min(order.peak, order.reserve)
            order.reserve -= order.quantity
            queue.append(order)
            self._note(REFRESHED, order)
        else:
            del self.orders[order.order_id]

    def _remove(self, order: Resting) -> None:
        self.events.append((REMOVED, order.side, order.order_id, order.price, order.open, 0, order.owner))
        (self.waiting[order.side] if order.kind == MARKET else self.queues[order.place]).remove(order)
        del self.orders[order.order_id]

    def _note(self, kind: int, order: Resting) -> None:
        shown, hidden = (0, order.quantity) if order.kind == HIDDEN else (order.quantity, order.reserve)
        self.events.append((kind, order.side, order.order_id, order.price, shown, hidden, order.owner))

    def _best(self, side: int) -> int | None:
        heap = self.heaps[side]
        while heap and not any(self.queues.get((side, -side * heap[0], hidden)) for hidden in (False, True)):
            heapq.heappop(heap)
        return -side * heap[0] if heap else None

    def _shown(self, side: int) -> int | None:
        best = self._best(side)
        if best is None or self.queues.get((side, best, False)):
            return best
        return int(self.depth(1)[0 if side > 0 else 1, 0, 0]) or None

    def set_phase(self, phase: int) -> int:
        """Change the phase; a crossed book cannot go to continuous trading."""
        bid, ask = self._best(1), self._best(-1)
        crossed = bid is not None and ask is not None and bid >= ask
        if check_phase(phase) == CONTINUOUS and (crossed or self.waiting[1] or self.waiting[-1]):
            return reasons.NOT_UNCROSSED
        self.phase = phase
        return reasons.OK

    def crossing(self, price: int) -> tuple[int, int]:
        """Return (demand, supply) at a price: market orders, and all limits that are as good or better."""
        resting = self.orders.values()
        demand = sum(o.open for o in resting if o.side > 0 and (o.kind == MARKET or o.price >= price))
        return demand, sum(o.open for o in resting if o.side < 0 and (o.kind == MARKET or o.price <= price))

    def indicative(self, reference: int = 0) -> Indication:
        """Return the auction's price by trying every limit in the book, see `market/auction.py` for the rule."""
        limits = sorted({o.price for o in self.orders.values() if o.kind != MARKET}) or [check_reference(reference)]
        crossed = {p: self.crossing(p) for p in limits}
        volume = max(map(min, crossed.values()))
        surplus = {p: d - s for p, (d, s) in crossed.items() if min(d, s) == volume}
        least = min(map(abs, surplus.values()))
        tied = [p for p in surplus if abs(surplus[p]) == least]
        price = sorted([tied[0], reference, tied[-1]])[1]
        if least and len({surplus[p] > 0 for p in tied}) == 1:  # all short of sellers, or all of buyers
            price = tied[-1] if surplus[tied[0]] > 0 else tied[0]
        return self._traded_at(price) if volume > 0 and price > 0 else Indication(None, 0, 0)

    def _traded_at(self, price: int) -> Indication:
        demand, supply = self.crossing(price)
        return Indication(price, min(demand, supply), demand - supply)

    def uncross(self, reference: int = 0, *, price: int | None = None) -> Indication:
        """Let the auction trade at its price, or at a given one; what is left of market orders is dropped."""
        answer = self.indicative(reference) if price is None else self._traded_at(price)
        left = answer.volume
        while left > 0:
            buyer, seller = next(self.priority(1)), next(self.priority(-1))
            traded = min(buyer.quantity, seller.quantity, left)
            self.trades.append((seller.order_id, buyer.order_id, answer.price or 0, traded))
            self.events.append((TRADED, 1, seller.order_id, answer.price or 0, traded, 0, buyer.order_id))
            self._take(buyer, traded)
            self._take(seller, traded)
            left -= traded
        for side in (1, -1):
            while self.waiting[side]:
                self._remove(self.waiting[side][0])
        return answer

    def priority(self, side: int) -> Iterator[Resting]:
        """Yield the orders of a side in the order in which they trade."""
        yield from self.waiting[side]
        for _, price, hidden in sorted((k for k in self.queues if k[0] == side), key=lambda k: (-side * k[1], k[2])):
            yield from self.queues[side, price, hidden]

    def depth(self, levels: int) -> Array:
        """Return (2, L, 2): price and quantity shown at the best bid and ask levels, 0 where there is none."""
        out = np.zeros((2, levels, 2), np.int64)
        for row, side in enumerate((1, -1)):
            shown = [p for (s, p, hidden), queue in self.queues.items() if s == side and queue and not hidden]
            for k, price in enumerate(sorted(shown, reverse=side > 0)[:levels]):
                out[row, k] = price, sum(order.quantity for order in self.queues[side, price, False])
        return out

    @property
    def best_bid(self) -> int | None:
        """Highest displayed bid in ticks."""
        return self._shown(1)

    @property
    def best_ask(self) -> int | None:
        """Lowest displayed ask in ticks."""
        return self._shown(-1)

    @property
    def fills(self) -> Array:
        """The trade log so far: maker, taker, price, quantity."""
        return np.array(self.trades, FILL)

    @property
    def log(self) -> Array:
        """Every change of the book so far, `LOG` rows."""
        return np.array(self.events, LOG)


def rebuild(log: Array) -> list[tuple[int, int, int, int, int]]:
    """Return the orders that a log leaves in the book: (side, price, order_id, shown, hidden), by time priority."""
    orders: dict[int, list[int]] = {}
    for kind, side, order_id, price, quantity, reserve, other in log.tolist():
        if kind == TRADED:
            for traded in (order_id, other):
                if traded in orders:
                    orders[traded][3 if orders[traded][3] else 4] -= quantity
                    if orders[traded][3:] == [0, 0]:
                        del orders[traded]
            continue
        if kind != CHANGED:  # whoever changes keeps the place in the queue, whoever is refreshed loses it
            orders.pop(order_id, None)
        if kind != REMOVED:
            orders[order_id] = [side, price, order_id, quantity, reserve]
    return [(row[0], row[1], row[2], row[3], row[4]) for row in orders.values()]
