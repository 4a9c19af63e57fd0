"""Simulated minimum distance: what a likelihood of single events leaves off in the book that the flow builds.

A fit by likelihood takes the book as it was; run free, its small errors add up in spread and depth. A few factors on
rates, places and lives are moved, one at a time, so that simulated days come near the training blocks in LOB-Bench's
distances, in the volatility of returns inside blocks and in the 10 s law (ln lam, gamma) of visible flow. Only those
blocks enter; judge the result on others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from difffinance.calibration.impact import fit_impact_law
from difffinance.calibration.likelihood import prepare
from difffinance.calibration.noise_choice import choose_noise_model
from difffinance.calibration.order_flow import aggregate_flow
from difffinance.calibration.visible_day import BLOCK_SECONDS, VisibleDay, visible_day
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow_fits import FlowFit
from difffinance.records import Array, BookDay, ImpactParameters
from difffinance.simulation.book_scores import SCORES, Score, book_scores
from difffinance.simulation.closed_loop import law_covariance, law_point
from difffinance.simulation.distances import wasserstein
from difffinance.simulation.simulated_day import simulate_day

# Logarithms of factors: odds of a place inside the spread, lives of all orders, lives of those inside and at the touch,
# spontaneous limit and market orders, odds of keeping near the old price, children of market orders; odds that
# spontaneous orders, limit orders inside the spread and waves of cancellations lean to the value, the gap at which they
# do so fully, and the value's own volatility. What an order teaches the value is estimated and not moved.
FACTORS = ("inside", "lives", "touch_lives", "limit_orders", "market_orders", "stay", "market_children", "lean",
           "follow", "pull", "volatility")  # fmt: skip
FIRST_STEPS = (0.3, 0.3, 0.3, 0.15, 0.3, 0.6, 0.15, 0.7, 0.7, 0.4, 0.3)
LAW_SECONDS, LAW_WEIGHT = 10.0, 0.03  # horizon of the law; weight of its Mahalanobis distance
VOLATILITY_SECONDS = (1.0, 10.0, 60.0)
VOLATILITY_WEIGHT = 0.3  # of the mean absolute log ratio of volatilities against the mean distance
_MOST_CHILDREN = 0.93  # branching ratio; nearer to 1 bursts last for hours
_ENOUGH = 0.001  # smaller gains are noise of the simulation


def adjusted(fit: FlowFit, factors: Array) -> FlowFit:
    """Return the fit with its tables moved by the logarithms of the `FACTORS`."""
    inside, lives, touch_lives, limits, markets, stay, children, lean, follow, gap, volatility = np.asarray(
        factors, float
    ).tolist()
    tables = {name: np.array(table, float) for name, table in fit.tables_by_name.items()}
    place = tables["place"]
    odds = np.stack([place[:, 0] * np.exp(inside), place[:, 1] - place[:, 0], 1.0 - place[:, 1]], axis=1)
    tables["place"] = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)[:, :2]
    tables["life"] += lives
    tables["life"][:2] += touch_lives
    tables["base"] *= np.exp([limits, 0.0, markets])
    tables["mean"][2:] *= np.exp(children)
    tables["stay"][0] = _odds_moved(tables["stay"][0], stay)
    tables["follow"] = _odds_moved(tables["follow"], follow)
    return replace(
        fit,
        value_lean=float(_odds_moved(np.array(fit.value_lean), lean)),
        value_pull=float(fit.value_pull * np.exp(gap)),
        value_volatility=float(fit.value_volatility * np.exp(volatility)),
        tables_by_name={name: np.round(table, 10).tolist() for name, table in tables.items()},
    )


def _odds_moved(chance: Array, by: float) -> Array:
    moved = chance * np.exp(by)
    return np.asarray(moved / np.maximum(moved + 1.0 - chance, 1e-12))


@dataclass(frozen=True)
class Target:
    """What simulated days are to come near: scores, volatilities and 10 s law of the training blocks."""

    scores: dict[str, Score]
    volatilities: Array
    blocks: Array
    law: ImpactParameters


def target_of(day: BookDay, blocks: Array) -> Target:
    """Return the target of some blocks of a day."""
    visible = visible_day(day)
    scores = {name: score.on(blocks) for name, score in book_scores(visible).items()}
    quantity, change = _flow_in(day, blocks)
    return Target(scores, _volatilities(visible, blocks), np.unique(blocks), fit_impact_law(quantity, change))


def _flow_in(day: BookDay, blocks: Array | None) -> tuple[Array, Array]:
    """Return net volumes and mid changes over `LAW_SECONDS` inside the blocks (None: all), without empty ones."""
    table = aggregate_flow(day, LAW_SECONDS)
    quantity, change = table["quantity"].to_numpy(), table["price_change"].to_numpy()
    seconds = (table["ts"].cast(pl.Int64).to_numpy() % 86_400_000_000_000) / 1e9
    block = (seconds - seconds[0] // 1800 * 1800) // BLOCK_SECONDS
    keep = (quantity != 0.0) & (True if blocks is None else np.isin(block, blocks))
    return quantity[keep], change[keep]


def _law_of(day: BookDay) -> Array:
    """Return (ln lam, gamma) of a simulated day; NaN where flow does not move its price."""
    sample = prepare(*_flow_in(day, None))
    found = choose_noise_model(sample)
    if found.amplitude <= 0.0:
        return np.full(2, np.nan)
    return np.array([np.log(found.amplitude * sample.change_scale) - found.gamma * sample.log_centre, found.gamma])


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
    """Return the mean Wasserstein distance over scores, scales and days, plus the misfits of volatility and law."""
    found, misfit, laws = [], [], []
    for seed in seeds:
        simulated = simulate_day(config, seed, fit=fit)
        day = visible_day(simulated)
        scores = book_scores(day)
        for name in SCORES:
            generated = scores[name].on(target.blocks).values
            if len(generated) == 0:
                return float("inf")
            found += [wasserstein(target.scores[name].values, generated, scale=scale) for scale in ("pooled", "real")]
        laws.append(_law_of(simulated))
        misfit.append(np.abs(np.log(_volatilities(day, target.blocks) / target.volatilities)).mean())
    gap = np.mean(laws, axis=0) - law_point(target.law)
    distance = np.sqrt(gap @ np.linalg.solve(law_covariance(target.law), gap))
    loss = float(np.mean(found) + VOLATILITY_WEIGHT * np.mean(misfit) + LAW_WEIGHT * distance)
    return loss if np.isfinite(loss) else float("inf")


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
    factors: Sequence[str] = FACTORS,
    rounds: int = 3,
    seeds: tuple[int, ...] = (1,),
    report: Callable[[str], None] = lambda line: None,
) -> FlowFit:
    """Return the fit moved to simulate the blocks best: coordinate search with halving steps, common random numbers.

    The search finds the nearest minimum, not the lowest: `start`, logarithms of `FACTORS`, may begin it elsewhere.
    Only `factors` are moved. Simulated days differ: over three sessions of 2400 s the loss has a standard deviation of
    .03 to .06, as much as a first step gains, and factors that hardly matter wander. Whole days and more seeds help.
    """
    if not factors or not set(factors) <= set(FACTORS):
        raise InputError(f"factors are {list(factors)}. Allowed: one or more of {', '.join(FACTORS)}.")
    if rounds < 1 or not seeds:
        raise InputError(f"rounds must be 1 or more and seeds not empty; got {rounds} and {seeds}.")
    target = target_of(day, blocks)
    at, steps = np.zeros(len(FACTORS)), np.array(FIRST_STEPS)
    if start is not None:
        at = np.array(start, float)
    best = _loss_at(at, fit, target, config, seeds)
    for _ in range(rounds):
        for k in (FACTORS.index(name) for name in factors):
            moved = 0.0
            for sign in (1.0, -1.0):
                while not moved or sign == moved:  # on while it helps, never back
                    tried = at.copy()
                    tried[k] += sign * steps[k]
                    loss = _loss_at(tried, fit, target, config, seeds)
                    if loss >= best - _ENOUGH:
                        break
                    at, best, moved = tried, loss, sign
                    report(f"{FACTORS[k]} {at[k]:+.2f}: {best:.4f}")
            if not moved:
                steps[k] /= 2.0
    return matched(fit, at)


def matched(fit: FlowFit, factors: Array) -> FlowFit:
    """Return the fit moved by the logarithms of the `FACTORS`, with a note of them."""
    said = ", ".join(f"{name} {value:+.2f}" for name, value in zip(FACTORS, factors, strict=True) if value)
    return replace(adjusted(fit, factors), notes=f"{fit.notes}; matched by simulation ({said or 'nothing moved'})")
