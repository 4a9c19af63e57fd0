"""Does the message file of an order-book day explain its book file? Two fractions, exact by integer comparison.

One-step: book row i-1 changed by message i equals row i in the top L-1 levels (what enters level L was not seen).
Resync: a book replayed from row 0 through all messages equals row i in all L levels. The replay carries its errors on;
it is told one thing only, the level that enters its window from below after one of its levels was removed.

The compiled kernel lives here and not in `market` because it runs while files are read; `verify_book_reference` is its
plain Python twin, written with dictionaries instead of arrays.

Messages: kind as LOBSTER numbers it (1 new, 2 partial cancel, 3 delete, 4 execution; others change nothing), price,
size, direction of the resting order (+1 bid, -1 ask). Book rows: ask price, ask size, bid price, bid size, best first;
an empty level has size 0.
"""

import numpy as np
from numba import njit

from difffinance.records import Array


@njit(cache=True, nogil=True)
def _load(row: Array, levels: int, prices: Array, sizes: Array, counts: Array) -> None:  # pragma: no cover
    for side in range(2):
        count = 0
        while count < levels and row[4 * count + 2 * side + 1] > 0:
            prices[side, count] = row[4 * count + 2 * side]
            sizes[side, count] = row[4 * count + 2 * side + 1]
            count += 1
        counts[side] = count


@njit(cache=True, nogil=True)
def _apply(
    kind: int, price: int, size: int, side: int, levels: int, prices: Array, sizes: Array, counts: Array
) -> tuple[bool, bool]:  # pragma: no cover
    """Change the window by one message; return whether that was possible and whether level L is now unknown."""
    sign = 2 * side - 1  # asks (side 0) rise, bids (side 1) fall
    count = counts[side]
    k = 0
    while k < count and sign * prices[side, k] > sign * price:
        k += 1
    known = k < count and prices[side, k] == price
    if kind == 1:
        if known:
            sizes[side, k] += size
        elif k < levels:
            for j in range(min(count, levels - 1), k, -1):
                prices[side, j] = prices[side, j - 1]
                sizes[side, j] = sizes[side, j - 1]
            prices[side, k] = price
            sizes[side, k] = size
            counts[side] = min(count + 1, levels)
        return True, False
    if not known:
        return k == levels, False  # beyond a full window nothing is known, inside it the level should be there
    sizes[side, k] -= size
    if sizes[side, k] > 0:
        return True, False
    possible = sizes[side, k] == 0
    for j in range(k, count - 1):
        prices[side, j] = prices[side, j + 1]
        sizes[side, j] = sizes[side, j + 1]
    counts[side] = count - 1
    return possible, count == levels


@njit(cache=True, nogil=True)
def _equal(row: Array, upto: int, prices: Array, sizes: Array, counts: Array) -> bool:  # pragma: no cover
    for side in range(2):
        for level in range(upto):
            if level >= counts[side]:
                if row[4 * level + 2 * side + 1] != 0:
                    return False
            elif (
                row[4 * level + 2 * side] != prices[side, level] or row[4 * level + 2 * side + 1] != sizes[side, level]
            ):
                return False
    return True


@njit(cache=True, nogil=True)
def _count(
    kind: Array,
    price: Array,
    size: Array,
    direction: Array,
    book: Array,
    before: Array,
    prices: Array,
    sizes: Array,
    counts: Array,
    agreed: bool,
) -> tuple[int, int, bool]:  # pragma: no cover
    """Count the exact rows of a piece; `before` is the book row before it, the rest is the replayed book."""
    levels = book.shape[1] // 4
    step_prices, step_sizes = np.zeros((2, levels), np.int64), np.zeros((2, levels), np.int64)
    step_counts = np.zeros(2, np.int64)
    one_step = resync = 0
    for i in range(book.shape[0]):
        row = book[i]
        side = 1 if direction[i] > 0 else 0
        changes = 1 <= kind[i] <= 4
        if not agreed:
            _load(book[i - 1] if i else before, levels, step_prices, step_sizes, step_counts)
            possible = True
            if changes:
                possible, _ = _apply(kind[i], price[i], size[i], side, levels, step_prices, step_sizes, step_counts)
            one_step += possible and _equal(row, levels - 1, step_prices, step_sizes, step_counts)
        possible, unknown = True, False
        if changes:
            possible, unknown = _apply(kind[i], price[i], size[i], side, levels, prices, sizes, counts)
        if agreed:  # the replayed book equals the row before, so that one-step can share its work
            one_step += possible and _equal(row, levels - 1, prices, sizes, counts)
        if unknown:
            last = counts[side]
            told = row[4 * last + 2 * side]
            worse = last == 0 or (2 * side - 1) * told < (2 * side - 1) * prices[side, last - 1]
            if row[4 * last + 2 * side + 1] > 0 and worse:
                prices[side, last] = told
                sizes[side, last] = row[4 * last + 2 * side + 1]
                counts[side] = last + 1
        agreed = _equal(row, levels, prices, sizes, counts)
        resync += possible and agreed
    return one_step, resync, agreed


