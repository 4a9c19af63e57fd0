"""The trading floor: every order passes the rules, is matched, settled and written down. Kernels over flat arrays.

Money is counted in ticks times lots (int64), so that cash and inventory, summed over the seats and the background
(the last row), are conserved to the unit; fees are kept apart in quote currency and only seats pay them.
"""

from typing import Any, NamedTuple

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import kernel
from difffinance.market.layout import ASK, BASE, BID, FILLS, LIVE, TIPS, WIDTH
from difffinance.market.matching import CANCEL, LIMIT, MARKET, cancel, check_price, place_limit, place_market

EVENT = np.dtype(
    [("ts", "i8"), ("kind", "i4"), ("side", "i4"), ("order_id", "i8"), ("price", "i8"), ("quantity", "i8"),
     ("owner", "i4"), ("code", "i4"), ("done", "i8"), ("first_fill", "i8")]
)  # fmt: skip

# Columns of `limits` (whole lots) and `rates` (floats), one row per seat.
MIN_POSITION, MAX_POSITION, MAX_ORDER, MAX_OPEN, MAX_RESTING, T_PLUS_ONE = range(6)
BUY_FEE, SELL_FEE, LEVERAGE, CAPITAL, MONEY = range(5)
# Columns of `tally`, lots and ticks times lots of the step.
BOUGHT, SOLD, PASSIVE, BOUGHT_VALUE, SOLD_VALUE, ASKED = range(6)
# Places in `marks`: mid and last best prices in ticks; in `counts`: events written, next order id.
MID, LAST_BID, LAST_ASK = range(3)
EVENTS, NEXT_ID = range(2)
_NONE = np.int64(0)  # no price, or the whole quantity


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


@kernel
def mark(floor):  # type: ignore[no-untyped-def]
    """Refresh the mid and the last known best prices; an empty side keeps its last price."""
    top, marks = floor.top, floor.marks
    if top[BID] >= 0:
        marks[LAST_BID] = top[BID] + top[BASE]
    if top[ASK] < top[WIDTH]:
        marks[LAST_ASK] = top[ASK] + top[BASE]
    if marks[LAST_BID] < marks[LAST_ASK]:
        marks[MID] = (marks[LAST_BID] + marks[LAST_ASK]) / 2


@kernel
def roomy(floor, orders):  # type: ignore[no-untyped-def]
    """Return whether the arrays have room for that many more messages, whatever they fill."""
    top, counts = floor.top, floor.counts
    return (
        counts[EVENTS] + orders <= len(floor.events)
        and counts[NEXT_ID] + orders <= len(floor.orders)
        and top[FILLS] + top[LIVE] + top[TIPS] + orders <= len(floor.fills)
    )


@kernel
def refusal(floor, seat, kind, side, price, quantity):  # type: ignore[no-untyped-def]
    """Return which rule of a seat an order would break, or 0. The book itself checks price, side and quantity."""
    limits, rates, column = floor.limits[seat], floor.rates[seat], 0 if side > 0 else 1
    held, resting = floor.inventory[seat], floor.resting[seat, column]
    if quantity > limits[MAX_ORDER]:
        return reasons.MAX_ORDER
    if kind == LIMIT and resting + quantity > limits[MAX_OPEN]:
        return reasons.MAX_OPEN
    if kind == LIMIT and floor.own_count[seat] >= limits[MAX_RESTING]:
        return reasons.TOO_MANY_ORDERS
    after = held + side * (resting + quantity)
    if (side > 0 and after > limits[MAX_POSITION]) or (side < 0 and after < limits[MIN_POSITION]):
        return reasons.POSITION_LIMIT
    if side < 0 and limits[T_PLUS_ONE] and quantity + resting > held - floor.bought_today[seat]:
        return reasons.NOT_SELLABLE
    mid = floor.marks[MID]
    wealth = floor.cash[seat] + held * mid - floor.fees[seat] / rates[MONEY]
    if abs(after) > abs(held) and abs(after) * mid > rates[LEVERAGE] * wealth:
        return reasons.LEVERAGE
    return reasons.OK


@kernel
def settle(floor, start, side, taker):  # type: ignore[no-untyped-def]
    """Book the fills from `start` on: cash, inventory, fees, resting quantities and the step's tally."""
    seats = len(floor.own_count)
    for i in range(start, floor.top[FILLS]):
        fill = floor.fills[i]
        maker = np.int64(floor.orders[fill.maker].owner)
        quantity, value = fill.quantity, fill.price * fill.quantity
        buyer, seller = (taker, maker) if side > 0 else (maker, taker)
        floor.cash[buyer] -= value
        floor.cash[seller] += value
        floor.inventory[buyer] += quantity
        floor.inventory[seller] -= quantity
        floor.bought_today[buyer] += quantity
        floor.tally[buyer, BOUGHT] += quantity
        floor.tally[seller, SOLD] += quantity
        floor.tally[buyer, BOUGHT_VALUE] += value
        floor.tally[seller, SOLD_VALUE] += value
        floor.tally[maker, PASSIVE] += quantity
        floor.resting[maker, 1 if side > 0 else 0] -= quantity
        if buyer < seats:
            floor.fees[buyer] += value * floor.rates[buyer, MONEY] * floor.rates[buyer, BUY_FEE]
        if seller < seats:
            floor.fees[seller] += value * floor.rates[seller, MONEY] * floor.rates[seller, SELL_FEE]


