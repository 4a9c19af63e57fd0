"""How an order book lies in memory, and the smallest kernels on it: queues of orders, levels, the log.

A price level is an entry of a table over a window of ticks; its orders are a linked list inside the array of all
orders (the order id is the index), so adding, cancelling and filling touch a few cache lines and allocate nothing.
Bids, asks, hidden bids and hidden asks are the four rows of that table, each with a bitmap of occupied levels that
finds the next best price. Every kernel of the engine works on these arrays: a book can be driven by any of them.
"""

from typing import Any, NamedTuple

import numpy as np

from difffinance.market.compiled import inlined, leading_zeros, lean_kernel, trailing_zeros
from difffinance.records import Array

ORDER = np.dtype(  # 32 bytes with padding: two orders a cache line
    [("price", "i8"), ("quantity", "i8"), ("next", "i4"), ("previous", "i4"), ("owner", "i4"), ("side", "i1"),
     ("form", "i1"), ("post_only", "i1")], align=True
)  # fmt: skip
RESERVE = np.dtype([("quantity", "i8"), ("peak", "i8")])  # what an iceberg does not show, and how much it shows
LEVEL = np.dtype([("quantity", "i8"), ("first", "i4"), ("last", "i4")])
FILL = np.dtype([("maker", "i8"), ("taker", "i8"), ("price", "i8"), ("quantity", "i8")])
LOG = np.dtype(
    [("kind", "i4"), ("side", "i4"), ("order_id", "i8"), ("price", "i8"), ("quantity", "i8"), ("reserve", "i8"),
     ("other", "i8")]
)  # fmt: skip

# Places in `top`, the book's scalars: best level of each row, window, price limits, prices seen, counters, next free
# id, fills still hidden in icebergs, live orders that are not plain, phase, self-trade policy, owner exempt from it.
(BID, ASK, HIDDEN_BID, HIDDEN_ASK, BASE, WIDTH, LOW, HIGH, LOWEST, HIGHEST, LIVE, FILLS, NEXT, TIPS, SPECIAL, LOGGED,
 PHASE, SELF_TRADE, CROWD) = range(19)  # fmt: skip

# Forms of resting orders. A waiting order is a market order gathered for a call auction.
PLAIN, HIDDEN_FORM, ICEBERG_FORM, WAITING = range(4)
# Kinds of log rows, which say what an order shows (`quantity`) and what it hides (`reserve`) from then on. A trade
# takes its quantity off each of its two orders that rests; see `reference.rebuild`.
ADDED, CHANGED, REFRESHED, REMOVED, TRADED = range(5)

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_LINE = 64  # bytes of a cache line


class Tables(NamedTuple):
    """The arrays of a book. Kernels take this, or anything that has these fields (a `Floor`)."""

    orders: Any  # (orders,) ORDER
    reserves: Any  # (orders,) RESERVE, read for icebergs only
    levels: Any  # (4, width) LEVEL
    bits: Any  # (4, width / 64) uint64, occupied levels
    waiting: Any  # (2,) LEVEL, market orders to buy and to sell gathered for an auction
    top: Any  # (19,) int64
    fills: Any  # FILL
    log: Any  # LOG; of length 0 where no log is kept


def lined_up(length: int, dtype: np.dtype) -> Array:
    """Return zeros that begin with a cache line: records of 32 or 64 bytes then never lie across two."""
    block = np.zeros(length * dtype.itemsize + _LINE, np.uint8)
    start = -block.ctypes.data % _LINE
    return block[start : start + length * dtype.itemsize].view(dtype)


def longer(array: Array, length: int) -> Array:
    """Return the array, or a copy with twice the length asked for where it is shorter than that."""
    if length <= len(array):
        return array
    grown = lined_up(2 * length, array.dtype)
    grown[: len(array)] = array
    return grown


