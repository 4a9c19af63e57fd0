"""A book rebuilt from level-2 messages: levels set to a quantity, snapshots, gaps, and the trades between them.

Two books are kept. The stated one holds what the venue's messages say, nothing else. The shown one follows it event by
event, and between two messages also follows the trades, which venues report one by one while they batch the levels:

- a message turns the shown book into the stated one, level by level, what shrinks before what grows, so that no state
  on the way is crossed. A level that grows is `new`, one that shrinks `partial_cancel`, one that goes `delete`;
- a trade is an `execution` of its level. It also tells that better levels on its side, and levels of the other side
  at its price, are gone, and that its level held at least its quantity: what the shown book lacks for that is
  corrected first, by `delete` and `new` events that are counted as inferred. The next message corrects any error;
- a level that would cross the shown book waits until the level that it crosses is gone;
- a snapshot is a `halt` with price 1 (the book is known), a gap one with price -1 (unknown until a snapshot; empty).

Changes outside the best L levels are applied and not recorded, as in LOBSTER's files. The kernel's plain twin, written
with dictionaries, is in the tests. The kernel is compiled here because it runs while files are read.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from difffinance.records import Array

UPDATE, SNAPSHOT, GAP, TRADE = range(4)
NEW, PARTIAL_CANCEL, DELETE, EXECUTION, HALT = 1, 2, 3, 4, 7  # as LOBSTER numbers them
_STATED, _SHOWN = 0, 1
_COUNTS = ("updates", "crossed_states", "prints", "prints_inside_shown", "inferred_events", "traded", "confirmed")


@njit(cache=True)
def _position(prices: Array, count: int, price: int, sign: int) -> int:  # pragma: no cover
    """Return where `price` belongs in a side sorted with the best price last."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if sign * prices[middle] < sign * price:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def _quantity(prices: Array, lots: Array, count: int, price: int, sign: int) -> int:  # pragma: no cover
    at = _position(prices, count, price, sign)
    return lots[at] if at < count and prices[at] == price else 0


@njit(cache=True)
def _set_level(
    prices: Array, lots: Array, counts: Array, side: int, price: int, quantity: int
) -> int:  # pragma: no cover
    """Set a level of one book; return how many levels are better than it."""
    sign, count = 2 * side - 1, counts[side]
    at = _position(prices[side], count, price, sign)
    there = at < count and prices[side, at] == price
    better = count - at - there
    if quantity > 0 and not there:
        for k in range(count, at, -1):
            prices[side, k], lots[side, k] = prices[side, k - 1], lots[side, k - 1]
        prices[side, at] = price
        counts[side] = count + 1
    elif quantity == 0 and there:
        for k in range(at, count - 1):
            prices[side, k], lots[side, k] = prices[side, k + 1], lots[side, k + 1]
        counts[side] = count - 1
    if quantity > 0:
        lots[side, at] = quantity
    return better


@njit(cache=True)
def _record(
    events: Array,
    depth: Array,
    row: int,
    event: tuple[int, int, int, int, int],
    prices: Array,
    lots: Array,
    counts: Array,
) -> int:  # pragma: no cover
    for k in range(5):
        events[row, k] = event[k]
    levels = depth.shape[1] // 4
    for side in range(2):
        for level in range(levels):
            at = counts[side] - 1 - level
            depth[row, 4 * level + 2 * side] = prices[side, at] if at >= 0 else 0
            depth[row, 4 * level + 2 * side + 1] = lots[side, at] if at >= 0 else 0
    return row + 1


@njit(cache=True)
def _crosses(prices: Array, counts: Array, side: int, price: int) -> bool:  # pragma: no cover
    other, sign = 1 - side, 2 * side - 1
    return counts[other] > 0 and sign * price >= sign * prices[other, counts[other] - 1]


@njit(cache=True)
def _touch(touched: Array, flags: Array, side: int, price: int, traded: int) -> None:  # pragma: no cover
    for k in range(flags[1]):
        if touched[k, 0] == side and touched[k, 1] == price:
            touched[k, 2] += traded
            return
    touched[flags[1], 0], touched[flags[1], 1], touched[flags[1], 2] = side, price, traded
    flags[1] += 1


