"""What a Sharpe ratio is worth: standard errors, probabilities, and the difference a sample could detect.

Sharpe ratios are per period in and out unless a function takes `periods_per_year`; kurtosis is plain (normal = 3);
standard deviations divide by n - 1. The risk-free rate is taken as 0: pass excess returns where it is not.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from difffinance.errors import InputError
from difffinance.records import Array

EULER_GAMMA = 0.5772156649015329
FLAT = 1e-14
"""Returns whose spread is below this share of their size are constant but for rounding: no Sharpe ratio."""


def sharpe_ratio(returns: Array) -> float | None:
    """Return mean / standard deviation per period, or None where there is none (fewer than two, or no variance)."""
    if len(returns) < 2:
        return None
    deviation = float(np.std(returns, ddof=1))
    scale = float(np.max(np.abs(returns)))
    return None if deviation <= FLAT * scale or scale == 0.0 else float(np.mean(returns)) / deviation


def sharpe_standard_error(sharpe: float, n_obs: int, *, periods_per_year: float = 1.0) -> float:
    """Return `sqrt((1 + SR^2 / 2) / T)`, annualised; for iid normal returns (Lo 2002, eq. 9)."""
    _need(n_obs >= 1, "n_obs", n_obs, "at least 1")
    return float(np.sqrt((1.0 + 0.5 * sharpe**2) / n_obs * periods_per_year))


def lo_annual_factor(returns: Array, periods_per_year: int, *, lags: int | None = None) -> float:
    """Return the factor that annualises a Sharpe ratio of serially correlated returns (Lo 2002, eq. 20).

    `eta(q) = q / sqrt(q + 2 sum_k (q - k) rho_k)`, with autocorrelations up to `lags` (default
    `floor(4 (T / 100)^(2/9))`, the rest taken as 0: at q - 1 lags the estimate is noise).
    """
    returns = np.asarray(returns, dtype=float)
    q = periods_per_year
    _need(len(returns) >= 3, "number of returns", len(returns), "at least 3")
    lags = min(_default_lags(len(returns)) if lags is None else lags, q - 1, len(returns) - 1)
    centred = returns - returns.mean()
    variance = float(centred @ centred)
    _need(variance > 0, "variance of the returns", variance, "above 0")
    rho = np.array([centred[k:] @ centred[:-k] / variance for k in range(1, lags + 1)])
    spread = q + 2.0 * float(np.sum((q - np.arange(1, lags + 1)) * rho))
    _need(spread > 0, "variance of the yearly sum", spread, "above 0; take fewer lags")
    return float(q / np.sqrt(spread))


def probabilistic_sharpe_ratio(
    sharpe: float, n_obs: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Return the probability that the true Sharpe ratio exceeds `benchmark` (Bailey & Lopez de Prado 2012, eq. 9)."""
    _need(n_obs >= 2, "n_obs", n_obs, "at least 2")
    deviation = np.sqrt(_spread(sharpe, skew, kurtosis))
    return float(stats.norm.cdf((sharpe - benchmark) * np.sqrt(n_obs - 1.0) / deviation))


def expected_maximum_sharpe(n_trials: float, trial_variance: float) -> float:
    """Return the Sharpe ratio that the best of `n_trials` skill-less trials is expected to show.

    `sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e)))` (Bailey & Lopez de Prado 2014, eq. 1); 0 for one trial.
    """
    _need(n_trials >= 1, "n_trials", n_trials, "at least 1")
    _need(trial_variance >= 0, "trial_variance", trial_variance, "at least 0")
    if n_trials == 1:
        return 0.0
    first, second = stats.norm.ppf([1.0 - 1.0 / n_trials, 1.0 - 1.0 / (n_trials * np.e)])
    return float(np.sqrt(trial_variance) * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second))


def deflated_sharpe_ratio(
    sharpe: float, n_obs: int, skew: float, kurtosis: float, n_trials: float, trial_variance: float
) -> float:
    """Return the probability of skill after the best of `n_trials` was picked (Bailey & Lopez de Prado, JPM 2014).

    `trial_variance` is the variance of the trials' Sharpe ratios, per period.
    """
    benchmark = expected_maximum_sharpe(n_trials, trial_variance)
    return probabilistic_sharpe_ratio(sharpe, n_obs, skew, kurtosis, benchmark)


