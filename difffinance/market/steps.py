"""One step of the book market, whole in compiled code: decisions, arrivals, background flow, views. Kernels.

A running market is a `Market`; kernels take a `handles.Handle` of it. Kernels stop before a message that needs room
and say so; Python makes room and calls again: `progress` remembers how far the step came.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.np.random.generator_core import next_uint32

from difffinance.market.compiled import leading_zeros, lean_kernel
from difffinance.market.floor import act_all
from difffinance.market.flow import LOG_VALUE, activity, run_until
from difffinance.market.layout import BASE, FILLS, WIDTH
from difffinance.market.phases import carry_on
from difffinance.market.settlement import ASKED, EVENTS, MID, REFUSED, TAKEN, TRADED, mark, roomy
from difffinance.market.supervision import ACTIVE
from difffinance.market.views import ACTIVITY as VIEW_ACTIVITY
from difffinance.market.views import (
    DECAY,
    EXPONENT,
    PERMANENT,
    RISK_AVERSION,
    SIGMA,
    STEPS_LEFT,
    TEMPORARY,
    UNIT,
    copy_row,
    fill_row,
    observe,
    remember,
)

# Places in `progress`: steps done, whether one is under way, seats whose orders have arrived, and up to which of
# them the background has traded.
STEP, UNDER_WAY, ARRIVED, REACHED = range(4)
# Places in `settings`.
(STEP_SECONDS, STEPS, VOLUME, VOLATILITY, REVERSION, TEMPORARY_COST, COST_EXPONENT, PERMANENT_COST, AVERSION,
 PUBLIC_NOISE, PRIVATE_NOISE, REACH) = range(12)  # fmt: skip
# Values of `shown`: the signal of a seat.
NO_SIGNAL, PUBLIC_SIGNAL, PRIVATE_SIGNAL = range(3)
_ONE, _ALL = np.uint64(1), np.uint64(2**64 - 1)
_u = np.uint64  # an index without a sign needs no look at the end of its array
_ESTIMATE_MEMORY = 0.95  # of the public estimate's error, per step


class Market(NamedTuple):
    """Everything that a running book market of N seats is."""

    floor: Any
    flow: Any
    history: Any
    tables: Any
    pools: Any  # (N,) pool of each seat
    shown: Any  # (N,) signal of each seat
    watching: Any  # (N,) whether the opponents table of a seat is filled
    delay: Any  # (N,) whole steps that orders are on their way
    late: Any  # (N,) seconds, what is left of their way
    settings: Any
    progress: Any
    scale: Any  # (9,) what the views measure in
    signals: Any  # (N,)
    estimate: Any  # (1,) error of the public estimate
    rewards: Any  # (N,) quote currency
    actions: Any  # (N, 10) decided for this step
    valid: Any  # (N,)
    sent: Any  # (D, N, 10) on their way; row k arrives k steps from now (of one row: those of `actions`, not copied)
    sent_valid: Any  # (D, N)
    sent_at: Any  # (D, N, 2) step volume and mid that the seat knew when it decided
    turn: Any  # (N,) order of arrival
    rng_flow: Any
    rng_signal: Any
    rng_turn: Any


@lean_kernel
def look(market):  # type: ignore[no-untyped-def]
    """Fill the views of all seats and draw the signals of the coming step."""
    s, scale, floor, flow = market.settings, market.scale, market.floor, market.flow
    step = market.progress[STEP]
    level = activity(flow.p, (step + 0.5) * s[STEP_SECONDS])  # at the middle of the coming step
    # The part of the gap to the value that closes in a step grows with the activity of the flow that closes it.
    reversion = min(s[REVERSION] * level, 1.0)
    sigma = s[VOLATILITY] * np.sqrt(level)
    scale[UNIT], scale[SIGMA], scale[VIEW_ACTIVITY], scale[DECAY] = s[VOLUME] * level, sigma, level, reversion
    scale[TEMPORARY], scale[EXPONENT], scale[PERMANENT] = s[TEMPORARY_COST], s[COST_EXPONENT], s[PERMANENT_COST]
    scale[STEPS_LEFT], scale[RISK_AVERSION] = 1.0 - step / s[STEPS], s[AVERSION]
    gap = (flow.clock[LOG_VALUE] - np.log(floor.marks[MID])) / sigma
    estimate, rng = market.estimate, market.rng_signal
    estimate[0] = _ESTIMATE_MEMORY * estimate[0] + np.sqrt(1 - _ESTIMATE_MEMORY**2) * rng.standard_normal()
    public = (gap + s[PUBLIC_NOISE] * estimate[0]) * reversion
    for seat in range(len(market.shown)):
        private, shown = rng.standard_normal(), market.shown[seat]
        if shown == PRIVATE_SIGNAL:
            market.signals[seat] = (gap + s[PRIVATE_NOISE] * private) * reversion
        else:
            market.signals[seat] = public if shown == PUBLIC_SIGNAL else 0.0
    observe(floor, market.history, market.pools, market.watching, market.signals, scale, market.tables)


@lean_kernel
def open_market(market, seconds):  # type: ignore[no-untyped-def]
    """Let the background fill the book up to `seconds`; return False where arrays need room first."""
    if not covered(market) or not run_until(market.floor, market.flow, market.rng_flow, seconds, len(market.pools)):
        return False
    clear_step(market.floor)
    return True


@lean_kernel
def clear_step(floor):  # type: ignore[no-untyped-def]
    """Forget the log and the tally of the last step."""
    floor.counts[EVENTS] = floor.counts[TRADED] = floor.counts[TAKEN] = floor.top[FILLS] = 0
    for seat in range(len(floor.tally)):
        for k in range(ASKED + 1):
            floor.tally[seat, k] = 0
    if floor.counts[REFUSED] > 0:
        for seat in range(len(floor.refused)):
            fill_row(floor.refused[seat], 0)
        floor.counts[REFUSED] = 0


@lean_kernel
def covered(market):  # type: ignore[no-untyped-def]
    """Return whether the window of prices reaches as far as anybody sends from here."""
    top, mid, reach = market.floor.top, np.int64(market.floor.marks[MID]), np.int64(market.settings[REACH])
    return max(mid - 2 * reach, 1) >= top[BASE] and mid + 2 * reach < top[BASE] + top[WIDTH]


@lean_kernel
def draw_turn(rng, turn):  # type: ignore[no-untyped-def]
    """Fill `turn` with `rng.permutation(len(turn))`, which would make an array.

    A draw above `last` is drawn again, as numpy does: it swaps that seat with itself, so that nothing branches on it.
    """
    for k in range(len(turn)):
        turn[k] = k
    last = _u(max(len(turn) - 1, 0))
    while last > 0:
        at = _u(next_uint32(rng.bit_generator)) & (_ALL >> _u(leading_zeros(last)))
        good = at <= last
        at = at if good else last
        turn[last], turn[at] = turn[at], turn[last]
        last -= _u(good)


@lean_kernel
def begin(market):  # type: ignore[no-untyped-def]
    """Clear the log, send the decisions on their way and draw who comes first among equals."""
    clear_step(market.floor)
    mark(market.floor)
    turn, late = market.turn, market.late
    for seat in range(len(market.pools)):
        row = _u(market.delay[seat])
        if len(market.sent) > 1:
            copy_row(market.sent[row, seat], market.actions[seat])
            market.sent_valid[row, seat] = market.valid[seat]
        market.sent_at[row, seat, 0], market.sent_at[row, seat, 1] = market.scale[UNIT], market.floor.marks[MID]
    draw_turn(market.rng_turn, turn)
    # By time of arrival, and in the drawn order among equals (insertion keeps it).
    for k in range(1, len(turn)):
        seat, at = turn[k], _u(k)
        while at > 0 and late[_u(turn[at - _ONE])] > late[_u(seat)]:
            turn[at] = turn[at - _ONE]
            at -= _ONE
        turn[at] = seat
    market.progress[UNDER_WAY], market.progress[ARRIVED], market.progress[REACHED] = 1, 0, 0


@lean_kernel
def come_nearer(market):  # type: ignore[no-untyped-def]
    """Move the decisions that are on their way one step nearer."""
    last = len(market.sent) - 1
    for k in range(last):
        copy_row(market.sent_valid[k], market.sent_valid[k + 1])
        for seat in range(len(market.pools)):
            copy_row(market.sent[k, seat], market.sent[k + 1, seat])
            copy_row(market.sent_at[k, seat], market.sent_at[k + 1, seat])
    fill_row(market.sent_valid[last], False)


@lean_kernel
def advance(market):  # type: ignore[no-untyped-def]
    """Carry out one step; return False where arrays need room before it can go on."""
    floor, progress, turn, seats = market.floor, market.progress, market.turn, len(market.pools)
    seconds = market.settings[STEP_SECONDS]
    now = progress[STEP] * seconds
    if not progress[UNDER_WAY]:
        begin(market)
    while progress[ARRIVED] < seats:
        first = progress[ARRIVED]
        late = market.late[_u(turn[first])]
        last, messages = first, 0
        while last < seats and market.late[_u(turn[_u(last)])] == late:
            messages += 6 + floor.own_count[_u(turn[_u(last)])]
            last += 1
        if late > 0 and progress[REACHED] < last:
            if not run_until(floor, market.flow, market.rng_flow, now + late, seats):
                return False
            progress[REACHED] = last
        if not covered(market) or not roomy(floor, messages):
            return False
        ts = np.int64(np.rint((now + late) * 1e9))
        if len(market.sent) > 1:
            act_all(floor, ts, market.sent[0], turn[first:last], market.sent_valid[0], market.sent_at[0])
        else:  # nobody's orders take a whole step: they are those of now
            act_all(floor, ts, market.actions, turn[first:last], market.valid, market.sent_at[0])
        progress[ARRIVED] = last
    end = (progress[STEP] + 1) * seconds
    if not run_until(floor, market.flow, market.rng_flow, end, seats):
        return False
    if floor.rules[ACTIVE]:
        carry_on(floor, np.int64(np.floor(end * 1e9)))
    if len(market.sent) > 1:
        come_nearer(market)
    remember(floor, market.history)
    progress[STEP] += 1
    progress[UNDER_WAY] = 0
    for seat in range(seats):
        market.rewards[seat] = -market.tables.wealth[seat]
    look(market)
    for seat in range(seats):
        market.rewards[seat] += market.tables.wealth[seat]
    return True
