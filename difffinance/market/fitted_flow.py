"""Background flow fitted on order-book days: self-exciting arrivals, orders with lives of their own. Kernels.

- Limit orders, cancellations and market orders are a marked Hawkes process. Each event has a Poisson number of
  children; a child's kind, side (that of its parent's book side or the other) and exponential delay are drawn from
  fitted shares. Simulated by its branching: children wait on an agenda.
- An order that is due, spontaneous or a child, comes with a chance that depends on the book of that moment: limit
  orders by the spread, market orders by the spread and the gap behind the queue that they meet: takers wait for a
  quote that stands out, and bursts of them do not walk the book.
- A limit order's place depends on the spread, its size on the place. A child of a cancellation on its own side is a
  re-quote: with fitted chances it keeps near the old price, or goes to the touch nearby, and keeps the old size.
- Each order has a life, drawn from a heavy-tailed distribution by its place and size. Besides, the process cancels
  orders near the touch, by place, size and age: waves take young orders.
- Market orders take the best queue, less or more with chances that depend on its size. One that leaves some of it has
  other children than one that takes it all: others come for the rest. A wall, a queue larger than every order of the
  fitted day, is not taken at once, and market orders on it set off no others: it would never be gone, nor they.
- What seats do excites limit orders and cancellations, not market orders: signs follow signs because orders are split.
- The fit describes all orders of a day, and seats are a part of it. Seats that quote anew tell the market nothing: of
  their new orders and cancellations of a side, only those that more than replace each other excite the flow. Their
  market orders do as long as they come no faster, for long, than all those of the fitted day: beside seats that take
  all day the flow comes up to 1.4 times as fast, and refills what they take.
- The value is a geometric Brownian motion that also learns from market orders. One of the background moves it for good
  by what was unexpected in its sign, given the signs before it (`calibration.value_learning`) and the gap between value
  and mid. One of a seat is worth as much when it arrives, and that fades (`seat_lessons`).
- The sides of spontaneous events, of limit orders inside the spread and of waves of cancellations lean to the value,
  which moves the quotes after an order and brings back those that only walked the book.
"""

import numpy as np

from difffinance.market.bursts import ADD, EXPIRE, LEAVE, MOST_CHILDREN, PARTIAL, SPONTANEOUS, TAKE, answer_seats, spawn
from difffinance.market.compiled import inlined, kernel
from difffinance.market.floor import submit, withdraw
from difffinance.market.flow_state import (
    ANSWERED,
    GAP_SIGN,
    INTRADAY,
    LEAN,
    LOG_VALUE,
    MEMORIES,
    NEAR,
    NOW,
    PULL,
    REACH,
    SIGNS,
    SIZES,
    TAKE_PACE,
    TAKES_AHEAD,
    VALUE_SD,
    activity,
    between,
    bucket,
    drop_first,
    pick,
    push,
)
from difffinance.market.layout import ASK, BASE, BID, FILLS, HIGH, LOW, PHASE, WIDTH, next_down, next_up
from difffinance.market.matching import CONTINUOUS, LIMIT, MARKET
from difffinance.market.seat_lessons import forget, hear_seats
from difffinance.market.settlement import LAST_ASK, LAST_BID, MID, roomy

_NONE = np.int64(0)  # no price, or the whole quantity


