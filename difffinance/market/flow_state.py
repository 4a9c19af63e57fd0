"""What the kernels of every background flow work on: clock, parameters, fitted tables, live orders and an agenda."""

from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.handles import addressed, handle_type

# Places in `clock`: seconds since the opening, log of the value in ticks, time of the last answered seat (ns); a mid in
# ticks and its log, a spread in ticks and the chance of an order inside it: as they were when last asked for; the
# activity and until when it holds; seconds for which the value's move is not drawn yet; then the means of past signs of
# market orders, each with its own memory, from which the next sign is predicted. Of seats (`seat_lessons`): their share
# of recent market orders, what an order of theirs is worth less for it, how many excited the flow beyond the pace of
# the fitted day (`bursts`), and the parts of the log value that were learned from them and fade.
(NOW, LOG_VALUE, ANSWERED, KNOWN_MID, LOG_MID, KNOWN_SPREAD, INSIDE_CHANCE, LEVEL, LEVEL_UNTIL, UNSEEN,
 SIGNS) = range(11)  # fmt: skip
MEMORIES, FADES = 3, 6
SHARE, DISCOUNT, TAKES_AHEAD = range(SIGNS + MEMORIES, SIGNS + MEMORIES + 3)
FADING = TAKES_AHEAD + 1
# Places in `p`, the parameters; from INTRADAY on they concern every model.
(MARKET_RATE, LIMIT_RATE, CANCEL_RATE, PARTIAL, SIZE_LOG, SIZE_SD, QUEUE_SIZED, SWEEP, INSIDE, MEMORY, REFILL, LEAN,
 VALUE_SD, PULL, INTRADAY, SESSION, REACH, UNIT, KEPT, GAINS) = range(20)  # fmt: skip
GAP_SIGN, TAKE_PACE = GAINS + FADES, GAINS + FADES + 1

# One thing that is due: an order to arrive or to leave. `order`, `price` and `size` are those of what caused it.
ITEM = np.dtype(
    [("time", "f8"), ("order", "i8"), ("price", "i8"), ("size", "i8"), ("kind", "i4"), ("side", "i2"), ("near", "i2")]
)


# The numbers of a fitted flow as the kernels read them. Shares and quantiles are arrays of fixed length, so that a
# table is one record and costs a call nothing. Spreads fall in 7 buckets, queues in 3, new orders in 5 places (inside,
# at the touch, three behind it) and 3 sizes.
SPREADS, QUEUES, DEPTHS, GAPS, LIFE_SIZES, AGES = 7, 3, 300, 4, 3, 4
SIZE_PARTS = 40  # equal shares of orders by size; the last one, the tail, is cut into as many again
SIZES = 2 * SIZE_PARTS - 1
NEAR = 5.0  # a re-quote within that many ticks of the old price keeps near it
TABLES = np.dtype([
    ("spread_edges", "f8", (SPREADS - 1,)),  # ticks
    ("queue_edges", "f8", (QUEUES - 1,)),  # lots
    ("place", "f8", (SPREADS, 2)),  # chance of inside the spread; of inside or at the touch
    ("improve", "f8", (SPREADS,)),  # chance of one tick better, of those inside
    ("inside", "f8", (SPREADS, 13)),  # quantiles of the improvement over the room, of the others
    ("behind", "f8", (SPREADS, 26)),  # quantiles of ticks behind the touch
    ("size", "f8", (3, SIZES)),  # quantiles of lots: inside, at, behind (`pick`)
    ("own_size", "f8", (3, SIZES)),  # the same of orders that do not keep the size of the one that set them off
    ("take", "f8", (QUEUES, 2)),  # chance that a market order takes exactly the queue; that it takes at most it
    ("take_size", "f8", (SIZES,)),  # quantiles of lots of the other market orders
    ("life_edges", "f8", (2,)),  # ticks behind the touch that part the last three places
    ("life_sizes", "f8", (LIFE_SIZES - 1,)),  # lots
    ("life", "f8", (5, LIFE_SIZES, 25)),  # quantiles of log seconds to the cancellation, by place and size
    ("base", "f8", (3,)),  # spontaneous limit orders, cancellations, market orders per second at factor 1
    ("met", "f8", (3,)),  # mean factor that children of each kind meet: that of auctions
    ("add_factor", "f8", (SPREADS,)),  # rate of limit orders by spread over its largest
    ("take_edges", "f8", (SPREADS - 1,)),  # ticks of the spread, for market orders
    ("gap_edges", "f8", (GAPS - 1,)),  # ticks from the queue that a market order meets to the next one
    ("take_factor", "f8", (SPREADS, GAPS)),  # rate of market orders by both over its largest
    ("mean", "f8", (4,)),  # expected children of each kind of event; the last: of a market order that leaves some queue
    ("partial", "f8", (1,)),  # share of those among market orders: a limit of bursts, not read by kernels
    ("children", "f8", (4, 42)),  # cumulative shares of kind (3), side (same, other) and delay (at once, then decays)
    ("decay", "f8", (6,)),  # per second
    ("stay", "f8", (3,)),  # chance that a re-quote stays near the old price; that it, an order's child, keeps the size
    ("shift", "f8", (26,)),  # quantiles of ticks better than the old price
    ("join", "f8", (1,)),  # chance that a re-quote goes to the touch if that is a little better than the old price
    ("pick_ages", "f8", (AGES - 1,)),  # seconds
    # Chance of an order to be picked by a wave of cancellations, at the touch and then by `life_edges`, size and age.
    ("picked", "f8", (4, LIFE_SIZES, AGES)),  # the largest 1
    ("window", "f8", (1,)),  # ticks behind the touch up to which events set off cancellations
    ("state_rates", "f8", (SPREADS, QUEUES, 5)),  # per side and second: limit inside, at, behind, cancel, market order
    ("deep_cancel", "f8", (SPREADS,)),  # per second and order behind the touch
    ("unit_limit", "f8", (DEPTHS,)),  # cumulative shares by ticks from the opposite best price, from 1
    ("unit_cancel", "f8", (DEPTHS,)),  # per second and order, by the same ticks
    ("follow", "f8", (1,)),  # how much limit orders inside the spread, and cancellations, lean to the value
    ("worth", "f8", (1,)),  # log value per market order that was not expected
    ("sign_decay", "f8", (MEMORIES,)),  # what a mean of past signs keeps at each market order
    ("sign_weight", "f8", (MEMORIES,)),  # of the means in the predicted sign
    ("state_value", "f8", (5,)),  # of the queue-reactive model, not read by kernels: `FlowFit.value_of`
    ("unit", "f8", (3,)),  # limit orders per second and side, market orders per second and side, lots of an order
])  # fmt: skip


