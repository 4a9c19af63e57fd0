"""Fills the published tables of `market/observation.py` for every seat. Kernels.

Prices are in ticks and quantities in lots on the way in; on the way out moves are in sigmas (of one step) and
quantities in step volumes, so that the numbers mean the same on any instrument and on bars.
"""

from typing import Any, NamedTuple

import numpy as np

from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.layout import ASK, BASE, BID, HIGH, LOW, WIDTH, read_depth
from difffinance.market.observation import CONSTRAINT_INDEX, KINDS, NO_LIMIT, OPPONENT_INDEX, STATE_INDEX
from difffinance.market.settlement import (
    BOUGHT,
    BUY_FEE,
    CAPITAL,
    LAST_ASK,
    LAST_BID,
    LEVERAGE,
    MAX_OPEN,
    MAX_ORDER,
    MAX_POSITION,
    MID,
    MIN_POSITION,
    MONEY,
    PASSIVE,
    SELL_FEE,
    SOLD,
    T_PLUS_ONE,
    TAKEN,
    TRADED,
)
from difffinance.market.supervision import CLOSED, PAUSED, PHASE, REOPENING, SPECIAL_QUOTE, STEP, UNTIL, tick_at

# Places in `scale`, what the numbers are measured in and what is known about the flow.
UNIT, SIGMA, ACTIVITY, DECAY, TEMPORARY, EXPONENT, PERMANENT, STEPS_LEFT, RISK_AVERSION = range(9)
# Columns of `memory`: exponential means of signed, unsigned and passive volume, lots.
FLOW, VOLUME, PASSIVE_VOLUME = range(3)
_KEEP = 0.5 ** (1 / 5)  # half-life of 5 steps
_LEVELS = 5
_NUMBERS = len(OPPONENT_INDEX) // len(KINDS)
_COUNT, _BUYS, _SELLS, _FLOW, _ACTIVITY, _BIDS, _ASKS, _PASSIVE = range(8)
_KINDS = len(KINDS)
_STATE, _CONSTRAINTS = len(STATE_INDEX), len(CONSTRAINT_INDEX)
_MID_BAND = 1 << 59

_S_SIGNAL, _S_DECAY, _S_VOLATILITY, _S_VOLUME = (
    STATE_INDEX["signal"], STATE_INDEX["signal_decay"], STATE_INDEX["volatility"], STATE_INDEX["relative_volume"]
)  # fmt: skip
_S_POSITION, _S_RISK, _S_STEPS, _S_OPEN = (
    STATE_INDEX["position"], STATE_INDEX["risk_aversion"], STATE_INDEX["steps_left"], STATE_INDEX["open_buys"]
)  # fmt: skip
_S_IMPACT, _S_LINEAR, _S_CASH, _S_PROFIT, _S_CAPITAL = (
    STATE_INDEX["temporary_impact"], STATE_INDEX["linear_cost"], STATE_INDEX["cash"], STATE_INDEX["profit"],
    STATE_INDEX["capital"],
)  # fmt: skip
_S_SPREAD, _S_MICRO, _S_IMBALANCE, _S_DEPTH = (
    STATE_INDEX["spread"], STATE_INDEX["microprice"], STATE_INDEX["imbalance"], STATE_INDEX["bid_depth_1"]
)  # fmt: skip
_S_RETURN, _S_FLOW, _S_TRADED, _S_UPPER, _S_LOWER = (
    STATE_INDEX["return_1"], STATE_INDEX["flow_1"], STATE_INDEX["volume_1"], STATE_INDEX["upper_limit"],
    STATE_INDEX["lower_limit"],
)  # fmt: skip
_C = CONSTRAINT_INDEX
_C_PARTICIPATION, _C_MIN, _C_MAX, _C_SELLABLE, _C_BUYABLE = (
    _C["max_participation"], _C["min_position"], _C["max_position"], _C["sellable"], _C["buyable"]
)  # fmt: skip
_C_UPPER, _C_LOWER, _C_LOT, _C_TICK, _C_T1, _C_SHORT = (
    _C["upper_limit"], _C["lower_limit"], _C["lot"], _C["tick"], _C["t_plus_one"], _C["short_allowed"]
)  # fmt: skip
_S_HALTED, _C_HALTED = STATE_INDEX["halted"], _C["halted"]
_C_BUY_FEE, _C_SELL_FEE, _C_ORDER, _C_OPEN, _C_LEVERAGE, _C_LIMIT, _C_CAN_BUY, _C_CAN_SELL = (
    _C["buy_fee_bps"], _C["sell_fee_bps"], _C["max_order"], _C["max_open"], _C["max_leverage"], _C["price_limit"],
    _C["can_buy"], _C["can_sell"],
)  # fmt: skip


