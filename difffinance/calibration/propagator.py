"""The propagator of a day: what is left of the price change of an order l orders, or l periods, later.

In orders: `m_t = sum_{s<t} G(t - s) eps_s f(v_s) + noise`, `G ~ l^-b`, `f` a power of the size (Bouchaud, Gefen,
Potters & Wyart, Quant. Finance 4(2), 2004). Fitted to the mid changes from order to order, by least squares on all
past orders at once, so that the memory of the signs does not enter `G`. If prices are to diffuse, `b = (1 - g) / 2`
with g the exponent of the sign autocorrelation: a check, not an input.

In periods, for costs: the same law of the rate of trading in participation units (`market.transient`), fitted to the
flow in buckets, and held to what can be charged: linear impact, gamma 1, with the decay that then fits best.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.lagged_law import LaggedFit, search_law, signed_powers
from difffinance.calibration.order_flow import aggregate_flow, market_orders, mid_prices, traded_volume
from difffinance.config import CalibrationConfig
from difffinance.errors import RefusedFit
from difffinance.market.transient import Kernel, TransientLaw, check_transient, probe_transient
from difffinance.records import Array, BookDay, CostLaw

_LONGEST = 1000  # lag of the sign autocorrelation, orders
_GROUPS = 20  # of the jackknife


@dataclass(frozen=True)
class Propagator:
    """The kernel in units of orders: `G(l) = amplitude * l^-decay` for an order of the median size; an association."""

    amplitude: float  # quote currency
    amplitude_ci: tuple[float, float]
    size_exponent: float
    size_exponent_ci: tuple[float, float]
    decay: float
    decay_ci: tuple[float, float]
    sign_exponent: float  # g
    sign_exponent_se: float
    decay_of_diffusion: float  # (1 - g) / 2
    difference_z: float  # of decay and decay_of_diffusion, in standard errors
    r2: float
    n_obs: int
    median_size: float
    flow: str
    volume_base: str
    unit: str = "order"
    horizon: str = "the next order"


@dataclass(frozen=True)
class ChargedPropagator:
    """A transient law in participation units: as the day has it, and the nearest that may be charged."""

    law: CostLaw
    free: TransientLaw  # the best of all pairs
    r2: float
    r2_charged: float
    loss_of_r2: float
    replaced: bool
    round_trip_share: float  # what round trips in the free law tend to earn, over the cost of buying
    step_s: float
    n_obs: int
    sigma: float  # of the day, fraction
    volume: float  # of the day, units
    flow: str
    placebo_p_value: float

    def as_answer(self) -> dict[str, Any]:
        """Return the figures without the law itself."""
        found = asdict(self)
        del found["law"]
        return found


def fit_propagator(
    day: BookDay,
    *,
    flow: str = "visible",
    config: CalibrationConfig | None = None,
    rng: np.random.Generator | None = None,
) -> Propagator:
    """Fit the kernel in units of orders; raises `RefusedFit` for too few orders or a decay that is not told."""
    config = config or CalibrationConfig()
    rng = np.random.default_rng(0) if rng is None else rng
    orders = market_orders(day, flow=flow)
    if orders.height < 10 * config.min_observations:
        raise RefusedFit(
            f"{orders.height} orders are too few for a propagator; at least {10 * config.min_observations}."
        )
    quantity, change = orders["quantity"].to_numpy()[:-1], np.diff(orders["mid_before"].to_numpy())
    median = float(np.median(np.abs(quantity)))
    fit = search_law(
        change,
        quantity / median,
        _kernel_of_orders(len(change)),
        sizes=(-0.6, 1.4),
        decays=(-0.4, 1.2),
        replications=config.bootstrap,
        rng=rng,
    )
    if fit.at_edge or fit.interval(0)[0] <= 0.0:
        raise RefusedFit(
            f"the day does not tell a propagator: best size exponent {fit.size_exponent:.2f}, decay {fit.decay:.2f} at "
            f"the end of what was searched, or no impact (n {len(change)})."
        )
    g, g_se = sign_memory(np.sign(quantity))
    gap = fit.decay - 0.5 * (1.0 - g)
    error = float(np.hypot(fit.draws[:, 2].std(), 0.5 * g_se))
    return Propagator(
        amplitude=fit.coefficient,
        amplitude_ci=fit.interval(0),
        size_exponent=fit.size_exponent,
        size_exponent_ci=fit.interval(1),
        decay=fit.decay,
        decay_ci=fit.interval(2),
        sign_exponent=g,
        sign_exponent_se=g_se,
        decay_of_diffusion=0.5 * (1.0 - g),
        difference_z=gap / error if error > 0.0 else float("nan"),
        r2=fit.r2,
        n_obs=len(change),
        median_size=median,
        flow=flow,
        volume_base=day.volume_base,
    )


def propagator_curve(
    day: BookDay, *, flow: str = "visible", size_exponent: float = 0.0, longest: int = 300
) -> pl.DataFrame:
    """Return `G(l)` without a formula for its decay: lag, propagator, standard_error (quote currency).

    Mid changes from order to order on the orders before, their weights constant over bins of lags that double:
    the regularisation without which hundreds of lags would be noise. Errors by deleting blocks of the day.
    """
    orders = market_orders(day, flow=flow)
    quantity, change = orders["quantity"].to_numpy()[:-1], np.diff(orders["mid_before"].to_numpy())
    signed = signed_powers(quantity / np.median(np.abs(quantity)), np.array([size_exponent]))[0]
    ends = [e for e in (1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513) if e <= min(longest, len(change) // 20) + 1]
    total = np.concatenate([[0.0], np.cumsum(signed)])
    past = np.arange(len(change))
    columns = []
    for low, high in zip([0, *ends[:-1]], ends, strict=True):  # orders `low` to `high - 1` back
        columns.append(total[np.maximum(past + 1 - low, 0)] - total[np.maximum(past + 1 - high, 0)])
    x = np.column_stack(columns)
    groups = np.array_split(past, _GROUPS)
    normal = np.stack([x[g].T @ x[g] for g in groups])
    moment = np.stack([x[g].T @ change[g] for g in groups])
    width = np.diff([0, *ends])
    whole = np.cumsum(width * np.linalg.solve(normal.sum(0), moment.sum(0)))
    parts = [
        np.cumsum(width * np.linalg.solve(normal.sum(0) - a, moment.sum(0) - b))
        for a, b in zip(normal, moment, strict=True)
    ]
    return pl.DataFrame({"lag": ends, "propagator": whole, "standard_error": jackknife_error(np.array(parts))})


def sign_memory(sign: Array) -> tuple[float, float]:
    """Return the exponent g of the sign autocorrelation `l^-g` and its jackknife standard error.

    Weighted least squares of ln C on ln l over lags 2 to 1,000 in bins that grow by a fifth; a bin counts as far as its
    mean stands above its own noise, and not at all below one standard error.
    """
    n = len(sign)
    edges = np.unique(np.round(2 * 1.2 ** np.arange(40)).astype(int))
    edges = edges[edges <= min(_LONGEST, n // 10)]
    deviation = sign - sign.mean()
    products = np.stack([_bin_products(deviation, a, b) for a, b in pairwise(edges)])  # (bins, groups)
    counts = np.stack([_bin_products(np.ones(n), a, b) for a, b in pairwise(edges)])
    lag = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    every = [np.ones(_GROUPS, dtype=bool), *(np.arange(_GROUPS) != k for k in range(_GROUPS))]
    found = [
        _memory_slope(products[:, keep].sum(1) / counts[:, keep].sum(1), counts[:, keep].sum(1), lag) for keep in every
    ]
    if not np.isfinite(found).all():
        raise RefusedFit("the signs of the orders have no memory that could be told from none; there is no exponent.")
    return found[0], float(jackknife_error(np.array(found[1:])))


def _bin_products(series: Array, low: int, high: int) -> Array:
    """Return the sums over lags low .. high - 1 of products `s_t s_{t+lag}`, by groups of t."""
    total = np.concatenate([[0.0], np.cumsum(series)])
    n, t = len(series), np.arange(len(series))
    ahead = total[np.minimum(t + high, n)] - total[np.minimum(t + low, n)]
    return np.add.reduceat(series * ahead, np.linspace(0, n, _GROUPS + 1).astype(int)[:-1])


def _memory_slope(correlation: Array, pairs: Array, lag: Array) -> float:
    noise = 1.0 / np.sqrt(pairs)
    seen = correlation > noise
    if seen.sum() < 4:
        return float("nan")
    weight = (correlation[seen] / noise[seen]) ** 2
    x, y = np.log(lag[seen]), np.log(correlation[seen])
    x = x - weight @ x / weight.sum()
    return -float(weight @ (x * y) / (weight @ x**2))


def jackknife_error(parts: Array) -> Array:
    """Return the standard error of an estimate from its values with one group of the data left out, (K, ...)."""
    return np.sqrt((len(parts) - 1) * np.var(parts, axis=0))


def _kernel_of_orders(n: int) -> Any:
    lag = np.arange(1.0, n + 1)

    def kernel(decay: float) -> Array:
        return np.diff(lag**-decay, prepend=0.0)  # what G gains from one order to the next

    return kernel


def fit_charged_propagator(
    day: BookDay,
    *,
    flow: str = "visible",
    config: CalibrationConfig | None = None,
    rng: np.random.Generator | None = None,
) -> ChargedPropagator:
    """Fit a transient law to the day's flow in buckets and hold it to the two tests.

    One period is the day that the file covers; `sigma` its volatility from changes over five minutes, `V` all that
    traded in it. Raises `RefusedFit` where the day does not support such a law.
    """
    config = config or CalibrationConfig()
    rng = np.random.default_rng(0) if rng is None else rng
    step = config.propagator_step_s
    buckets = aggregate_flow(day, step, flow=flow)
    if buckets.height < 4 * config.min_observations:
        raise RefusedFit(f"{buckets.height} buckets of {step:g} s are too few; at least {4 * config.min_observations}.")
    sigma, volume, period = day_scales(day)
    width = step / period
    mid = mid_prices(day)
    change = buckets["price_change"].to_numpy() / (np.nanmean(mid) * sigma)
    rate = buckets["quantity"].to_numpy() / volume / width
    kernel = _kernel_of_buckets(len(change), width)
    free, charged = (
        search_law(
            change,
            rate,
            kernel,
            sizes=sizes,
            decays=(floor, 0.97),
            replications=config.bootstrap,
            rng=rng,
        )
        for sizes, floor in (((0.02, 1.42), -0.42), ((1.0, 1.0), 0.0))
    )
    p_value = _rotation_p_value(change, rate, width, free.size_exponent, free.decay, config.permutations, rng)
    if charged.interval(0)[0] <= 0.0 or p_value > 0.05 or free.at_edge:
        raise RefusedFit(
            f"the flow of the day in buckets of {step:g} s supports no propagator: R2 {free.r2:.3g}, rotation p-value "
            f"{p_value:.3g}, gamma {free.size_exponent:.2f}, decay {free.decay:.2f} (n {len(change)})."
        )
    as_it_is = TransientLaw(free.coefficient, free.size_exponent, Kernel("power", free.decay))
    found = probe_transient(as_it_is)
    law = check_transient(TransientLaw(charged.coefficient, 1.0, Kernel("power", charged.decay)))
    return ChargedPropagator(
        law=_cost_law(law, charged, day, step, flow),
        free=as_it_is,
        r2=free.r2,
        r2_charged=charged.r2,
        loss_of_r2=free.r2 - charged.r2,
        replaced=not found.admissible,
        round_trip_share=found.round_trip_share,
        step_s=step,
        n_obs=len(change),
        sigma=sigma,
        volume=volume,
        flow=flow,
        placebo_p_value=p_value,
    )


def day_scales(day: BookDay) -> tuple[float, float, float]:
    """Return the day's volatility (fraction, from changes over five minutes), its volume and its length in seconds."""
    mid, times = mid_prices(day), day.events["ts"].cast(pl.Int64).to_numpy()
    known = np.isfinite(mid)
    period = float(times[-1] - times[0]) / 1e9
    if not known.any() or period <= 0.0:
        raise RefusedFit("the day has no mid price, or no length.")
    marks = np.linspace(times[0], times[-1], max(int(period // 300), 4) + 1)
    log_mid = np.log(mid[known][np.searchsorted(times[known], marks, side="right").clip(1) - 1])
    sigma, volume = float(np.sqrt(np.sum(np.diff(log_mid) ** 2))), traded_volume(day)
    if sigma <= 0.0 or volume <= 0.0:
        raise RefusedFit(
            "the price does not move, or nothing trades: there is no volatility or no volume to scale with."
        )
    return sigma, volume, period


def _kernel_of_buckets(n: int, width: float) -> Any:
    edges = width * np.arange(n + 1.0)

    def kernel(decay: float) -> Array:
        left = np.diff(Kernel("power", decay).integral(edges))  # displacement by a unit rate, bucket by bucket
        return np.diff(left, prepend=0.0)

    return kernel


def _rotation_p_value(
    change: Array, rate: Array, width: float, gamma: float, decay: float, permutations: int, rng: np.random.Generator
) -> float:
    """Return the p-value of the law's R2 when prices are moved in time past the flow, which keeps both memories."""
    kernel = _kernel_of_buckets(len(change), width)(decay)
    n, length = len(change), 1 << (2 * len(change) - 1).bit_length()
    shape = signed_powers(rate, np.array([gamma]))[0]
    regressor = np.fft.irfft(np.fft.rfft(shape, length) * np.fft.rfft(kernel, length), length)[:n]
    turned = [change, *(np.roll(change, shift) for shift in rng.integers(1, len(change), permutations))]
    gains = np.array([float(regressor @ y) ** 2 for y in turned])
    return (1 + int(np.sum(gains[1:] >= gains[0]))) / (permutations + 1)


def _cost_law(law: TransientLaw, fit: LaggedFit, day: BookDay, step: float, flow: str) -> CostLaw:
    draws = fit.draws
    own = np.array([float(Kernel("power", b).double_integral(1.0)) for b in draws[:, 2]])
    temporary = np.maximum(draws[:, 0] * own, 1e-12)
    low, high = np.quantile(temporary, [0.025, 0.975])
    varies = np.ptp(draws[:, 2]) > 0.0 and np.ptp(temporary) > 0.0
    return CostLaw(
        kind="propagator",
        temporary=float(law.amplitude * law.kernel.double_integral(1.0)),
        exponent=law.gamma,
        permanent=0.0,
        temporary_ci=(float(low), float(high)),
        exponent_ci=fit.interval(1),
        permanent_ci=(0.0, 0.0),
        source=f"{flow} flow of {day.instrument.symbol} on {day.date} in buckets of {step:g} s",
        volume_base=day.volume_base,
        decay=law.kernel.decay,
        decay_ci=fit.interval(2),
        correlation=float(np.corrcoef(np.log(temporary), draws[:, 2])[0, 1]) if varies else 0.0,
    )