@inlined
def next_up(bits, index, width):  # type: ignore[no-untyped-def]
    """Return the lowest occupied level of a row at or above `index`, or `width`."""
    word = index >> 6
    if word >= len(bits):
        return width
    rest = bits[word] >> np.uint64(index & 63)
    if rest != _ZERO:
        return index + trailing_zeros(rest)
    for word_above in range(word + 1, len(bits)):
        if bits[word_above] != _ZERO:
            return (word_above << 6) + trailing_zeros(bits[word_above])
    return width


@inlined
def next_down(bits, index):  # type: ignore[no-untyped-def]
    """Return the highest occupied level of a row at or below `index`, or -1."""
    if index < 0:
        return -1
    word = index >> 6
    rest = bits[word] << np.uint64(63 - (index & 63))
    if rest != _ZERO:
        return index - leading_zeros(rest)
    for word_below in range(word - 1, -1, -1):
        if bits[word_below] != _ZERO:
            return (word_below << 6) + 63 - leading_zeros(bits[word_below])
    return -1


@inlined
def note(book, kind, side, order_id, price, quantity, reserve, other):  # type: ignore[no-untyped-def]
    """Append a row to the log, where one is kept."""
    if len(book.log) > 0:
        row = book.log[book.top[LOGGED]]
        row.kind, row.side, row.order_id, row.price = kind, side, order_id, price
        row.quantity, row.reserve, row.other = quantity, reserve, other
        book.top[LOGGED] += 1


@inlined
def write_fill(book, maker, taker, price, quantity, side):  # type: ignore[no-untyped-def]
    """Append a trade to the fills and to the log; `side` is that of the taker."""
    fill = book.fills[book.top[FILLS]]
    fill.maker, fill.taker, fill.price, fill.quantity = maker, taker, price, quantity
    book.top[FILLS] += 1
    note(book, TRADED, side, maker, price, quantity, 0, taker)


@inlined
def row_of(order):  # type: ignore[no-untyped-def]
    """Return the row of the levels table in which an order rests."""
    return (0 if order.side > 0 else 1) + (2 if order.form == HIDDEN_FORM else 0)


@inlined
def push_last(orders, level, order_id, occupied):  # type: ignore[no-untyped-def]
    """Put an order at the end of a queue."""
    order = orders[order_id]
    order.next = -1
    if occupied:
        order.previous = level.last
        orders[level.last].next = order_id
        level.quantity += order.quantity
    else:
        order.previous = -1
        level.first = order_id
        level.quantity = order.quantity
    level.last = order_id


@inlined
def join(book, order_id, quantity, form, peak):  # type: ignore[no-untyped-def]
    """Let what is left of an order rest at the end of its queue; its price, side and owner are set already."""
    orders, top = book.orders, book.top
    order = orders[order_id]
    index, row, hidden = order.price - top[BASE], 0 if order.side > 0 else 1, 0
    order.quantity, order.form = quantity, form
    if form != PLAIN:
        top[SPECIAL] += 1
        if form == HIDDEN_FORM:
            row, hidden = row + 2, quantity
        elif form == ICEBERG_FORM:
            order.quantity = min(peak, quantity)
            hidden = quantity - order.quantity
            reserve = book.reserves[order_id]
            reserve.quantity, reserve.peak = hidden, peak
            top[TIPS] += (hidden + peak - 1) // peak
    if form == WAITING:
        level = book.waiting[row]
        push_last(orders, level, order_id, level.quantity > 0)
    else:
        word, bit = index >> 6, _ONE << np.uint64(index & 63)
        push_last(orders, book.levels[row, index], order_id, book.bits[row, word] & bit != _ZERO)
        book.bits[row, word] |= bit
        top[row] = max(top[row], index) if order.side > 0 else min(top[row], index)
    top[LIVE] += 1
    note(book, ADDED, order.side, order_id, order.price, quantity - hidden, hidden, order.owner)


