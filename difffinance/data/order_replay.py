"""An order-level feed to events of the visible book and its best levels after each: orders by id, levels by price.

Rows in: operation, id, new id or event kind, side (+1 bid, -1 ask), price, quantity. Rows out: index of the
row in, event kind (as LOBSTER numbers them), id, side, price, quantity; and for each the best L levels as ask price,
ask size, bid price, bid size, best first, 0 where there is none. The compiled kernel lives in `data` because it runs
while files are read; `replay_reference` in its tests is its plain twin.
"""

import numpy as np
from numba import njit

from difffinance.records import Array

NOTHING, ADD, REDUCE, DELETE, EXECUTE, REPLACE, SET, CLEAR, PASS, FILL = range(10)
NEW, PARTIAL_CANCEL, DELETED, EXECUTED = 1, 2, 3, 4
GOOD, ID_TAKEN, TOO_MUCH, CROSSED, NEVER_ADDED = range(5)
FAULTS = {
    ID_TAKEN: "the order's id belongs to a living order",
    TOO_MUCH: "more is taken from the order than it has",
    CROSSED: "the book is locked or crossed after this message",
    NEVER_ADDED: "the order was never added",
}
_SIDE, _PRICE, _LEFT, _PENDING = range(4)  # of an order; a slot with side 0 is free
_FIRST_CAPACITY = 1024


@njit(cache=True)
def _slot(ids: Array, orders: Array, order_id: int) -> int:  # pragma: no cover
    """Return the slot of an order, or the free slot where it would go."""
    mask = len(ids) - 1
    at = (order_id * 0x9E3779B97F4A7C1 >> 20) & mask
    while orders[at, _SIDE] != 0 and ids[at] != order_id:
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _remove(ids: Array, orders: Array, at: int) -> None:  # pragma: no cover
    """Free a slot and move what came after it by collision."""
    mask = len(ids) - 1
    orders[at, _SIDE] = 0
    after = (at + 1) & mask
    while orders[after, _SIDE] != 0:
        home = (ids[after] * 0x9E3779B97F4A7C1 >> 20) & mask
        if ((after - home) & mask) >= ((after - at) & mask):
            ids[at] = ids[after]
            orders[at] = orders[after]
            orders[after, _SIDE] = 0
            at = after
        after = (after + 1) & mask


@njit(cache=True)
def _change(prices: Array, sizes: Array, counts: Array, side: int, price: int, by: int) -> None:  # pragma: no cover
    """Add to a level; each side's levels are sorted with the best last, so that changes near it move little."""
    s, key = (1 if side > 0 else 0), side * price
    low, high = 0, counts[s]
    while low < high:
        middle = (low + high) // 2
        if prices[s, middle] < key:
            low = middle + 1
        else:
            high = middle
    if low == counts[s] or prices[s, low] != key:
        for j in range(counts[s], low, -1):
            prices[s, j], sizes[s, j] = prices[s, j - 1], sizes[s, j - 1]
        prices[s, low], sizes[s, low] = key, 0
        counts[s] += 1
    sizes[s, low] += by
    if sizes[s, low] == 0:
        counts[s] -= 1
        for j in range(low, counts[s]):
            prices[s, j], sizes[s, j] = prices[s, j + 1], sizes[s, j + 1]