@kernel
def submit(floor, ts, kind, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Send one limit or market order of a seat or of the background; return its reason and id."""
    seats, first, order_id = len(floor.own_count), floor.top[FILLS], floor.counts[NEXT_ID]
    floor.counts[NEXT_ID] += 1
    code, done = reasons.OK, 0
    if owner < seats and quantity > 0:
        code = refusal(floor, owner, kind, side, price, quantity)
    if kind == LIMIT and code == reasons.OK:
        # A price that no window was made for cannot be looked up; the book's own check names the better reason first.
        code = check_price(floor.top, price)
        if code == reasons.OK and not 0 <= price - floor.top[BASE] < floor.top[WIDTH]:
            code = reasons.PRICE_SPAN
    if code == reasons.OK:
        if kind == LIMIT:
            code, done = place_limit(floor, order_id, side, price, quantity, owner)
        else:
            code, done = place_market(floor, order_id, side, quantity, owner)
        settle(floor, first, side, owner)
        left = floor.orders[order_id].quantity
        floor.resting[owner, 0 if side > 0 else 1] += left
        if owner < seats:
            floor.tally[owner, ASKED] += quantity
            if left > 0:
                floor.own_orders[owner, floor.own_count[owner]] = order_id
                floor.own_count[owner] += 1
    if code != reasons.OK and owner < seats:
        floor.refused[owner, code] += 1
    write(floor, ts, kind, side, order_id, price, quantity, owner, code, done, first)
    mark(floor)
    return code, order_id


@kernel
def withdraw(floor, ts, order_id, quantity):  # type: ignore[no-untyped-def]
    """Cancel `quantity` lots (0: all) of a resting order."""
    order = floor.orders[order_id]
    side, price, owner = np.int64(order.side), order.price, np.int64(order.owner)
    code, gone = cancel(floor, order_id, quantity)
    floor.resting[owner, 0 if side > 0 else 1] -= gone
    write(floor, ts, CANCEL, side, order_id, price, quantity, owner, code, gone, floor.top[FILLS])
    mark(floor)


@kernel
def write(floor, ts, kind, side, order_id, price, quantity, owner, code, done, first):  # type: ignore[no-untyped-def]
    """Append one row to the event log."""
    event = floor.events[floor.counts[EVENTS]]
    event.ts, event.kind, event.side, event.order_id = ts, kind, side, order_id
    event.price, event.quantity, event.owner, event.code = price, quantity, owner, code
    event.done, event.first_fill = done, first
    floor.counts[EVENTS] += 1


@kernel
def tidy(floor, seat):  # type: ignore[no-untyped-def]
    """Drop a seat's filled and cancelled orders from its list of resting ones."""
    kept = 0
    for k in range(floor.own_count[seat]):
        order_id = floor.own_orders[seat, k]
        if floor.orders[order_id].quantity > 0:
            floor.own_orders[seat, kept] = order_id
            kept += 1
    floor.own_count[seat] = kept


@kernel
def act(floor, ts, seat, action, unit, mid):  # type: ignore[no-untyped-def]
    """Carry out the 10 numbers of a seat: cancel, then the market order, then the quotes around `mid` (ticks)."""
    tidy(floor, seat)
    if action[9] > 0.5:
        for k in range(floor.own_count[seat]):
            withdraw(floor, ts, floor.own_orders[seat, k], _NONE)
        floor.own_count[seat] = 0
    quantity = int(abs(action[0]) * unit + 1e-6)
    if quantity > 0:
        submit(floor, ts, MARKET, 1 if action[0] > 0 else -1, _NONE, quantity, seat)
        tidy(floor, seat)
    for k in range(4):
        side, offset = 1 if k % 2 == 0 else -1, action[1 + 2 * k]
        quantity = int(action[2 + 2 * k] * unit + 1e-6)
        if quantity > 0:
            price = int(np.floor(mid - offset + 1e-6)) if side > 0 else int(np.ceil(mid + offset - 1e-6))
            submit(floor, ts, LIMIT, side, price, quantity, seat)


@kernel
def act_all(floor, ts, actions, turn, valid, known):  # type: ignore[no-untyped-def]
    """Let the seats of `turn` with a valid action act in that order, one nanosecond apart.

    `known[seat]` is the step volume and the mid (ticks) that the action refers to: those of its decision.
    """
    for k in range(len(turn)):
        seat = turn[k]
        if valid[seat]:
            act(floor, ts + k, seat, actions[seat], known[seat, 0], known[seat, 1])
