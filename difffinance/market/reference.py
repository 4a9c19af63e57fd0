"""The plain Python twin of `market/engine.py`: the same book from dicts, deques and heaps, to be read and compared."""

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np

from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.engine import CANCEL, FILL, LIMIT, MARKET, MAX_SPAN, Outcome
from difffinance.records import Array


@dataclass
class _Resting:
    order_id: int
    side: int
    price: int
    quantity: int
    owner: int


class ReferenceBook:
    """Price-time priority, in the fewest words. The interface is that of `engine.Book`."""

    def __init__(self, *, low: int | None = None, high: int | None = None) -> None:
        self.low, self.high = low, high
        self.seen: list[int] = []  # lowest and highest price admitted
        self.orders: dict[int, _Resting] = {}
        self.queues: dict[tuple[int, int], deque[_Resting]] = {}
        self.heaps: dict[int, list[int]] = {1: [], -1: []}  # prices, best first; empty levels leave lazily
        self.used: set[int] = set()
        self.log: list[tuple[int, int, int, int]] = []
        self.next_id = 0

    def limit(self, side: int, price: int, quantity: int, *, owner: int = 0) -> Outcome:
        """Place a limit order."""
        return self.place(LIMIT, self.next_id, side, price, quantity, owner)

    def market(self, side: int, quantity: int, *, owner: int = 0) -> Outcome:
        """Place a market order."""
        return self.place(MARKET, self.next_id, side, 0, quantity, owner)

    def cancel(self, order_id: int, quantity: int = 0) -> Outcome:
        """Cancel `quantity` lots of a resting order; 0 cancels it whole."""
        if quantity < 0:
            return Outcome(reasons.BAD_QUANTITY, order_id, 0)
        order = self.orders.get(order_id)
        if order is None:
            return Outcome(reasons.UNKNOWN_ORDER, order_id, 0)
        if 0 < quantity < order.quantity:
            order.quantity -= quantity
            return Outcome(reasons.OK, order_id, quantity)
        self.queues[order.side, order.price].remove(order)
        del self.orders[order_id]
        return Outcome(reasons.OK, order_id, order.quantity)

    def run(self, messages: Array) -> tuple[Array, Array]:
        """Process a stream of `MESSAGE` rows; return each one's reason and quantity filled or cancelled."""
        outcomes = []
        for kind, side, order_id, price, quantity, owner in messages.tolist():
            if order_id < 0 and kind != CANCEL:
                raise InputError(f"order id {order_id} is not allowed. Allowed: 0 to 2147483646.")
            if kind == CANCEL:
                outcomes.append(self.cancel(order_id, quantity))
            else:
                outcomes.append(self.place(kind, order_id, side, price, quantity, owner))
        return np.array([o.code for o in outcomes], np.int8), np.array([o.quantity for o in outcomes], np.int64)

    def place(self, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int) -> Outcome:
        """Process one order with an id of the caller's choice; `kind` is `LIMIT` or `MARKET`."""
        self.next_id = max(self.next_id, order_id + 1)
        code = self._refusal(kind, order_id, side, price, quantity)
        if code != reasons.OK:
            return Outcome(code, order_id, 0)
        self.used.add(order_id)
        if kind == LIMIT:
            self.seen = [min([price, *self.seen]), max([price, *self.seen])]
        left = quantity
        while left > 0:
            best = self._best(-side)
            if best is None or (kind == LIMIT and (best - price) * side > 0):
                break
            maker = self.queues[-side, best][0]
            traded = min(maker.quantity, left)
            maker.quantity -= traded
            left -= traded
            self.log.append((maker.order_id, order_id, best, traded))
            if maker.quantity == 0:
                self.queues[-side, best].popleft()
                del self.orders[maker.order_id]
        if kind == MARKET:
            return Outcome(reasons.NO_LIQUIDITY if left else reasons.OK, order_id, quantity - left)
        if left > 0:
            order = self.orders[order_id] = _Resting(order_id, side, price, left, owner)
            self.queues.setdefault((side, price), deque()).append(order)
            heapq.heappush(self.heaps[side], -side * price)
        return Outcome(reasons.OK, order_id, quantity - left)

    def _refusal(self, kind: int, order_id: int, side: int, price: int, quantity: int) -> int:
        if side not in (1, -1):
            return reasons.BAD_SIDE
        if quantity <= 0:
            return reasons.BAD_QUANTITY
        if order_id in self.used:
            return reasons.REUSED_ID
        if kind == MARKET:
            return reasons.OK
        if price <= 0:
            return reasons.BAD_PRICE
        if (self.low is not None and price < self.low) or (self.high is not None and price > self.high):
            return reasons.PRICE_LIMIT
        if max([price, *self.seen]) - min([price, *self.seen]) >= MAX_SPAN:
            return reasons.PRICE_SPAN
        return reasons.OK

    def _best(self, side: int) -> int | None:
        heap = self.heaps[side]
        while heap and not self.queues[side, -side * heap[0]]:
            heapq.heappop(heap)
        return -side * heap[0] if heap else None

    def depth(self, levels: int) -> Array:
        """Return (2, L, 2): price and quantity of the best bid and ask levels, 0 where there is none."""
        out = np.zeros((2, levels, 2), np.int64)
        for row, side in enumerate((1, -1)):
            prices = sorted(
                (p for (s, p), queue in self.queues.items() if s == side and queue), key=lambda p: -side * p
            )
            for k, price in enumerate(prices[:levels]):
                out[row, k] = price, sum(order.quantity for order in self.queues[side, price])
        return out

    @property
    def fills(self) -> Array:
        """The trade log so far: maker, taker, price, quantity."""
        return np.array(self.log, FILL)

    @property
    def best_bid(self) -> int | None:
        """Highest bid in ticks."""
        return self._best(1)

    @property
    def best_ask(self) -> int | None:
        """Lowest ask in ticks."""
        return self._best(-1)