@inlined
def leave(book, order_id):  # type: ignore[no-untyped-def]
    """Take an order, whatever is left of it, out of its queue."""
    orders, top = book.orders, book.top
    order = orders[order_id]
    row, index, before, after = row_of(order), order.price - top[BASE], order.previous, order.next
    level = book.waiting[row] if order.form == WAITING else book.levels[row, index]
    level.quantity -= order.quantity
    if before >= 0:
        orders[before].next = after
    else:
        level.first = after
    if after >= 0:
        orders[after].previous = before
    else:
        level.last = before
    if before < 0 and after < 0 and order.form != WAITING:
        book.bits[row, index >> 6] &= ~(_ONE << np.uint64(index & 63))
        if index == top[row]:
            bits = book.bits[row]
            top[row] = next_down(bits, index) if order.side > 0 else next_up(bits, index, top[WIDTH])
    if order.form != PLAIN:
        top[SPECIAL] -= 1
        if order.form == ICEBERG_FORM:
            reserve = book.reserves[order_id]
            top[TIPS] -= (reserve.quantity + reserve.peak - 1) // reserve.peak
            reserve.quantity = 0
    order.quantity = 0
    top[LIVE] -= 1


@lean_kernel
def refresh(book, order_id):  # type: ignore[no-untyped-def]
    """Show the next tip of an iceberg whose tip is spent: it goes to the back of the queue."""
    orders, order, reserve = book.orders, book.orders[order_id], book.reserves[order_id]
    level = book.levels[row_of(order), order.price - book.top[BASE]]
    order.quantity = min(reserve.quantity, reserve.peak)
    reserve.quantity -= order.quantity
    book.top[TIPS] -= 1
    if order.next < 0:  # alone, or last: it stays where it is
        level.quantity += order.quantity
    else:
        if order.previous >= 0:
            orders[order.previous].next = order.next
        else:
            level.first = order.next
        orders[order.next].previous = order.previous
        push_last(orders, level, order_id, True)
    note(book, REFRESHED, order.side, order_id, order.price, order.quantity, reserve.quantity, order.owner)


@inlined
def take(book, order_id, quantity):  # type: ignore[no-untyped-def]
    """Trade `quantity` lots off a resting order, which leaves or shows its next tip when it is spent."""
    order = book.orders[order_id]
    if quantity < order.quantity:
        order.quantity -= quantity
        if order.form == WAITING:
            book.waiting[row_of(order)].quantity -= quantity
        else:
            book.levels[row_of(order), order.price - book.top[BASE]].quantity -= quantity
    elif order.form == ICEBERG_FORM and book.reserves[order_id].quantity > 0:
        book.levels[row_of(order), order.price - book.top[BASE]].quantity -= quantity
        refresh(book, order_id)
    else:
        leave(book, order_id)


@inlined
def open_quantity(book, order_id):  # type: ignore[no-untyped-def]
    """Return what is left of an order, its reserve included."""
    order = book.orders[order_id]
    return order.quantity + (book.reserves[order_id].quantity if order.form == ICEBERG_FORM else 0)


@lean_kernel
def read_depth(book, out):  # type: ignore[no-untyped-def]
    """Fill `out` (2, L, 2) with (price, quantity) shown at the best bid and ask levels; 0 where there is none."""
    top, bids, asks = book.top, book.bits[0], book.bits[1]
    index = top[BID]
    for k in range(out.shape[1]):
        out[0, k, 0] = out[0, k, 1] = 0
        if index >= 0:
            out[0, k, 0], out[0, k, 1] = index + top[BASE], book.levels[0, index].quantity
            index = next_down(bids, index - 1)
    index = top[ASK]
    for k in range(out.shape[1]):
        out[1, k, 0] = out[1, k, 1] = 0
        if index < top[WIDTH]:
            out[1, k, 0], out[1, k, 1] = index + top[BASE], book.levels[1, index].quantity
            index = next_up(asks, index + 1, top[WIDTH])
