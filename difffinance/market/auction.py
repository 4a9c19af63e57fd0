"""Call auctions: orders gather without matching, then trade at one price. Kernels over the arrays of a book.

The price rule is that of the Xetra market model (Deutsche Boerse, Market Model Equities, price determination in
auctions), whose order of tests Hong Kong and Sydney share. Among the limits in the book:
1. the highest executable volume; 2. then the lowest surplus; 3. a surplus on the buy side at all that are left takes
the highest of them, on the sell side the lowest; 4. otherwise the reference price, moved into their range.
Where only market orders can trade, they do so at the reference price.

Market orders trade first, then by price, display and time, icebergs and hidden orders with all they have. What is
left of limit orders stays in the book, what is left of market orders is dropped. Self-trades are not prevented here.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    HIDDEN_ASK,
    HIDDEN_BID,
    PHASE,
    REMOVED,
    TIPS,
    WIDTH,
    leave,
    next_down,
    next_up,
    note,
    open_quantity,
    take,
    write_fill,
)
from difffinance.market.matching import CONTINUOUS, best_row


@lean_kernel
def set_phase(book, phase):  # type: ignore[no-untyped-def]
    """Change the phase: CONTINUOUS (orders match), AUCTION (they gather), HALTED (only cancels are taken).

    Returns NOT_UNCROSSED and changes nothing where continuous matching would find a crossed book or waiting market
    orders: `uncross` comes first. The phase is a scalar of the book that every kind of order respects.
    """
    top = book.top
    if phase == CONTINUOUS:
        bid, ask = max(top[BID], top[HIDDEN_BID]), min(top[ASK], top[HIDDEN_ASK])
        if bid >= ask or book.waiting[0].quantity > 0 or book.waiting[1].quantity > 0:
            return reasons.NOT_UNCROSSED
    top[PHASE] = phase
    return reasons.OK


@lean_kernel
def level_total(book, row, index):  # type: ignore[no-untyped-def]
    """Return all that rests at a level: displayed, in reserves, hidden."""
    total, word, bit = 0, index >> 6, np.uint64(1) << np.uint64(index & 63)
    if book.bits[row + 2, word] & bit != np.uint64(0):
        total += book.levels[row + 2, index].quantity
    if book.bits[row, word] & bit != np.uint64(0):
        total += book.levels[row, index].quantity
        if book.top[TIPS] > 0:
            order_id = np.int64(book.levels[row, index].first)
            while order_id >= 0:
                total += open_quantity(book, order_id) - book.orders[order_id].quantity
                order_id = np.int64(book.orders[order_id].next)
    return total


@inlined
def lower_limit(book, row, index):  # type: ignore[no-untyped-def]
    """Return the next occupied level at or below `index`, hidden or not."""
    return max(next_down(book.bits[row], index), next_down(book.bits[row + 2], index))


@inlined
def upper_limit(book, row, index):  # type: ignore[no-untyped-def]
    """Return the next occupied level at or above `index`, hidden or not."""
    width = book.top[WIDTH]
    return min(next_up(book.bits[row], index, width), next_up(book.bits[row + 2], index, width))


@lean_kernel
def crossing(book, price):  # type: ignore[no-untyped-def]
    """Return (demand, supply) at a price in ticks: market orders, and all limits that are as good or better."""
    demand, supply = book.waiting[0].quantity, book.waiting[1].quantity
    index, at, width = price - book.top[BASE], lower_limit(book, 0, book.top[WIDTH] - 1), book.top[WIDTH]
    while at >= 0 and at >= index:
        demand += level_total(book, 0, at)
        at = lower_limit(book, 0, at - 1)
    at = upper_limit(book, 1, 0)
    while at < width and at <= index:
        supply += level_total(book, 1, at)
        at = upper_limit(book, 1, at + 1)
    return demand, supply


@lean_kernel
def indicative(book, reference):  # type: ignore[no-untyped-def]
    """Return (price, volume, surplus) of an uncross now, in ticks and lots; the price is 0 where nothing can trade.

    A positive surplus is demand left over at that price. `reference` is the last traded price in ticks, 0 if none.
    """
    base, width = book.top[BASE], book.top[WIDTH]
    demand, supply = crossing(book, base)
    low, high, most, least, buyers, sellers = reference, reference, 0, 0, False, False
    index = min(upper_limit(book, 0, 0), upper_limit(book, 1, 0))
    supply -= level_total(book, 1, 0)
    while index < width:
        supply += level_total(book, 1, index)
        volume, surplus = min(demand, supply), demand - supply
        if volume > most or (volume == most and most > 0 and abs(surplus) <= abs(least)):
            if volume > most or abs(surplus) < abs(least):
                low, buyers, sellers = index + base, False, False
            high, most, least = index + base, volume, surplus
            buyers, sellers = buyers or surplus > 0, sellers or surplus < 0
        demand -= level_total(book, 0, index)
        index = min(upper_limit(book, 0, index + 1), upper_limit(book, 1, index + 1))
    price = min(max(reference, low), high)
    if buyers != sellers:
        price = high if buyers else low
    demand, supply = crossing(book, price)
    if price <= 0 or min(demand, supply) == 0:
        return 0, 0, 0
    return price, min(demand, supply), demand - supply


@inlined
def next_in_auction(book, side):  # type: ignore[no-untyped-def]
    """Return the order of a side that trades next: market orders, then by price, display and time."""
    row = 0 if side > 0 else 1
    if book.waiting[row].quantity > 0:
        return np.int64(book.waiting[row].first)
    row = best_row(book.top, -side)
    return np.int64(book.levels[row, book.top[row]].first)


@lean_kernel
def uncross(book, reference):  # type: ignore[no-untyped-def]
    """Trade the auction's volume at its price; return (price, volume, surplus) as `indicative` had it.

    In these fills `taker` is the buy order and `maker` the sell order. `room` must have said yes. The phase stays:
    `set_phase` opens continuous trading after it.
    """
    price, volume, surplus = indicative(book, reference)
    trade_at(book, price, volume)
    return price, volume, surplus


@lean_kernel
def trade_at(book, price, volume):  # type: ignore[no-untyped-def]
    """Trade a volume at one price, as `uncross` says."""
    left = volume
    while left > 0:
        buyer, seller = next_in_auction(book, 1), next_in_auction(book, -1)
        traded = min(min(book.orders[buyer].quantity, book.orders[seller].quantity), left)
        write_fill(book, seller, buyer, price, traded, 1)
        take(book, buyer, traded)
        take(book, seller, traded)
        left -= traded
    for row in range(2):
        while book.waiting[row].quantity > 0:
            order_id = np.int64(book.waiting[row].first)
            order = book.orders[order_id]
            note(book, REMOVED, order.side, order_id, 0, order.quantity, 0, order.owner)
            leave(book, order_id)
