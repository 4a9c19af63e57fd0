"""Slopes of the day: price change on signed volume and on order-flow imbalance, and where the slope comes from.

Each is an association over a stated unit, horizon and flow: a moment that a simulator must reproduce, never a cost.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.lagged_law import signed_powers
from difffinance.calibration.likelihood import prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.order_flow import aggregate_flow, book_imbalance, market_orders, mid_prices
from difffinance.config import CalibrationConfig
from difffinance.errors import InputError, RefusedFit
from difffinance.records import Array, BookDay

_NORMAL_975 = 1.959963984540054
_FOLDS = 5


@dataclass(frozen=True)
class Association:
    """A slope `price change = slope * x` with a 95% interval that holds under serial dependence."""

    name: str
    unit: str
    horizon_s: float
    flow: str
    volume_base: str
    slope: float
    slope_se: float
    slope_ci95: tuple[float, float]
    r2: float
    n_obs: int
    placebo_p_value: float
    slope_unit: str
    kind: str = "association"


def fit_slope(x: Array, y: Array, *, permutations: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return slope through the origin, its error by blocks, R2 and a placebo: y moved in time past x, memories kept."""
    square, n = float(x @ x), len(x)
    if n < 50 or square == 0.0 or not y.any():
        raise RefusedFit(f"{n} intervals, or no flow, or no move: there is no slope to tell.")
    slope = float(x @ y) / square
    influence = (x * (y - slope * x) / square)[:, None]
    error = float(np.sqrt(long_run_covariance(influence, optimal_block(influence[:, 0]))[0, 0]))
    shifts = rng.integers(1, n, permutations)
    turned = np.array([float(x @ np.roll(y, s)) for s in shifts])
    return {
        "slope": slope,
        "slope_se": error,
        "slope_ci95": (slope - _NORMAL_975 * error, slope + _NORMAL_975 * error),
        "r2": slope * float(x @ y) / float(y @ y),
        "n_obs": n,
        "placebo_p_value": (1 + int(np.sum(np.abs(turned) >= abs(x @ y)))) / (permutations + 1),
    }


def flow_slope(
    day: BookDay, horizon_s: float, *, flow: str, permutations: int, rng: np.random.Generator
) -> Association:
    """Return the slope of the mid change on signed volume over `horizon_s` seconds (Kyle's lambda of the flow)."""
    table = aggregate_flow(day, horizon_s, flow=flow)
    found = fit_slope(
        table["quantity"].to_numpy(), table["price_change"].to_numpy(), permutations=permutations, rng=rng
    )
    return _named(day, "signed volume", horizon_s, flow, f"{day.instrument.currency} per unit", found)


def imbalance_slope(
    day: BookDay, horizon_s: float, *, permutations: int, rng: np.random.Generator, events: Array | None = None
) -> Association:
    """Return the slope of the mid change in ticks on order-flow imbalance at the touch (Cont, Kukanov & Stoikov).

    `events` is `book_imbalance(day, levels)` where it is known already.
    """
    x, ticks = imbalance_table(day, horizon_s, 1, events)
    found = fit_slope(x[:, 0], ticks, permutations=permutations, rng=rng)
    return _named(day, "order-flow imbalance", horizon_s, "book", "ticks per unit", found)


def imbalance_table(day: BookDay, horizon_s: float, levels: int, events: Array | None = None) -> tuple[Array, Array]:
    """Return imbalance (K, levels) and mid change in ticks (K,) over buckets of `horizon_s` seconds on the clock."""
    _, rows = clock_rows(day, horizon_s)
    events = book_imbalance(day, levels) if events is None else events[:, :levels]
    total = np.concatenate([np.zeros((1, levels)), np.cumsum(events, axis=0)])
    ticks = mid_prices(day)[rows - 1] / day.instrument.tick_size
    x, y = np.diff(total[rows], axis=0), np.diff(ticks)
    known = np.isfinite(y)
    return x[known], y[known]


