"""The background flow beside the seats: one call for every model, and the default one. Kernels.

`market.flow_model` chooses: "fitted" (`fitted_flow`), "queue_reactive" and "santa_fe" (`markov_flow`), or
"zero_intelligence", which is here: arrivals without intelligence but with memory, set by hand.

Limit, market and cancel messages arrive as a Poisson process whose rate follows a U-shape over the session.
- Signs of market orders: split orders with Pareto lengths trade in turns (Lillo, Mike & Farmer 2005), which gives
  the sign autocorrelation `l**-(memory_tail - 1)`. A new split order is more likely to trade towards the value.
- Sizes are log-normal; a market order larger than the best queue is often cut to it, and always to what
  the first levels show (selective liquidity taking).
- Limit orders go inside a spread that has room, or behind their best price at a power-law distance
  (Zovko & Farmer 2002); they come rather on the side that market orders have thinned, and towards the value,
  which keeps returns free of the memory of signs.
- Each resting order is cancelled at a constant rate.
- The value is a geometric Brownian motion. It learns from the market orders of seats, and what it learns fades
  (`seat_lessons`).
"""

from functools import lru_cache

import numpy as np

from difffinance.config import FlowConfig, MarketConfig
from difffinance.market.compiled import inlined, lean_kernel, sealed
from difffinance.market.fitted_flow import run_fitted
from difffinance.market.floor import submit, withdraw
from difffinance.market.flow_fits import FlowFit, load_flow_fit
from difffinance.market.flow_state import (
    ANSWERED,
    CANCEL_RATE,
    FADES,
    FADING,
    GAP_SIGN,
    INSIDE,
    INSIDE_CHANCE,
    INTRADAY,
    ITEM,
    KNOWN_MID,
    KNOWN_SPREAD,
    LEAN,
    LEVEL,
    LEVEL_UNTIL,
    LIMIT_RATE,
    LOG_MID,
    LOG_VALUE,
    MARKET_RATE,
    MEMORY,
    NOW,
    PARTIAL,
    PULL,
    QUEUE_SIZED,
    REFILL,
    RUN,
    SIZE_LOG,
    SIZE_SD,
    SWEEP,
    TABLES,
    TAKE_PACE,
    UNIT,
    UNSEEN,
    VALUE_SD,
    Flow,
    activity,
    address_of_flow,
    flow_at,
)
from difffinance.market.layout import ASK, BASE, BID, FILLS, HIGH, LOW, WIDTH, next_down, next_up
from difffinance.market.markov_flow import run_queue_reactive, run_santa_fe
from difffinance.market.matching import LIMIT, MARKET
from difffinance.market.seat_lessons import forget, hear_seats, lessons
from difffinance.market.settlement import LAST_ASK, LAST_BID, MID, address_of_floor, floor_at, roomy

_u = np.uint64  # an index without a sign needs no look at the end of its array
_NONE = np.int64(0)  # no price, or the whole quantity
_LONGEST = 1000  # child orders of a split order, at most
_CELLS = 1024  # of the guide to distances


def parameters(config: MarketConfig) -> np.ndarray:
    """Return the flow's parameters as the kernels read them: sizes in lots, the value's volatility per root second."""
    f = config.flow
    return np.array([
        f.market_rate, f.limit_rate, f.cancel_rate, f.partial_cancels, np.log(f.size_median / config.lot_size),
        f.size_log_sd, f.queue_sized, f.sweep_levels, f.inside, f.memory_tail, f.refill, f.value_lean,
        f.fundamental_volatility / np.sqrt(config.session_seconds), f.pull_scale, f.intraday,
        config.session_seconds,
    ])  # fmt: skip


