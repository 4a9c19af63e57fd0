"""The best levels after every message of the fast loop: kept in one row that follows the book, and copied out.

Most messages change one quantity or nothing that is seen, so the row is changed in place rather than read again. The
copies go past the cache, which a day of them would flush many times over.
"""

from typing import Any, NamedTuple

import numpy as np

from difffinance.market.compiled import inlined, lean_kernel, stream_pair
from difffinance.market.layout import ASK, BASE, BID, next_down, next_up
from difffinance.records import Array

_u = np.uint64  # an index without a sign needs no look at the end of its array


class Recording(NamedTuple):
    """Where the depth after each message goes."""

    rows: Any  # (messages, 2, L, 2) price and quantity of the best bids and asks; 0 where there is none
    latest: Any  # (4 L + 2,) the row of now; the last two places take what belongs to no level


def recording(rows: Array) -> Recording:
    """Return a recording into `rows`."""
    return Recording(rows, np.zeros(4 * rows.shape[2] + 2, rows.dtype))


@lean_kernel
def read_side(levels, bits, base, row, best, flat, at, count):  # type: ignore[no-untyped-def]
    """Write (price, quantity) of `count` levels of a side, from the best one on, at place `at` of `flat`."""
    index, width = best, len(levels)
    for k in range(at, at + 2 * count, 2):
        flat[k] = flat[k + 1] = 0
        if 0 <= index < width:
            flat[k], flat[k + 1] = index + base, levels[index].quantity
            index = next_down(bits, index - 1) if row == 0 else next_up(bits, index + 1, width)


@lean_kernel
def begin(book, recording):  # type: ignore[no-untyped-def]
    """Read the latest row off the book."""
    base, count = book.top[BASE], recording.rows.shape[2]
    recording.latest[4 * count] = 0
    read_side(book.levels[0], book.bits[0], base, 0, book.top[BID], recording.latest, 0, count)
    read_side(book.levels[1], book.bits[1], base, 1, book.top[ASK], recording.latest, 2 * count, count)


@inlined
def change_best(book, recording, row, before, best):  # type: ignore[no-untyped-def]
    """Follow a trade through a side: its best level was `before` and is now `best`."""
    at = 2 * recording.rows.shape[2] * row
    if before == best:
        recording.latest[_u(at + 1)] = book.levels[_u(row), _u(best)].quantity
    else:
        levels, bits = book.levels[row], book.bits[row]
        read_side(levels, bits, book.top[BASE], row, best, recording.latest, at, recording.rows.shape[2])


@inlined
def change_level(book, recording, row, price, quantity):  # type: ignore[no-untyped-def]
    """Follow a change of one level's quantity.

    Nobody foresees which levels are in the row: those behind its end take the same path as the others. The price is
    looked for where it is when every tick between has orders.
    """
    latest, count, sign = recording.latest, recording.rows.shape[2], 1 - 2 * row
    at, spare = 2 * count * row, 4 * count
    worst, away = latest[_u(at + 2 * count - 2)], (latest[_u(at)] - price) * sign
    place = at + 2 * away if (away >= 0) & (away < count) else spare
    found = (latest[_u(place)] == price) & (quantity > 0)
    latest[_u((place if found else spare) + 1)] = quantity
    if not found | ((worst != 0) & ((worst - price) * sign > 0)):
        change_prices(book.levels[row], book.bits[row], book.top[BASE], row, price, quantity, latest, at, count)


@lean_kernel
def change_prices(levels, bits, base, row, price, quantity, latest, at, count):  # type: ignore[no-untyped-def]
    """Follow a change of one level of the row, wherever it is; it may come or go."""
    end, sign = at + 2 * count, 1 - 2 * row
    worst, place = np.int64(latest[end - 2]), at
    while place < end and latest[place] != 0 and (latest[place] - price) * sign > 0:
        place += 2
    found = place < end and latest[place] == price
    if found and quantity > 0:
        latest[place + 1] = quantity
    elif quantity > 0:
        for j in range(end - 1, place + 1, -1):
            latest[j] = latest[j - 2]
        latest[place], latest[place + 1] = price, quantity
    elif found:
        for j in range(place, end - 2):
            latest[j] = latest[j + 2]
        read_behind(levels, bits, base, row, worst, latest, end - 2)


@lean_kernel
def read_behind(levels, bits, base, row, worst, latest, at):  # type: ignore[no-untyped-def]
    """Write the level behind price `worst` (0: none was written) at place `at`."""
    if worst == 0:
        latest[at] = latest[at + 1] = 0
    else:
        index, width = worst - base, len(levels)
        behind = next_down(bits, index - 1) if row == 0 else next_up(bits, index + 1, width)
        read_side(levels, bits, base, row, behind, latest, at, 1)


@inlined
def write_row(recording, i):  # type: ignore[no-untyped-def]
    """Copy the latest row out as that of message `i`."""
    rows, latest = recording.rows, recording.latest
    size, number = rows.itemsize, 4 * rows.shape[2]
    length = number * size
    if (rows.ctypes.data | length) & 15 == 0:
        for byte in range(0, length, 16):
            stream_pair(rows, i * length + byte, latest, byte)
    else:
        flat = rows.reshape(-1)
        for k in range(number):
            flat[_u(i * number + k)] = latest[_u(k)]
