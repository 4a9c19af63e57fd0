"""Who owns what on the trading floor, and the log: accounts, fees, settlement of trades. Kernels over flat arrays.

Money is counted in ticks times lots (int64), so that cash and inventory, summed over the seats and the background
(the last row), are conserved to the unit; fees are kept apart in quote currency and only seats pay them.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.fees import access_fee, fee_cents
from difffinance.market.handles import addressed, handle_type
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    FILL,
    FILLS,
    LEVEL,
    LIVE,
    LOG,
    ORDER,
    RESERVE,
    TIPS,
    WAITING,
    WIDTH,
)
from difffinance.market.supervision import ACCESS, FEE_ITEMS

EVENT = np.dtype(
    [("ts", "i8"), ("kind", "i4"), ("side", "i4"), ("order_id", "i8"), ("price", "i8"), ("quantity", "i8"),
     ("owner", "i4"), ("code", "i4"), ("done", "i8"), ("first_fill", "i8")]
)  # fmt: skip

# Columns of `limits` (whole lots) and `rates` (floats), one row per seat.
MIN_POSITION, MAX_POSITION, MAX_ORDER, MAX_OPEN, MAX_RESTING, T_PLUS_ONE = range(6)
BUY_FEE, SELL_FEE, LEVERAGE, CAPITAL, MONEY = range(5)
# Columns of `tally`, lots and ticks times lots of the step.
BOUGHT, SOLD, PASSIVE, BOUGHT_VALUE, SOLD_VALUE, ASKED = range(6)
# Places in `marks`: mid and last best prices in ticks; in `counts`: events written, next order id, orders of seats
# refused in the step, lots traded in it and those of buying takers less those of selling ones.
MID, LAST_BID, LAST_ASK = range(3)
EVENTS, NEXT_ID, REFUSED, TRADED, TAKEN = range(5)
COUNTS = 5
# Kind of the log row of a change of phase: `code` is the new phase; price and side are those of a special quote.
PHASE_CHANGE: Any = np.int64(100)
# Log rows of phases that time alone may write before a message: a special quote's way down to one yen is the longest.
PHASE_ROWS = 160
_u = np.uint64  # an index without a sign needs no look at the end of its array
NONE: Any = np.int64(0)  # no price, or the whole quantity


class Floor(NamedTuple):
    """The book's arrays (as in `engine.Tables`), the accounts (N seats and the background), the log of a step."""

    orders: Any
    reserves: Any
    levels: Any
    bits: Any
    waiting: Any
    top: Any
    fills: Any
    log: Any
    events: Any
    counts: Any
    marks: Any
    cash: Any  # (N+1,) ticks times lots
    inventory: Any  # (N+1,) lots
    fees: Any  # (N+1,) quote currency
    resting: Any  # (N+1, 2) lots open to buy, to sell
    bought_today: Any  # (N+1,) lots
    own_orders: Any  # (N, M) ids of a seat's resting orders
    own_count: Any  # (N,)
    tally: Any  # (N+1, 6)
    refused: Any  # (N, reasons)
    limits: Any  # (N, 6)
    rates: Any  # (N, 5)
    rules: Any  # what the venue enforces, and how the session stands: `supervision`
    session: Any
    paid_on: Any  # (orders,) ticks times lots that an order has paid fees on
    submit: Any  # the sealed kernels of `floor`
    withdraw: Any
    carry_on: Any
    look: Any


_WHOLE, _REAL, _N = np.dtype(np.int64), np.dtype(float), types.int64
SUBMIT, WITHDRAW = types.int64(*[_N] * 7), types.void(_N, _N, _N, _N)
CARRY_ON, LOOK = types.void(_N, _N), types.void(_N, _N, _N)
_FLOOR = handle_type("Floor", (
    ("orders", ORDER, 1), ("reserves", RESERVE, 1), ("levels", LEVEL, 2), ("bits", np.dtype(np.uint64), 2),
    ("waiting", LEVEL, 1), ("top", _WHOLE, 1), ("fills", FILL, 1), ("log", LOG, 1), ("events", EVENT, 1),
    ("counts", _WHOLE, 1), ("marks", _REAL, 1), ("cash", _WHOLE, 1), ("inventory", _WHOLE, 1), ("fees", _REAL, 1),
    ("resting", _WHOLE, 2), ("bought_today", _WHOLE, 1), ("own_orders", _WHOLE, 2), ("own_count", _WHOLE, 1),
    ("tally", _WHOLE, 2), ("refused", _WHOLE, 2), ("limits", _WHOLE, 2), ("rates", _REAL, 2), ("rules", _WHOLE, 1),
    ("session", _WHOLE, 1), ("paid_on", _WHOLE, 1), ("submit", types.FunctionType(SUBMIT), -1),
    ("withdraw", types.FunctionType(WITHDRAW), -1), ("carry_on", types.FunctionType(CARRY_ON), -1),
    ("look", types.FunctionType(LOOK), -1),
))  # fmt: skip


floor_at, address_of_floor = addressed(_FLOOR)


@lean_kernel
def mark(floor):  # type: ignore[no-untyped-def]
    """Refresh the mid and the last known best prices; an empty side keeps its last price."""
    top, marks = floor.top, floor.marks
    if top[BID] >= 0:
        marks[LAST_BID] = top[BID] + top[BASE]
    if top[ASK] < top[WIDTH]:
        marks[LAST_ASK] = top[ASK] + top[BASE]
    if marks[LAST_BID] < marks[LAST_ASK]:
        marks[MID] = (marks[LAST_BID] + marks[LAST_ASK]) / 2


