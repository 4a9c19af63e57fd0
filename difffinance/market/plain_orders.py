"""Plain limit, market and cancel messages in continuous trading, shorter than `matching`: what most messages are.

The book must be ordinary (`ordinary`): nothing hidden, no icebergs, no self-trade prevention, no log, no auction.
These pieces are compiled into the fast loop for streams (`stream`) and into the trading floor. They keep the same
arrays in the same state as `matching` does, so that either can go on where the other ended.
"""

import numpy as np

from difffinance.market.compiled import inlined
from difffinance.market.layout import PHASE, SELF_TRADE, SPECIAL, next_down, next_up

_ONE = np.uint64(1)
_u = np.uint64  # an index without a sign needs no look at the end of its array


@inlined
def ordinary(book):  # type: ignore[no-untyped-def]
    """Return whether plain messages mean the same here as in `matching`."""
    top = book.top
    return top[PHASE] | top[SELF_TRADE] | top[SPECIAL] | len(book.log) == 0  # CONTINUOUS and NO_PREVENTION are 0


@inlined
def row_of_side(side):  # type: ignore[no-untyped-def]
    """Return 0 for a buyer, 1 for a seller, without a branch that nobody could foretell."""
    return (1 - np.int64(side)) >> 1


@inlined
def take_level(orders, fills, level, bits, side, best, width, left, count, taker):  # type: ignore[no-untyped-def]
    """Trade up to `left` lots off the orders of the best level that an order of `side` meets, `bits` those of its row.

    Fills are written from `count` on. Returns (lots left, fills, orders that left, the best level
    from now on).
    """
    gone, maker, wanted = 0, level.first, left
    while left > 0 and maker >= 0:
        resting = orders[_u(maker)]
        shown = resting.quantity
        traded = min(shown, left)
        resting.quantity = shown - traded
        fill = fills[_u(count)]
        fill.maker, fill.taker, fill.price, fill.quantity = maker, taker, resting.price, traded
        count += 1
        if shown <= left:
            maker = resting.next
            gone += 1
        left -= traded
    level.quantity -= wanted - left
    if maker >= 0:
        level.first = maker
        orders[_u(maker)].previous = -1
    else:
        bits[_u(best >> 6)] &= ~(_ONE << _u(best & 63))
        best = next_up(bits, best, width) if side > 0 else next_down(bits, best)
    return left, count, gone, best


@inlined
def queue_up(orders, level, bits, word, index, order_id, quantity):  # type: ignore[no-untyped-def]
    """Put an order at the end of the queue of its level, whose bit lies in a word of `bits`."""
    order = orders[_u(order_id)]
    order.next = -1
    if level.quantity > 0:
        last = level.last
        order.previous = last
        orders[_u(last)].next = order_id
        level.quantity += quantity
    else:
        bits[word] |= _ONE << _u(index & 63)
        order.previous = -1
        level.first = order_id
        level.quantity = quantity
    level.last = order_id


@inlined
def unlink(orders, level, order):  # type: ignore[no-untyped-def]
    """Take an order out of the queue of its level; return whether it was alone there."""
    before, after = order.previous, order.next
    if before >= 0:
        orders[_u(before)].next = after
    else:
        level.first = after
    if after >= 0:
        orders[_u(after)].previous = before
        return False
    level.last = before
    return before < 0