class History(NamedTuple):
    """What the seats remember of the last steps, newest first."""

    returns: Any  # (10,) log returns of the mid
    flow: Any  # (5,) signed volume of takers, lots
    volume: Any  # (3,) lots
    last_mid: Any  # (1,) ticks
    memory: Any  # (N, 3)


class Tables(NamedTuple):
    """One row a seat."""

    state: Any  # (N, 50)
    opponents: Any  # (N, 40)
    constraints: Any  # (N, 20)
    depth: Any  # (2, 5, 2) ticks and lots
    wealth: Any  # (N,) quote currency, inventory at the mid
    pooled: Any  # (kinds + 1, 8) sums over the seats of each kind; the last row is for sums under way
    everybody: Any  # (40,) the opponent numbers with all seats in them


def pools() -> tuple[np.ndarray, np.ndarray]:
    """Return empty `pooled` and `everybody`."""
    return np.zeros((_KINDS + 1, _NUMBERS)), np.zeros(_KINDS * _NUMBERS)


@inlined
def copy_row(row, source):  # type: ignore[no-untyped-def]
    """Write `source` into `row`; an assignment of arrays would look for overlap and make a copy."""
    for k in range(len(row)):
        row[k] = source[k]


@inlined
def copy_first(row, source, count):  # type: ignore[no-untyped-def]
    """Write the first numbers of `source` into `row`; a count that the compiler knows needs no loop."""
    for k in range(count):
        row[k] = source[k]


@inlined
def fill_row(row, value):  # type: ignore[no-untyped-def]
    """Write `value` everywhere in `row`."""
    for k in range(len(row)):
        row[k] = value


@lean_kernel
def push(values, newest):  # type: ignore[no-untyped-def]
    """Put `newest` in front and forget the oldest."""
    for k in range(len(values) - 1, 0, -1):
        values[k] = values[k - 1]
    values[0] = newest


@lean_kernel
def remember(floor, history):  # type: ignore[no-untyped-def]
    """Close the step: push its return, flow and volume, and update the exponential means of each seat."""
    push(history.returns, np.log(floor.marks[MID] / history.last_mid[0]))
    history.last_mid[0] = floor.marks[MID]
    push(history.flow, np.float64(floor.counts[TAKEN]))
    push(history.volume, np.float64(floor.counts[TRADED]))
    for seat in range(len(history.memory)):
        tally, memory = floor.tally[seat], history.memory[seat]
        memory[FLOW] = _KEEP * memory[FLOW] + (1 - _KEEP) * (tally[BOUGHT] - tally[SOLD])
        memory[VOLUME] = _KEEP * memory[VOLUME] + (1 - _KEEP) * (tally[BOUGHT] + tally[SOLD])
        memory[PASSIVE_VOLUME] = _KEEP * memory[PASSIVE_VOLUME] + (1 - _KEEP) * tally[PASSIVE]


@lean_kernel
def observe(floor, history, kinds, watching, signals, scale, tables):  # type: ignore[no-untyped-def]
    """Fill all tables from the floor as it stands; the opponents only of seats that are `watching` them."""
    read_depth(floor, tables.depth)
    observe_public(floor, history, scale, tables.depth, tables.state[0])
    observe_venue(floor, scale, tables.state[0], tables.constraints[0])
    per_unit, per_sigma, mid = 1.0 / scale[UNIT], 1.0 / scale[SIGMA], floor.marks[MID]
    per_mid, decay = 1.0 / mid, scale[DECAY]
    half_spread = (floor.marks[LAST_ASK] - floor.marks[LAST_BID]) * per_mid / 2
    shared = (decay, half_spread, per_unit, per_sigma)
    for seat in range(len(kinds)):
        money = floor.rates[seat, MONEY]
        tables.wealth[seat] = (floor.cash[seat] + floor.inventory[seat] * mid) * money - floor.fees[seat]
        if seat > 0:  # what is the same for all; the rest is written over
            copy_first(tables.state[seat], tables.state[0], _STATE)
            copy_first(tables.constraints[seat], tables.constraints[0], _CONSTRAINTS)
        in_lots = tables.wealth[seat] * per_mid / money
        observe_own(floor, seat, signals[seat], in_lots, shared, tables)
        observe_constraints(floor, seat, in_lots, per_unit, tables.constraints[seat])
    observe_opponents(floor, history, kinds, watching, scale, tables)