class Flow(NamedTuple):
    """State of the background flow."""

    clock: Any
    parents: Any  # (P, 2): sign and child orders left of each split order
    live: Any  # ids of resting background orders; dead ones leave when met
    live_count: Any  # (1,)
    born: Any  # when each of them came, seconds; only the fitted flow writes it
    p: Any
    agenda: Any  # (H,) binary heap of `ITEM`, earliest first
    due: Any  # (1,) items in it
    tables: Any  # (1,) `TABLES`
    distance_edges: Any  # (F + 1,) and where in it to look first, (cells + 1,): see `flow.draw_distance`
    distance_guide: Any
    run: Any  # the sealed kernel of the model


# Floor, flow, random numbers, until when (seconds), owner of the background's orders; whether it came so far.
RUN = types.boolean(types.int64, types.int64, types.npy_rng, types.float64, types.int64)
_WHOLE, _REAL = np.dtype(np.int64), np.dtype(float)
_FLOW = handle_type("Flow", (
    ("clock", _REAL, 1), ("parents", _WHOLE, 2), ("live", _WHOLE, 1), ("live_count", _WHOLE, 1), ("born", _REAL, 1),
    ("p", _REAL, 1), ("agenda", ITEM, 1), ("due", _WHOLE, 1), ("tables", TABLES, 1),
    ("distance_edges", _REAL, 1), ("distance_guide", np.dtype(np.int32), 1), ("run", types.FunctionType(RUN), -1),
))  # fmt: skip
flow_at, address_of_flow = addressed(_FLOW)


@lean_kernel
def activity(p, now):  # type: ignore[no-untyped-def]
    """Return the intensity at a time of the session over its mean; before the opening it is that of the opening."""
    x = min(max(now / p[SESSION], 0.0), 1.0)
    return 1.0 + p[INTRADAY] * (12.0 * (x - 0.5) ** 2 - 1.0)


@lean_kernel
def push(agenda, due, time, kind, side, near, order, price, size):  # type: ignore[no-untyped-def]
    """Put one item on the agenda, which must have room."""
    k = due[0]
    while k > 0:
        above = (k - 1) >> 1
        if agenda[above].time <= time:
            break
        agenda[k] = agenda[above]
        k = above
    item = agenda[k]
    item.time, item.kind, item.side, item.near = time, kind, side, near
    item.order, item.price, item.size = order, price, size
    due[0] += 1


@lean_kernel
def drop_first(agenda, due):  # type: ignore[no-untyped-def]
    """Take the earliest item off the agenda."""
    due[0] -= 1
    count, k = due[0], 0
    last = agenda[count]
    time = last.time
    while True:
        below = 2 * k + 1
        if below >= count:
            break
        if below + 1 < count and agenda[below + 1].time < agenda[below].time:
            below += 1
        if time <= agenda[below].time:
            break
        agenda[k] = agenda[below]
        k = below
    agenda[k] = agenda[count]


@inlined
def pick(quantiles, rng):  # type: ignore[no-untyped-def]
    """Return one of the quantiles: atoms of the distribution stay atoms. The last equal share is cut like the whole."""
    parts = (len(quantiles) + 1) // 2
    x = rng.random() * parts
    k = int(x)
    return quantiles[k if k < parts - 1 else k + int((x - k) * parts)]


@inlined
def between(quantiles, rng):  # type: ignore[no-untyped-def]
    """Return a draw from the distribution whose inverse is linear between the quantiles."""
    x = rng.random() * (len(quantiles) - 1)
    k = int(x)
    return quantiles[k] + (x - k) * (quantiles[k + 1] - quantiles[k])


@inlined
def bucket(edges, value):  # type: ignore[no-untyped-def]
    """Return how many edges are at or below the value."""
    k = 0
    while k < len(edges) and value >= edges[k]:
        k += 1
    return k


@inlined
def bisect(cumulative, draw):  # type: ignore[no-untyped-def]
    """Return the first place whose cumulative share is above the draw, the last one at most."""
    k, above = 0, len(cumulative) - 1
    while k < above:
        middle = (k + above) >> 1
        if draw < cumulative[middle]:
            above = middle
        else:
            k = middle + 1
    return k
