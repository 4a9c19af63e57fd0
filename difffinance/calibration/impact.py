"""The impact law `dp = lam * sign(q) * |q| ** gamma`: the estimator, and its use on an order-book day.

What it returns is an association between signed flow and price, not a price list (SCIENCE 2.1b): cost functions
(market.costs) refuse it.
"""

import math
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from difffinance.calibration.criticism import compare_shapes
from difffinance.calibration.intervals import compute_intervals
from difffinance.calibration.likelihood import NOISES, Fit, Sample, explained, prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.noise_choice import choose_noise_model, misses_flow
from difffinance.calibration.order_flow import aggregate_flow, aggregate_trades, check_quantity_scale, market_orders
from difffinance.calibration.placebo import shuffle_placebo
from difffinance.config import CalibrationConfig
from difffinance.errors import InputError, RefusedFit
from difffinance.records import Array, BookDay, ImpactParameters

MIN_OBSERVATIONS = 50
_REPLICATIONS = 999
_FEWEST_BLOCKS = 4


def fit_impact_law(
    quantity: ArrayLike,
    price_change: ArrayLike,
    *,
    noise: str = "auto",
    confidence: float = 0.95,
    block: int | None = None,
    rng: np.random.Generator | None = None,
    volume: float | None = None,
) -> ImpactParameters:
    """Fit `price_change = lam * sign(quantity) * |quantity| ** gamma` by maximum likelihood.

    The law is that of the mean: E[price_change | quantity], prices on a tick and unmoved prices included.

    Parameters
    ----------
    quantity, price_change
        Signed quantities and the price changes over the same orders or intervals, in order of time. Quantities of
        zero say nothing about the law and are dropped; `n_obs` counts the others.
    noise
        `gaussian`, `student_t`, `size_dependent`, `both`, or `auto`: chosen from the data (`noise_choice`).
    confidence
        Of the intervals.
    block
        Length of the bootstrap's blocks, in observations, at most a quarter of them; None chooses it from the data.
    rng
        Draws the bootstrap; None is a generator of seed 0, so that the same data give the same answer.
    volume
        Units of the asset that traded over the same time, where known: quantities that add up to more are in dollars,
        in lots of another size or of another symbol, and are refused. Net quantities may add up to less.

    Returns
    -------
    ImpactParameters
        In raw units (both scales 1). Where no impact can be told from none, gamma means nothing: its interval is
        the whole line and that of `lam` contains 0.

    Raises
    ------
    InputError
        Arrays of unequal length, not one-dimensional, not numbers, NaN or infinite; an option out of range.
    RefusedFit
        Fewer than 50 orders, one size only, one sign only, a price that does not move, more quantity than `volume`;
        a noise model that was asked for and fits the unmoved prices instead of the flow.

    References
    ----------
    SCIENCE 2.4; likelihood and choice of noise in `likelihood` and `noise_choice`, intervals in `intervals`.
    """
    _check_options(noise, confidence, rng)
    sample = _check_orders(quantity, price_change, MIN_OBSERVATIONS)
    _check_block(block, len(sample.log_size))
    if volume is not None:
        _check_volume(np.asarray(quantity, float), volume)
    rng = np.random.default_rng(0) if rng is None else rng
    return _fit(sample, noise, confidence, block, rng, _REPLICATIONS)[0]


def calibrate_impact(
    day: BookDay,
    *,
    horizon_s: float = 0.0,
    flow: str = "visible",
    horizon_trades: int | None = None,
    config: CalibrationConfig | None = None,
    rng: np.random.Generator | None = None,
) -> ImpactParameters:
    """Fit the law to the single market orders of a day (`horizon_s` 0), or to its flow over `horizon_s` seconds.

    With `horizon_trades` it is the flow over that many market orders; `horizon_s` is then the mean time they took.

    The answer carries unit, horizon, flow, volume base, the out-of-sample R2 over contiguous folds and the placebo.
    `flow` is `visible` (prints against displayed orders) or `all`. Raises `RefusedFit` as `fit_impact_law` does.
    """
    config = config or CalibrationConfig()
    rng = np.random.default_rng(0) if rng is None else rng
    if horizon_trades is not None:
        table, unit = aggregate_trades(day, horizon_trades, flow=flow), "trades"
        horizon_s = _mean_seconds(table)
    elif horizon_s == 0:
        table, unit = market_orders(day, flow=flow), "order"
    else:
        table, unit = aggregate_flow(day, horizon_s, flow=flow), "aggregate"
    check_quantity_scale(day)
    return calibrate_law(
        table["quantity"],
        table["price_change"],
        unit=unit,
        horizon_s=float(horizon_s),
        flow=flow,
        volume_base=day.volume_base,
        config=config,
        rng=rng,
    )


def calibrate_law(
    quantity: ArrayLike,
    price_change: ArrayLike,
    *,
    unit: str,
    horizon_s: float,
    flow: str,
    volume_base: str,
    config: CalibrationConfig,
    rng: np.random.Generator,
) -> ImpactParameters:
    """Fit the law to signed flow however it was gathered, with R2 out of sample, rivals and placebo, and its names."""
    sample = _check_orders(quantity, price_change, config.min_observations)
    parameters, fit = _fit(sample, "auto", 0.95, None, rng, config.bootstrap)
    r2_95, p_value = shuffle_placebo(sample, parameters.r2, permutations=config.permutations, rng=rng)
    rivals = compare_shapes(sample, fit, folds=config.folds)
    return replace(
        parameters,
        unit=unit,
        horizon_s=horizon_s,
        flow=flow,
        volume_base=volume_base,
        r2_oos=rivals["power"],
        rivals_r2_oos=rivals,
        placebo_r2_95=r2_95,
        placebo_p_value=p_value,
    )