def minimum_track_record_length(
    sharpe: float, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0, alpha: float = 0.05
) -> float:
    """Return the observations that `sharpe` needs to beat `benchmark` at level `alpha`.

    Bailey & Lopez de Prado 2012, eq. 11.
    """
    _need(0 < alpha < 1, "alpha", alpha, "above 0 and below 1")
    if sharpe <= benchmark:
        raise InputError(
            f"no track record is long enough for a Sharpe ratio of {sharpe:g} to beat {benchmark:g}. "
            "Allowed: `sharpe` above `benchmark`, both per period."
        )
    return float(1.0 + _spread(sharpe, skew, kurtosis) * (stats.norm.ppf(1.0 - alpha) / (sharpe - benchmark)) ** 2)


@dataclass(frozen=True)
class SharpeDifference:
    """The Sharpe ratio of one strategy minus that of another over the same periods, annualised."""

    difference: float
    se: float
    p_value: float
    smallest_detectable: float

    def __str__(self) -> str:
        return (
            f"Sharpe difference {self.difference:+.3f} +/- {self.se:.3f} (p {self.p_value:.2f}); "
            f"this sample would detect {self.smallest_detectable:.2f}"
        )


def compare_sharpe(
    returns: Array,
    benchmark: Array,
    *,
    periods_per_year: int = 252,
    lags: int | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> SharpeDifference:
    """Compare the Sharpe ratios of two series over the same periods (Ledoit & Wolf 2008, section 3.1, HAC).

    The standard error is that of the mean of the paired influence functions `z - SR (z^2 - 1) / 2`, Bartlett kernel
    with `lags` (0: the formula of Jobson & Korkie 1981 as corrected by Memmel 2003, without its normality).
    `smallest_detectable` is `(z(1 - alpha/2) + z(power)) se`, the true difference that a two-sided test at `alpha`
    would find with probability `power`.
    """
    first, second = np.asarray(returns, dtype=float), np.asarray(benchmark, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"the two return series must have equal length; got {first.shape} and {second.shape}.")
    _need(bool(np.isfinite(first).all() and np.isfinite(second).all()), "returns", "NaN or infinity", "finite numbers")
    _need(len(first) >= 10, "number of returns", len(first), "at least 10")
    a, b = _influence(first), _influence(second)
    difference = (a[0] - b[0]) * np.sqrt(periods_per_year)
    variance = _long_run_variance(a[1] - b[1], _default_lags(len(first)) if lags is None else lags)
    se = float(np.sqrt(variance / len(first) * periods_per_year))
    p_value = float(2.0 * stats.norm.sf(abs(difference) / se)) if se > 0 else float(difference == 0)
    detectable = float((stats.norm.ppf(1.0 - alpha / 2.0) + stats.norm.ppf(power)) * se)
    return SharpeDifference(float(difference), se, p_value, detectable)


def _influence(returns: Array) -> tuple[float, Array]:
    """Return the Sharpe ratio and what each observation adds to its error."""
    sharpe = sharpe_ratio(returns)
    if sharpe is None:
        raise InputError("a return series without variance has no Sharpe ratio. Allowed: returns that vary.")
    z = (returns - returns.mean()) / returns.std(ddof=1)
    return sharpe, z - 0.5 * sharpe * (z**2 - 1.0)


def _long_run_variance(values: Array, lags: int) -> float:
    centred = values - values.mean()
    n = len(centred)
    total = float(centred @ centred) / n
    for k in range(1, min(lags, n - 1) + 1):
        total += 2.0 * (1.0 - k / (lags + 1.0)) * float(centred[k:] @ centred[:-k]) / n
    return total  # Bartlett weights keep it at or above 0


def _default_lags(n: int) -> int:
    return int(4.0 * (n / 100.0) ** (2.0 / 9.0))  # Newey & West 1994, rule of thumb


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    spread = 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    _need(spread > 0, "1 - skew SR + (kurtosis - 1) SR^2 / 4", spread, "above 0; kurtosis is plain, normal = 3")
    return spread


def _need(good: bool, what: str, given: object, allowed: str) -> None:
    if not good:
        raise InputError(f"{what} is {given}. Allowed: {allowed}.")
