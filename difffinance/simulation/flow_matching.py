"""Simulated minimum distance: what a likelihood of single events leaves off in the book that the flow builds.

A fit by likelihood takes the book as it was; run free, its small errors add up in spread and depth. A few factors on
rates, places and lives are moved, one at a time, so that simulated days come near the training blocks in LOB-Bench's
distances and in the volatility of returns inside blocks. Only those blocks enter; judge the result on others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from difffinance.calibration.visible_day import BLOCK_SECONDS, VisibleDay, visible_day
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow_fits import FlowFit
from difffinance.records import Array, BookDay
from difffinance.simulation.book_scores import SCORES, Score, book_scores
from difffinance.simulation.distances import wasserstein
from difffinance.simulation.simulated_day import simulate_day

# Logarithms of factors: odds of a place inside the spread, lives of all orders, lives of those inside and at the touch,
# spontaneous limit and market orders, odds of keeping near the old price, children of market orders; odds of leaning
# to the value.
FACTORS = ("inside", "lives", "touch_lives", "limit_orders", "market_orders", "stay", "market_children", "lean")
FIRST_STEPS = (0.5, 0.5, 0.5, 0.3, 0.5, 0.7, 0.3, 1.0)
VOLATILITY_SECONDS = (1.0, 10.0, 60.0)
VOLATILITY_WEIGHT = 0.3  # of the mean absolute log ratio of volatilities against the mean distance
_MOST_CHILDREN = 0.93  # branching ratio; nearer to 1 bursts last for hours
_ENOUGH = 0.001  # smaller gains are noise of the simulation


def adjusted(fit: FlowFit, factors: Array) -> FlowFit:
    """Return the fit with its tables moved by the logarithms of the `FACTORS`."""
    inside, lives, touch_lives, limits, markets, stay, children, lean = np.asarray(factors, float).tolist()
    tables = {name: np.array(table, float) for name, table in fit.tables_by_name.items()}
    place = tables["place"]
    odds = np.stack([place[:, 0] * np.exp(inside), place[:, 1] - place[:, 0], 1.0 - place[:, 1]], axis=1)
    tables["place"] = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)[:, :2]
    tables["life"] += lives
    tables["life"][:2] += touch_lives
    tables["base"] *= np.exp([limits, 0.0, markets])
    tables["mean"][2] *= np.exp(children)
    kept = tables["stay"][0] * np.exp(stay)
    tables["stay"][0] = kept / max(kept + 1.0 - tables["stay"][0], 1e-12)
    value_lean = float(1.0 / (1.0 + (1.0 / max(fit.value_lean, 1e-12) - 1.0) * np.exp(-lean)))
    return replace(
        fit,
        value_lean=value_lean,
        tables_by_name={name: np.round(table, 10).tolist() for name, table in tables.items()},
    )


@dataclass(frozen=True)
class Target:
    """What simulated days are to come near: scores and volatilities of the training blocks."""

    scores: dict[str, Score]
    volatilities: Array
    blocks: Array


def target_of(day: BookDay, blocks: Array) -> Target:
    """Return the target of some blocks of a day."""
    visible = visible_day(day)
    scores = {name: score.on(blocks) for name, score in book_scores(visible).items()}
    return Target(scores, _volatilities(visible, blocks), np.unique(blocks))


def _volatilities(day: VisibleDay, blocks: Array) -> Array:
    """Return standard deviations of log returns inside the blocks, by horizon."""
    found = []
    for seconds in VOLATILITY_SECONDS:
        ends = np.arange(0.0, day.seconds[-1], seconds)
        at = np.searchsorted(day.seconds, ends, side="right") - 1
        moves = np.diff(np.log(day.mid[np.maximum(at, 0)]))
        block = (ends[:-1] // BLOCK_SECONDS).astype(int)
        keep = np.isin(block, blocks) & (at[:-1] >= 0) & (ends[1:] <= (block + 1) * BLOCK_SECONDS)
        found.append(moves[keep].std())
    return np.maximum(found, 1e-12)


def flow_loss(fit: FlowFit, target: Target, config: MarketConfig, seeds: tuple[int, ...]) -> float:
    """Return the mean Wasserstein distance over scores, both scales and days, plus the misfit of volatility."""
    found, misfit = [], []
    for seed in seeds:
        day = visible_day(simulate_day(config, seed, fit=fit))
        scores = book_scores(day)
        for name in SCORES:
            generated = scores[name].on(target.blocks).values
            if len(generated) == 0:
                return float("inf")
            found += [wasserstein(target.scores[name].values, generated, scale=scale) for scale in ("pooled", "real")]
        misfit.append(np.abs(np.log(_volatilities(day, target.blocks) / target.volatilities)).mean())
    return float(np.mean(found) + VOLATILITY_WEIGHT * np.mean(misfit))


def _loss_at(factors: Array, fit: FlowFit, target: Target, config: MarketConfig, seeds: tuple[int, ...]) -> float:
    """Return the loss, infinite where events would have too many children to end soon."""
    try:
        moved = adjusted(fit, factors)
    except InputError:
        return float("inf")
    return float("inf") if moved.branching_ratio > _MOST_CHILDREN else flow_loss(moved, target, config, seeds)


def match_flow(
    fit: FlowFit,
    day: BookDay,
    blocks: Array,
    config: MarketConfig,
    *,
    start: Array | None = None,
    rounds: int = 3,
    seeds: tuple[int, ...] = (1,),
    report: Callable[[str], None] = lambda line: None,
) -> FlowFit:
    """Return the fit moved to simulate the blocks best: coordinate search with halving steps, common random numbers.

    The search finds the nearest minimum, not the lowest: `start`, logarithms of `FACTORS`, may begin it elsewhere.
    """
    if rounds < 1 or not seeds:
        raise InputError(f"rounds must be 1 or more and seeds not empty; got {rounds} and {seeds}.")
    target = target_of(day, blocks)
    at, steps = np.zeros(len(FACTORS)), np.array(FIRST_STEPS)
    if start is not None:
        at = np.array(start, float)
    best = _loss_at(at, fit, target, config, seeds)
    for _ in range(rounds):
        for k in range(len(FACTORS)):
            for sign in (1.0, -1.0):
                tried = at.copy()
                tried[k] += sign * steps[k]
                loss = _loss_at(tried, fit, target, config, seeds)
                if loss < best - _ENOUGH:
                    at, best = tried, loss
                    report(f"{FACTORS[k]} {at[k]:+.2f}: {best:.4f}")
                    break
            else:
                steps[k] /= 2.0
    moved = ", ".join(f"{name} {value:+.2f}" for name, value in zip(FACTORS, at, strict=True) if value)
    return replace(adjusted(fit, at), notes=f"{fit.notes}; matched by simulation ({moved or 'nothing moved'})")
