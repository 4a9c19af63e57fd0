"""The trading floor: every order passes the rules, is matched, settled and written down. Kernels over flat arrays.

The seats' own limits are checked here, the venue's in `supervision`; `phases` carries the day on; `settlement` has
the accounts.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel, prefetch, sealed
from difffinance.market.layout import BASE, FILLS, HIGH, HIGHEST, LIVE, LOW, LOWEST, WIDTH, next_down, next_up
from difffinance.market.layout import PHASE as BOOK_PHASE
from difffinance.market.matching import (
    AUCTION,
    CANCEL,
    IMMEDIATE,
    LIMIT,
    MARKET,
    MAX_LOTS,
    cancel,
    check_price,
    place,
)
from difffinance.market.phases import carried_on, carry_on, look_around, look_closely, looked_closely, touches
from difffinance.market.plain_orders import ordinary, queue_up, row_of_side, take_level, unlink
from difffinance.market.settlement import (
    ASKED,
    LEVERAGE,
    MAX_OPEN,
    MAX_ORDER,
    MAX_POSITION,
    MAX_RESTING,
    MID,
    MIN_POSITION,
    MONEY,
    NEXT_ID,
    NONE,
    REFUSED,
    SUBMIT,
    T_PLUS_ONE,
    WITHDRAW,
    address_of_floor,
    floor_at,
    mark,
    settle,
    write,
)
from difffinance.market.special_quote import place_within_steps
from difffinance.market.supervision import (
    ACTIVE,
    BAND,
    BAND_HIGH,
    BAND_LOW,
    FIXED_PRICE,
    LAST,
    LEAST,
    LIMIT_STATE,
    MEAN_BAND,
    MOST,
    PHASE,
    QUOTES,
    STEP,
    on_tick,
    plainly_taken,
    tick_at,
    venue_refusal,
    whole_lots,
    whole_steps,
)

_AHEAD = 16  # orders
_ONE = np.uint64(1)
_u = np.uint64  # an index without a sign needs no look at the end of its array


@inlined
def refusal(floor, seat, kind, side, price, quantity):  # type: ignore[no-untyped-def]
    """Return which rule of a seat an order would break, or 0. The book itself checks price, side and quantity."""
    at = _u(seat)
    limits, rates, held = floor.limits[at], floor.rates[at], floor.inventory[at]
    resting = floor.resting[at, _u(row_of_side(side))]
    if quantity > limits[MAX_ORDER]:
        return reasons.MAX_ORDER
    if kind == LIMIT and resting + quantity > limits[MAX_OPEN]:
        return reasons.MAX_OPEN
    if floor.own_count[at] >= limits[MAX_RESTING] and (kind == LIMIT or floor.top[BOOK_PHASE] == AUCTION):
        return reasons.TOO_MANY_ORDERS
    after = held + side * (resting + quantity)
    if (side > 0 and after > limits[MAX_POSITION]) or (side < 0 and after < limits[MIN_POSITION]):
        return reasons.POSITION_LIMIT
    if side < 0 and limits[T_PLUS_ONE] and quantity + resting > held - floor.bought_today[at]:
        return reasons.NOT_SELLABLE
    if abs(after) > abs(held):
        mid = floor.marks[MID]
        wealth = floor.cash[at] + held * mid - floor.fees[at] / rates[MONEY]
        if abs(after) * mid > rates[LEVERAGE] * wealth:
            return reasons.LEVERAGE
    return reasons.OK


@inlined
def submit(floor, ts, kind, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Send one limit or market order of a seat or of the background; return its id. The log says what became of it.

    The background sends whole lots on the tick. Under moving bands a market order goes no further than the band.
    """
    return floor.submit(address_of_floor(floor), ts, kind, side, price, quantity, owner)