@lean_kernel
def observe_opponents(floor, history, kinds, watching, scale, tables):  # type: ignore[no-untyped-def]
    """Fill the 40 numbers of every seat that is watching."""
    pooled, everybody, pending = tables.pooled, tables.everybody, True
    for seat in range(len(kinds)):
        if not watching[seat]:
            continue
        if pending:
            pool(floor, history, kinds, pooled)
            for kind in range(_KINDS):
                share_out(pooled[kind], scale, everybody, kind * _NUMBERS)
            pending = False
        copy_row(tables.opponents[seat], everybody)
        row = pooled[_KINDS]
        copy_row(row, pooled[kinds[seat]])
        add_seat(row, floor, history, seat, -1.0)  # the others of its kind
        share_out(row, scale, tables.opponents[seat], kinds[seat] * _NUMBERS)


@lean_kernel
def observe_public(floor, history, scale, depth, s):  # type: ignore[no-untyped-def]
    """Fill those of the 50 numbers that are the same for all seats."""
    unit, sigma, mid = scale[UNIT], scale[SIGMA], floor.marks[MID]
    s[_S_VOLATILITY], s[_S_VOLUME] = sigma, scale[ACTIVITY]
    s[_S_RISK], s[_S_STEPS] = scale[RISK_AVERSION], scale[STEPS_LEFT]
    s[_S_IMPACT], s[_S_IMPACT + 1], s[_S_IMPACT + 2] = scale[TEMPORARY], scale[EXPONENT], scale[PERMANENT]
    s[_S_SPREAD] = (floor.marks[LAST_ASK] - floor.marks[LAST_BID]) / mid / sigma
    bid, ask = depth[0, 0, 1], depth[1, 0, 1]
    s[_S_IMBALANCE] = (bid - ask) / (bid + ask) if bid + ask > 0 else 0.0
    # The mid weighted by the other side's quantity, less the mid: imbalance / 2 of the spread.
    s[_S_MICRO] = s[_S_IMBALANCE] / 2 if bid > 0 and ask > 0 else 0.0
    for k in range(_LEVELS):
        s[_S_DEPTH + k], s[_S_DEPTH + _LEVELS + k] = depth[0, k, 1] / unit, depth[1, k, 1] / unit
    for k in range(len(history.returns)):
        s[_S_RETURN + k] = history.returns[k] / sigma
    for k in range(len(history.flow)):
        s[_S_FLOW + k] = history.flow[k] / unit
    for k in range(len(history.volume)):
        s[_S_TRADED + k] = history.volume[k] / unit
    s[_S_UPPER], s[_S_LOWER] = band_distances(floor, sigma)
    s[_S_HALTED] = 1.0 if halted(floor) else 0.0


@inlined
def observe_own(floor, seat, signal, in_lots, shared, tables):  # type: ignore[no-untyped-def]
    """Fill those of the 50 numbers that are the seat's own; `in_lots` is its wealth in lots at the mid."""
    decay, half_spread, per_unit, per_sigma = shared
    s, rates, wealth, held = tables.state[seat], floor.rates[seat], tables.wealth[seat], floor.inventory[seat]
    s[_S_SIGNAL], s[_S_DECAY] = signal, decay if signal != 0.0 else 0.0
    s[_S_POSITION], s[_S_CAPITAL] = held * per_unit, in_lots * per_unit
    s[_S_LINEAR] = (half_spread + (rates[BUY_FEE] + rates[SELL_FEE]) / 2) * per_sigma
    s[_S_CASH] = (floor.cash[seat] * rates[MONEY] - floor.fees[seat]) / wealth if wealth > 0 else 0.0
    s[_S_PROFIT] = wealth / rates[CAPITAL] - 1
    s[_S_OPEN], s[_S_OPEN + 1] = floor.resting[seat, 0] * per_unit, floor.resting[seat, 1] * per_unit


@lean_kernel
def band_distances(floor, sigma):  # type: ignore[no-untyped-def]
    """Return the distances from the mid up and down to the daily limits, in sigmas."""
    low, high, mid = floor.top[LOW], floor.top[HIGH], floor.marks[MID]
    if high > _MID_BAND:
        return NO_LIMIT, NO_LIMIT
    return min((high - mid) / mid / sigma, NO_LIMIT), min((mid - low) / mid / sigma, NO_LIMIT)


@lean_kernel
def observe_venue(floor, scale, s, c):  # type: ignore[no-untyped-def]
    """Fill those of the 20 numbers that are the same for all seats; `s` is a state that shows limits and halts."""
    c[_C_UPPER], c[_C_LOWER], c[_C_HALTED] = s[_S_UPPER], s[_S_LOWER], s[_S_HALTED]
    c[_C_LOT] = floor.rules[STEP] / scale[UNIT]
    c[_C_TICK] = tick_at(floor.rules, floor.marks[MID]) / floor.marks[MID] / scale[SIGMA]
    c[_C_LIMIT] = 1.0 if floor.top[HIGH] < _MID_BAND else 0.0
    # Locked at a limit: the best price of one side stands at the limit and the other side is empty.
    locked_up = floor.top[ASK] >= floor.top[WIDTH] and floor.top[BID] + floor.top[BASE] == floor.top[HIGH]
    locked_down = floor.top[BID] < 0 and floor.top[ASK] + floor.top[BASE] == floor.top[LOW]
    stopped = s[_S_HALTED] > 0.0
    c[_C_CAN_BUY], c[_C_CAN_SELL] = 0.0 if locked_up or stopped else 1.0, 0.0 if locked_down or stopped else 1.0


