"""The fast loop for a stream of plain limit, cancel and market messages in continuous trading.

It does what `matching` does on the same arrays, with the book's scalars in registers for the whole stream instead of
in `top`; that is why limit, market and cancel are written here a second time. `Book.process` comes here while nothing
but plain orders can matter (see `plain`), and goes on in `matching` where that ends.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel, prefetch
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    FILLS,
    HIGH,
    HIGHEST,
    LIVE,
    LOW,
    LOWEST,
    NEXT,
    PHASE,
    SELF_TRADE,
    SPECIAL,
    WIDTH,
    next_down,
    next_up,
)
from difffinance.market.matching import (
    CANCEL,
    CONTINUOUS,
    LIMIT,
    MARKET,
    MAX_SPAN,
    NO_PREVENTION,
    check_order,
    check_price,
)

_ONE = np.uint64(1)
_u = np.uint64  # an index without a sign needs no look at the end of its array
_ZERO = np.uint64(0)
_AHEAD = 12  # messages: the time that an order takes to come from memory


@lean_kernel
def plain(book):  # type: ignore[no-untyped-def]
    """Return whether plain messages mean the same here as in `matching`; the window must not outgrow the price span."""
    top = book.top
    ordinary = top[PHASE] == CONTINUOUS and top[SELF_TRADE] == NO_PREVENTION and top[SPECIAL] == 0
    return ordinary and len(book.log) == 0 and top[WIDTH] <= MAX_SPAN


@inlined
def row_of_side(side):  # type: ignore[no-untyped-def]
    """Return 0 for a buyer, 1 for a seller, without a branch that nobody could foretell."""
    return (1 - np.int64(side)) >> 1


@inlined
def copy_row(flat, at, count):  # type: ignore[no-untyped-def]
    """Write the numbers before place `at` once more behind it."""
    for j in range(_u(at), _u(at + count)):
        flat[j] = flat[j - _u(count)]


@lean_kernel
def read_side(levels, bits, base, row, best, flat, at, count):  # type: ignore[no-untyped-def]
    """Write (price, quantity) of `count` levels of a side, from the best one on, at place `at` of `flat`."""
    index, width = best, len(levels)
    for k in range(at, at + 2 * count, 2):
        flat[k] = flat[k + 1] = 0
        if 0 <= index < width:
            flat[k], flat[k + 1] = index + base, levels[index].quantity
            index = next_down(bits, index - 1) if row == 0 else next_up(bits, index + 1, width)


@inlined
def change_level(levels, bits, base, row, index, flat, at, count):  # type: ignore[no-untyped-def]
    """Bring one level of a side written at place `at` of `flat` up to date."""
    price, quantity, end, sign = index + base, levels[_u(index)].quantity, at + 2 * count, 1 - 2 * row
    worst = np.int64(flat[_u(end - 2)])
    if worst != 0 and (worst - price) * sign > 0:
        return  # behind the levels that are written
    place = at
    for j in range(_u(at), _u(end), _u(2)):
        place += 2 * ((flat[j] != 0) & ((flat[j] - price) * sign > 0))
    found = flat[_u(place)] == price
    if found and quantity > 0:
        flat[_u(place + 1)] = quantity
    elif quantity > 0:
        for j in range(end - 1, place + 1, -1):
            flat[_u(j)] = flat[_u(j - 2)]
        flat[_u(place)], flat[_u(place + 1)] = price, quantity
    elif found:
        for j in range(_u(place), _u(end - 2)):
            flat[j] = flat[j + _u(2)]
        read_tail(levels, bits, base, row, worst, flat, end - 2)


@lean_kernel
def read_tail(levels, bits, base, row, worst, flat, at):  # type: ignore[no-untyped-def]
    """Write the level behind price `worst` (0: none was written) at place `at` of `flat`."""
    if worst == 0:
        flat[at] = flat[at + 1] = 0
    else:
        index, width = worst - base, len(levels)
        behind = next_down(bits, index - 1) if row == 0 else next_up(bits, index + 1, width)
        read_side(levels, bits, base, row, behind, flat, at, 1)


@inlined
def write_depth(book, flat, i, count, first, bid, ask, touched, where, swept, swept_best):  # type: ignore[no-untyped-def]
    """Write the depth after message `i`: as after the one before, but for `touched` at `where` and for `swept`."""
    base, at = book.top[BASE], np.int64(i) * 4 * count
    if first:
        read_side(book.levels[0], book.bits[0], base, 0, bid, flat, at, count)
        read_side(book.levels[1], book.bits[1], base, 1, ask, flat, at + 2 * count, count)
    else:
        copy_row(flat, at, 4 * count)
        if swept >= 0:
            side_at, best = at + 2 * count * swept, bid if swept == 0 else ask
            if best == swept_best:
                flat[_u(side_at + 1)] = book.levels[swept, best].quantity
            else:
                read_side(book.levels[swept], book.bits[swept], base, swept, best, flat, side_at, count)
        if touched >= 0:
            change_level(
                book.levels[touched], book.bits[touched], base, touched, where, flat, at + 2 * count * touched, count
            )


@lean_kernel
def run_plain(book, messages, start, codes, done, refused, depth):  # type: ignore[no-untyped-def]
    """Process messages from `start`; stop before one that is not plain or needs room; return how far it came.

    `depth` is None or (messages, 2, L, 2): after each message its row is what `read_depth` would give. The row of a
    message is its forerunner's, changed where the message changed the book; numba leaves all of that out for None.
    """
    top, orders, fills = book.top, book.orders, book.fills
    kinds, sides, ids, prices, quantities, owners = (
        messages.kind, messages.side, messages.order_id, messages.price, messages.quantity, messages.owner,
    )  # fmt: skip
    levels, bits, bid_bits, ask_bits = book.levels.reshape(-1), book.bits.reshape(-1), book.bits[0], book.bits[1]
    bid, ask, base, width, live, count = top[BID], top[ASK], top[BASE], top[WIDTH], top[LIVE], top[FILLS]
    lowest, highest, newest = top[LOWEST], top[HIGHEST], top[NEXT] - 1
    low, high = max(top[LOW], base, 1), min(top[HIGH], base + width - 1)
    known, words, count_of = len(orders) - 1, len(bid_bits), _u(len(kinds))
    last_ahead, i = _u(max(len(kinds) - 1 - _AHEAD, 0)), _u(start)
    if depth is not None:
        flat, shown = depth.reshape(-1), depth.shape[2]
    touched, where, swept, swept_best = -1, 0, -1, 0  # rows that the message before changed, and where
    for i in range(_u(start), count_of):  # type: ignore[assignment]
        if depth is not None and i > _u(start):
            write_depth(book, flat, i - _ONE, shown, i == _u(start) + _ONE, bid, ask, touched, where, swept, swept_best)
            touched = swept = -1
        # Orders and their neighbours in the queue are asked for some messages before they are needed.
        ahead = min(i, last_ahead)
        prefetch(orders, ids[ahead + _u(_AHEAD)])
        kind, order_id, quantity = kinds[i], ids[i], quantities[i]
        if kind == CANCEL:
            if quantity < 0 or order_id < 0 or order_id > known or orders[_u(order_id)].quantity == 0:
                code = reasons.BAD_QUANTITY if quantity < 0 else reasons.UNKNOWN_ORDER
                codes[i], done[i] = code, 0
                refused[code] += 1
                continue
            order = orders[_u(order_id)]
            index, row = order.price - base, row_of_side(order.side)
            level, gone = levels[_u(row * width + index)], order.quantity
            touched, where = row, index
            if 0 < quantity < gone:
                order.quantity -= quantity
                level.quantity -= quantity
                codes[i], done[i] = 0, quantity
                continue
            before, after = order.previous, order.next
            order.quantity = 0
            level.quantity -= gone
            live -= 1
            codes[i], done[i] = 0, gone
            if before >= 0:
                orders[_u(before)].next = after
            else:
                level.first = after
            if after >= 0:
                orders[_u(after)].previous = before
                continue
            level.last = before
            if before < 0:
                bits[_u(row * words + (index >> 6))] &= ~(_ONE << np.uint64(index & 63))
                if order.side > 0:
                    bid = next_down(bid_bits, index) if index == bid else bid
                else:
                    ask = next_up(ask_bits, index, width) if index == ask else ask
            continue
        side, price = np.int64(sides[i]), prices[i]
        if kind != LIMIT:
            if kind != MARKET:
                break
            price = base + width - 1 if side > 0 else base
        if order_id < 0 or order_id > known or count + live > len(fills):
            break
        order = orders[_u(order_id)]
        newest = max(newest, order_id)
        inside = kind == MARKET or (price >= low and price <= high)
        if not inside or quantity <= 0 or side * side != 1 or order.side != 0:
            code = check_order(orders, top, order_id, side, quantity)
            if code == reasons.OK:
                code = check_price(top, price)
                if code == reasons.OK:
                    break
            codes[i], done[i] = code, 0
            refused[code] += 1
            continue
        index, left, row = price - base, quantity, row_of_side(side)
        if (ask <= index) if side > 0 else (bid >= index):
            best = ask if side > 0 else bid
            swept, swept_best = 1 - row, best
            while left > 0 and ((best <= index) if side > 0 else (best >= index)):
                level = levels[_u((1 - row) * width + best)]
                maker = level.first
                while left > 0 and maker >= 0:
                    resting = orders[_u(maker)]
                    traded = min(resting.quantity, left)
                    left -= traded
                    level.quantity -= traded
                    resting.quantity -= traded
                    fill = fills[_u(count)]
                    fill.maker, fill.taker, fill.price, fill.quantity = maker, order_id, best + base, traded
                    count += 1
                    if resting.quantity == 0:
                        maker = resting.next
                        live -= 1
                if maker >= 0:
                    level.first = maker
                    orders[_u(maker)].previous = -1
                else:
                    bits[_u((1 - row) * words + (best >> 6))] &= ~(_ONE << np.uint64(best & 63))
                    best = next_up(ask_bits, best, width) if side > 0 else next_down(bid_bits, best)
            if side > 0:
                ask = best
            else:
                bid = best
            # The next maker is asked for while other messages come.
            if 0 <= best < width:
                prefetch(orders, np.int64(levels[_u((1 - row) * width + best)].first))
        order.side, order.owner = side, owners[i]
        done[i] = quantity - left
        codes[i] = 0
        if kind == MARKET:
            order.price = 0
            if left > 0:
                codes[i] = reasons.NO_LIQUIDITY
                refused[reasons.NO_LIQUIDITY] += 1
            continue
        order.price, order.quantity = price, left
        lowest, highest = min(lowest, price), max(highest, price)
        if left == 0:
            continue
        live += 1
        level = levels[_u(row * width + index)]
        touched, where = row, index
        order.next = -1
        if level.quantity > 0:
            last = level.last
            order.previous = last
            orders[_u(last)].next = order_id
            level.quantity += left
        else:
            bits[_u(row * words + (index >> 6))] |= _ONE << np.uint64(index & 63)
            if side > 0:
                bid = max(bid, index)
            else:
                ask = min(ask, index)
            order.previous = -1
            level.first = order_id
            level.quantity = left
        level.last = order_id
    else:
        if depth is not None and _u(start) < count_of:
            first = count_of == _u(start) + _ONE
            write_depth(book, flat, count_of - _ONE, shown, first, bid, ask, touched, where, swept, swept_best)
        i = count_of
    top[BID], top[ASK], top[LIVE], top[FILLS] = bid, ask, live, count
    top[LOWEST], top[HIGHEST], top[NEXT] = lowest, highest, newest + 1
    return np.int64(i)