class Replay:
    """The replayed book of one day, fed piece by piece; counts how many of rows 1..n-1 are exact."""

    def __init__(self, levels: int) -> None:
        self.rows = self.one_step = self.resync = 0
        self._book = np.zeros((2, levels), np.int64), np.zeros((2, levels), np.int64), np.zeros(2, np.int64)
        self._before = np.zeros(4 * levels, np.int64)
        self._agreed = True

    def feed(self, kind: Array, price: Array, size: Array, direction: Array, book: Array) -> None:
        """Replay the next messages and compare with their book rows (n, 4 L), which lie row by row in memory."""
        if not len(book):
            return
        first = 0
        if self.rows == 0:
            _load(book[0], book.shape[1] // 4, *self._book)
            self._before[:], first = book[0], 1
        columns = (np.ascontiguousarray(column[first:]) for column in (kind, price, size, direction))
        one_step, resync, self._agreed = _count(*columns, book[first:], self._before, *self._book, self._agreed)
        self.one_step, self.resync, self.rows = self.one_step + one_step, self.resync + resync, self.rows + len(book)
        self._before[:] = book[-1]


def load_kernels(levels: int) -> None:
    """Compile the kernel or load it from the disk, so that whoever times a replay does not time that."""
    none = np.zeros(2, np.int64)
    Replay(levels).feed(none, none, none, none, np.zeros((2, 4 * levels), np.int64))


def count_exact_reference(kind: Array, price: Array, size: Array, direction: Array, book: Array) -> tuple[int, int]:
    """Return what a `Replay` counts, (one_step, resync), in plain Python: a dictionary of price to size per side."""
    levels = book.shape[1] // 4
    rows = [_sides(row, levels) for row in book.tolist()]
    replay = {side: dict(rows[0][side]) for side in (-1, 1)}
    one_step = resync = 0
    for i in range(1, len(rows)):
        message = (int(kind[i]), int(price[i]), int(size[i]), 1 if direction[i] > 0 else -1)
        step = {side: dict(rows[i - 1][side]) for side in (-1, 1)}
        possible, _ = _apply_reference(step, message, levels)
        one_step += possible and all(_best(step, s)[: levels - 1] == rows[i][s][: levels - 1] for s in (-1, 1))
        possible, unknown = _apply_reference(replay, message, levels)
        side, seen = message[3], _best(replay, message[3])
        entering = rows[i][side][levels - 1 :]
        if unknown and entering and (not seen or side * entering[0][0] < side * seen[-1][0]):
            replay[side].update(entering)
        resync += possible and all(_best(replay, s) == rows[i][s] for s in (-1, 1))
    return one_step, resync


Side = list[tuple[int, int]]  # (price, size), best first


def _sides(row: list[int], levels: int) -> dict[int, Side]:
    sides: dict[int, Side] = {-1: [], 1: []}
    for level in range(levels):
        ask_price, ask_size, bid_price, bid_size = row[4 * level : 4 * level + 4]
        sides[-1] += [(ask_price, ask_size)] if ask_size else []
        sides[1] += [(bid_price, bid_size)] if bid_size else []
    return sides


def _best(book: dict[int, dict[int, int]], side: int) -> Side:
    return sorted(book[side].items(), key=lambda level: -side * level[0])


def _apply_reference(
    book: dict[int, dict[int, int]], message: tuple[int, int, int, int], levels: int
) -> tuple[bool, bool]:
    kind, price, size, side = message
    if not 1 <= kind <= 4:
        return True, False
    window = book[side]
    full = len(window) == levels
    if kind == 1:
        window[price] = window.get(price, 0) + size
        for worst, _ in _best(book, side)[levels:]:
            del window[worst]
        return True, False
    if price not in window:
        return full and all(side * known > side * price for known in window), False
    window[price] -= size
    if window[price] > 0:
        return True, False
    possible = window.pop(price) == 0
    return possible, full
