"""The facts of order flow and prices that a market should show (SCIENCE 3), alike on real and simulated days."""

import numpy as np
import polars as pl

from difffinance.calibration.background_flow import market_rows, take_sizes
from difffinance.calibration.visible_day import BLOCK_SECONDS, VisibleDay
from difffinance.records import Array

_SIGN_LAGS = np.array([1, 2, 3, 5, 8, 13, 20, 32, 50])
_VOLATILITY_LAGS = np.arange(1, 11)


def autocorrelation(x: Array, lag: int) -> float:
    """Return the sample autocorrelation at a lag."""
    deviation = x - x.mean()
    variance = float(deviation @ deviation)
    return float(deviation[:-lag] @ deviation[lag:]) / variance if variance > 0.0 and len(x) > lag else float("nan")


def power_exponent(lags: Array, values: Array) -> float:
    """Return b of `values ~ lag**-b` by least squares of logs over the positive ones; NaN below three."""
    good = np.isfinite(values) & (values > 0.0)
    return float(-np.polyfit(np.log(lags[good]), np.log(values[good]), 1)[0]) if good.sum() >= 3 else float("nan")


def hill(x: Array, share: float = 0.05) -> float:
    """Return Hill's tail exponent of absolute values on the largest `share` of them."""
    size = np.sort(np.abs(x))[::-1]
    k = int(share * len(size))
    if k < 10 or size[k] <= 0.0:
        return float("nan")
    return float(1.0 / np.mean(np.log(size[:k] / size[k])))


def mid_returns(day: VisibleDay, seconds: float) -> Array:
    """Return log returns of the mid over steps of the clock that have both ends inside the day."""
    ends = np.arange(np.ceil(day.seconds[0] / seconds), np.floor(day.seconds[-1] / seconds) + 1) * seconds
    at = np.searchsorted(day.seconds, ends, side="right") - 1
    return np.diff(np.log(day.mid[at[at >= 0]]))


def excess_kurtosis(x: Array) -> float:
    """Return the fourth moment over the squared variance, less 3."""
    deviation = x - x.mean()
    variance = float(np.mean(deviation**2))
    return float(np.mean(deviation**4)) / variance**2 - 3.0 if variance > 0.0 else float("nan")


def stylized_facts(day: VisibleDay) -> dict[str, float]:
    """Return the facts by name."""
    first = market_rows(day)
    sign = -day.side[first].astype(float)
    size, queue = take_sizes(day, first)
    facts = {f"sign_autocorrelation_{lag}": autocorrelation(sign, lag) for lag in (1, 10)}
    facts["sign_exponent"] = power_exponent(_SIGN_LAGS, np.array([autocorrelation(sign, int(k)) for k in _SIGN_LAGS]))
    returns = {seconds: mid_returns(day, seconds) for seconds in (1.0, 10.0, 60.0, 300.0)}
    for seconds, r in returns.items():
        facts[f"volatility_{seconds:g}s_bps"] = 1e4 * float(r.std()) / np.sqrt(seconds)
        facts[f"excess_kurtosis_{seconds:g}s"] = excess_kurtosis(r)
    facts["return_autocorrelation_10s"] = autocorrelation(returns[10.0], 1)
    facts["tail_exponent_1s"] = hill(returns[1.0])
    clusters = np.array([autocorrelation(np.abs(returns[10.0]), int(k)) for k in _VOLATILITY_LAGS])
    facts["abs_return_autocorrelation_10s"] = float(clusters[0])
    facts["volatility_clustering_exponent"] = power_exponent(_VOLATILITY_LAGS, clusters)
    gaps = np.diff(day.seconds)
    facts["inter_arrival_cv"] = float(gaps.std() / gaps.mean())
    facts["orders_below_queue"], facts["orders_equal_queue"] = (
        float(np.mean(size < queue)),
        float(np.mean(size == queue)),
    )
    facts["orders_above_queue"] = float(np.mean(size > queue))
    counts = np.bincount(day.blocks, minlength=int(day.blocks.max()) + 1).astype(float)
    third = max(len(counts) // 6, 1)
    facts["u_shape"] = float((counts[:third].mean() + counts[-third:].mean()) / 2.0 / counts[third:-third].mean())
    facts["messages"] = float(len(day.kind))
    volume = np.bincount(day.blocks[day.kind == 2], day.quantity[day.kind == 2], minlength=len(counts))
    block_returns = np.abs(returns[BLOCK_SECONDS])
    shared = min(len(volume), len(block_returns))
    facts["volume_volatility"] = (
        float(np.corrcoef(volume[:shared], block_returns[:shared])[0, 1]) if shared > 2 else float("nan")
    )
    return facts


def facts_table(days: dict[str, VisibleDay]) -> pl.DataFrame:
    """Return one row a fact and one column a day."""
    columns = {name: stylized_facts(day) for name, day in days.items()}
    facts = list(next(iter(columns.values())))
    return pl.DataFrame({"fact": facts, **{name: [found[f] for f in facts] for name, found in columns.items()}})