@lean_kernel
def roomy(floor, orders):  # type: ignore[no-untyped-def]
    """Return whether the arrays have room for that many more messages, whatever they fill."""
    top, counts = floor.top, floor.counts
    # Each message may begin a phase and end one, with an auction that leaves an order partly filled.
    return (
        counts[EVENTS] + 3 * orders + PHASE_ROWS <= len(floor.events)
        and counts[NEXT_ID] + orders <= len(floor.orders)
        and top[FILLS] + top[LIVE] + top[TIPS] + 2 * orders + 2 <= len(floor.fills)
    )


@inlined
def settle(floor, start, side, taker, owner):  # type: ignore[no-untyped-def]
    """Book the fills from `start` on of an incoming order: cash, inventory, fees, resting lots and the step's tally.

    `taker` is its id and `owner` whose it is, on `side`.
    """
    seats, row, orders = _u(len(floor.own_count)), (1 - side) >> 1, floor.orders
    other, done, paid = 1 - row, 0, 0
    for i in range(start, floor.top[FILLS]):
        fill = floor.fills[_u(i)]
        quantity, value, maker = fill.quantity, fill.price * fill.quantity, _u(orders[_u(fill.maker)].owner)
        done += quantity
        paid += value
        tally = floor.tally[maker]
        floor.cash[maker] += side * value
        floor.inventory[maker] -= side * quantity
        floor.resting[maker, _u(other)] -= quantity
        floor.bought_today[maker] += row * quantity
        tally[_u(BOUGHT + other)] += quantity
        tally[PASSIVE] += quantity
        tally[_u(BOUGHT_VALUE + other)] += value
        if maker < seats or _u(owner) < seats:
            charge_both(floor, fill.maker, taker, np.int64(maker), owner, side, value)
            if floor.rules[ACCESS] > 0 and _u(owner) < seats:
                floor.fees[_u(owner)] += access_fee(floor.rules, fill.price, quantity)
    tally = floor.tally[_u(owner)]
    floor.cash[_u(owner)] -= side * paid
    floor.inventory[_u(owner)] += side * done
    floor.bought_today[_u(owner)] += other * done
    tally[_u(BOUGHT + row)] += done
    tally[_u(BOUGHT_VALUE + row)] += paid
    floor.counts[TRADED] += done
    floor.counts[TAKEN] += side * done


@inlined
def charge_both(floor, maker, taker, maker_owner, taker_owner, side, value):  # type: ignore[no-untyped-def]
    """Charge a trade's fees, the buyer's first: sums of floats depend on their order."""
    seats = len(floor.own_count)
    buyer, bought = (taker_owner, taker) if side > 0 else (maker_owner, maker)
    seller, sold = (maker_owner, maker) if side > 0 else (taker_owner, taker)
    if buyer < seats:
        floor.fees[_u(buyer)] += fee(floor, buyer, bought, 1, value)
    if seller < seats:
        floor.fees[_u(seller)] += fee(floor, seller, sold, -1, value)


@lean_kernel
def settle_auction(floor, start):  # type: ignore[no-untyped-def]
    """Book the fills from `start` on of a call auction, which name the buyer as taker: nobody was passive."""
    orders = floor.orders
    for i in range(start, floor.top[FILLS]):
        fill = floor.fills[i]
        quantity, value, buy, sell = fill.quantity, fill.price * fill.quantity, fill.taker, fill.maker
        buyer, seller = np.int64(orders[buy].owner), np.int64(orders[sell].owner)
        # Market orders that waited for an auction rest no longer.
        if orders[buy].form != WAITING:
            floor.resting[buyer, 0] -= quantity
        if orders[sell].form != WAITING:
            floor.resting[seller, 1] -= quantity
        floor.counts[TRADED] += quantity
        floor.cash[buyer] -= value
        floor.cash[seller] += value
        floor.inventory[buyer] += quantity
        floor.inventory[seller] -= quantity
        floor.bought_today[buyer] += quantity
        floor.tally[buyer, BOUGHT] += quantity
        floor.tally[seller, SOLD] += quantity
        floor.tally[buyer, BOUGHT_VALUE] += value
        floor.tally[seller, SOLD_VALUE] += value
        charge_both(floor, sell, buy, seller, buyer, 1, value)


@inlined
def fee(floor, seat, order_id, side, value):  # type: ignore[no-untyped-def]
    """Return what a trade adds to a seat's fees, quote currency."""
    if floor.rules[FEE_ITEMS]:
        return order_fee(floor, order_id, np.int64(side), value)
    return value * floor.rates[_u(seat), MONEY] * floor.rates[_u(seat), BUY_FEE if side > 0 else SELL_FEE]


@lean_kernel
def order_fee(floor, order_id, side, value):  # type: ignore[no-untyped-def]
    """Return the fees of a whole order so far, less what it has paid: what a rulebook charges by the order."""
    before = floor.paid_on[_u(order_id)]
    floor.paid_on[_u(order_id)] = before + value
    paid = fee_cents(floor.rules, side, before) if before > 0 else 0
    return (fee_cents(floor.rules, side, before + value) - paid) / 100.0


@lean_kernel
def write(floor, ts, kind, side, order_id, price, quantity, owner, code, done, first):  # type: ignore[no-untyped-def]
    """Append one row to the event log."""
    event = floor.events[_u(floor.counts[EVENTS])]
    event.ts, event.kind, event.side, event.order_id = ts, kind, side, order_id
    event.price, event.quantity, event.owner, event.code = price, quantity, owner, code
    event.done, event.first_fill = done, first
    floor.counts[EVENTS] += 1
