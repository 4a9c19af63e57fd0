"""Tokyo's special quotes: an order whose next trade would jump waits under a quote that moves step by step. Kernels.

A trade may lie a step (a table by price) from the last one. Where the next would lie further, what is left of the
order waits, orders gather, and a quote is shown a step from the last trade, on the side on which the trade would be.
Every three minutes it moves on by a step, to the daily limit at most. As soon as the orders balance they trade at one
price (itayose: all market orders, all orders with a better limit, and one side of that price whole): at the quote, or
nearer to the last trade. Where they press beyond a step on the other side the quote turns; where nothing is left to
trade it ends. The phase is `phases`' business.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.auction import crossing, indicative, level_total
from difffinance.market.compiled import lean_kernel
from difffinance.market.layout import ASK, BASE, BID, HIGH, LOW, WIDTH, next_down, next_up, take, write_fill
from difffinance.market.layout import PHASE as BOOK_PHASE
from difffinance.market.matching import AUCTION, CONTINUOUS, LIMIT, MARKET, place
from difffinance.market.settlement import MAX_RESTING, NONE
from difffinance.market.supervision import FOREVER, LAST, OPEN, PHASE, QUOTE_SIDE, quote_step, tick_at


@lean_kernel
def next_quote(rules, top, price, side):  # type: ignore[no-untyped-def]
    """Return the quote a step from `price`, on the tick and inside the daily limits."""
    quote = max(price + side * quote_step(rules, price), 1)
    tick = tick_at(rules, quote)
    quote = quote - quote % tick if side > 0 else -(-quote // tick) * tick
    return min(max(quote, top[LOW]), top[HIGH])


@lean_kernel
def within_steps(floor, side, quantity, limit):  # type: ignore[no-untyped-def]
    """Return the last price at which an order trades before one too far (0: none), and that one (0: there is none)."""
    rules, top, last, worst = floor.rules, floor.top, floor.session[LAST], 0
    row, index = (1, top[ASK]) if side > 0 else (0, top[BID])
    while 0 <= index < top[WIDTH] and quantity > 0 and side * (index + top[BASE] - limit) <= 0:
        price = index + top[BASE]
        if abs(price - last) > quote_step(rules, last):
            return worst, price
        last = worst = price
        quantity -= floor.levels[row, index].quantity
        index = next_up(floor.bits[1], index + 1, top[WIDTH]) if side > 0 else next_down(floor.bits[0], index - 1)
    return worst, 0


@lean_kernel
def place_within_steps(floor, ts, kind, order_id, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Do what `matching.place` does, short of a trade too far: what is left then waits and the book gathers orders."""
    session, top, worst, beyond = floor.session, floor.top, 0, 0
    if ts >= 0 and session[PHASE] == OPEN:
        worst, beyond = within_steps(floor, side, quantity, price if kind == LIMIT else side * FOREVER)
    if beyond > 0:
        seated = owner < len(floor.own_count)
        if kind == MARKET and seated and floor.own_count[owner] >= floor.limits[owner, MAX_RESTING]:
            return reasons.TOO_MANY_ORDERS, 0
        top[BOOK_PHASE] = AUCTION
    code, done = place(floor, kind, order_id, side, price, quantity, NONE, owner)
    if beyond == 0:
        return code, done
    if code != reasons.OK:
        top[BOOK_PHASE] = CONTINUOUS
        return code, 0
    session[QUOTE_SIDE] = 1 if beyond > (worst if worst > 0 else session[LAST]) else -1
    if worst > 0:
        sweep(floor, order_id, side, worst)
    return code, quantity - floor.orders[order_id].quantity


@lean_kernel
def sweep(floor, order_id, side, worst):  # type: ignore[no-untyped-def]
    """Let an order that rests already trade with the other side up to a price."""
    top, row = floor.top, 1 if side > 0 else 0
    while floor.orders[order_id].quantity > 0:
        best = top[ASK] if side > 0 else top[BID]
        if not 0 <= best < top[WIDTH] or side * (best + top[BASE] - worst) > 0:
            return
        maker = np.int64(floor.levels[row, best].first)
        traded = min(floor.orders[maker].quantity, floor.orders[order_id].quantity)
        write_fill(floor, maker, order_id, best + top[BASE], traded, side)
        take(floor, maker, traded)
        take(floor, order_id, traded)


@lean_kernel
def pressure(book, price):  # type: ignore[no-untyped-def]
    """Return 0 where the orders balance at a price, 1 where they do above it only, -1 below it only."""
    demand, supply = crossing(book, price)
    index = price - book.top[BASE]
    inside = 0 <= index < book.top[WIDTH]
    bids = level_total(book, 0, index) if inside else 0
    asks = level_total(book, 1, index) if inside else 0
    return 1 if demand - bids > supply else -1 if supply - asks > demand else 0


@lean_kernel
def balance_price(book, quote, back):  # type: ignore[no-untyped-def]
    """Return a price between the quote and `back` at which the orders balance: the quote where they do."""
    if pressure(book, quote) == 0:
        return quote
    price, _, _ = indicative(book, quote)
    return min(max(price, min(quote, back)), max(quote, back))


@lean_kernel
def nothing_crosses(floor):  # type: ignore[no-untyped-def]
    """Return whether continuous trading could go on: no market order waits and no limits cross."""
    top = floor.top
    return floor.waiting[0].quantity == 0 and floor.waiting[1].quantity == 0 and top[BID] < top[ASK]