@kernel
def run_fitted(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Let background messages arrive up to the time `until` (seconds); return False where arrays need room first."""
    clock, agenda, due = flow.clock, flow.agenda, flow.due
    if not enough_room(floor, flow):
        return False
    if due[0] == 0:
        push(agenda, due, clock[NOW], SPONTANEOUS, 0, 0, -1, 0, 0)
    heard = hear_seats(floor, clock, flow.p, owner)
    answer_seats(floor, flow, rng, owner)
    clock[ANSWERED] = heard
    while True:
        if not enough_room(floor, flow):
            return False
        time = agenda[0].time
        if time > until:
            advance(flow, rng, until)
            return True
        advance(flow, rng, time)
        kind, side, near = agenda[0].kind, np.int64(agenda[0].side), agenda[0].near
        order, price, size = agenda[0].order, agenda[0].price, agenda[0].size
        drop_first(agenda, due)
        ts = np.int64(np.floor(time * 1e9))
        if kind == SPONTANEOUS:
            kind, side = spontaneous(floor, flow, rng)
            order, near = -1, 0
        if kind < EXPIRE and rng.random() >= ease(floor, flow.tables[0], kind, side):
            continue
        if kind == ADD:
            add(floor, flow, rng, ts, owner, side, near, price, size)
        elif kind == LEAVE:
            leave(floor, flow, rng, ts, toward(floor, flow, rng, side, -1, flow.tables[0].follow[0]))
        elif kind == TAKE:
            take(floor, flow, rng, ts, owner, side)
        elif kind == EXPIRE and floor.orders[order].quantity > 0:
            remove(floor, flow, rng, ts, order)


@inlined
def enough_room(floor, flow):  # type: ignore[no-untyped-def]
    """Return whether two messages, their children and every price in reach have room."""
    reach, mid, top = flow.p[REACH], floor.marks[MID], floor.top
    return (
        roomy(floor, 2)
        and flow.live_count[0] + 1 < min(len(flow.live), len(flow.born))
        and flow.due[0] + 2 * MOST_CHILDREN < len(flow.agenda)
        and max(mid - reach, 1) >= top[BASE]
        and mid + reach < top[BASE] + top[WIDTH]
    )


@inlined
def advance(flow, rng, time):  # type: ignore[no-untyped-def]
    """Move the clock and the value to a time."""
    clock = flow.clock
    passed = max(time - clock[NOW], 0.0)
    if passed > 0.0 and flow.p[VALUE_SD] > 0.0:
        clock[LOG_VALUE] += flow.p[VALUE_SD] * np.sqrt(passed) * rng.standard_normal()
    clock[NOW] += passed
    if clock[TAKES_AHEAD] > 0.0:
        clock[TAKES_AHEAD] = max(clock[TAKES_AHEAD] - flow.p[TAKE_PACE] * passed, 0.0)


@inlined
def spontaneous(floor, flow, rng):  # type: ignore[no-untyped-def]
    """Schedule the next spontaneous event and return kind and side of this one; kind SPONTANEOUS: thinned away."""
    base, p, clock = flow.tables[0].base, flow.p, flow.clock
    total, most = base[0] + base[1] + base[2], 1.0 + 2.0 * max(p[INTRADAY], 0.0)
    push(flow.agenda, flow.due, clock[NOW] + rng.exponential() / (total * most), SPONTANEOUS, 0, 0, -1, 0, 0)
    if rng.random() * most > activity(p, clock[NOW]):
        return SPONTANEOUS, np.int64(0)
    draw = rng.random() * total
    kind = ADD if draw < base[0] else (LEAVE if draw < base[0] + base[1] else TAKE)
    # A value above the mid brings bids, and takes and thins out offers.
    side = np.int64(1 if rng.random() < 0.5 + 0.5 * p[LEAN] * pull(floor, flow) else -1)
    return kind, side if kind == ADD else -side


@inlined
def pull(floor, flow):  # type: ignore[no-untyped-def]
    """Return how strongly the value pulls the quotes, from -1 to 1 (up)."""
    return np.tanh((flow.clock[LOG_VALUE] - np.log(floor.marks[MID])) / flow.p[PULL])


@inlined
def toward(floor, flow, rng, side, sense, strength):  # type: ignore[no-untyped-def]
    """Return the side, or now and then the one that brings quotes to the value: for `sense` 1 bids if it is above."""
    pulled = pull(floor, flow)
    if rng.random() < strength * abs(pulled):
        return np.int64(sense if pulled > 0.0 else -sense)
    return side


@inlined
def learn(flow, sign, pulled):  # type: ignore[no-untyped-def]
    """Let the value learn from the sign of a market order, as far as neither past signs nor the gap told it."""
    clock, tables, expected = flow.clock, flow.tables[0], flow.p[GAP_SIGN] * pulled
    for k in range(MEMORIES):
        expected += tables.sign_weight[k] * clock[SIGNS + k]
        clock[SIGNS + k] += (1.0 - tables.sign_decay[k]) * (sign - clock[SIGNS + k])
    clock[LOG_VALUE] += tables.worth[0] * (sign - min(max(expected, -1.0), 1.0))


@inlined
def ease(floor, tables, kind, side):  # type: ignore[no-untyped-def]
    """Return the chance that an event that is due happens as the book stands.

    In a call auction quotes cross, at a fixed price nothing parts them: the average chance, or bursts would never end.
    """
    marks, top = floor.marks, floor.top
    spread = marks[LAST_ASK] - marks[LAST_BID]
    if top[PHASE] != CONTINUOUS or spread < 1.0:
        return tables.met[kind]
    if kind == ADD:
        return tables.add_factor[bucket(tables.spread_edges, spread)]
    if kind != TAKE:
        return 1.0
    if side > 0:
        gap = top[BID] - next_down(floor.bits[BID], top[BID] - 1)
    else:
        gap = next_up(floor.bits[ASK], top[ASK] + 1, top[WIDTH]) - top[ASK]
    return tables.take_factor[bucket(tables.take_edges, spread), bucket(tables.gap_edges, np.float64(gap))]


@inlined
def draw_class(tables, rng, spread):  # type: ignore[no-untyped-def]
    """Draw where a limit order goes at that spread: 0 inside, 1 at the touch, 2 behind."""
    state, draw = bucket(tables.spread_edges, spread), rng.random()
    return 0 if draw < tables.place[state, 0] else (1 if draw < tables.place[state, 1] else 2)


@inlined
def place(floor, tables, rng, side, where):  # type: ignore[no-untyped-def]
    """Draw a price of that class; a spread without room has no inside. Return the price and its class."""
    marks = floor.marks
    spread, own = marks[LAST_ASK] - marks[LAST_BID], marks[LAST_BID] if side > 0 else marks[LAST_ASK]
    state = bucket(tables.spread_edges, spread)
    if where == 0 and spread > 1.0:
        better = 1.0
        if rng.random() >= tables.improve[state] and spread > 2.0:
            better = min(2.0 + np.floor(between(tables.inside[state], rng) * (spread - 2.0)), spread - 1.0)
        return np.int64(own + side * better), 0
    if where < 2:
        return np.int64(own), 1
    return np.int64(own - side * max(np.floor(between(tables.behind[state], rng) + 0.5), 1.0)), 2


@inlined
def class_of(floor, side, price):  # type: ignore[no-untyped-def]
    """Return the class of a price: 0 inside, 1 at the touch, 2 behind; -1 where it would cross."""
    marks = floor.marks
    behind = marks[LAST_BID] - price if side > 0 else price - marks[LAST_ASK]
    if behind < 0 and -behind >= marks[LAST_ASK] - marks[LAST_BID]:
        return -1
    return 0 if behind < 0 else (1 if behind == 0 else 2)


@inlined
def rest(floor, flow, ts, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Send a limit order if its price may be sent; remember it; return its id or -1."""
    top = floor.top
    if price < max(top[LOW], 1) or price > top[HIGH] or not 0 <= price - top[BASE] < top[WIDTH]:
        return np.int64(-1)
    order = submit(floor, ts, LIMIT, side, price, quantity, owner)
    if floor.orders[order].quantity == 0:
        return np.int64(-1)
    flow.live[flow.live_count[0]], flow.born[flow.live_count[0]] = order, flow.clock[NOW]
    flow.live_count[0] += 1
    return order


@inlined
def add(floor, flow, rng, ts, owner, side, near, old_price, old_size):  # type: ignore[no-untyped-def]
    """Place one limit order and give it a life; `near` 1: it re-quotes a cancelled order, 2: a child on its side."""
    tables, marks = flow.tables[0], floor.marks
    if near == 1 and rng.random() < tables.stay[0]:
        price = np.int64(marks[LAST_BID] if side > 0 else marks[LAST_ASK])
        if not 0 < side * (price - old_price) <= NEAR or rng.random() >= tables.join[0]:
            price = old_price + side * np.int64(np.floor(between(tables.shift, rng) + 0.5))
        where = class_of(floor, side, price)
        if where < 0:
            return
    else:
        where = draw_class(tables, rng, marks[LAST_ASK] - marks[LAST_BID])
        if where == 0:
            side = toward(floor, flow, rng, side, 1, tables.follow[0])
        price, where = place(floor, tables, rng, side, where)
    quantity = np.int64(pick(tables.own_size[where], rng))
    if near > 0 and old_size > 0 and rng.random() < tables.stay[near]:
        quantity = old_size
    behind = marks[LAST_BID] - price if side > 0 else price - marks[LAST_ASK]
    order = rest(floor, flow, ts, side, price, quantity, owner)
    if order >= 0:
        kind = where if where < 2 else 2 + bucket(tables.life_edges, behind)
        life = np.exp(between(tables.life[kind, bucket(tables.life_sizes, quantity)], rng))
        push(flow.agenda, flow.due, flow.clock[NOW] + life, EXPIRE, side, 0, order, price, quantity)
        spawn(flow.agenda, flow.due, flow.tables, flow.clock[NOW], rng, ADD, side, order, price, quantity, False)


@inlined
def remove(floor, flow, rng, ts, order):  # type: ignore[no-untyped-def]
    """Cancel a resting order and let that excite the flow."""
    side, price, size = np.int64(floor.orders[order].side), floor.orders[order].price, floor.orders[order].quantity
    withdraw(floor, ts, order, _NONE)
    spawn(flow.agenda, flow.due, flow.tables, flow.clock[NOW], rng, LEAVE, side, order, price, size, False)


@inlined
def leave(floor, flow, rng, ts, side):  # type: ignore[no-untyped-def]
    """Cancel one of the orders of a side near the touch; each is as likely as what is left of it, age and place say.

    The chances were fitted by sizes at birth (`calibration.flow_tables.picked_table`). One pass over the list, which is
    short, drops the dead and chooses each order with its share of the chances.
    """
    marks, tables, live, born = floor.marks, flow.tables[0], flow.live, flow.born
    count, total, chosen, k = flow.live_count[0], 0.0, np.int64(-1), 0
    while k < count:
        order = floor.orders[live[k]]
        if order.quantity == 0:
            count -= 1
            live[k], born[k] = live[count], born[count]
            continue
        behind = marks[LAST_BID] - order.price if side > 0 else order.price - marks[LAST_ASK]
        if order.side == side and behind <= tables.window[0]:
            where = 0 if behind < 1.0 else 1 + bucket(tables.life_edges, behind)
            age = bucket(tables.pick_ages, flow.clock[NOW] - born[k])
            chance = tables.picked[where, bucket(tables.life_sizes, order.quantity), age]
            total += chance
            if rng.random() * total < chance:
                chosen = live[k]
        k += 1
    flow.live_count[0] = count
    if chosen >= 0:
        remove(floor, flow, rng, ts, chosen)


@inlined
def is_wall(tables, queue):  # type: ignore[no-untyped-def]
    """Return whether a queue is larger than every order of the fitted day."""
    largest = tables.take_size[SIZES - 1]
    for where in range(len(tables.size)):
        largest = max(largest, tables.size[where, SIZES - 1])
    return queue > largest


@inlined
def take_quantity(tables, rng, queue):  # type: ignore[no-untyped-def]
    """Draw the size of a market order that meets that queue; no single one takes a wall."""
    if is_wall(tables, queue):
        return np.int64(pick(tables.take_size, rng))
    state, draw = bucket(tables.queue_edges, queue), rng.random()
    if draw < tables.take[state, 0]:
        return queue
    if draw < tables.take[state, 1]:
        return min(np.int64(pick(tables.take_size, rng)), max(queue - 1, 1))
    return queue + np.int64(pick(tables.take_size, rng))


@inlined
def take(floor, flow, rng, ts, owner, side):  # type: ignore[no-untyped-def]
    """Send a market order against the book side `side`."""
    best = floor.top[BID] if side > 0 else floor.top[ASK]
    if best < 0 or best >= floor.top[WIDTH]:
        return
    queue = floor.levels[0 if side > 0 else 1, best].quantity
    quantity = take_quantity(flow.tables[0], rng, queue)
    fills, pulled = floor.top[FILLS], pull(floor, flow)
    order = submit(floor, ts, MARKET, -side, _NONE, quantity, owner)
    if floor.top[FILLS] > fills:  # not where a halt or a band kept it from trading
        learn(flow, -side, pulled)
        forget(flow.clock)
    kind, price, wall = TAKE if quantity >= queue else PARTIAL, best + floor.top[BASE], is_wall(flow.tables[0], queue)
    spawn(flow.agenda, flow.due, flow.tables, flow.clock[NOW], rng, kind, side, order, price, quantity, wall)
