"""Whole episodes in compiled code: policies decide, the market answers, sums and paths are written down. Kernels."""

from typing import Any, NamedTuple

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel, policy_kernel
from difffinance.market.engine import FILLS
from difffinance.market.flow import LOG_VALUE
from difffinance.market.handles import handle_at
from difffinance.market.observation import NO_LIMIT
from difffinance.market.settlement import (
    ASKED,
    BOUGHT,
    BOUGHT_VALUE,
    EVENTS,
    LAST_ASK,
    LAST_BID,
    MID,
    REFUSED,
    SOLD,
    SOLD_VALUE,
)
from difffinance.market.steps import STEP, UNDER_WAY, advance
from difffinance.market.views import copy_row, fill_row

# Columns of `sums`, one row per seat: lots, ticks times lots; then inventory over steps and the two sums of impact.
SUM_ASKED, SUM_BOUGHT, SUM_SOLD, SUM_BOUGHT_VALUE, SUM_SOLD_VALUE, SUM_HELD, SUM_MOVED, SUM_TRADED = range(8)
_CANCEL = 9
OUTSIDE = 0


class Seat(NamedTuple):
    """Who decides in a seat."""

    policy: Any
    parameters: Any  # (P,)
    memory: Any  # (M,)
    rng: Any


class Players(NamedTuple):
    """Who decides in N seats."""

    seats: Any  # (N,) addresses of handles of a `Seat`, OUTSIDE where the action is written by somebody else
    any_seat: Any  # one of them, or any other: it says what type they are
    misread: Any  # (N,) reason why the last action was refused, or 0


class Paths(NamedTuple):
    """What is written down at each step, T of them; an array of length 0 is left out."""

    marks: Any  # (T+1, 3) mid, best bid, best ask, ticks
    value: Any  # (T+1,) log of the value, ticks
    depth: Any  # (T+1, 2, L, 2)
    wealth: Any  # (T+1, N) quote currency
    inventory: Any  # (T+1, N) lots
    cash: Any  # (T+1, N) ticks times lots
    fees: Any  # (T+1, N) quote currency
    tally: Any  # (T, N, 6)
    rewards: Any  # (T, N)
    unit: Any  # (T,) step volume, lots
    states: Any  # (T, N, 50)
    opponents: Any  # (T, N, 40)
    constraints: Any  # (T, N, 20)
    actions: Any  # (T, N, 10)
    events: Any  # all messages, one after the other
    fills: Any  # all trades
    ends: Any  # (T+1, 2) messages and trades up to each step


class Sums(NamedTuple):
    """What an episode comes to."""

    sums: Any  # (N, 8)
    refused: Any  # (N, reasons)
    trades: Any  # (1,)