@njit(cache=True)
def _grown(array: Array, rows: int) -> Array:  # pragma: no cover
    if rows <= array.shape[0]:
        return array
    grown = np.empty((2 * rows, array.shape[1]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


@njit(cache=True)
def replay(
    kind: Array, first: Array, side: Array, price: Array, lots: Array, levels: int,
    prices: Array, sizes: Array, counts: Array, touched: Array, flags: Array, tally: Array,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Run messages through the two books (see the module); return events, depth, best stated quotes and `touched`.

    Message m has `kind[m]` and the levels `first[m]:first[m + 1]` of `side` (1 bid, 0 ask), `price` and `lots`; a
    trade has one, on the resting side. The state: `prices` and `sizes` (2 books, 2 sides, capacity), `counts` (2, 2),
    `touched` (any, 4), `flags` (book known, rows of touched), `tally` (`_COUNTS`). Events are (message, kind, side,
    price, lots); depth rows are ask price, ask size, bid price, bid size by level, 0 where there is none.
    """
    events, depth = np.empty((1024, 5), np.int64), np.empty((1024, 4 * levels), np.int64)
    best = np.zeros((len(kind), 4), np.int64)
    n = 0
    stated, shown = prices[0], prices[1]
    stated_lots, shown_lots = sizes[0], sizes[1]
    for m in range(len(kind)):
        low, high = first[m], first[m + 1]
        room = n + 3 + 2 * (high - low + flags[1]) + counts[1, 0] + counts[1, 1]
        events, depth = _grown(events, room), _grown(depth, room)
        touched = _grown(touched, flags[1] + 2 * (high - low) + counts[1, 0] + counts[1, 1] + 2)
        if kind[m] == SNAPSHOT or kind[m] == GAP:
            counts[:] = 0
            flags[0], flags[1] = kind[m] == SNAPSHOT, 0
            for k in range(high - 1, low - 1, -1):  # venues list the best first, and the best are kept last
                _set_level(stated, stated_lots, counts[0], side[k], price[k], lots[k])
                _set_level(shown, shown_lots, counts[1], side[k], price[k], lots[k])
            n = _record(
                events, depth, n, (m, HALT, 0, 1 if kind[m] == SNAPSHOT else -1, 0), shown, shown_lots, counts[1]
            )
        elif flags[0] == 0:
            continue
        elif kind[m] == TRADE:
            n = _trade(
                m,
                side[low],
                price[low],
                lots[low],
                events,
                depth,
                n,
                shown,
                shown_lots,
                counts[1],
                touched,
                flags,
                tally,
            )
        else:
            for k in range(flags[1]):  # what the message says of traded levels: traded against stated to have gone
                s, p = touched[k, 0], touched[k, 1]
                touched[k, 3] = _quantity(stated[s], stated_lots[s], counts[0, s], p, 2 * s - 1)
            for k in range(low, high):
                _set_level(stated, stated_lots, counts[0], side[k], price[k], lots[k])
            for k in range(flags[1]):
                s, p = touched[k, 0], touched[k, 1]
                gone = touched[k, 3] - _quantity(stated[s], stated_lots[s], counts[0, s], p, 2 * s - 1)
                tally[6] += max(0, min(gone, touched[k, 2]))
                touched[k, 2] = 0
            for k in range(low, high):
                _touch(touched, flags, side[k], price[k], 0)
            n = _follow(m, events, depth, n, prices, sizes, counts, touched, flags)
            tally[0] += 1
        if counts[0, 0] and counts[0, 1]:
            for s in range(2):
                best[m, 2 * s] = stated[s, counts[0, s] - 1]
                best[m, 2 * s + 1] = stated_lots[s, counts[0, s] - 1]
            tally[1] += kind[m] != TRADE and best[m, 2] >= best[m, 0]
    return events[:n].copy(), depth[:n].copy(), best, touched


@njit(cache=True)
def _follow(
    m: int,
    events: Array,
    depth: Array,
    n: int,
    prices: Array,
    sizes: Array,
    counts: Array,
    touched: Array,
    flags: Array,
) -> int:  # pragma: no cover
    """Turn the shown book into the stated one in all touched levels: reductions first."""
    levels = depth.shape[1] // 4
    waiting = 0
    for grow in range(2):
        for k in range(flags[1]):
            s, p = touched[k, 0], touched[k, 1]
            now = _quantity(prices[1, s], sizes[1, s], counts[1, s], p, 2 * s - 1)
            then = _quantity(prices[0, s], sizes[0, s], counts[0, s], p, 2 * s - 1)
            if grow == 0 and then < now:
                if _set_level(prices[1], sizes[1], counts[1], s, p, then) < levels:
                    event = (m, DELETE if then == 0 else PARTIAL_CANCEL, s, p, now - then)
                    n = _record(events, depth, n, event, prices[1], sizes[1], counts[1])
            elif grow == 1 and then > now:
                if now == 0 and _crosses(prices[1], counts[1], s, p):
                    touched[waiting, 0], touched[waiting, 1], touched[waiting, 2] = s, p, 0
                    waiting += 1
                elif _set_level(prices[1], sizes[1], counts[1], s, p, then) < levels:
                    n = _record(events, depth, n, (m, NEW, s, p, then - now), prices[1], sizes[1], counts[1])
    flags[1] = waiting
    return n


@njit(cache=True)
def _trade(
    m: int, side: int, price: int, quantity: int, events: Array, depth: Array, n: int,
    prices: Array, lots: Array, counts: Array, touched: Array, flags: Array, tally: Array,
) -> int:  # fmt: skip  # pragma: no cover
    """Execute a level of the shown book, after correcting what the trade shows to be stale."""
    before = n
    for s in (side, 1 - side):
        sign = 2 * s - 1
        while counts[s] > 0:
            p, q = prices[s, counts[s] - 1], lots[s, counts[s] - 1]
            stale = sign * p > sign * price if s == side else sign * p >= sign * price
            if not stale:
                break
            _touch(touched, flags, s, p, 0)
            counts[s] -= 1
            n = _record(events, depth, n, (m, DELETE, s, p, q), prices, lots, counts)
    sign = 2 * side - 1
    there = _quantity(prices[side], lots[side], counts[side], price, sign)
    if there < quantity:
        _set_level(prices, lots, counts, side, price, quantity)
        n = _record(events, depth, n, (m, NEW, side, price, quantity - there), prices, lots, counts)
    tally[2] += 1
    tally[3] += n == before
    tally[4] += n - before
    tally[5] += quantity
    _touch(touched, flags, side, price, quantity)
    _set_level(prices, lots, counts, side, price, max(there, quantity) - quantity)
    return _record(events, depth, n, (m, EXECUTION, side, price, quantity), prices, lots, counts)


@dataclass
class Book:
    """The state of a replay, which takes messages in pieces."""

    levels: int
    tally: Array = field(default_factory=lambda: np.zeros(len(_COUNTS), np.int64))

    def __post_init__(self) -> None:
        self._prices = np.zeros((2, 2, 1024), np.int64)
        self._lots = np.zeros((2, 2, 1024), np.int64)
        self._counts = np.zeros((2, 2), np.int64)
        self._touched = np.zeros((64, 4), np.int64)
        self._flags = np.zeros(2, np.int64)

    def feed(self, kind: Array, first: Array, side: Array, price: Array, lots: Array) -> tuple[Array, Array, Array]:
        """Return events, depth after each, and the best stated quotes after each message (see `replay`)."""
        need = int(self._counts.max()) + len(side) + 1
        if need > self._prices.shape[2]:
            room = np.zeros((2, 2, 2 * need - self._prices.shape[2]), np.int64)
            self._prices = np.concatenate([self._prices, room], axis=2)
            self._lots = np.concatenate([self._lots, room], axis=2)
        columns = [np.ascontiguousarray(a, dtype=np.int64) for a in (kind, first, side, price, lots)]
        events, depth, best, self._touched = replay(
            *columns, self.levels, self._prices, self._lots, self._counts, self._touched, self._flags, self.tally
        )
        return events, depth, best

    def counted(self) -> dict[str, int]:
        """Return what was counted so far (`traded` and `confirmed` in lots)."""
        return dict(zip(_COUNTS, self.tally.tolist(), strict=True))