@lean_kernel
def run_until(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Let background messages arrive up to the time `until` (seconds); return False where arrays need room first."""
    return flow.run(address_of_floor(floor), address_of_flow(flow), rng, until, owner)


@lean_kernel
def run_zero_intelligence(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Let background messages arrive up to the time `until` (seconds); return False where arrays need room first."""
    clock, p = flow.clock, flow.p
    new_rate = p[MARKET_RATE] + p[LIMIT_RATE]
    clock[ANSWERED] = hear_seats(floor, clock, p, owner)
    while True:
        if not roomy(floor, 1) or flow.live_count[0] + 1 >= len(flow.live):
            return False
        if clock[NOW] >= clock[LEVEL_UNTIL]:
            clock[LEVEL], clock[LEVEL_UNTIL] = activity(p, clock[NOW]), clock[NOW] + 1.0
        total = new_rate + p[CANCEL_RATE] * flow.live_count[0]
        wait = rng.exponential() / (clock[LEVEL] * total)
        passed = min(wait, until - clock[NOW])
        clock[UNSEEN] += passed
        clock[NOW] += passed
        if passed < wait:
            move_value(clock, p, rng)
            return True
        ts = np.int64(np.floor(clock[NOW] * 1e9))
        draw = rng.random() * total
        if draw < p[MARKET_RATE]:
            market_order(floor, flow, rng, ts, owner)
        elif draw < new_rate:
            limit_order(floor, flow, rng, ts, owner)
        else:
            cancellation(floor, flow, rng, ts)


@inlined
def move_value(clock, p, rng):  # type: ignore[no-untyped-def]
    """Draw how the value moved since somebody last looked at it."""
    clock[LOG_VALUE] += p[VALUE_SD] * np.sqrt(clock[UNSEEN]) * rng.standard_normal()
    clock[UNSEEN] = 0.0


@lean_kernel
def value_gap(clock, p, rng, mid):  # type: ignore[no-untyped-def]
    """Return the log of the value over the mid (ticks). Most messages leave the mid where it was."""
    move_value(clock, p, rng)
    if mid != clock[KNOWN_MID]:
        clock[KNOWN_MID], clock[LOG_MID] = mid, np.log(mid)
    return clock[LOG_VALUE] - clock[LOG_MID]


@lean_kernel
def inside_chance(clock, p, spread):  # type: ignore[no-untyped-def]
    """Return the chance that a limit order goes inside a spread (ticks)."""
    if spread != clock[KNOWN_SPREAD]:
        clock[KNOWN_SPREAD], clock[INSIDE_CHANCE] = spread, 1.0 - (1.0 - p[INSIDE]) ** (spread - 1.0)
    return clock[INSIDE_CHANCE]


@inlined
def near_tanh(x):  # type: ignore[no-untyped-def]
    """Return tanh(x) for |x| up to 2, off by at most 2e-8: a convergent of its continued fraction (Lambert 1768)."""
    y = x * x
    return x * (135135.0 + y * (17325.0 + y * (378.0 + y))) / (135135.0 + y * (62370.0 + y * (3150.0 + y * 28.0)))


@inlined
def buys(x, lean, thin, draw):  # type: ignore[no-untyped-def]
    """Return whether a draw in [0, 1) is below 1/2 + (lean tanh(x) + thin) / 2.

    The tanh itself costs as much as matching the order: it is asked for only where a near one does not decide.
    """
    edge = 0.5 + 0.5 * (lean * near_tanh(min(max(x, -2.0), 2.0)) + thin)
    if abs(draw - edge) < (1e-7 if abs(x) <= 2.0 else 0.02):  # tanh(2) is 0.964
        edge = 0.5 + 0.5 * (lean * np.tanh(x) + thin)
    return draw < edge


@lean_kernel
def draw_size(p, rng):  # type: ignore[no-untyped-def]
    """Draw a size in whole lots."""
    return max(np.int64(np.exp(p[SIZE_LOG] + p[SIZE_SD] * rng.standard_normal()) + 0.5), np.int64(1))


@inlined
def draw_distance(flow, draw):  # type: ignore[no-untyped-def]
    """Return the whole part of scale (draw^(-1/tail) - 1) ticks, at most the farthest, from a draw in (0, 1].

    The power costs as much as matching the order: `distance_edges` holds where the whole part changes.
    """
    edges, k = flow.distance_edges, _u(flow.distance_guide[_u(int(draw * (len(flow.distance_guide) - 1)))])
    while draw <= edges[k]:
        k += _u(1)
    return np.int64(k)


@inlined
def market_order(floor, flow, rng, ts, owner):  # type: ignore[no-untyped-def]
    """Send the next child of one of the split orders."""
    p, parent = flow.p, flow.parents[_u(int(rng.random() * len(flow.parents)))]
    if parent[1] == 0:
        gap = value_gap(flow.clock, p, rng, floor.marks[MID])
        parent[0] = 1 if buys(gap / p[PULL], 1.0, 0.0, rng.random()) else -1
        parent[1] = min(np.ceil((1.0 - rng.random()) ** (-1.0 / p[MEMORY])), _LONGEST)
    parent[1] -= 1
    side, top = parent[0], floor.top
    best = top[ASK] if side > 0 else top[BID]
    if best < 0 or best >= top[WIDTH]:
        return
    levels = 1 if rng.random() < p[QUEUE_SIZED] else int(p[SWEEP])
    quantity, fills = min(draw_size(p, rng), shown(floor, side, best, levels)), top[FILLS]
    submit(floor, ts, MARKET, side, _NONE, quantity, owner)
    if top[FILLS] > fills:
        forget(flow.clock)


@lean_kernel
def shown(floor, side, best, levels):  # type: ignore[no-untyped-def]
    """Return the quantity on the first `levels` levels that an order of that side would meet."""
    quantity, index, width = 0, best, floor.top[WIDTH]
    row = ASK if side > 0 else BID
    bits = floor.bits[row]
    for _ in range(levels):
        if index < 0 or index >= width:
            break
        quantity += floor.levels[row, _u(index)].quantity
        index = next_up(bits, index + 1, width) if side > 0 else next_down(bits, index - 1)
    return quantity


@inlined
def limit_order(floor, flow, rng, ts, owner):  # type: ignore[no-untyped-def]
    """Place one limit order, more often a bid below the value and where bids are thin.

    A price beyond the daily limits is not sent.
    """
    p, top, marks = flow.p, floor.top, floor.marks
    bids, asks = floor.resting[_u(owner), 0], floor.resting[_u(owner), 1]
    thin = p[REFILL] * (asks - bids) / max(bids + asks, 1)
    gap = value_gap(flow.clock, p, rng, marks[MID])
    side = 1 if buys(gap / p[PULL], p[LEAN], thin, rng.random()) else -1
    quantity = draw_size(p, rng)
    spread = marks[LAST_ASK] - marks[LAST_BID]
    own = marks[LAST_BID] if side > 0 else marks[LAST_ASK]
    if rng.random() < inside_chance(flow.clock, p, spread):
        price = own + side * (1 + int(rng.random() * (spread - 1)))
    else:
        price = own - side * draw_distance(flow, 1.0 - rng.random())
    price = int(price)
    if price < max(top[LOW], 1) or price > top[HIGH] or not 0 <= price - top[BASE] < top[WIDTH]:
        return
    order_id = submit(floor, ts, LIMIT, side, price, quantity, owner)
    if floor.orders[_u(order_id)].quantity > 0:
        flow.live[_u(flow.live_count[0])] = order_id
        flow.live_count[0] += 1


@inlined
def cancellation(floor, flow, rng, ts):  # type: ignore[no-untyped-def]
    """Draw one order of the list: a dead one leaves it, a live one is cancelled, now and then in part."""
    k = _u(int(rng.random() * flow.live_count[0]))
    order_id = flow.live[k]
    left = floor.orders[_u(order_id)].quantity
    if left > 1 and rng.random() < flow.p[PARTIAL]:
        withdraw(floor, ts, order_id, (left + 1) // 2)
        return
    if left > 0:
        withdraw(floor, ts, order_id, _NONE)
    flow.live_count[0] -= 1
    flow.live[k] = flow.live[_u(flow.live_count[0])]


@sealed(RUN)
def zero_intelligence(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Do what `run_until` says, by addresses: of the four models only the one that is used is compiled."""
    return run_zero_intelligence(floor_at(floor), flow_at(flow), rng, until, owner)


@sealed(RUN)
def fitted(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Do what `run_until` says."""
    return run_fitted(floor_at(floor), flow_at(flow), rng, until, owner)


@sealed(RUN)
def queue_reactive(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Do what `run_until` says."""
    return run_queue_reactive(floor_at(floor), flow_at(flow), rng, until, owner)


@sealed(RUN)
def santa_fe(floor, flow, rng, until, owner):  # type: ignore[no-untyped-def]
    """Do what `run_until` says."""
    return run_santa_fe(floor_at(floor), flow_at(flow), rng, until, owner)


_SEALED = {
    "zero_intelligence": zero_intelligence, "fitted": fitted, "queue_reactive": queue_reactive, "santa_fe": santa_fe,
}  # fmt: skip


def _lessons(config: MarketConfig) -> np.ndarray:
    """Return what the value learns from seats: in the value's standard deviation from one market order to the next."""
    f = config.flow
    orders = max(f.market_rate * config.session_seconds, 1.0)
    unit = max(f.size_median * np.exp(0.5 * f.size_log_sd**2) / config.lot_size, 1.0)
    return lessons(unit, f.worth * f.fundamental_volatility / np.sqrt(orders), f.worth_fade, f.worth_kept)


def new_flow(config: MarketConfig, start: float, reach: int, fit: FlowFit | None = None) -> Flow:
    """Return the flow that the configuration names, before its first message; `start` and `reach` in ticks.

    `fit` takes the place of the shipped one for the fitted models.
    """
    tables = np.zeros(1, TABLES)
    p = np.concatenate([parameters(config), [reach], _lessons(config), [0.0, 0.0]])
    if config.flow_model != "zero_intelligence":
        fit = fit or load_flow_fit(config.flow_fit)
        tables = fit.tables(config)
        p[LEAN], p[PULL], volatility, worth, kept = fit.value_of(config.flow_model)
        p[INTRADAY], p[VALUE_SD] = fit.intraday, volatility / np.sqrt(config.session_seconds)
        p[UNIT:GAP_SIGN] = lessons(fit.order_size / config.lot_size, worth, fit.worth_fade, kept)
        p[GAP_SIGN], p[TAKE_PACE] = fit.gap_sign, fit.market_orders
    edges, guide = distances(config.flow)
    return Flow(
        np.array([0.0, np.log(start), -np.inf, 1.0, 0.0, 1.0, 0.0, 1.0, -np.inf] + [0.0] * (FADING + FADES - UNSEEN)),
        np.zeros((config.flow.parents, 2), np.int64),
        np.zeros(4096, np.int64), np.zeros(1, np.int64), np.zeros(4096), p, np.zeros(4096, ITEM), np.zeros(1, np.int64),
        tables, edges, guide, _SEALED[config.flow_model],
    )  # fmt: skip


@lru_cache(maxsize=32)
def distances(flow: FlowConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the draws at which the distance of a limit order comes to 1, 2, ... ticks, and where to look first.

    The last edge is below every draw. Cell i of the guide has the distance of the largest draw in it. Markets of one
    configuration share these: sixty of them would otherwise push each other out of the cache.
    """
    edges = (1.0 + np.arange(1, flow.placement_max + 1) / flow.placement_scale) ** -flow.placement_tail
    largest = np.minimum(np.arange(1, _CELLS + 2) / _CELLS, 1.0)
    edges = np.append(edges, -1.0)
    return edges, np.searchsorted(-edges, -largest, side="right").astype(np.int32)
