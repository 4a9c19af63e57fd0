"""Background flows without memory: arrivals depend on the present state alone. Kernels.

- `run_queue_reactive` (after Huang, Lehalle & Rosenbaum 2015): the rates of limit orders inside the spread, at the
  touch and behind it, of cancellations at the touch and of market orders of a side depend on the spread and on the
  queue at its touch; deeper orders are cancelled at a rate each. Sizes and places are those fitted on the day.
  As in their model III a reference price is part of the state. Here it is a value: those rates that move the quotes
  towards it are times `1 + lean * tanh(gap / pull)`, the others times 1 less that; the gap is from log mid to log
  value, and it leans fully where the value is beyond the quotes of a mean spread. The value is a geometric Brownian
  motion that learns from the market orders of seats (`seat_lessons`).
- `run_santa_fe` (Cont, Stoikov & Talreja 2010): orders of one size; limit orders arrive at a rate for each distance
  from the opposite best price, market orders at one rate, every order is cancelled at a rate of its distance.
"""

import numpy as np

from difffinance.market.compiled import inlined, kernel
from difffinance.market.fitted_flow import enough_room, place, rest, take_quantity
from difffinance.market.floor import submit, withdraw
from difffinance.market.flow_state import (
    ANSWERED,
    INTRADAY,
    LEAN,
    LOG_VALUE,
    NOW,
    PULL,
    VALUE_SD,
    activity,
    bisect,
    bucket,
    pick,
)
from difffinance.market.layout import ASK, BID, FILLS, WIDTH
from difffinance.market.matching import MARKET
from difffinance.market.seat_lessons import forget, hear_seats
from difffinance.market.settlement import LAST_ASK, LAST_BID, MID

INSIDE_RATE, TOUCH_RATE, BEHIND_RATE, CANCEL_RATE, TAKE_RATE = range(5)
_NONE = np.int64(0)


@inlined
def step_clock(flow, rng, rate, until):  # type: ignore[no-untyped-def]
    """Move the clock by an exponential time of that rate; return False, with the clock at `until`, if it is later."""
    wait = rng.exponential() / rate
    if flow.clock[NOW] + wait > until:
        flow.clock[NOW] = max(flow.clock[NOW], until)
        return False
    flow.clock[NOW] += wait
    return True


@inlined
def draw_live(floor, flow, rng):  # type: ignore[no-untyped-def]
    """Return the id of one of the resting orders, each as likely, or -1 for a dead one, which leaves the list."""
    k = int(rng.random() * flow.live_count[0])
    order = flow.live[k]
    if floor.orders[order].quantity > 0:
        return order
    flow.live_count[0] -= 1
    flow.live[k] = flow.live[flow.live_count[0]]
    return np.int64(-1)


@inlined
def best_level(floor, side):  # type: ignore[no-untyped-def]
    """Return the place of a side's best level, or -1 where the side is empty."""
    best = floor.top[BID] if side > 0 else floor.top[ASK]
    return best if 0 <= best < floor.top[WIDTH] else -1


@kernel
def side_rates(floor, tables, state, side, lean, rates):  # type: ignore[no-untyped-def]
    """Write the five rates of a side in the present state, limit orders times 1 + lean and the others 1 - lean."""
    best = best_level(floor, side)
    queue = floor.levels[0 if side > 0 else 1, best].quantity if best >= 0 else 0
    for k in range(TAKE_RATE + 1):
        rates[k] = tables.state_rates[state, bucket(tables.queue_edges, queue), k]
        rates[k] *= 1.0 + lean if k <= BEHIND_RATE else 1.0 - lean