@njit(cache=True)
def _look(prices: Array, sizes: Array, counts: Array, row: Array) -> None:  # pragma: no cover
    for level in range(len(row) // 4):
        for s in range(2):  # 0 ask, 1 bid
            at = counts[s] - 1 - level
            row[4 * level + 2 * s] = abs(prices[s, at]) if at >= 0 else 0
            row[4 * level + 2 * s + 1] = sizes[s, at] if at >= 0 else 0


@njit(cache=True)
def _emit(
    events: Array, depth: Array, n: int, source: int, kind: int, order_id: int, side: int, price: int, quantity: int,
    prices: Array, sizes: Array, counts: Array,
) -> int:  # pragma: no cover  # fmt: skip
    events[n] = (source, kind, order_id, side, price, quantity)
    _look(prices, sizes, counts, depth[n])
    return n + 1


@njit(cache=True, nogil=True)
def _replay(
    rows: Array,
    whole: bool,
    ids: Array,
    orders: Array,
    prices: Array,
    sizes: Array,
    counts: Array,
    events: Array,
    depth: Array,
) -> tuple[int, int, int, int]:  # pragma: no cover
    """Replay rows; return events written, orders not known, rows done, and the fault of the row after those."""
    n = unknown = 0
    for i in range(len(rows)):
        operation, order_id, new_id, side, price, quantity = rows[i]
        if operation == NOTHING:
            continue
        if operation == PASS:
            n = _emit(events, depth, n, i, new_id, order_id, side, price, quantity, prices, sizes, counts)
            continue
        if operation == CLEAR:
            for at in range(len(ids)):
                if orders[at, _SIDE] != 0:
                    side, price, left, _ = orders[at]
                    orders[at, _SIDE] = 0
                    if left > 0:
                        _change(prices, sizes, counts, side, price, -left)
                        n = _emit(events, depth, n, i, DELETED, ids[at], side, price, left, prices, sizes, counts)
            continue
        at = _slot(ids, orders, order_id)
        known = orders[at, _SIDE] != 0
        if operation != ADD and not known:
            if operation != SET:
                if whole:
                    return n, unknown, i, NEVER_ADDED
                unknown += 1
                continue
            operation = ADD
        if operation == ADD:
            if known:
                return n, unknown, i, ID_TAKEN
            ids[at] = order_id
            orders[at] = (side, price, quantity, 0)
            _change(prices, sizes, counts, side, price, quantity)
            n = _emit(events, depth, n, i, NEW, order_id, side, price, quantity, prices, sizes, counts)
        else:
            own_side, own_price, left, pending = orders[at]
            if operation in (REPLACE, SET):
                orders[at, _PENDING] = 0
                if operation == SET and price == own_price and quantity <= left:
                    operation, quantity = REDUCE, left - quantity  # a smaller order keeps its place
                else:
                    if left > 0:
                        _change(prices, sizes, counts, own_side, own_price, -left)
                        n = _emit(
                            events, depth, n, i, DELETED, order_id, own_side, own_price, left, prices, sizes, counts
                        )
                    _remove(ids, orders, at)
                    fresh = new_id if operation == REPLACE else order_id
                    at = _slot(ids, orders, fresh)
                    if orders[at, _SIDE] != 0:
                        return n, unknown, i, ID_TAKEN
                    ids[at] = fresh
                    orders[at] = (own_side, price, quantity, 0)
                    _change(prices, sizes, counts, own_side, price, quantity)
                    n = _emit(events, depth, n, i, NEW, fresh, own_side, price, quantity, prices, sizes, counts)
            elif operation == REDUCE and pending > 0:  # the cancel that a venue sends after a fill
                told = min(pending, quantity)
                orders[at, _PENDING] -= told
                quantity -= told
            if operation == DELETE:
                quantity = left
            if operation in (REDUCE, DELETE, EXECUTE, FILL):
                if quantity > left:
                    return n, unknown, i, TOO_MUCH
                orders[at, _LEFT] -= quantity
                if operation == FILL:
                    orders[at, _PENDING] += quantity
                kind = EXECUTED if operation in (EXECUTE, FILL) else PARTIAL_CANCEL
                if kind == PARTIAL_CANCEL and quantity == left:
                    kind = DELETED
                if quantity > 0:
                    _change(prices, sizes, counts, own_side, own_price, -quantity)
                    n = _emit(events, depth, n, i, kind, order_id, own_side, own_price, quantity, prices, sizes, counts)
                if orders[at, _LEFT] == 0 and orders[at, _PENDING] == 0:
                    _remove(ids, orders, at)
        if counts[0] and counts[1] and -prices[0, counts[0] - 1] <= prices[1, counts[1] - 1]:
            return n, unknown, i, CROSSED
    return n, unknown, len(rows), GOOD


class OrderReplay:
    """The orders of one instrument and its book, fed piece by piece; memory grows with living orders only.

    Messages of orders that were never added are counted and left out; in a `whole` day they are a fault.
    """

    def __init__(self, levels: int, *, whole: bool = False) -> None:
        self.levels, self.whole = levels, whole
        self.unknown = 0
        self._ids, self._orders = np.zeros(_FIRST_CAPACITY, np.int64), np.zeros((_FIRST_CAPACITY, 4), np.int64)
        self._prices, self._sizes = np.zeros((2, _FIRST_CAPACITY), np.int64), np.zeros((2, _FIRST_CAPACITY), np.int64)
        self._counts = np.zeros(2, np.int64)

    def feed(self, rows: Array) -> tuple[Array, Array, int, int]:
        """Replay rows (n, 6); return events (m, 6), depth (m, 4 L), how many rows were done, and the fault or 0."""
        adding = int(np.isin(rows[:, 0], (ADD, SET, REPLACE)).sum())
        living = int((self._orders[:, _SIDE] != 0).sum())
        self._grow(living, adding)
        clears = int((rows[:, 0] == CLEAR).sum())
        most = 2 * len(rows) + (living + adding if clears else 0)
        events, depth = np.empty((most, 6), np.int64), np.empty((most, 4 * self.levels), np.int64)
        state = self._ids, self._orders, self._prices, self._sizes, self._counts
        count, unknown, done, fault = _replay(rows, self.whole, *state, events, depth)
        self.unknown += unknown
        return events[:count], depth[:count], done, fault

    def _grow(self, living: int, adding: int) -> None:
        capacity = len(self._ids)
        while capacity < 2 * (living + adding):
            capacity *= 2
        if capacity > len(self._ids):
            ids, orders = self._ids, self._orders
            self._ids, self._orders = np.zeros(capacity, np.int64), np.zeros((capacity, 4), np.int64)
            for at in np.flatnonzero(orders[:, _SIDE]):
                slot = _slot(self._ids, self._orders, int(ids[at]))
                self._ids[slot], self._orders[slot] = ids[at], orders[at]
        room = int(self._counts.max()) + adding + 1
        if room > self._prices.shape[1]:
            wider = ((0, 0), (0, 2 * room - self._prices.shape[1]))
            self._prices, self._sizes = np.pad(self._prices, wider), np.pad(self._sizes, wider)