def _mean_seconds(table: pl.DataFrame) -> float:
    times = table["ts"].cast(pl.Int64).to_numpy()
    return float(times[-1] - times[0]) / 1e9 / (len(times) - 1) if len(times) > 1 else 0.0


def _fit(
    sample: Sample, noise: str, confidence: float, block: int | None, rng: np.random.Generator, replications: int
) -> tuple[ImpactParameters, Fit]:
    fit = choose_noise_model(sample) if noise == "auto" else fit_noise_model(sample, noise)
    if math.isfinite(fit.nu) and misses_flow(sample, fit):
        raise RefusedFit(
            f"noise '{noise}' has lost the flow: its law says nothing (R2 {explained(sample, fit):.2g}) where orders "
            f"move the price beyond doubt; {np.mean(sample.change == 0.0):.0%} of the price changes are exactly 0. "
            "Use noise='auto' or noise='size_dependent'."
        )
    found = compute_intervals(sample, fit, confidence=confidence, block=block, rng=rng, replications=replications)
    parameters = ImpactParameters(
        lam=fit.amplitude * sample.change_scale * math.exp(-fit.gamma * sample.log_centre),
        gamma=fit.gamma,
        lam_se=found.lam_se,
        gamma_se=found.gamma_se,
        lam_ci=found.lam_ci,
        gamma_ci=found.gamma_ci,
        r2=explained(sample, fit),
        n_obs=len(sample.change),
        noise=fit.noise,
        lam_gamma_corr=found.correlation,
        largest_leverage=found.largest_leverage,
    )
    return parameters, fit


def _check_options(noise: str, confidence: float, rng: object) -> None:
    if noise != "auto" and noise not in NOISES:
        raise InputError(f"noise '{noise}' is not known. Allowed: auto, {', '.join(NOISES)}.")
    if not isinstance(confidence, Real) or not 0.0 < confidence < 1.0:
        raise InputError(f"confidence = {confidence!r} is not allowed. Allowed: above 0 and below 1, e.g. 0.95.")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise InputError(f"rng = {rng!r} is not allowed. Allowed: numpy.random.default_rng(seed), or None.")


def _check_block(block: int | None, count: int) -> None:
    """Refuse blocks of which too few fit into the data: a handful of block sums tells no standard error."""
    if block is not None and (not isinstance(block, Integral) or not 1 <= block <= count // _FEWEST_BLOCKS):
        raise InputError(
            f"block = {block!r} is not allowed. Allowed: a whole number of observations from 1 to "
            f"{count // _FEWEST_BLOCKS}, a quarter of the {count} orders, or None."
        )


def _check_orders(quantity: ArrayLike, price_change: ArrayLike, minimum: int) -> Sample:
    q, y = _as_numbers("quantity", quantity), _as_numbers("price_change", price_change)
    if len(q) != len(y):
        raise InputError(
            f"quantity and price_change must have equal length; got {len(q)} and {len(y)}. "
            "Price changes are usually one shorter: pass quantity[1:]."
        )
    q, y = q[q != 0.0], y[q != 0.0]
    if len(q) < minimum:
        raise RefusedFit(f"{len(q)} orders with a quantity are too few to tell lam and gamma; at least {minimum}.")
    if np.ptp(np.log(np.abs(q))) < 1e-9:
        raise RefusedFit(f"all {len(q)} orders have the size {abs(q[0]):g}; gamma needs orders of different sizes.")
    if np.all(q > 0.0) or np.all(q < 0.0):
        raise RefusedFit(
            f"all {len(q)} orders are {'buys' if q[0] > 0 else 'sells'}; the law cannot be told from a drift. "
            "Pass signed quantities of both sides."
        )
    if np.ptp(y) == 0.0:
        raise RefusedFit(f"the price change is {y[0] + 0.0:g} for all {len(y)} orders; there is nothing to explain.")
    return prepare(q, y)


def _check_volume(quantity: Array, volume: float) -> None:
    if not 0.0 < volume < np.inf:
        raise InputError(f"volume = {volume} is not allowed. Allowed: above 0, units of the asset, or None.")
    total = float(np.sum(np.abs(quantity)))
    if total > 1.001 * volume:
        raise RefusedFit(
            f"quantities add up to {total:g} where {volume:g} units traded: they cannot be units of this asset. "
            "Convert dollars or lots to units, or pass the volume of the same market and time."
        )


def _as_numbers(name: str, values: ArrayLike) -> Array:
    try:
        if np.iscomplexobj(values):
            raise TypeError
        array: Array = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers; got {type(values).__name__} that cannot be read as such.") from None
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional; got the shape {array.shape}.")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(f"{name} must be finite; got {array[bad[0]]} at position {bad[0]} ({len(bad)} in all).")
    return array