@sealed(SUBMIT)
def submitted(address, ts, kind, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Do what `submit` says."""
    floor = floor_at(address)
    seats, active, code, done = len(floor.own_count), floor.rules[ACTIVE], reasons.OK, 0
    if active:
        carry_on(floor, ts)
        if owner == seats:
            price, quantity = fitted(floor.rules, side, price, quantity)
    first, order_id = floor.top[FILLS], floor.counts[NEXT_ID]
    floor.counts[NEXT_ID] += 1
    prefetch(floor.orders, order_id + _AHEAD)  # memory that no order was in yet
    if owner < seats and quantity > 0:
        code = refusal(floor, owner, kind, side, price, quantity)
    at = price
    if active and code == reasons.OK:
        if not plainly_taken(floor, kind, side, price, quantity):
            held = floor.inventory[owner] - floor.resting[owner, 1] if owner < seats else NONE
            code = venue_refusal(floor, ts, kind, side, price, quantity, held, owner < seats)
            at = floor.session[LAST] if floor.session[PHASE] == FIXED_PRICE else price
        if code == reasons.OK and kind == MARKET and ts >= 0:
            kind, price = within_band(floor.rules, floor.session, floor.top, side)
            at = price
    if kind == LIMIT and code == reasons.OK:
        # A price that no window was made for cannot be looked up; the book's own check names the better reason first.
        code = check_price(floor.top, at)
        if code == reasons.OK and not 0 <= at - floor.top[BASE] < floor.top[WIDTH]:
            code = reasons.PRICE_SPAN
    if code == reasons.OK:
        if active and floor.rules[QUOTES] > 0:
            code, done = place_within_steps(floor, ts, kind, order_id, side, at, quantity, owner)
        else:
            code, done = enter(floor, kind, order_id, side, at, quantity, owner)
        if done > 0:
            settle(floor, first, side, order_id, owner)
        left = floor.orders[_u(order_id)].quantity
        if left > 0:
            floor.resting[_u(owner), _u(row_of_side(side))] += left
        if owner < seats:
            floor.tally[_u(owner), ASKED] += quantity
            if left > 0:
                floor.own_orders[_u(owner), _u(floor.own_count[_u(owner)])] = order_id
                floor.own_count[_u(owner)] += 1
    if code != reasons.OK and owner < seats:
        floor.refused[owner, code] += 1
        floor.counts[REFUSED] += 1
    write(floor, ts, kind, side, order_id, price, quantity, owner, code, done, first)
    mark(floor)
    if active:
        look_around(floor, ts, first)
    return order_id


@inlined
def enter(floor, kind, order_id, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Do what `matching.place` does; return (reason, lots filled). A limit price lies inside limits and window."""
    top = floor.top
    usual = kind in (LIMIT, MARKET) or (kind == IMMEDIATE and top[LOW] <= price <= top[HIGH])
    if not usual or not ordinary(floor) or _u(quantity - 1) >= _u(MAX_LOTS) or side * side != 1:
        return place(floor, kind, order_id, side, price, quantity, NONE, owner)
    orders, levels, bits, width, row = floor.orders, floor.levels, floor.bits, top[WIDTH], row_of_side(side)
    order, left, count, live, limit = orders[_u(order_id)], quantity, top[FILLS], top[LIVE], price - top[BASE]
    order.owner, order.side = owner, side
    if kind != MARKET:
        top[LOWEST], top[HIGHEST] = min(top[LOWEST], price), max(top[HIGHEST], price)
    else:
        price, limit = 0, (width - 1) * (1 - row)
    order.price = price
    other = _u(1 - row)
    best = top[other]
    while left > 0 and side * best <= side * limit:  # an empty side is beyond every limit
        left, count, gone, best = take_level(
            orders, floor.fills, levels[other, _u(best)], bits[other], side, best, width, left, count, order_id
        )
        live -= gone
        top[other] = best
    top[FILLS] = count
    if kind == LIMIT and left > 0:
        order.quantity = left
        queue_up(orders, levels[_u(row), _u(limit)], bits[_u(row)], _u(limit >> 6), limit, order_id, left)
        top[_u(row)] = side * max(side * top[_u(row)], side * limit)
        live += 1
    top[LIVE] = live
    return (reasons.NO_LIQUIDITY if left > 0 and kind != LIMIT else reasons.OK), quantity - left


@inlined
def fitted(rules, side, price, quantity):  # type: ignore[no-untyped-def]
    """Return a price of the background on the tick, away from the other side, and its quantity in whole lots."""
    quantity = min(max(whole_steps(quantity, rules[STEP]), rules[LEAST]), rules[MOST])
    return on_tick(side, price, tick_at(rules, price)), quantity


@lean_kernel
def within_band(rules, session, top, side):  # type: ignore[no-untyped-def]
    """Return (kind, price) of a market order, which must not trade outside the moving bands (LULD)."""
    if rules[BAND] != MEAN_BAND or session[BAND_HIGH] == 0 or session[PHASE] > LIMIT_STATE:
        return MARKET, NONE
    if side > 0:
        return IMMEDIATE, min(session[BAND_HIGH], top[BASE] + top[WIDTH] - 1)
    return IMMEDIATE, max(max(session[BAND_LOW], top[BASE]), 1)


@inlined
def withdraw(floor, ts, order_id, quantity):  # type: ignore[no-untyped-def]
    """Cancel `quantity` lots (0: all) of a resting order."""
    floor.withdraw(address_of_floor(floor), ts, order_id, quantity)


@sealed(WITHDRAW)
def withdrawn(address, ts, order_id, quantity):  # type: ignore[no-untyped-def]
    """Do what `withdraw` says."""
    floor = floor_at(address)
    if floor.rules[ACTIVE]:
        carry_on(floor, ts)
    order = floor.orders[order_id]
    side, price, owner = np.int64(order.side), order.price, np.int64(order.owner)
    if order.quantity > 0 and quantity >= 0 and order_id >= 0 and ordinary(floor):
        code, gone = reasons.OK, take_out(floor, order, side, quantity)
    else:
        code, gone = cancel(floor, order_id, quantity)
    floor.resting[_u(owner), _u(row_of_side(side))] -= gone
    write(floor, ts, CANCEL, side, order_id, price, quantity, owner, code, gone, floor.top[FILLS])
    mark(floor)
    if floor.rules[ACTIVE] and touches(floor):
        look_closely(floor, ts, floor.top[FILLS])


@inlined
def take_out(floor, order, side, quantity):  # type: ignore[no-untyped-def]
    """Do what `matching.cancel` does with an order that rests; return how much went."""
    top, row, index = floor.top, _u(row_of_side(side)), order.price - floor.top[BASE]
    level, left = floor.levels[row, _u(index)], order.quantity
    gone = quantity if 0 < quantity < left else left
    order.quantity -= gone
    level.quantity -= gone
    if gone == left:
        top[LIVE] -= 1
        if unlink(floor.orders, level, order):
            bits = floor.bits[row]
            bits[_u(index >> 6)] &= ~(_ONE << _u(index & 63))
            if index == top[row]:
                top[row] = next_down(bits, index) if side > 0 else next_up(bits, index, top[WIDTH])
    return gone


SEALED = {"submit": submitted, "withdraw": withdrawn, "carry_on": carried_on, "look": looked_closely}


@lean_kernel
def tidy(floor, seat):  # type: ignore[no-untyped-def]
    """Drop a seat's filled and cancelled orders from its list of resting ones."""
    own, kept = floor.own_orders[_u(seat)], _u(0)
    for k in range(_u(floor.own_count[_u(seat)])):
        order_id = own[k]
        own[kept] = order_id
        kept += _u(floor.orders[_u(order_id)].quantity > 0)
    floor.own_count[_u(seat)] = kept


@lean_kernel
def act(floor, ts, seat, action, unit, mid):  # type: ignore[no-untyped-def]
    """Carry out the 10 numbers of a seat: cancel, then the market order, then the quotes around `mid` (ticks).

    Quantities become whole lots and prices whole ticks, both rounded away from trading; what is then still against
    a rule is refused.
    """
    at = _u(seat)
    if floor.own_count[at] > 0:
        tidy(floor, seat)
    if action[9] > 0.5:
        for k in range(_u(floor.own_count[at])):
            withdraw(floor, ts, floor.own_orders[at, k], NONE)
        floor.own_count[at] = 0
    side = 1 if action[0] > 0 else -1
    quantity = in_lots(floor, seat, side, int(abs(action[0]) * unit + 1e-6))
    if quantity > 0:
        submit(floor, ts, MARKET, side, NONE, quantity, seat)
        if floor.own_count[at] > 0:
            tidy(floor, seat)
    if action[2] + action[4] + action[6] + action[8] == 0.0:  # no quotes, which is what most seats send
        return
    for k in range(4):
        side, offset = 1 if k % 2 == 0 else -1, action[_u(1 + 2 * k)]
        quantity = in_lots(floor, seat, side, int(action[_u(2 + 2 * k)] * unit + 1e-6))
        if quantity > 0:
            price = int(np.floor(mid - offset + 1e-6)) if side > 0 else int(np.ceil(mid + offset - 1e-6))
            if price > 0:
                price = on_tick(side, price, tick_at(floor.rules, price))
            submit(floor, ts, LIMIT, side, price, quantity, seat)


@lean_kernel
def in_lots(floor, seat, side, quantity):  # type: ignore[no-untyped-def]
    """Return a wish in whole lots; one beyond what is held is left as it is, for the rules to judge."""
    if quantity == 0 or (floor.rules[LEAST] == 1 and floor.rules[STEP] == 1):
        return quantity
    return whole_lots(floor.rules, side, quantity, floor.inventory[_u(seat)] - floor.resting[_u(seat), 1])


@lean_kernel
def act_all(floor, ts, actions, turn, valid, known):  # type: ignore[no-untyped-def]
    """Let the seats of `turn` with a valid action act in that order, one nanosecond apart.

    `known[seat]` is the step volume and the mid (ticks) that the action refers to: those of its decision.
    """
    for k in range(len(turn)):
        seat = _u(turn[k])
        if valid[seat]:
            act(floor, ts + k, turn[k], actions[seat], known[seat, 0], known[seat, 1])
