"""Continuous matching by price, display and time: every kind of order, as kernels over the arrays of a book.

At a price, displayed orders trade first and hidden ones after them, each by time. An iceberg shows a tip of at most
`display` lots; a spent tip is refreshed from the reserve and goes to the back of the queue.
A limit order of an auction rests without matching; see `market/auction.py`.

Self-trade prevention (`top[SELF_TRADE]`) looks at owners: when an order meets a resting one of the same owner,
CANCEL_NEWEST drops what is left of the incoming order, CANCEL_OLDEST withdraws the resting one, DECREMENT takes the
smaller of both open quantities off each without a trade. Owner `top[CROWD]` stands for many and is exempt.
"""

from typing import Any

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    CHANGED,
    CROWD,
    FILLS,
    HIDDEN_ASK,
    HIDDEN_BID,
    HIDDEN_FORM,
    HIGH,
    HIGHEST,
    ICEBERG_FORM,
    LIVE,
    LOGGED,
    LOW,
    LOWEST,
    PHASE,
    PLAIN,
    REMOVED,
    SELF_TRADE,
    TIPS,
    WAITING,
    WIDTH,
    join,
    leave,
    next_down,
    next_up,
    note,
    open_quantity,
    take,
    write_fill,
)

# Kinds of messages; numpy integers, so that numba does not compile a kernel again for each constant.
LIMIT: Any = np.int64(0)
CANCEL: Any = np.int64(1)
MARKET: Any = np.int64(2)
IMMEDIATE: Any = np.int64(3)  # a limit order of which nothing rests (immediate or cancel)
FILL_OR_KILL: Any = np.int64(4)  # a limit order that trades whole or not at all
POST_ONLY: Any = np.int64(5)  # a limit order that is refused where it would trade, with a hidden order too
HIDDEN: Any = np.int64(6)
ICEBERG: Any = np.int64(7)
REPLACE: Any = np.int64(8)

CONTINUOUS, AUCTION, HALTED = range(3)  # phases
NO_PREVENTION, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT = range(4)  # self-trade policies
MAX_SPAN = 1 << 26  # ticks between the lowest and the highest price a book admits
MAX_LOTS = 1 << 50  # of one order: thousands of the largest add up in 64 bits
MAX_TIPS = 1000  # an iceberg shows at least this part of its quantity: the fills it can make stay countable

_OK = reasons.OK


@inlined
def check_order(orders, top, order_id, side, quantity):  # type: ignore[no-untyped-def]
    """Return why an order cannot be taken whatever its price."""
    if side != 1 and side != -1:
        return reasons.BAD_SIDE
    if quantity <= 0 or quantity > MAX_LOTS:
        return reasons.BAD_QUANTITY
    if orders[order_id].side != 0:
        return reasons.REUSED_ID
    return _OK


@inlined
def check_price(top, price):  # type: ignore[no-untyped-def]
    """Return why a limit price cannot be taken."""
    if price <= 0:
        return reasons.BAD_PRICE
    if price < top[LOW] or price > top[HIGH]:
        return reasons.PRICE_LIMIT
    if max(price, top[HIGHEST]) - min(price, top[LOWEST]) >= MAX_SPAN:
        return reasons.PRICE_SPAN
    return _OK