def clock_rows(day: BookDay, horizon_s: float) -> tuple[Array, Array]:
    """Return clock edges (ns) after the first event and, for each, the number of events before it."""
    if not 0.001 <= horizon_s <= 86_400:
        raise InputError(f"horizon_s = {horizon_s} is not allowed. Allowed: 0.001 to 86400 seconds.")
    times, step = day.events["ts"].cast(pl.Int64).to_numpy(), round(horizon_s * 1e9)
    edges = np.arange(times[0] // step + 1, times[-1] // step + 2) * step
    return edges, np.searchsorted(times, edges, side="left")


def level_r2(day: BookDay, horizon_s: float, events: Array | None = None) -> list[dict[str, Any]]:
    """Return R2 of the mid change on the imbalances of the first 1, 2, ... levels, in and out of sample.

    Neighbouring levels move together, so that single coefficients say little; what further levels add is the
    out-of-sample R2 over contiguous folds (Xu, Gould & Howison 2018).
    """
    x, y = imbalance_table(day, horizon_s, day.levels, events)
    x = x / np.where(x.std(axis=0) > 0.0, x.std(axis=0), 1.0)
    found = []
    for levels in [m for m in (1, 2, 3, 5, 10) if m <= day.levels]:
        part = x[:, :levels]
        inside = _ridge(part, y)
        out = 0.0
        for held in np.array_split(np.arange(len(y)), _FOLDS):
            rest = np.delete(np.arange(len(y)), held)
            out += float(np.sum((y[held] - part[held] @ _ridge(part[rest], y[rest])) ** 2))
        total = float(y @ y)
        miss = y - part @ inside
        found.append(
            {"levels": levels, "r2": 1.0 - float(miss @ miss) / total, "r2_oos": 1.0 - out / total, "n_obs": len(y)}
        )
    return found


def _ridge(x: Array, y: Array) -> Array:
    square = x.T @ x
    return np.linalg.solve(square + 1e-3 * np.trace(square) / len(square) * np.eye(len(square)), x.T @ y)


def slope_split(day: BookDay, horizon_s: float, *, flow: str = "visible") -> dict[str, Any]:
    """Return which share of the slope on signed flow happens inside trades; the rest is quote revision.

    The mid's change in a bucket is the sum of its changes across the market orders in it and of all others, so the
    slope on `sign(q) |q|^gamma`, with the least-squares gamma of the horizon, is the sum of their slopes. The error is
    that of the ratio, by blocks.
    """
    table = aggregate_flow(day, horizon_s, flow=flow)
    start = (pl.col("ts").cast(pl.Int64) // round(horizon_s * 1e9) * round(horizon_s * 1e9)).alias("start")
    inside = market_orders(day, flow=flow).group_by(start).agg(inside=pl.col("price_change").sum())
    joined = table.with_columns(start).join(inside, on="start", how="left", maintain_order="left").fill_null(0.0)
    q, y, within = (joined[name].to_numpy() for name in ("quantity", "price_change", "inside"))
    traded = q != 0.0
    if traded.sum() < 50 or np.ptp(np.abs(q[traded])) == 0.0 or not y[traded].any():
        raise RefusedFit("too few buckets with trades, all of one size, or no move: there is no slope to split.")
    gamma = fit_noise_model(prepare(q[traded], y[traded]), "gaussian").gamma
    x = signed_powers(q / np.median(np.abs(q[traded])), np.array([gamma]))[0]
    total = float(x @ y)
    share = float(x @ within) / total
    influence = (x * (within - share * y) / total)[:, None]
    error = float(np.sqrt(long_run_covariance(influence, optimal_block(influence[:, 0]))[0, 0]))
    return {
        "horizon_s": horizon_s, "flow": flow, "gamma": gamma, "inside_trades": share, "standard_error": error,
        "quote_revision": 1.0 - share, "n_obs": len(q), "kind": "association",
    }  # fmt: skip


def lag_dependence(
    day: BookDay, horizon_s: float, lags: tuple[int, ...] = (0, 1, 2, 5, 10, 30)
) -> list[dict[str, Any]]:
    """Return the slope of the mid change from a bucket's start to `lag` buckets after its end, on its signed volume.

    What is left of the move later: with one day, a permanent move cannot be told from one that fades slowly.
    """
    table = aggregate_flow(day, horizon_s)
    q, change = table["quantity"].to_numpy(), table["price_change"].to_numpy()
    total, found = np.concatenate([[0.0], np.cumsum(change)]), []
    for lag in [m for m in lags if m < len(q) // 5]:
        n = len(q) - lag
        moved, x = total[lag + 1 :] - total[:n], q[:n]
        square = float(x @ x)
        if square == 0.0:
            continue
        slope = float(x @ moved) / square
        influence = (x * (moved - slope * x) / square)[:, None]
        block = min(max(optimal_block(influence[:, 0]), lag + 1), max(n // 5, 1))
        error = float(np.sqrt(long_run_covariance(influence, block)[0, 0]))
        found.append(
            {"lag_s": lag * horizon_s, "horizon_s": horizon_s, "slope": slope, "standard_error": error, "n_obs": n}
        )
    return found


def describe_day(day: BookDay, *, config: CalibrationConfig, seed: int) -> dict[str, Any]:
    """Return the day's associations by name; what the data cannot tell is left out."""
    slopes, splits, levels = [], [], []
    events = book_imbalance(day, day.levels)
    for horizon in config.association_s:
        rng = np.random.default_rng([seed, round(horizon * 1e3), 9])
        options: dict[str, Any] = {"permutations": config.permutations, "rng": rng}
        for flow in ("visible", "all", "book"):
            try:
                fit = (
                    imbalance_slope(day, horizon, events=events, **options)
                    if flow == "book"
                    else flow_slope(day, horizon, flow=flow, **options)
                )
                slopes.append(asdict(fit))
            except RefusedFit:
                continue
        try:
            splits.append(slope_split(day, horizon))
        except RefusedFit:
            continue
        if day.levels > 1 and slopes and slopes[-1]["n_obs"] > 20 * day.levels:
            levels += [{"horizon_s": horizon, **row} for row in level_r2(day, horizon, events)]
    lags = lag_dependence(day, 10.0)
    return {"slopes": slopes, "slope_split": splits, "imbalance_levels": levels, "lag_dependence": lags}


def _named(day: BookDay, name: str, horizon_s: float, flow: str, unit: str, found: dict[str, Any]) -> Association:
    return Association(
        name=name,
        unit="aggregate",
        horizon_s=float(horizon_s),
        flow=flow,
        volume_base=day.volume_base,
        slope_unit=unit,
        **found,
    )
