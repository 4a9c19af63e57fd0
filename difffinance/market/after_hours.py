"""Trading after the close at the closing price (China): a book of a single price follows the day's. Kernels.

An order names a limit at or better than the close and rests at the close, so that price and time priority is time
alone and no trade has another price; whatever else is in force (T+1, lots, fees) goes on. The close is the price of
the closing call, the last trade's where it had none. Not modelled: orders sent before the session begins, and its
larger maxima for a single order of some boards.
"""

from difffinance.market.compiled import lean_kernel
from difffinance.market.layout import ASK, BID, HIGH, LOW, REMOVED, WIDTH, leave, note
from difffinance.market.settlement import LAST_ASK, LAST_BID, MID
from difffinance.market.supervision import LAST


@lean_kernel
def begin_fixed_price(floor):  # type: ignore[no-untyped-def]
    """Let the orders of the day expire and admit no price but the close."""
    top, marks, close = floor.top, floor.marks, floor.session[LAST]
    while top[BID] >= 0:
        expire(floor, floor.levels[0, top[BID]].first)
    while top[ASK] < top[WIDTH]:
        expire(floor, floor.levels[1, top[ASK]].first)
    for owner in range(len(floor.resting)):
        floor.resting[owner, 0] = floor.resting[owner, 1] = 0
    for seat in range(len(floor.own_count)):
        floor.own_count[seat] = 0
    top[LOW] = top[HIGH] = close
    marks[LAST_BID] = marks[LAST_ASK] = marks[MID] = close


@lean_kernel
def expire(floor, order_id):  # type: ignore[no-untyped-def]
    """Take an order out of the book."""
    order = floor.orders[order_id]
    note(floor, REMOVED, order.side, order_id, order.price, order.quantity, 0, order.owner)
    leave(floor, order_id)
