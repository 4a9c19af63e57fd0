"""What a trade is charged: temporary and permanent impact of a `CostLaw`, and nothing else.

Participation is `q / V`, signed, with `V` the volume of one period (a day for daily bars); `sigma` is the volatility
of that period as a fraction; impacts are fractions of price. Formulas: Almgren, Thum, Hauptmann & Li, "Direct
estimation of equity market impact", Risk 18(7), 2005: `I = permanent * sigma * X / V`,
`J = I / 2 + temporary * sigma * sgn(X) |X / (V T)|^exponent`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from difffinance.errors import CostLawError, InputError
from difffinance.records import Array, CostLaw

_KINDS = ("propagator", "metaorder_prior")
_NORMAL_975 = 1.959963984540054


def almgren_prior(*, inverse_turnover_days: float = 1.0, volume_base: str = "") -> CostLaw:
    """Return the metaorder prior of Almgren et al. (2005) with its 95% intervals (1.96 published standard errors).

    The paper's permanent part carries `(Theta / V) ** (1/4)`, with Theta the shares outstanding and V the daily
    volume: 3 to 4 for single stocks that turn over in 100 to 250 days. `inverse_turnover_days` is that Theta / V. The
    default 1 leaves the factor out: an index has no shares of its own, and an ETF's are created on demand; for a
    single stock it understates the permanent part, so pass the stock's own.
    """
    if not 0.0 < inverse_turnover_days < np.inf:
        raise InputError(f"inverse_turnover_days = {inverse_turnover_days} is not allowed. Allowed: above 0, in days.")
    turnover = inverse_turnover_days**0.25
    permanent, permanent_se = 0.314 * turnover, 0.041 * turnover
    return CostLaw(
        kind="metaorder_prior",
        temporary=0.142,
        exponent=0.6,
        permanent=permanent,
        temporary_ci=_interval(0.142, 0.0062),
        exponent_ci=_interval(0.6, 0.038),
        permanent_ci=_interval(permanent, permanent_se),
        source="Almgren, Thum, Hauptmann & Li, Risk 18(7), 2005",
        volume_base=volume_base,
    )


def _interval(estimate: float, error: float) -> tuple[float, float]:
    return estimate - _NORMAL_975 * error, estimate + _NORMAL_975 * error


def square_root_prior(*, volume_base: str = "") -> CostLaw:
    """Return the square-root law of metaorders: a day's metaorder of participation v pays `Y * sigma * sqrt(v)`.

    Peak impact `Y * sigma * v ** exponent` grows along the metaorder, so that its mean price is `1 / (1 + exponent)` of
    the peak away. The exponent and its error are those of eight years of the whole Tokyo exchange (Sato & Kanazawa,
    PRL 135, 257401, 2025: 0.489, standard error 0.0015 across stocks). Y is "of order one" (Toth et al., PRX 1, 021006,
    2011) and no paper gives it one error: 0.5 to 1.5 stands for that. No permanent part is charged: what stays of
    the peak is not linear in participation and could be milked.
    """
    average = 1.0 / (1.0 + 0.489)
    return CostLaw(
        kind="metaorder_prior",
        temporary=average,
        exponent=0.489,
        permanent=0.0,
        temporary_ci=(0.5 * average, 1.5 * average),
        exponent_ci=_interval(0.489, 0.0015),
        permanent_ci=(0.0, 0.0),
        source="square-root law: Sato & Kanazawa, PRL 135, 257401, 2025; Toth et al., PRX 1, 021006, 2011",
        volume_base=volume_base,
    )


def check_cost_law(law: object) -> CostLaw:
    """Return `law` if trades may be charged by it; raise `CostLawError` otherwise."""
    if isinstance(law, CostLaw) and law.kind in _KINDS and (law.kind == "propagator") == (law.decay is not None):
        _check_numbers(law)
        return law
    given = f"a CostLaw of kind '{law.kind}'" if isinstance(law, CostLaw) else type(law).__name__
    raise CostLawError(
        f"trades cannot be charged by {given}: a law of signed flow is a description of the market, not a price list. "
        f"Allowed: a CostLaw of kind {' or '.join(_KINDS)}, e.g. load_costs('SPX')."
    )


def _check_numbers(law: CostLaw) -> None:
    costs = 0.0 <= law.temporary < np.inf and 0.0 <= law.permanent < np.inf and 0.0 < law.exponent < np.inf
    if not costs or not (law.decay is None or 0.0 <= law.decay < 1.0):
        raise CostLawError(
            f"{law} cannot be charged. Allowed: finite numbers, temporary and permanent 0 or more, exponent above 0, "
            "decay from 0 to below 1."
        )
    if law.decay is not None and law.permanent != 0.0:
        raise CostLawError(f"{law} has both a decay and a permanent part of {law.permanent:g}. Allowed: one of them.")
    if law.decay is not None and law.exponent != 1.0:
        raise CostLawError(
            f"{law} can be milked: only impact linear in the rate may fade (market.transient). Allowed: exponent 1."
        )


def draw_cost_laws(law: CostLaw, rng: np.random.Generator, count: int) -> tuple[CostLaw, ...]:
    """Return laws drawn from the errors that `law` states, normal with its 95% intervals.

    Of a prior, temporary, exponent and permanent are independent (no correlation was published), and draws without a
    cost (temporary at or below 0) or with a permanent part below 0 are drawn again. Of a propagator, ln(temporary)
    and decay have the stated correlation, and draws with a decay outside 0 to 1 are drawn again.
    """
    law = check_cost_law(law)
    drawn: list[CostLaw] = []
    while len(drawn) < count:
        z = rng.standard_normal(3)
        if law.decay is None:
            temporary = law.temporary + z[0] * _error(law.temporary_ci)
            exponent = law.exponent + z[1] * _error(law.exponent_ci)
            permanent = law.permanent + z[2] * _error(law.permanent_ci)
            if temporary > 0.0 and permanent >= 0.0 and exponent > 0.0:
                drawn.append(replace(law, temporary=temporary, exponent=exponent, permanent=permanent))
            continue
        decay = law.decay + z[0] * _error(law.decay_ci or (law.decay, law.decay))
        slope = law.correlation * z[0] + np.sqrt(1.0 - law.correlation**2) * z[1]
        low, high = law.temporary_ci
        temporary = float(law.temporary * np.exp(slope * np.log(high / low) / (2.0 * _NORMAL_975)))
        if 0.0 <= decay < 1.0:
            drawn.append(replace(law, temporary=temporary, decay=decay))
    return tuple(drawn)


def _error(interval: tuple[float, float]) -> float:
    return (interval[1] - interval[0]) / (2.0 * _NORMAL_975)


def temporary_impact(law: CostLaw, participation: ArrayLike, sigma: ArrayLike, *, duration: ArrayLike = 1.0) -> Array:
    """Return the signed temporary impact on the trade itself, as a fraction of price.

    `duration` is the fraction of a period over which the trade is spread. Of a propagator this is what the trade pays
    for its own displacement; what earlier trades left is `market.transient.period_kernels`.
    """
    law = check_cost_law(law)
    time = np.asarray(duration, float)
    rate = np.asarray(participation, float) / time
    fading = 1.0 if law.decay is None else time ** (1.0 - law.decay)
    return np.sign(rate) * law.temporary * np.asarray(sigma, float) * np.abs(rate) ** law.exponent * fading


def permanent_impact(law: CostLaw, participation: ArrayLike, sigma: ArrayLike) -> Array:
    """Return the signed shift of the price for everything after the trade, as a fraction of price."""
    law = check_cost_law(law)
    return law.permanent * np.asarray(sigma, float) * np.asarray(participation, float)


def trade_cost_bps(law: CostLaw, participation: ArrayLike, sigma: ArrayLike, *, duration: ArrayLike = 1.0) -> Array:
    """Return the expected impact cost of a trade in bps of its value: temporary plus half of its own permanent."""
    own = 0.5 * permanent_impact(law, participation, sigma)
    return 1e4 * np.abs(own + temporary_impact(law, participation, sigma, duration=duration))


def trailing_volatility_and_volume(close: ArrayLike, volume: ArrayLike, window: int = 20) -> tuple[Array, Array]:
    """Return trailing volatility (of simple returns, fraction per bar) and mean volume over the last `window` bars.

    The value at bar t is known at the close of bar t: it uses bars up to t only. NaN until `window` returns
    (volatility) or `window` volumes are there.
    """
    prices, volumes = np.asarray(close, float), np.asarray(volume, float)
    if prices.ndim != 1 or prices.shape != volumes.shape:
        raise InputError(f"close and volume must be arrays of equal length; got {prices.shape} and {volumes.shape}.")
    if window < 2:
        raise InputError(f"window = {window} is not allowed. Allowed: 2 bars or more, e.g. 20.")
    returns = np.full(len(prices), np.nan)
    returns[1:] = prices[1:] / prices[:-1] - 1.0
    sigma, mean = np.full(len(prices), np.nan), np.full(len(prices), np.nan)
    if len(prices) >= window:
        view = np.lib.stride_tricks.sliding_window_view
        sigma[window - 1 :] = view(returns, window).std(axis=1, ddof=1)
        mean[window - 1 :] = view(volumes, window).mean(axis=1)
    return sigma, mean
