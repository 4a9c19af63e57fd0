"""What bars say of liquidity: levels of illiquidity and spreads, and a power law that describes and is never charged.

Bars do not say who began a trade. Volume signed by the bar's own return is a function of what it should explain, so
that a fit on it is large even without impact (SCIENCE 2.3): the descriptive law always comes with its placebo, the same
fit with sizes shuffled against signs and returns.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.likelihood import Sample, prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.placebo import out_of_sample_r2
from difffinance.config import CalibrationConfig
from difffinance.errors import RefusedFit
from difffinance.records import Array, BarsTable

_NORMAL_975 = 1.959963984540054
_LEAST = 60
_CORWIN_SCHULTZ = 3.0 - 2.0 * math.sqrt(2.0)
WARNING = "descriptive: volume is signed by the bar's own return, so that a large R2 would come out without any impact"


@dataclass(frozen=True)
class Liquidity:
    """One measure with the standard error of its mean under serial dependence; None where it does not exist."""

    name: str
    value: float | None
    standard_error: float | None
    unit: str
    n_obs: int
    source: str
    note: str = ""


def describe_bars(bars: BarsTable) -> list[dict[str, Any]]:
    """Return Amihud's illiquidity, Kyle's lambda on bars, Roll's and Corwin and Schultz's spreads."""
    frame = bars.frame
    close, high, low, volume = (frame[name].to_numpy().astype(float) for name in ("close", "high", "low", "volume"))
    if len(close) < _LEAST:
        raise RefusedFit(f"{len(close)} bars are too few to describe liquidity; at least {_LEAST}.")
    found = [roll_spread(close), corwin_schultz_spread(high, low, close)]
    if bars.is_index:
        note = (
            f"{bars.instrument.symbol} is an index: it has no volume of its own, so what is per volume is not measured"
        )
        return [asdict(measure) | {"note": measure.note or note} for measure in found]
    return [
        asdict(measure) for measure in (amihud(close, volume, bars.instrument.currency), kyle(close, volume), *found)
    ]


def amihud(close: Array, volume: Array, currency: str = "") -> Liquidity:
    """Return the mean of |return| over money traded, per million (Amihud, J. Financial Markets 5, 2002)."""
    money = close[1:] * volume[1:]
    traded = money > 0.0
    ratio = 1e6 * np.abs(close[1:] / close[:-1] - 1.0)[traded] / money[traded]
    mean, error = mean_and_error(ratio)
    unit = f"fraction per million {currency}".strip()
    return Liquidity(
        "amihud", mean, error, unit, len(ratio), "Amihud (2002)", "a level of illiquidity; it has no exponent"
    )


def kyle(close: Array, volume: Array) -> Liquidity:
    """Return the slope of the bar's change on volume signed by that change, a description only (see WARNING)."""
    change = np.diff(close)
    x = np.sign(change) * volume[1:]
    square = float(x @ x)
    if square == 0.0:
        return Liquidity("kyle_lambda", None, None, "currency per unit", len(x), "Kyle (1985)", "no volume, or no move")
    slope = float(x @ change) / square
    influence = (x * (change - slope * x) / square)[:, None]
    error = float(np.sqrt(long_run_covariance(influence, optimal_block(influence[:, 0]))[0, 0]))
    return Liquidity("kyle_lambda", slope, error, "currency per unit", len(x), "Kyle (1985)", WARNING)


def roll_spread(close: Array) -> Liquidity:
    """Return Roll's effective spread `2 sqrt(-cov(r_t, r_t-1))`, fraction of price (Roll, J. Finance 39, 1984).

    A positive autocovariance leaves no spread to report (None), which the note says; the error is by the delta method.
    """
    returns = np.diff(np.log(close))
    deviation = returns - returns.mean()
    products = deviation[1:] * deviation[:-1]
    covariance, error = mean_and_error(products)
    if covariance >= 0.0:
        note = (
            f"autocovariance {covariance:.3g} +/- {error:.2g} is not negative: the model has no spread for these bars"
        )
        return Liquidity("roll_spread", None, None, "fraction of price", len(products), "Roll (1984)", note)
    spread = 2.0 * math.sqrt(-covariance)
    # d spread / d covariance = -2 / spread.
    return Liquidity("roll_spread", spread, 2.0 * error / spread, "fraction of price", len(products), "Roll (1984)")


