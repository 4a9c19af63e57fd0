"""What one step of the background flow amounts to: the units in which agents think, measured on a reference run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.compiled import lean_kernel
from difffinance.market.floor import submit
from difffinance.market.flow import INTRADAY, LOG_VALUE, NOW, run_until
from difffinance.market.matching import MARKET
from difffinance.market.rules import session_rules
from difffinance.market.settlement import (
    BOUGHT,
    BOUGHT_VALUE,
    LAST_ASK,
    LAST_BID,
    MID,
    NEXT_ID,
    SOLD,
    SOLD_VALUE,
    TRADED,
)
from difffinance.market.steps import clear_step
from difffinance.market.venue import Venue

WARM_UP_SECONDS = 900.0
_STEPS, _PROBES, _FEWEST = 8000, 200, 150
_MOST_ORDERS = 10_000_000  # of a reference run: half a gigabyte; probes copy what a fifth of them takes
_CAPITAL = 1e15  # of the probing seat, ticks times lots


def warm_up_seconds(config: MarketConfig) -> float:
    """Return how long the background fills the book before an episode, at the activity of the opening.

    At most `WARM_UP_SECONDS`; fitted orders may live for hours and take all of it.
    """
    if config.flow_model != "zero_intelligence":
        return WARM_UP_SECONDS
    return min(config.flow.warm_up_lives / config.flow.cancel_rate, WARM_UP_SECONDS)


@dataclass(frozen=True)
class FlowScale:
    """Means over the day of one step without seats. A reference run of fixed seed, so a property of the configuration.

    It has 8,000 steps, fewer where these would be more than ten million orders.

    `volume` in lots, `volatility` of the log mid, `reversion` the part of the gap between value and mid that closes
    in a step (regression of the next return on the gap). `temporary` is the mean cost, beyond half the spread, of a
    market order of one step volume walking the displayed book, in sigmas, `exponent` its power in the size (from
    half that size); `permanent` is half the difference of the mids one step after such a buy and after such a sell
    (counterfactual twins), in sigmas.
    """

    volume: float
    volatility: float
    reversion: float
    temporary: float
    exponent: float
    permanent: float


def measure_flow(config: MarketConfig) -> FlowScale:
    """Run the background alone and return its scale; the same flow gives the same numbers, computed once a process."""
    names = ("tick_size", "lot_size", "start_price", "step_seconds", "session_seconds", "flow", "flow_model",
             "flow_fit")  # fmt: skip
    return _measure(MarketConfig(price_limit=None, **{name: getattr(config, name) for name in names}))


@lru_cache(maxsize=32)
def _measure(free: MarketConfig) -> FlowScale:
    rng = np.random.default_rng(20200102)
    if free.flow_model == "zero_intelligence":
        reference_steps(free, free.flow.limit_rate + free.flow.market_rate)  # refused before anything is played
    venue = _warm_venue(free, rng)
    steps = reference_steps(free, int(venue.floor.counts[NEXT_ID]) / WARM_UP_SECONDS)
    seen, done = np.empty((steps + 1, 3)), 0
    while done < len(seen):
        done = watch(venue.floor_handle, venue.flow_handle, rng, free.step_seconds, seen, done)
        venue.make_room(1024)
    mids, gaps = seen[:, 0], (seen[:, 1] - np.log(seen[:, 0]))[:-1]
    returns = np.diff(np.log(mids))
    volume: float = max(float(seen[1:, 2].mean()), 1.0)
    # A flow that never moves the price still needs a unit: a tenth of a tick.
    sigma: float = max(float(returns.std()), 0.1 / float(mids.mean()))
    gaps -= gaps.mean()
    reversion = float(np.clip(gaps @ returns / max(float(gaps @ gaps), 1e-300), 0.0, 1.0))
    probes = np.empty((min(_PROBES, steps // 15), 3))
    venue = _warm_venue(free, rng)  # a young one is small
    for k in range(len(probes)):
        _step(venue, rng, free.step_seconds)
        probes[k] = _probe(venue, volume, rng, free.step_seconds)
    half, whole, moved = np.maximum(probes.mean(axis=0) / (sigma * mids.mean()), 0.0).tolist()
    exponent = float(np.log2(whole / half)) if half > 0 else 1.0
    return FlowScale(volume, sigma, reversion, whole, exponent, moved)


def reference_steps(free: MarketConfig, rate: float) -> int:
    """Return how many steps of the reference run fit into memory at so many orders a second; refuse too long ones."""
    if rate * WARM_UP_SECONDS > _MOST_ORDERS:
        raise InputError(
            f"{rate:,.0f} background orders a second are more than a market can begin with. Allowed: up to "
            f"{_MOST_ORDERS / WARM_UP_SECONDS:,.0f}; lower market.flow.limit_rate and market.flow.market_rate."
        )
    orders = max(rate * free.step_seconds, 1.0)
    if orders * _FEWEST > _MOST_ORDERS:
        raise InputError(
            f"a step of {free.step_seconds:g} s (market.step_seconds) has about {orders:,.0f} background orders. "
            f"Allowed: up to {_MOST_ORDERS // _FEWEST:,}; take shorter steps."
        )
    return int(min(_MOST_ORDERS / orders, _STEPS))


@lean_kernel
def watch(floor, flow, rng, seconds, seen, start):  # type: ignore[no-untyped-def]
    """Let steps pass and write mid (ticks), log of the value and lots traded after each; return how far it came."""
    for k in range(start, len(seen)):
        if not run_until(floor, flow, rng, WARM_UP_SECONDS + (k + 1) * seconds, len(floor.own_count)):
            return k
        seen[k, 0], seen[k, 1], seen[k, 2] = floor.marks[MID], flow.clock[LOG_VALUE], floor.counts[TRADED]
        clear_step(floor)
    return len(seen)


def _warm_venue(free: MarketConfig, rng: np.random.Generator) -> Venue:
    capital = np.full(1, _CAPITAL * free.tick_size * free.lot_size)  # of the one seat that probes
    venue = Venue(free, session_rules(free), capital, np.zeros(1, np.int64))
    venue.flow.p[INTRADAY] = 0.0
    venue.run_flow(rng, WARM_UP_SECONDS)
    return venue


def _step(venue: Venue, rng: np.random.Generator, seconds: float) -> None:
    venue.clear_step()
    venue.run_flow(rng, float(venue.flow.clock[NOW]) + seconds)


def _probe(venue: Venue, volume: float, rng: np.random.Generator, seconds: float) -> tuple[float, float, float]:
    """Return the walking cost of half and of one step volume, and the move one step later, in ticks.

    The market is left as it was found; its twins meet the same random numbers.
    """
    after, walked = {}, []
    state, back = rng.bit_generator.state, _way_back(venue)
    for side in (1, -1):
        for share in (0.5, 1.0):
            venue.clear_step()
            venue.make_room(1)
            marks = venue.floor.marks
            touch = marks[LAST_ASK] if side > 0 else marks[LAST_BID]
            submit(venue.floor_handle, 0, MARKET, side, 0, round(share * volume), 0)
            done, value = venue.floor.tally[0, [BOUGHT, BOUGHT_VALUE] if side > 0 else [SOLD, SOLD_VALUE]]
            if done > 0:
                walked.append((share, side * (value / done - touch)))
            if share == 1.0:
                rng.bit_generator.state = state
                _step(venue, rng, seconds)
                after[side] = venue.floor.marks[MID]
            back()
    costs = [np.mean([cost for s, cost in walked if s == share] or [0.0]) for share in (0.5, 1.0)]
    return float(costs[0]), float(costs[1]), (after[1] - after[-1]) / 2


def _way_back(venue: Venue) -> Callable[[], None]:
    """Return a function that brings the market back to now: a copy of the whole market would take ten times as long."""
    floor, flow = venue.floor, venue.flow
    arrays = [a.reshape(-1).view(np.uint8) for a in (*floor, *flow) if isinstance(a, np.ndarray)]
    held = [array.copy() for array in arrays]

    def back() -> None:
        for array, then in zip(arrays, held, strict=True):
            array[:] = then
        venue.adopt(floor, flow)

    return back