@policy_kernel
def wait(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Do nothing."""


@lean_kernel
def decide(market, players):  # type: ignore[no-untyped-def]
    """Let every policy write its seat's action; one that is out of range is refused, wherever it comes from."""
    tables = market.tables
    for seat in range(len(players.seats)):
        action = market.actions[seat]
        if players.seats[seat] != OUTSIDE:
            for k in range(_CANCEL + 1):
                action[k] = 0.0
            agent = handle_at(players.any_seat, players.seats[seat])
            agent.policy(
                tables.state[seat], tables.opponents[seat], tables.constraints[seat], agent.parameters, agent.memory,
                agent.rng, action,
            )  # fmt: skip
        players.misread[seat] = fault(action)
        market.valid[seat] = players.misread[seat] == reasons.OK
        if not market.valid[seat]:
            fill_row(action, 0.0)


@lean_kernel
def fault(action):  # type: ignore[no-untyped-def]
    """Return why an action is refused, or 0."""
    good = (-NO_LIMIT <= action[0] <= NO_LIMIT) & (0.0 <= action[_CANCEL] <= 1.0)
    for k in range(1, _CANCEL, 2):
        good &= (-NO_LIMIT <= action[k] <= NO_LIMIT) & (0.0 <= action[k + 1] <= NO_LIMIT)
    if good:
        return reasons.OK
    for k in range(len(action)):
        if not np.isfinite(action[k]):
            return reasons.ACTION_NOT_FINITE
    return reasons.ACTION_OFF_RANGE


@lean_kernel
def play(market, players, sums, paths, until):  # type: ignore[no-untyped-def]
    """Go on to step `until`; return False where arrays need room first."""
    floor, progress = market.floor, market.progress
    if progress[STEP] == 0 and not progress[UNDER_WAY]:
        note_after(market, paths)
    while progress[STEP] < until:
        if len(paths.ends) and not log_room(floor, paths, progress[STEP]):
            return False
        if not progress[UNDER_WAY]:
            decide(market, players)
            note_before(market, paths)
        mid_before = market.history.last_mid[0]
        if not advance(market):
            return False
        add_up(market, players, sums, mid_before)
        note_after(market, paths)
    return True


@lean_kernel
def log_room(floor, paths, step):  # type: ignore[no-untyped-def]
    """Return whether the logs have room for as much as a step can hold."""
    ends = paths.ends[step]
    return ends[0] + len(floor.events) <= len(paths.events) and ends[1] + len(floor.fills) <= len(paths.fills)


@lean_kernel
def add_up(market, players, sums, mid_before):  # type: ignore[no-untyped-def]
    """Add a step to the sums of the episode."""
    floor = market.floor
    moved = floor.marks[MID] - mid_before
    for seat in range(len(players.seats)):
        row, tally = sums.sums[seat], floor.tally[seat]
        row[SUM_ASKED] += tally[ASKED]
        row[SUM_BOUGHT] += tally[BOUGHT]
        row[SUM_SOLD] += tally[SOLD]
        row[SUM_BOUGHT_VALUE] += tally[BOUGHT_VALUE]
        row[SUM_SOLD_VALUE] += tally[SOLD_VALUE]
        row[SUM_HELD] += floor.inventory[seat]
        filled = tally[BOUGHT] - tally[SOLD]
        row[SUM_MOVED] += filled * moved
        row[SUM_TRADED] += abs(filled) * mid_before
        if floor.counts[REFUSED] > 0:
            for code in range(floor.refused.shape[1]):
                sums.refused[seat, code] += floor.refused[seat, code]
        if players.misread[seat] != reasons.OK:
            sums.refused[seat, players.misread[seat]] += 1
    sums.trades[0] += floor.top[FILLS]


@inlined
def copy_rows(table, source):  # type: ignore[no-untyped-def]
    """Write the first rows of `source` into `table`."""
    for k in range(len(table)):
        copy_row(table[k], source[k])


@lean_kernel
def note_before(market, paths):  # type: ignore[no-untyped-def]
    """Write down what the seats saw and decided."""
    step, tables = market.progress[STEP], market.tables
    if len(paths.unit):
        paths.unit[step] = market.scale[0]
    if len(paths.states):
        copy_rows(paths.states[step], tables.state)
    if len(paths.opponents):
        copy_rows(paths.opponents[step], tables.opponents)
    if len(paths.constraints):
        copy_rows(paths.constraints[step], tables.constraints)
    if len(paths.actions):
        copy_rows(paths.actions[step], market.actions)


@lean_kernel
def note_after(market, paths):  # type: ignore[no-untyped-def]
    """Write down where the market stands after the step, and what happened in it."""
    step, floor = market.progress[STEP], market.floor
    if len(paths.marks):
        paths.marks[step, 0], paths.marks[step, 1] = floor.marks[MID], floor.marks[LAST_BID]
        paths.marks[step, 2] = floor.marks[LAST_ASK]
    if len(paths.value):
        paths.value[step] = market.flow.clock[LOG_VALUE]
    if len(paths.depth):
        for side in range(2):
            copy_rows(paths.depth[step, side], market.tables.depth[side])
    if len(paths.wealth):
        copy_row(paths.wealth[step], market.tables.wealth)
    if len(paths.inventory):
        copy_row(paths.inventory[step], floor.inventory)
    if len(paths.cash):
        copy_row(paths.cash[step], floor.cash)
    if len(paths.fees):
        copy_row(paths.fees[step], floor.fees)
    if step == 0:
        return
    if len(paths.tally):
        copy_rows(paths.tally[step - 1], floor.tally)
    if len(paths.rewards):
        copy_row(paths.rewards[step - 1], market.rewards)
    if len(paths.ends):
        first, ends = paths.ends[step - 1], paths.ends[step]
        ends[0], ends[1] = first[0] + floor.counts[EVENTS], first[1] + floor.top[FILLS]
        for k in range(floor.counts[EVENTS]):
            paths.events[first[0] + k] = floor.events[k]
        for k in range(floor.top[FILLS]):
            paths.fills[first[1] + k] = floor.fills[k]


@lean_kernel
def play_learners(any_market, any_players, markets, players, first, seat, actions, running, seen, gains, refused):  # type: ignore[no-untyped-def]
    """Take one step of every running market from `first` on, `actions` (M, 10) in `seat`; stop where room is needed.

    `markets` and `players` (M,) are addresses of handles like `any_market` and `any_players`. `seen` (M, 110) takes
    the seat's state, opponents and constraints, `gains` (M, 2) its reward and its wealth, `refused` (M, reasons) how
    many of its orders and actions were refused for what. Returns how far it came.
    """
    for k in range(first, len(markets)):
        if not running[k]:
            continue
        market, player = handle_at(any_market, markets[k]), handle_at(any_players, players[k])
        if not market.progress[UNDER_WAY]:
            copy_row(market.actions[seat], actions[k])
            decide(market, player)
        if not advance(market):
            return k
        show(market, seat, seen[k])
        gains[k, 0], gains[k, 1] = market.rewards[seat], market.tables.wealth[seat]
        copy_row(refused[k], market.floor.refused[seat])
        if player.misread[seat] != reasons.OK:
            refused[k, player.misread[seat]] += 1
    return len(markets)


@lean_kernel
def show(market, seat, seen):  # type: ignore[no-untyped-def]
    """Write the three tables of a seat one after the other."""
    tables, at = market.tables, 0
    for table in (tables.state[seat], tables.opponents[seat], tables.constraints[seat]):
        for k in range(len(table)):
            seen[at + k] = table[k]
        at += len(table)