@inlined
def observe_constraints(floor, seat, in_lots, per_unit, c):  # type: ignore[no-untyped-def]
    """Fill those of the 20 numbers that are the seat's own; `in_lots` is its wealth in lots at the mid."""
    limits, rates, held = floor.limits[seat], floor.rates[seat], floor.inventory[seat]
    buys, sells = floor.resting[seat, 0], floor.resting[seat, 1]
    reach = rates[LEVERAGE] * in_lots
    c[_C_PARTICIPATION] = min(limits[MAX_ORDER] * per_unit, NO_LIMIT)
    c[_C_ORDER] = c[_C_PARTICIPATION]
    c[_C_OPEN] = min(limits[MAX_OPEN] * per_unit, NO_LIMIT)
    c[_C_MIN] = max(limits[MIN_POSITION] * per_unit, -NO_LIMIT)
    c[_C_MAX] = min(limits[MAX_POSITION] * per_unit, NO_LIMIT)
    free = held - floor.bought_today[seat] if limits[T_PLUS_ONE] else held - limits[MIN_POSITION]
    # A seller may go short as far as leverage lets it, a buyer long; what already rests is taken off.
    c[_C_SELLABLE] = max(min((min(free, held + max(reach, 0.0)) - sells) * per_unit, NO_LIMIT), 0.0)
    c[_C_BUYABLE] = max(min((min(limits[MAX_POSITION], reach) - held - buys) * per_unit, NO_LIMIT), 0.0)
    c[_C_T1] = limits[T_PLUS_ONE]
    c[_C_SHORT] = 1.0 if limits[MIN_POSITION] < 0 else 0.0
    c[_C_BUY_FEE], c[_C_SELL_FEE] = rates[BUY_FEE] * 1e4, rates[SELL_FEE] * 1e4
    c[_C_LEVERAGE] = rates[LEVERAGE]


@lean_kernel
def halted(floor):  # type: ignore[no-untyped-def]
    """Return whether no order trades now: a pause, an auction but the closing one, a special quote, the end."""
    phase = floor.session[PHASE]
    return phase in (PAUSED, REOPENING, SPECIAL_QUOTE, CLOSED) or floor.session[UNTIL] <= 0


@lean_kernel
def pool(floor, history, kinds, pooled):  # type: ignore[no-untyped-def]
    """Sum over the seats of each kind, in the order of the opponent numbers."""
    for kind in range(_KINDS):
        fill_row(pooled[kind], 0.0)
    for seat in range(len(kinds)):
        add_seat(pooled[kinds[seat]], floor, history, seat, 1.0)


@lean_kernel
def add_seat(row, floor, history, seat, sign):  # type: ignore[no-untyped-def]
    """Add a seat's numbers to a kind's sums, or take them off."""
    row[_COUNT] += sign
    row[_BUYS] += sign * floor.tally[seat, BOUGHT]
    row[_SELLS] += sign * floor.tally[seat, SOLD]
    row[_FLOW] += sign * history.memory[seat, FLOW]
    row[_ACTIVITY] += sign * history.memory[seat, VOLUME]
    row[_BIDS] += sign * floor.resting[seat, 0]
    row[_ASKS] += sign * floor.resting[seat, 1]
    row[_PASSIVE] += sign * history.memory[seat, PASSIVE_VOLUME]


@lean_kernel
def share_out(row, scale, out, at):  # type: ignore[no-untyped-def]
    """Write the numbers of one kind from its sums: means per trader."""
    count, unit = row[_COUNT], scale[UNIT]
    if count < 0.5:
        for j in range(_NUMBERS):
            out[at + j] = 0.0
        return
    # All are read before one is written: the compiler may then divide them side by side.
    buys, sells, flow, active = row[_BUYS], row[_SELLS], row[_FLOW], row[_ACTIVITY]
    bids, asks, passive = row[_BIDS], row[_ASKS], row[_PASSIVE]
    out[at + _COUNT] = count
    out[at + _BUYS], out[at + _SELLS] = buys / count / unit, sells / count / unit
    out[at + _FLOW], out[at + _ACTIVITY] = flow / count / unit, active / count / unit
    out[at + _BIDS], out[at + _ASKS] = bids / count / unit, asks / count / unit
    out[at + _PASSIVE] = min(passive / active, 1.0) if active > 1e-9 else 0.0