@kernel
def run_queue_reactive(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Let background messages arrive up to the time `until` (seconds); return False where arrays need room first."""
    tables, marks, p, clock = flow.tables[0], floor.marks, flow.p, flow.clock
    most, rates = 1.0 + 2.0 * max(p[INTRADAY], 0.0), np.zeros((2, TAKE_RATE + 1))
    clock[ANSWERED] = hear_seats(floor, clock, p, owner)
    while True:
        if not enough_room(floor, flow):
            return False
        lean = p[LEAN] * np.tanh((clock[LOG_VALUE] - np.log(marks[MID])) / p[PULL])
        state = bucket(tables.spread_edges, marks[LAST_ASK] - marks[LAST_BID])
        side_rates(floor, tables, state, 1, lean, rates[0])
        side_rates(floor, tables, state, -1, -lean, rates[1])
        deep, bids = tables.deep_cancel[state] * flow.live_count[0], rates[0].sum()
        total, since = bids + rates[1].sum() + deep, clock[NOW]
        came = step_clock(flow, rng, total * most, until)
        clock[LOG_VALUE] += p[VALUE_SD] * np.sqrt(clock[NOW] - since) * rng.standard_normal()
        if not came:
            return True
        if rng.random() * most > activity(p, clock[NOW]):
            continue
        ts, draw = np.int64(np.floor(clock[NOW] * 1e9)), rng.random() * total - deep
        if draw < 0.0:
            cancel_deep(floor, flow, rng, ts)
            continue
        side = np.int64(1 if draw < bids else -1)
        here = rates[0 if side > 0 else 1]
        draw, k = draw if side > 0 else draw - bids, 0
        while k < TAKE_RATE and draw >= here[k]:
            draw -= here[k]
            k += 1
        fills = floor.top[FILLS]
        happen(floor, flow, rng, ts, owner, side, k)
        if floor.top[FILLS] > fills:
            forget(clock)


@inlined
def cancel_deep(floor, flow, rng, ts):  # type: ignore[no-untyped-def]
    """Cancel a resting order unless it is at the touch."""
    order = draw_live(floor, flow, rng)
    if order >= 0:
        best = floor.marks[LAST_BID] if floor.orders[order].side > 0 else floor.marks[LAST_ASK]
        if floor.orders[order].price != best:
            withdraw(floor, ts, order, _NONE)


@inlined
def happen(floor, flow, rng, ts, owner, side, k):  # type: ignore[no-untyped-def]
    """Carry out event `k` on the book side `side`."""
    tables, best = flow.tables[0], best_level(floor, side)
    if k <= BEHIND_RATE:
        price, where = place(floor, tables, rng, side, k)
        rest(floor, flow, ts, side, price, np.int64(pick(tables.size[where], rng)), owner)
    elif best >= 0 and k == TAKE_RATE:
        queue = floor.levels[0 if side > 0 else 1, best].quantity
        submit(floor, ts, MARKET, -side, _NONE, take_quantity(tables, rng, queue), owner)
    elif best >= 0:
        order = np.int64(floor.levels[0 if side > 0 else 1, best].last)  # the youngest goes first
        if floor.orders[order].owner == owner:
            withdraw(floor, ts, order, _NONE)


@kernel
def run_santa_fe(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Let background messages arrive up to the time `until` (seconds); return False where arrays need room first."""
    tables, clock = flow.tables[0], flow.clock
    limit, market, unit = tables.unit[0], tables.unit[1], np.int64(tables.unit[2])
    most = tables.unit_cancel.max()
    while True:
        if not enough_room(floor, flow):
            return False
        clock[LOG_VALUE] = np.log(floor.marks[MID])
        total = 2.0 * (limit + market) + most * flow.live_count[0]
        if not step_clock(flow, rng, total, until):
            return True
        ts, draw = np.int64(np.floor(clock[NOW] * 1e9)), rng.random() * total
        side = np.int64(1 if rng.random() < 0.5 else -1)
        if draw < 2.0 * limit:
            away = bisect(tables.unit_limit, rng.random()) + 1
            rest(floor, flow, ts, side, opposite(floor, side) - side * away, unit, owner)
        elif draw < 2.0 * (limit + market):
            if best_level(floor, side) >= 0:
                submit(floor, ts, MARKET, -side, _NONE, unit, owner)
        else:
            order = draw_live(floor, flow, rng)
            if order >= 0:
                cancel_at_distance(floor, tables, rng, ts, order, most)


@inlined
def opposite(floor, side):  # type: ignore[no-untyped-def]
    """Return the best price of the other side, ticks."""
    return np.int64(floor.marks[LAST_ASK] if side > 0 else floor.marks[LAST_BID])


@inlined
def cancel_at_distance(floor, tables, rng, ts, order, most):  # type: ignore[no-untyped-def]
    """Cancel an order with the rate of its distance from the opposite best price, thinned from the largest rate."""
    side = np.int64(floor.orders[order].side)
    away = max(side * (opposite(floor, side) - floor.orders[order].price), 1)
    if rng.random() * most < tables.unit_cancel[min(away, len(tables.unit_cancel)) - 1]:
        withdraw(floor, ts, order, _NONE)
