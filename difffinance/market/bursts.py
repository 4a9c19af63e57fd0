"""What events of the fitted flow set off: their children, and the answer to what seats do. Kernels.

Children wait on an agenda. See `fitted_flow` for what they are.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, kernel
from difffinance.market.flow_state import ANSWERED, NOW, TAKES_AHEAD, bisect, push
from difffinance.market.layout import BASE
from difffinance.market.matching import CANCEL, LIMIT
from difffinance.market.settlement import EVENTS

# Kinds of items on the agenda; the first three are also the kinds of events.
ADD, LEAVE, TAKE, EXPIRE, SPONTANEOUS = range(5)
PARTIAL = 3  # as a parent: a market order that leaves some of the queue that it meets
MOST_CHILDREN = 64  # of one event
AHEAD = 8.0  # market orders of seats that may excite beyond the day's pace, fewer and fewer from half of it on


@kernel
def spawn(agenda, due, table, now, rng, source, side, order, price, size, quiet):  # type: ignore[no-untyped-def]
    """Put the children of an event on the agenda; those of a `quiet` one have no market orders among them."""
    tables = table[0]
    children, delays = tables.children[source], len(tables.decay) + 1
    # A Poisson number by inversion.
    left, chance, count = rng.random(), np.exp(-tables.mean[source]), 0
    while left > chance and count < MOST_CHILDREN:
        left -= chance
        count += 1
        chance *= tables.mean[source] / count
    for _ in range(count):
        k = bisect(children, rng.random())
        delay = k % delays
        same = (k // delays) % 2 == 0
        target = k // (2 * delays)
        wait = 0.0 if delay == 0 else rng.exponential() / tables.decay[delay - 1]
        if target != TAKE or not quiet:
            near = 1 if same and source == LEAVE else (2 if same and source == ADD else 0)
            push(agenda, due, now + wait, target, side if same else -side, near, order, price, size)


@inlined
def excites(ahead, rng):  # type: ignore[no-untyped-def]
    """Return whether a market order of a seat excites the flow when `ahead` did beyond the pace of the fitted day."""
    return ahead < 0.5 * AHEAD or rng.random() < 2.0 - 2.0 * ahead / AHEAD


@inlined
def seat_message(event):  # type: ignore[no-untyped-def]
    """Return kind (SPONTANEOUS: none), book side and size of what a seat's message does to the book."""
    if event.side == 0:  # a call auction
        return SPONTANEOUS, np.int64(0), np.int64(0)
    if event.kind == CANCEL:
        return LEAVE if event.done > 0 else SPONTANEOUS, np.int64(event.side), event.done
    if event.done > 0:
        return TAKE, np.int64(-event.side), event.done
    rests = event.kind == LIMIT and event.code == reasons.OK
    return ADD if rests else SPONTANEOUS, np.int64(event.side), event.quantity


@kernel
def answer_seats(floor, flow, rng, owner):  # type: ignore[no-untyped-def]
    """Let the orders that seats have sent since the last background message excite the flow."""
    clock, last = flow.clock, floor.counts[EVENTS]
    first, counts = last, np.zeros((2, 2), np.int64)  # new orders, cancellations; bids, offers
    while first > 0 and floor.events[first - 1].owner != owner and floor.events[first - 1].ts > clock[ANSWERED]:
        first -= 1
        kind, side, _ = seat_message(floor.events[first])
        if kind <= LEAVE:
            counts[kind, 0 if side > 0 else 1] += 1
    again = np.minimum(counts[ADD], counts[LEAVE])
    silent = np.stack((again, again))
    for k in range(last - 1, first - 1, -1):
        event = floor.events[k]
        kind, side, size = seat_message(event)
        row = 0 if side > 0 else 1
        if kind <= LEAVE and silent[kind, row] > 0:
            silent[kind, row] -= 1
            continue
        if kind == TAKE:
            if not excites(clock[TAKES_AHEAD], rng):
                continue
            clock[TAKES_AHEAD] += 1.0
            met = floor.fills[event.first_fill].price - floor.top[BASE]
            kind = PARTIAL if floor.levels[row, met].quantity > 0 else TAKE
        if kind != SPONTANEOUS and flow.due[0] + 2 * MOST_CHILDREN < len(flow.agenda):
            spawn(flow.agenda, flow.due, flow.tables, clock[NOW], rng, kind, side, event.order_id, event.price, size,
                  True)  # fmt: skip
