"""The fast loop for a stream of plain limit, cancel and market messages in continuous trading.

It does what `matching` does on the same arrays, with the book's scalars in registers for the whole stream instead of
in `top`. `Book.process` comes here while nothing but plain orders can matter (see `plain`), and goes on in `matching`
where that ends.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import lean_kernel, prefetch
from difffinance.market.depth import begin, change_best, change_level, write_row
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
    WIDTH,
    next_down,
    next_up,
)
from difffinance.market.matching import (
    CANCEL,
    LIMIT,
    MARKET,
    MAX_LOTS,
    MAX_SPAN,
    check_order,
    check_price,
)
from difffinance.market.plain_orders import ordinary, queue_up, row_of_side, take_level, unlink

_ONE = np.uint64(1)
_u = np.uint64  # an index without a sign needs no look at the end of its array
_MOST = np.uint64(MAX_LOTS)
_AHEAD = 16  # messages: the time that an order takes to come from memory


@lean_kernel
def plain(book):  # type: ignore[no-untyped-def]
    """Return whether plain messages mean the same here as in `matching`; the window must not outgrow the price span."""
    return ordinary(book) and book.top[WIDTH] <= MAX_SPAN


@lean_kernel
def run_plain(book, messages, start, codes, done, refused, recording):  # type: ignore[no-untyped-def]
    """Process messages from `start`; stop before one that is not plain or needs room; return how far it came.

    `recording` is None or a `Recording`: after each message its row is what `read_depth` would give. Numba leaves all
    of that out for None.

    Sides and kinds come in no order that a processor could foretell: what depends on them is chosen, not branched to,
    wherever that is a number. A market order is a limit order at the end of the window that rests nothing.
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
    last_ahead, i = _u(max(len(kinds) - 1 - _AHEAD, 0)), _u(start) - _ONE
    if recording is not None:
        begin(book, recording)
    while i + _ONE != count_of:
        i += _ONE
        if recording is not None and i > _u(start):
            write_row(recording, np.int64(i) - 1)
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
            price, row = order.price, row_of_side(order.side)
            index = price - base
            level, gone = levels[_u(row * width + index)], order.quantity
            partial = 0 < quantity < gone
            gone = quantity if partial else gone
            order.quantity -= gone
            level.quantity -= gone
            codes[i], done[i] = 0, gone
            if recording is not None:
                change_level(book, recording, row, price, level.quantity)
            if partial:
                continue
            live -= 1
            if unlink(orders, level, order):
                bits[_u(row * words + (index >> 6))] &= ~(_ONE << np.uint64(index & 63))
                if order.side > 0:
                    bid = next_down(bid_bits, index) if index == bid else bid
                else:
                    ask = next_up(ask_bits, index, width) if index == ask else ask
            continue
        if kind > MARKET or order_id < 0 or order_id > known or count + live > len(fills):
            break
        side, rests = np.int64(sides[i]), kind == LIMIT
        price = prices[i] if rests else (base + width - 1 if side > 0 else base)
        order = orders[_u(order_id)]
        newest = max(newest, order_id)
        inside = (price >= low) & (price <= high) | (not rests)
        if not inside or _u(quantity - 1) >= _MOST or side * side != 1 or order.side != 0:  # 0 - 1 is the largest
            code = check_order(orders, top, order_id, side, quantity)
            if code == reasons.OK:
                code = check_price(top, price)
                if code == reasons.OK:
                    break
            codes[i], done[i] = code, 0
            refused[code] += 1
            continue
        index, left, row = price - base, quantity, row_of_side(side)
        best = ask if side > 0 else bid
        if side * (index - best) >= 0:  # an empty side is beyond every limit
            first = best
            while left > 0 and side * (index - best) >= 0:
                left, count, gone, best = take_level(
                    orders, fills, levels[_u((1 - row) * width + best)], ask_bits if side > 0 else bid_bits, side, best,
                    width, left, count, order_id,
                )  # fmt: skip
                live -= gone
            ask, bid = best if side > 0 else ask, bid if side > 0 else best
            if recording is not None:
                change_best(book, recording, 1 - row, first, best)
            # The next maker is asked for while other messages come.
            if 0 <= best < width:
                prefetch(orders, np.int64(levels[_u((1 - row) * width + best)].first))
        order.side, order.owner = side, owners[i]
        done[i] = quantity - left
        codes[i] = 0
        if left > 0 and not rests:
            codes[i], left = reasons.NO_LIQUIDITY, 0
            refused[reasons.NO_LIQUIDITY] += 1
        order.price, order.quantity = price if rests else 0, left
        lowest, highest = min(lowest, price) if rests else lowest, max(highest, price) if rests else highest
        if left == 0:
            continue
        live += 1
        level = levels[_u(row * width + index)]
        if level.quantity == 0:
            bid, ask = max(bid, index) if side > 0 else bid, ask if side > 0 else min(ask, index)
        queue_up(orders, level, bits, _u(row * words + (index >> 6)), index, order_id, left)
        if recording is not None:
            change_level(book, recording, row, price, level.quantity)
    else:
        i = count_of
        if recording is not None and _u(start) < count_of:
            write_row(recording, np.int64(count_of) - 1)
    top[BID], top[ASK], top[LIVE], top[FILLS] = bid, ask, live, count
    top[LOWEST], top[HIGHEST], top[NEXT] = lowest, highest, newest + 1
    return np.int64(i)
