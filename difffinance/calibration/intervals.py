"""Intervals that hold under serial dependence: a studentised block bootstrap of one Newton step.

Refitting every resample would take minutes; one Newton step from the estimate with the resample's own scores and
Hessian has the same limit law (Davidson and MacKinnon 1999) and costs one sum over blocks. Blocks are circular
(Politis and Romano 1992) of the scores that left-out orders would have, their length chosen by Politis and White (2004,
corrected 2009) from the influence series of both parameters. Each replication is studentised by its own between-block
variance (Götze and Künsch 1996).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from difffinance.calibration.likelihood import Fit, Sample, derivatives, influences
from difffinance.calibration.profile import profile_ends
from difffinance.records import Array

_MOST_BLOCKS = 500  # beyond this many, longer blocks cost next to no precision and save time
_SINGULAR = 1e-13  # of the product of the diagonal: below it an information matrix is singular but for rounding
_MOST_LEVERAGE = 0.99  # an order that fits itself says nothing about the noise, and this keeps it finite
_MOST_STARTS = 2000  # of circular blocks, evenly spread
_FURTHEST = (-6.0, 6.0)  # gammas between which the curve of shapes is measured: beyond, one size has all the weight
_COUNTS = 50_000  # of drawn blocks at a time: what stays in a core's own memory


@dataclass(frozen=True)
class Intervals:
    """Standard errors, intervals and correlation of (lam, gamma), and whether there is an impact to speak of."""

    lam_se: float
    gamma_se: float
    lam_ci: tuple[float, float]
    gamma_ci: tuple[float, float]
    correlation: float
    identified: bool
    block: int
    largest_leverage: float


def compute_intervals(
    sample: Sample,
    fit: Fit,
    *,
    confidence: float,
    block: int | None,
    rng: np.random.Generator,
    replications: int,
) -> Intervals:
    """Return the intervals of a fit.

    Where the impact cannot be told from none (`is_identified` at `1 - confidence`) the size exponent is
    not identified: its interval is the whole line, and that of `lam` contains 0.
    """
    score, hessian = derivatives(sample, fit)
    leverage = leverages(hessian)
    most = min(float(leverage.max()), 1.0)
    # HC3 of MacKinnon and White (1985, Journal of Econometrics 29): the fit bends towards the few largest orders, so
    # errors made of their own residuals are too narrow; those that left-out orders would have are not.
    score = score / (1.0 - np.minimum(leverage, _MOST_LEVERAGE))[:, None]
    # Influence of each order on (a, gamma), then on (ln lam, gamma): ln lam = ln a - gamma * mean ln|q| + constant.
    to_law = np.array([[1.0 / fit.amplitude, -sample.log_centre], [0.0, 1.0]])
    influence = influences(score, hessian) @ to_law.T
    if block is None:
        least = math.ceil(len(score) / _MOST_BLOCKS)
        block = max(optimal_block(influence[:, 0]), optimal_block(influence[:, 1]), least)
    covariance = long_run_covariance(influence, block)
    log_lam_se, gamma_se = np.sqrt(np.diag(covariance))
    lam = fit.amplitude * sample.change_scale * math.exp(-fit.gamma * sample.log_centre)
    correlation = math.copysign(1.0, lam) * float(covariance[0, 1] / (log_lam_se * gamma_se))
    lam_se = abs(lam) * float(log_lam_se)
    if not is_identified(sample, fit, block, 1.0 - confidence):
        reach = max(_tube_critical(sample, fit, 1.0 - confidence) * lam_se, 1.01 * abs(lam))
        lam_ci = (lam - reach, lam + reach)
        return Intervals(lam_se, float(gamma_se), lam_ci, (-math.inf, math.inf), correlation, False, block, most)
    quantiles = _studentised_quantiles(score, hessian, to_law, block, confidence, rng, replications)
    reach = np.array([quantiles[1], -quantiles[0]]).T * np.sqrt(covariance.diagonal())[:, None]
    aa, ag, gg = hessian.sum(axis=0)
    model = to_law @ np.linalg.inv([[aa, ag], [ag, gg]]) @ to_law.T
    log_lam, gamma = profile_ends(sample, fit, np.sqrt(np.maximum(model.diagonal(), 1e-300)), reach)
    with np.errstate(over="ignore"):  # an end too far for a number is infinite
        ends = sorted(float(lam * np.exp(end)) for end in log_lam)
    gamma_ci = (fit.gamma + float(gamma[0]), fit.gamma + float(gamma[1]))
    return Intervals(lam_se, float(gamma_se), (ends[0], ends[1]), gamma_ci, correlation, True, block, most)


def leverages(information: Array) -> Array:
    """Return the leverage (n,) of each order on its own fit, from its information (n, 3); they add up to 2."""
    aa, ag, gg = information.sum(axis=0)
    return information @ np.array([gg, -2.0 * ag, aa]) / (aa * gg - ag**2)


def long_run_covariance(influence: Array, block: int) -> Array:
    """Return the covariance of the sum of a series (n, k) from all its circular blocks."""
    n = len(influence)
    centred = influence - influence.mean(axis=0)
    sums = _block_sums(centred, block)
    return sums.T @ sums / block * n / max(n - block, 1)


def _block_sums(series: Array, block: int) -> Array:
    """Return the sums over the n circular blocks of a series (n, k)."""
    cumulated = np.cumsum(np.concatenate([np.zeros((1, series.shape[1])), series, series[:block]]), axis=0)
    return cumulated[block : block + len(series)] - cumulated[: len(series)]


def _studentised_quantiles(
    score: Array,
    hessian: Array,
    to_law: Array,
    block: int,
    confidence: float,
    rng: np.random.Generator,
    replications: int,
) -> Array:
    """Return the (2, 2) lower and upper quantiles of the studentised (ln lam, gamma), infinite where none exist."""
    n = len(score)
    sums = _block_sums(np.column_stack([score - score.mean(axis=0), hessian]), block)
    # Four starts a block are as good as all; fewer would leave orders out. What is drawn has the mean 0.
    sums = sums[:: max(min(math.ceil(n / _MOST_STARTS), block // 4), 1)]
    sums[:, :2] -= sums[:, :2].mean(axis=0)
    first, second = sums[:, 0], sums[:, 1]
    columns = np.column_stack([sums, first * first, first * second, second * second])  # (starts, 8)
    count = max(n // block, 2)
    totals = np.empty((replications, columns.shape[1]))  # sums over the drawn blocks
    starts = len(sums)
    batch = max(1, _COUNTS // starts)
    for start in range(0, replications, batch):
        size = min(batch, replications - start)
        drawn = rng.integers(0, starts, (size, count)) + starts * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * starts).reshape(size, starts)
        totals[start : start + size] = times.astype(float) @ columns
    statistics = _studentised_steps(totals, count, to_law) * math.sqrt(max(n - block, 1) / n)
    tail = (1.0 - confidence) / 2.0
    told = np.isfinite(statistics).all(axis=1)
    if np.mean(~told) > tail:  # resamples of one size only: gamma hangs on a handful of orders
        return np.array([[-math.inf] * 2, [math.inf] * 2])
    return np.quantile(statistics[told], [tail, 1.0 - tail], axis=0)


def _studentised_steps(totals: Array, count: int, to_law: Array) -> Array:
    """Return Newton steps of (ln lam, gamma) over their own standard errors, from resampled sums (R, 8).

    NaN where a resample cannot tell gamma.
    """
    s_a, s_g, h_aa, h_ag, h_gg, s_aa, s_ag, s_gg = totals.T
    determinant = h_aa * h_gg - h_ag**2
    determinant = np.where(determinant > _SINGULAR * h_aa * h_gg, determinant, np.nan)
    # Rows of the resampled inverse Hessian, carried to (ln lam, gamma).
    inverse = np.stack([np.stack([h_gg, -h_ag], 1), np.stack([-h_ag, h_aa], 1)], 1) / determinant[:, None, None]
    rows = np.einsum("ij,rjk->rik", to_law, inverse)  # (R, parameter, score)
    step = rows[:, :, 0] * s_a[:, None] + rows[:, :, 1] * s_g[:, None]
    square = (
        rows[:, :, 0] ** 2 * s_aa[:, None]
        + 2.0 * rows[:, :, 0] * rows[:, :, 1] * s_ag[:, None]
        + rows[:, :, 1] ** 2 * s_gg[:, None]
    )
    variance = np.maximum(square - step**2 / count, 1e-300)
    return step / np.sqrt(variance)


def optimal_block(series: Array) -> int:
    """Return the block length of Politis and White (2004) for the circular bootstrap of a mean."""
    n = len(series)
    deviation = series - series.mean()
    most = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    run = max(5, int(math.log10(n)))
    longest = math.ceil(math.sqrt(n)) + run
    length = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(deviation, length)) ** 2
    covariance = np.fft.irfft(spectrum, length)[: longest + 1] / n
    if covariance[0] <= 0.0:
        return 1
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    runs = np.convolve(small, np.ones(run), "valid") == run
    # The first lag of the first run of small ones, as in the authors' own code.
    cut = int(np.argmax(runs)) + 1 if runs.any() else longest
    lags = np.arange(1, min(2 * cut, longest) + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - lags / lags[-1]))
    g = 2.0 * float(np.sum(weight * lags * covariance[lags]))
    density = float(covariance[0] + 2.0 * np.sum(weight * covariance[lags]))
    if density <= 0.0:
        return 1
    optimal = (2.0 * g**2 / (4.0 / 3.0 * density**2)) ** (1 / 3) * n ** (1 / 3)
    return int(min(max(round(optimal), 1), most))


def is_identified(sample: Sample, fit: Fit, block: int, level: float) -> bool:
    """Return whether "no impact" is rejected at a level, allowing for the search over gamma.

    Without impact gamma has no meaning and the best |t| over all gammas exceeds a normal one. The chance that it
    exceeds c is `2 Phi(-c) + L exp(-c^2 / 2) / pi` with L the length of the curve of normalised shapes (tube
    formula of Hotelling 1939; Davies 1987, Biometrika 74). The t uses the larger of the standard error under
    dependence and that of the noise model.
    """
    score, hessian = derivatives(sample, fit)
    information = float(hessian[:, 0].sum())
    # Far out in gamma a few orders carry all the weight and their own residuals say too little about the noise.
    spread = math.sqrt(max(float(long_run_covariance(score[:, :1], block)[0, 0]), information))
    c = abs(fit.amplitude) * information / spread
    longest = (_FURTHEST[1] - _FURTHEST[0]) * float(np.ptp(sample.log_size)) / 2.0  # no deviation exceeds half a range
    return _tube_tail(c, longest) <= level or _tube_tail(c, _curve_length(sample, fit)) <= level


def _tube_tail(c: float, length: float) -> float:
    return min(1.0, 2.0 * NormalDist().cdf(-c) + length * math.exp(-0.5 * c * c) / math.pi)


def _tube_critical(sample: Sample, fit: Fit, level: float) -> float:
    length, low, high = _curve_length(sample, fit), 0.0, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _tube_tail(middle, length) > level else (low, middle)
    return high


def _curve_length(sample: Sample, fit: Fit) -> float:
    log_weight = -np.log(sample.floor(math.isfinite(fit.nu)) ** 2 + np.exp(fit.theta @ sample.basis))
    gammas = np.linspace(*_FURTHEST, 61)
    speeds = []
    for gamma in gammas:
        exponent = 2.0 * gamma * sample.log_size + log_weight
        weight = np.exp(exponent - exponent.max())
        weight /= weight.sum()
        mean = weight @ sample.log_size
        speeds.append(math.sqrt(max(float(weight @ sample.log_size**2 - mean**2), 0.0)))
    return float(np.trapezoid(speeds, gammas))