@inlined
def check_kind(top, kind, quantity, display):  # type: ignore[no-untyped-def]
    """Return why an order of this kind cannot be taken in this phase."""
    if kind < LIMIT or kind >= REPLACE or kind == CANCEL:
        return reasons.BAD_KIND
    if kind == ICEBERG and (display <= 0 or (quantity - 1) // MAX_TIPS >= display):
        return reasons.BAD_DISPLAY
    if top[PHASE] == HALTED:
        return reasons.HALTED
    if top[PHASE] == AUCTION and kind in (IMMEDIATE, FILL_OR_KILL, POST_ONLY):
        return reasons.NOT_IN_AUCTION
    return _OK


@inlined
def room(book):  # type: ignore[no-untyped-def]
    """Return whether fills and log have room for whatever one message, or one uncross, can write."""
    top = book.top
    most = top[LIVE] + top[TIPS]
    return top[FILLS] + most <= len(book.fills) and (len(book.log) == 0 or top[LOGGED] + 3 * most + 4 <= len(book.log))


@inlined
def ready(book, order_id, price):  # type: ignore[no-untyped-def]
    """Return whether the arrays have room for an order: its id, its price (0: none), fills and log."""
    top = book.top
    if order_id < 0 or order_id >= len(book.orders) or not room(book):
        return False
    return price <= 0 or 0 <= price - top[BASE] < top[WIDTH] or check_price(top, price) != _OK


@inlined
def best_row(top, side):  # type: ignore[no-untyped-def]
    """Return the row in which an order of `side` finds its next maker: displayed before hidden at a price."""
    if side > 0:
        return ASK if top[ASK] <= top[HIDDEN_ASK] else HIDDEN_ASK
    return BID if top[BID] >= top[HIDDEN_BID] else HIDDEN_BID


@inlined
def reaches(side, limit, index):  # type: ignore[no-untyped-def]
    """Return whether an order of `side` limited to level `limit` trades at level `index`; an empty side is beyond."""
    return index <= limit if side > 0 else index >= limit


@lean_kernel
def prevent(book, maker, quantity):  # type: ignore[no-untyped-def]
    """Keep an order of `quantity` open lots from its owner's resting one; return what it loses without a trade."""
    order = book.orders[maker]
    if book.top[SELF_TRADE] == CANCEL_NEWEST:
        return quantity
    if book.top[SELF_TRADE] == CANCEL_OLDEST:
        withdraw_from(book, maker, open_quantity(book, maker))
        return 0
    lost = min(quantity, order.quantity + (book.reserves[maker].quantity if order.form == ICEBERG_FORM else 0))
    withdraw_from(book, maker, lost)
    return lost


@inlined
def match(book, side, limit, quantity, taker, owner):  # type: ignore[no-untyped-def]
    """Fill up to `quantity` against the other side up to level `limit`; return (lots left, lots lost to prevention)."""
    top, lost = book.top, 0
    while quantity > 0:
        row = best_row(top, side)
        best = top[row]
        if not reaches(side, limit, best):
            break
        maker = np.int64(book.levels[row, best].first)
        order = book.orders[maker]
        if top[SELF_TRADE] != NO_PREVENTION and order.owner == owner and owner != top[CROWD]:
            gone = prevent(book, maker, quantity)
            quantity -= gone
            lost += gone
            continue
        traded = min(order.quantity, quantity)
        write_fill(book, maker, taker, best + top[BASE], traded, side)
        take(book, maker, traded)
        quantity -= traded
    return quantity, lost


@lean_kernel
def fillable(book, side, limit, quantity, owner):  # type: ignore[no-untyped-def]
    """Return whether an order would fill whole at once, prevention included; nothing is changed."""
    top, orders = book.top, book.orders
    width, rows = top[WIDTH], (ASK, HIDDEN_ASK) if side > 0 else (BID, HIDDEN_BID)
    shown, hidden = top[rows[0]], top[rows[1]]
    guarded = top[SELF_TRADE] != NO_PREVENTION and owner != top[CROWD]
    while quantity > 0:
        row = rows[0] if (shown <= hidden if side > 0 else shown >= hidden) else rows[1]
        best = shown if row == rows[0] else hidden
        if not reaches(side, limit, best):
            return False
        reserves, maker = 0, np.int64(book.levels[row, best].first)
        while maker >= 0:
            order = orders[maker]
            if guarded and order.owner == owner:
                if top[SELF_TRADE] != CANCEL_OLDEST:
                    return quantity <= 0
            else:
                quantity -= order.quantity
                reserves += open_quantity(book, maker) - order.quantity
            maker = np.int64(order.next)
        quantity -= reserves  # tips refreshed while the level trades come after every order that waits there
        bits = book.bits[row]
        after = next_up(bits, best + 1, width) if side > 0 else next_down(bits, best - 1)
        if row == rows[0]:
            shown = after
        else:
            hidden = after
    return True


@lean_kernel
def place(book, kind, order_id, side, price, quantity, display, owner):  # type: ignore[no-untyped-def]
    """Process a new order of any kind; return (reason, lots filled). `ready` must have said yes.

    `price` counts for all but MARKET, `display` (lots) for ICEBERG only. What a MARKET or IMMEDIATE order cannot fill
    is dropped and said so; in an auction market orders wait for the uncross.
    """
    top = book.top
    code = check_order(book.orders, top, order_id, side, quantity)
    if code == _OK:
        code = check_kind(top, kind, quantity, display)
    if code == _OK and kind != MARKET:
        code = check_price(top, price)
    if code != _OK:
        return code, 0
    limit = top[WIDTH] - 1 if side > 0 else 0
    if kind == MARKET:
        price = 0
    else:
        limit = price - top[BASE]
        if kind == POST_ONLY and reaches(side, limit, top[best_row(top, side)]):
            return reasons.WOULD_TRADE, 0
        if kind == FILL_OR_KILL and not fillable(book, side, limit, quantity, owner):
            return reasons.NOT_FILLABLE, 0
        top[LOWEST] = min(top[LOWEST], price)
        top[HIGHEST] = max(top[HIGHEST], price)
    order = book.orders[order_id]
    order.price, order.quantity, order.owner, order.side = price, 0, owner, side
    order.post_only = 1 if kind == POST_ONLY else 0
    return enter(book, kind, order_id, limit, quantity, min(display, MAX_LOTS))


@inlined
def enter(book, kind, order_id, limit, quantity, display):  # type: ignore[no-untyped-def]
    """Match an order whose price, side and owner are written, and let what is left rest; return (reason, filled)."""
    order, left, lost = book.orders[order_id], quantity, 0
    side, owner = np.int64(order.side), np.int64(order.owner)
    if book.top[PHASE] == CONTINUOUS:
        left, lost = match(book, side, limit, quantity, order_id, owner)
    filled = quantity - left - lost
    if left > 0:
        if kind in (LIMIT, POST_ONLY):
            join(book, order_id, left, PLAIN, 0)
        elif kind == HIDDEN:
            join(book, order_id, left, HIDDEN_FORM, 0)
        elif kind == ICEBERG:
            join(book, order_id, left, ICEBERG_FORM, display)
        elif book.top[PHASE] == AUCTION:
            join(book, order_id, left, WAITING, 0)
        else:
            return reasons.NO_LIQUIDITY, filled
    return (reasons.SELF_TRADE if lost > 0 else _OK), filled


@inlined
def cancel(book, order_id, quantity):  # type: ignore[no-untyped-def]
    """Take `quantity` (0: all) off a resting order, which keeps its priority; return (reason, cancelled)."""
    if quantity < 0:
        return reasons.BAD_QUANTITY, 0
    if order_id < 0 or order_id >= len(book.orders) or book.orders[order_id].quantity == 0:
        return reasons.UNKNOWN_ORDER, 0
    return _OK, withdraw_from(book, order_id, quantity)


@lean_kernel
def withdraw_from(book, order_id, quantity):  # type: ignore[no-untyped-def]
    """Take `quantity` (0: all) off an order that rests, from an iceberg's reserve first; return how much went."""
    order = book.orders[order_id]
    side, price, total, hidden = np.int64(order.side), order.price, open_quantity(book, order_id), 0
    if quantity == 0 or quantity >= total:
        leave(book, order_id)
        note(book, REMOVED, side, order_id, price, total, 0, order.owner)
        return total
    shown = quantity
    if order.form == ICEBERG_FORM:
        reserve = book.reserves[order_id]
        from_reserve = min(quantity, reserve.quantity)
        shown = quantity - from_reserve
        book.top[TIPS] -= (reserve.quantity + reserve.peak - 1) // reserve.peak
        reserve.quantity -= from_reserve
        book.top[TIPS] += (reserve.quantity + reserve.peak - 1) // reserve.peak
        hidden = reserve.quantity
    if shown > 0:
        take(book, order_id, shown)
    seen = 0 if order.form == HIDDEN_FORM else order.quantity
    hidden = order.quantity if order.form == HIDDEN_FORM else hidden
    note(book, CHANGED, side, order_id, price, seen, hidden, order.owner)
    return quantity


@lean_kernel
def replace(book, order_id, price, quantity):  # type: ignore[no-untyped-def]
    """Give a resting order a new price and a new open quantity; return (reason, lots filled).

    A smaller quantity at the same price keeps its place in the queue; a new price or a larger quantity enters as a
    new order of the same form would, and may trade, unless it is post-only: where that would trade the change is
    refused. A refused change leaves the order as it was.
    """
    orders, top = book.orders, book.top
    if order_id < 0 or order_id >= len(orders) or orders[order_id].quantity == 0:
        return reasons.UNKNOWN_ORDER, 0
    order = orders[order_id]
    peak = book.reserves[order_id].peak
    code = check_price(top, price)
    if quantity <= 0 or quantity > MAX_LOTS:
        code = reasons.BAD_QUANTITY
    elif order.form == WAITING:
        code = reasons.BAD_KIND
    elif top[PHASE] == HALTED:
        code = reasons.HALTED
    elif order.form == ICEBERG_FORM and (quantity - 1) // MAX_TIPS >= peak:
        code = reasons.BAD_DISPLAY
    if code != _OK:
        return code, 0
    total, form, side = open_quantity(book, order_id), np.int64(order.form), np.int64(order.side)
    if price == order.price and quantity <= total:
        if quantity < total:
            withdraw_from(book, order_id, total - quantity)
        return _OK, 0
    if order.post_only and top[PHASE] == CONTINUOUS and reaches(side, price - top[BASE], top[best_row(top, side)]):
        return reasons.WOULD_TRADE, 0
    leave(book, order_id)
    note(book, REMOVED, side, order_id, order.price, total, 0, order.owner)
    top[LOWEST] = min(top[LOWEST], price)
    top[HIGHEST] = max(top[HIGHEST], price)
    order.price = price
    kind = LIMIT
    if form == HIDDEN_FORM:
        kind = HIDDEN
    elif form == ICEBERG_FORM:
        kind = ICEBERG
    return enter(book, kind, order_id, price - top[BASE], quantity, peak)
