"""The keys of `metrics`: what a return series or a backtest earned, risked and paid.

Fractions unless the name ends in `_bps`; annualised where the name is customary. Drawdowns count from the running
maximum of wealth including the starting value and are positive. The risk-free rate is 0 and idle cash earns nothing.
"""

from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from difffinance.backtest.selection import (
    SuperiorAbility,
    overfitting_logits,
    probability_of_backtest_overfitting,
    superior_predictive_ability,
)
from difffinance.backtest.sharpe import (
    SharpeDifference,
    compare_sharpe,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    lo_annual_factor,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
    sharpe_standard_error,
)
from difffinance.errors import InputError
from difffinance.records import Array, BacktestResult

__all__ = [
    "SharpeDifference",
    "SuperiorAbility",
    "compare_sharpe",
    "compute_metrics",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "lo_annual_factor",
    "minimum_track_record_length",
    "overfitting_logits",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "sharpe_ratio",
    "sharpe_standard_error",
    "superior_predictive_ability",
]

Metrics = dict[str, float | int | None]


def compute_metrics(
    returns: Any,
    periods_per_year: int | None = None,
    *,
    n_trials: int = 1,
    trial_variance: float = 0.0,
) -> Metrics:
    """Return every key of CONTRACT section 5 for simple returns per period, or for a `BacktestResult`.

    A number that does not exist (a Sharpe ratio without variance, costs of a bare series) is None. `periods_per_year`
    defaults to the result's own, or 252. `n_trials` strategies were tried whose Sharpe ratios per period vary by
    `trial_variance`: they deflate `deflated_sharpe`, which for one trial equals `probabilistic_sharpe`.

    For a `BacktestResult`, of the value traded: `slippage_bps` is half spread and temporary impact (what the fill was
    worse than the price on the path), `impact_bps` is everything that the orders' own impact took at their fills
    (temporary, and half of the order's own permanent impact). The parts that do not overlap are `spread_bps`,
    `temporary_impact_bps` and `permanent_impact_bps`. `fees` is a fraction of the starting capital, `turnover` the
    yearly value traded over mean wealth, `trades` the orders filled, `exposure` the share of bars with a position.
    """
    result = returns if isinstance(returns, BacktestResult) else None
    series = _check_returns(returns if result is None else result.returns)
    if periods_per_year is None:
        periods_per_year = 252 if result is None else result.periods_per_year
    if not periods_per_year >= 1:
        raise InputError(f"periods_per_year is {periods_per_year}. Allowed: 1 or more, e.g. 252 for daily bars.")
    metrics = _performance(series, periods_per_year) | _significance(series, periods_per_year, n_trials, trial_variance)
    metrics |= _no_costs(series) if result is None else _costs(result)
    return metrics | {"periods_per_year": periods_per_year, "n_obs": len(series)}


def drawdowns(returns: Array) -> Array:
    """Return the loss from the running maximum of wealth, starting value included, after each period; positive."""
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + np.asarray(returns, dtype=float))])
    return (1.0 - wealth / np.maximum.accumulate(wealth))[1:]


def longest_run(flags: Array) -> int:
    """Return the length of the longest unbroken run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, dtype=bool), [False]]).astype(int)))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


def _check_returns(returns: Any) -> Array:
    try:
        series = np.asarray(returns, dtype=float)
    except (TypeError, ValueError):
        raise InputError("returns are not numbers. Allowed: one number per period, e.g. 0.01 for 1 %.") from None
    if series.ndim != 1 or not len(series):
        raise InputError(f"returns have shape {series.shape}. Allowed: one dimension, at least one number.")
    bad = np.flatnonzero(~np.isfinite(series) | (series < -1.0))
    if len(bad):
        raise InputError(
            f"return {bad[0]} is {series[bad[0]]} ({len(bad)} such). Allowed: finite numbers at or above -1, "
            "as fractions; drop or fill missing periods first."
        )
    return series


def _performance(series: Array, periods: int) -> Metrics:
    growth = float(np.prod(1.0 + series))
    cagr = growth ** (periods / len(series)) - 1.0
    falls = drawdowns(series)
    worst = float(falls.max())
    moves = bool(np.ptp(series) > 0)
    downside = float(np.sqrt(np.mean(np.minimum(series, 0.0) ** 2)))
    gains, losses = float(series[series > 0].sum()), float(-series[series < 0].sum())
    active = series[series != 0]
    var95 = float(np.quantile(series, 0.05))
    return {
        "total_return": growth - 1.0,
        "cagr": cagr,
        "sortino": float(series.mean()) / downside * float(np.sqrt(periods)) if downside > 0 else None,
        "calmar": cagr / worst if worst > 0 else None,
        "max_drawdown": worst,
        "longest_drawdown": longest_run(falls > 0),
        "win_rate": float(np.mean(active > 0)) if len(active) else None,
        "profit_factor": gains / losses if losses > 0 else None,
        "volatility": float(series.std(ddof=1) * np.sqrt(periods)) if len(series) > 1 else None,
        "skew": float(stats.skew(series)) if moves else None,
        "kurtosis": float(stats.kurtosis(series, fisher=False)) if moves else None,
        "var95": var95,
        "cvar95": float(series[series <= var95].mean()),
    }


def _significance(series: Array, periods: int, n_trials: int, trial_variance: float) -> Metrics:
    keys = ("sharpe", "sharpe_se", "sharpe_lo", "probabilistic_sharpe", "deflated_sharpe", "smallest_sharpe")
    sharpe = sharpe_ratio(series)
    if sharpe is None:
        return dict.fromkeys(keys)
    skew, kurtosis = float(stats.skew(series)), float(stats.kurtosis(series, fisher=False))
    se = sharpe_standard_error(sharpe, len(series), periods_per_year=periods)
    root = float(np.sqrt(periods))
    power = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    psr = dsr = lo = None
    if 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2 > 0:
        psr = probabilistic_sharpe_ratio(sharpe, len(series), skew, kurtosis)
        dsr = deflated_sharpe_ratio(sharpe, len(series), skew, kurtosis, n_trials, trial_variance)
    if len(series) > periods:
        lo = sharpe * lo_annual_factor(series, periods)
    return dict(zip(keys, (sharpe * root, se, lo, psr, dsr, power * se), strict=True))


COST_KEYS = (
    "turnover",
    "fees",
    "slippage_bps",
    "impact_bps",
    "spread_bps",
    "temporary_impact_bps",
    "permanent_impact_bps",
    "trades",
)


def _no_costs(series: Array) -> Metrics:
    return dict.fromkeys(COST_KEYS) | {"exposure": float(np.mean(series != 0))}


def _costs(result: BacktestResult) -> Metrics:
    orders, equity = result.orders, result.equity
    traded = float(orders["value"].sum())
    years = equity.height / result.periods_per_year

    def bps(*columns: str) -> float | None:
        return float(sum(orders[c].sum() for c in columns)) / traded * 1e4 if traded > 0 else None

    return {
        "turnover": traded / float(equity["equity"].mean()) / years,  # type: ignore[arg-type]
        "fees": float(orders["fees"].sum()) / result.capital,
        "slippage_bps": bps("spread_cost", "temporary_cost"),
        "impact_bps": bps("temporary_cost", "permanent_cost"),
        "spread_bps": bps("spread_cost"),
        "temporary_impact_bps": bps("temporary_cost"),
        "permanent_impact_bps": bps("permanent_cost"),
        "trades": orders.height,
        "exposure": float(equity.select((pl.col("position") != 0).mean()).item()),
    }
