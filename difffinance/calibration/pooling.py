"""Several days or symbols in one law, with an error that fits their number; two symbols of one day against each other.

Days are clusters: inside a day everything may depend on everything. With ten or more the law is least squares over all
of them and the error the cluster-robust one with t(G - 1) quantiles. With six to nine the law is the mean of the days'
own laws and its interval all values that the 2^G sign changes of the days' deviations do not reject at 5%: the wild
bootstrap of day estimates, exact for any number of days whose estimates are symmetric about the truth (Canay, Romano &
Shaikh, Econometrica 85(3), 2017). Fewer than six days have fewer than 40 patterns, too few for 5% on two sides:
refused.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.likelihood import prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.order_flow import aggregate_flow, market_orders
from difffinance.calibration.propagator import day_scales
from difffinance.errors import InputError, RefusedFit
from difffinance.records import Array, BookDay

FEWEST, MANY = 6, 10
"""Clusters below which pooling is refused, and from which the normal theory of clusters is used."""


@dataclass(frozen=True)
class PooledLaw:
    """`dp / sigma_D = Y sign(q) |q / V_D|^gamma` over all days, an association; errors over days."""

    y: float
    y_ci95: tuple[float, float]
    gamma: float
    gamma_ci95: tuple[float, float]
    method: str
    clusters: int
    n_obs: int
    unit: str
    horizon_s: float
    flow: str
    volume_base: str
    by_day: tuple[tuple[str, str, float, float], ...]  # symbol, date, Y, gamma of that day alone
    kind: str = "association"


def pool_days(days: Sequence[BookDay], *, horizon_s: float = 10.0, flow: str = "visible") -> PooledLaw:
    """Fit one law to several days, each in its own daily volatility and volume; raises `RefusedFit` for too few."""
    if len(days) < FEWEST:
        raise RefusedFit(
            f"{len(days)} days are too few to pool: whatever is common to a day makes one observation of it, and "
            f"fewer than {FEWEST} cannot carry a 95% interval. Bring {FEWEST} or more."
        )
    clusters = [_scaled(day, horizon_s, flow) for day in days]
    found = [_least_squares([cluster]) for cluster in clusters]
    many = len(days) >= MANY
    if many:
        estimate = _least_squares(clusters)
        intervals = _cluster_robust(clusters, estimate)
    else:
        estimate = np.mean(found, axis=0)
        intervals = [_sign_changes(column) for column in np.array(found).T]
    bases = sorted({day.volume_base for day in days})
    return PooledLaw(
        y=float(math.exp(estimate[0])),
        y_ci95=(math.exp(intervals[0][0]), math.exp(intervals[0][1])),
        gamma=float(estimate[1]),
        gamma_ci95=intervals[1],
        method="cluster-robust" if many else "sign changes of day estimates",
        clusters=len(days),
        n_obs=sum(len(q) for q, _ in clusters),
        unit="order" if horizon_s == 0.0 else "aggregate",
        horizon_s=horizon_s,
        flow=flow,
        volume_base=", ".join(bases),
        by_day=tuple(
            (day.instrument.symbol, day.date, float(math.exp(each[0])), float(each[1]))
            for day, each in zip(days, found, strict=True)
        ),
    )


def _scaled(day: BookDay, horizon_s: float, flow: str) -> tuple[Array, Array]:
    table = market_orders(day, flow=flow) if horizon_s == 0.0 else aggregate_flow(day, horizon_s, flow=flow)
    sigma, volume, _ = day_scales(day)
    q, change = table["quantity"].to_numpy() / volume, table["price_change"].to_numpy()
    traded = q != 0.0
    mid = market_orders(day, flow=flow)["mid_before"].mean()
    if traded.sum() < 50 or not isinstance(mid, float):
        raise RefusedFit(f"{day.instrument.symbol} on {day.date} has {traded.sum()} observations; at least 50.")
    return q[traded], change[traded] / (mid * sigma)


def _least_squares(clusters: Sequence[tuple[Array, Array]]) -> Array:
    """Return (ln Y, gamma) of the least-squares law of all clusters."""
    q, y = (np.concatenate(parts) for parts in zip(*clusters, strict=True))
    sample = prepare(q, y)
    fit = fit_noise_model(sample, "gaussian")
    if fit.amplitude <= 0.0:
        raise RefusedFit("prices moved against the flow over all days: there is no law to pool.")
    return np.array([math.log(fit.amplitude * sample.change_scale) - fit.gamma * sample.log_centre, fit.gamma])


def _influence(clusters: Sequence[tuple[Array, Array]], at: Array) -> Array:
    """Return what each cluster pulls (G, 2) at (ln Y, gamma): its scores times the inverse information of all."""
    scores, information = [], np.zeros((2, 2))
    for q, y in clusters:
        curve = np.sign(q) * np.exp(at[0] + at[1] * np.log(np.abs(q)))
        slope = np.column_stack([curve, curve * np.log(np.abs(q))])
        scores.append(slope.T @ (y - curve))
        information += slope.T @ slope
    return np.array(scores) @ np.linalg.inv(information)


def _cluster_robust(clusters: Sequence[tuple[Array, Array]], estimate: Array) -> list[tuple[float, float]]:
    from scipy.stats import t

    count = len(clusters)
    pulls = _influence(clusters, estimate)
    error = np.sqrt(count / (count - 1) * np.sum(pulls**2, axis=0))
    reach = float(t.ppf(0.975, count - 1)) * error
    return [(float(estimate[k] - reach[k]), float(estimate[k] + reach[k])) for k in (0, 1)]


def _sign_changes(values: Array) -> tuple[float, float]:
    """Return the interval of means that sign changes of the deviations (G,) do not reject at 5%."""
    signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
    centre, span = float(values.mean()), 12.0 * float(values.std(ddof=1)) / math.sqrt(len(values))
    kept = []
    for mean in np.linspace(centre - span, centre + span, 481):
        drawn = signs * (values - mean)
        spread = np.maximum(drawn.std(axis=1), 1e-300)
        ratio = np.abs(drawn.mean(axis=1)) / spread
        if np.mean(ratio >= ratio[-1] * (1.0 - 1e-9)) > 0.05:  # the last pattern changes no sign
            kept.append(float(mean))
    step = span / 240.0
    return min(kept) - step, max(kept) + step


@dataclass(frozen=True)
class CrossImpact:
    """`dp_i = sum_j lam_ij q_j` in currency per unit; an association, with a test of `lam_12 = lam_21`."""

    symbols: tuple[str, str]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    standard_errors: tuple[tuple[float, float], tuple[float, float]]
    asymmetry: float  # lam_12 - lam_21
    asymmetry_se: float
    symmetry_p_value: float
    r2: tuple[float, float]
    r2_without_cross: tuple[float, float]
    horizon_s: float
    flow: str
    volume_base: str
    n_obs: int
    unit: str = "aggregate"
    kind: str = "association"

    def as_answer(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


def fit_cross_impact(first: BookDay, second: BookDay, *, horizon_s: float = 60.0, flow: str = "visible") -> CrossImpact:
    """Fit the 2x2 cross-impact of two symbols over the same buckets of one day.

    Linear in both flows: only then do the two cross slopes have one unit, and a round trip in both symbols earns unless
    they are equal (Schneider & Lillo, Quant. Finance 19(1), 2019). Errors hold under serial dependence and across the
    two equations (blocks of both influences together).
    """
    if first.date != second.date or first.instrument.symbol == second.instrument.symbol:
        raise InputError(
            f"{first.instrument.symbol} on {first.date} and {second.instrument.symbol} on {second.date} have no "
            "cross-impact. Allowed: two symbols of one day."
        )
    tables = [aggregate_flow(day, horizon_s, flow=flow) for day in (first, second)]
    joined = tables[0].join(tables[1], on="ts", suffix="_2", maintain_order="left")
    if joined.height < 50:
        raise RefusedFit(f"{joined.height} buckets that both symbols have are too few for four slopes; at least 50.")
    x = np.column_stack([joined["quantity"].to_numpy(), joined["quantity_2"].to_numpy()])
    y = np.column_stack([joined["price_change"].to_numpy(), joined["price_change_2"].to_numpy()])
    if np.linalg.matrix_rank(x) < 2:
        raise RefusedFit("one of the two symbols has no flow, or both have the same: four slopes cannot be told.")
    inverse = np.linalg.inv(x.T @ x)
    slopes = (inverse @ x.T @ y).T  # row i: what moves symbol i
    residual = y - x @ slopes.T
    influence = np.concatenate([(x @ inverse) * residual[:, [i]] for i in (0, 1)], axis=1)  # (n, 4): 11, 12, 21, 22
    block = max(optimal_block(column) for column in influence.T)
    covariance = long_run_covariance(influence, block)
    errors = np.sqrt(np.diag(covariance)).reshape(2, 2)
    gap = float(slopes[0, 1] - slopes[1, 0])
    gap_se = math.sqrt(float(covariance[1, 1] + covariance[2, 2] - 2.0 * covariance[1, 2]))
    total = np.sum(y**2, axis=0)
    alone = np.sum(x * y, axis=0) ** 2 / np.sum(x**2, axis=0) / total
    whole = 1.0 - np.sum(residual**2, axis=0) / total
    return CrossImpact(
        symbols=(first.instrument.symbol, second.instrument.symbol),
        matrix=((float(slopes[0, 0]), float(slopes[0, 1])), (float(slopes[1, 0]), float(slopes[1, 1]))),
        standard_errors=((float(errors[0, 0]), float(errors[0, 1])), (float(errors[1, 0]), float(errors[1, 1]))),
        asymmetry=gap,
        asymmetry_se=gap_se,
        symmetry_p_value=math.erfc(abs(gap / gap_se) / math.sqrt(2.0)),
        r2=(float(whole[0]), float(whole[1])),
        r2_without_cross=(float(alone[0]), float(alone[1])),
        horizon_s=horizon_s,
        flow=flow,
        volume_base=", ".join(sorted({first.volume_base, second.volume_base})),
        n_obs=joined.height,
    )