def corwin_schultz_spread(high: Array, low: Array, close: Array) -> Liquidity:
    """Return the mean high-low spread, fraction of price (Corwin & Schultz, J. Finance 67(2), 2012).

    Their overnight adjustment: where a bar lies wholly above or below the close before it, it is moved back by the gap.
    Two-bar estimates below 0 count as 0, as they recommend; their share stands in the note.
    """
    spread = high_low_spreads(high, low, close)
    mean, error = mean_and_error(np.maximum(spread, 0.0))
    note = f"{np.mean(spread < 0.0):.0%} of the two-bar estimates were below 0 and count as 0"
    source = "Corwin & Schultz (2012)"
    return Liquidity("corwin_schultz_spread", mean, error, "fraction of price", len(spread), source, note)


def high_low_spreads(high: Array, low: Array, close: Array) -> Array:
    """Return the two-bar estimates (n - 1,), negative ones as they are."""
    gap = np.maximum(low[1:] - close[:-1], 0.0) + np.minimum(high[1:] - close[:-1], 0.0)
    tops, bottoms = high[1:] - gap, low[1:] - gap
    beta = np.log(high[:-1] / low[:-1]) ** 2 + np.log(tops / bottoms) ** 2
    range_ = np.log(np.maximum(high[:-1], tops) / np.minimum(low[:-1], bottoms)) ** 2
    alpha = (math.sqrt(2.0) - 1.0) * np.sqrt(beta) / _CORWIN_SCHULTZ - np.sqrt(range_ / _CORWIN_SCHULTZ)
    return 2.0 * np.expm1(alpha) / (1.0 + np.exp(alpha))


def describe_power_law(
    bars: BarsTable, *, config: CalibrationConfig, rng: np.random.Generator
) -> tuple[dict[str, Any], str | None]:
    """Return the descriptive law beside its placebo, and why it is refused (None: the placebo does not explain it).

    The placebo shuffles the sizes and keeps the signs (CONTRACT 3). A p-value above 0.05, or a median placebo R2 of
    more than nine tenths of the fit's own, means that the sizes said nothing: the signs alone made the fit.
    """
    frame = bars.frame.filter(pl.col("volume") > 0)
    close, volume = frame["close"].to_numpy().astype(float), frame["volume"].to_numpy().astype(float)
    change = np.diff(close)
    moved = change != 0.0
    q, y = (np.sign(change) * volume[1:])[moved], change[moved]
    if len(q) < config.min_observations or np.ptp(np.abs(q)) == 0.0:
        raise RefusedFit(f"{len(q)} bars with a move and a volume, or one size only: there is no law to describe.")
    sample = prepare(q, y)
    fit = fit_noise_model(sample, "gaussian")
    miss = sample.change - sample.predict(fit.amplitude, fit.gamma)
    r2 = 1.0 - float(miss @ miss) / float(sample.change @ sample.change)
    shuffled = _shuffled_r2(sample, config.permutations, rng)
    p_value = (1 + int(np.sum(shuffled >= r2))) / (config.permutations + 1)
    kept = float(np.quantile(shuffled, 0.5)) / r2 if r2 > 0.0 else float("inf")
    median, high = (float(np.quantile(shuffled, level)) for level in (0.5, 0.95))
    answer = {
        "unit": "bars", "label": WARNING, "gamma": fit.gamma,
        "lam": fit.amplitude * sample.change_scale * math.exp(-fit.gamma * sample.log_centre),
        "r2": r2, "r2_oos": out_of_sample_r2(sample, fit, folds=config.folds), "n_obs": len(q),
        "placebo": {"r2_median": median, "r2_95": high, "p_value": p_value},
    }  # fmt: skip
    reason = None
    if p_value > 0.05 or kept > 0.9:
        reason = (
            f"bars do not say who began a trade: with volumes shuffled across bars the fit keeps {kept:.0%} of its R2 "
            f"({r2:.3g}; p-value {p_value:.3g}, n {len(q)}), for volume signed by the bar's own return is a function "
            "of what it should explain."
        )
    return answer, reason


def _shuffled_r2(sample: Sample, permutations: int, rng: np.random.Generator) -> Array:
    """Return the largest R2 over gamma with sizes in random order; signs and changes stay."""
    shapes = sample.shapes / np.sqrt(np.sum(sample.shapes**2, axis=1))[:, None]
    folded, total = sample.sign * sample.change, float(sample.change @ sample.change)
    found = np.empty(permutations)
    for i in range(permutations):
        found[i] = np.max((shapes @ folded[rng.permutation(len(folded))]) ** 2) / total
    return found


def mean_and_error(series: Array) -> tuple[float, float]:
    """Return the mean of a series and its standard error under serial dependence."""
    n = len(series)
    error = math.sqrt(float(long_run_covariance(series[:, None], optimal_block(series))[0, 0])) / n
    return float(series.mean()), error
