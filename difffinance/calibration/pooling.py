"""Several days or symbols in one law, with an error that fits their number; two symbols of one day against each other.

Days are clusters: inside a day everything may depend on everything. With ten clusters or more the error is the
cluster-robust one with `t(G - 1)` quantiles; with six to nine the wild cluster bootstrap with all 2^G sign patterns of
the restricted residuals (Cameron, Gelbach & Miller, Rev. Econ. Stat. 90(3), 2008), inverted for an interval; with fewer
than six there are too few patterns for a 5% level, and pooling is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.lagged_law import signed_powers
from difffinance.calibration.likelihood import fit_noise_model, prepare
from difffinance.calibration.order_flow import aggregate_flow, market_orders, traded_volume
from difffinance.calibration.propagator import day_scales
from difffinance.errors import InputError, RefusedFit
from difffinance.records import Array, BookDay

FEWEST, MANY = 6, 10
"""Clusters below which pooling is refused, and from which the normal theory of clusters is used."""
_NORMAL_975 = 1.959963984540054


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
            f"{len(days)} days are too few to pool: whatever is common to a day makes one observation of it, and fewer than "
            f"{FEWEST} cannot carry a 95% interval. Bring {FEWEST} or more (from {MANY} on errors are cluster-robust)."
        )
    clusters = [_scaled(day, horizon_s, flow) for day in days]
    found = [_least_squares([cluster]) for cluster in clusters]
    estimate = _least_squares(clusters)
    many = len(days) >= MANY
    intervals = _cluster_robust(clusters, estimate) if many else _wild(clusters, estimate)
    bases = sorted({day.volume_base for day in days})
    return PooledLaw(
        y=float(math.exp(estimate[0])),
        y_ci95=(math.exp(intervals[0][0]), math.exp(intervals[0][1])),
        gamma=float(estimate[1]),
        gamma_ci95=intervals[1],
        method="cluster-robust" if many else "wild cluster bootstrap",
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


def _wild(clusters: Sequence[tuple[Array, Array]], estimate: Array) -> list[tuple[float, float]]:
    """Return intervals of all values that the sign patterns of the clusters do not reject at 5%."""
    signs = np.array(list(product((-1.0, 1.0), repeat=len(clusters))))
    pulls = _influence(clusters, estimate)
    weight = _weights(clusters, estimate)  # (G, 2): the share of the information that each cluster holds
    ends = []
    for k in (0, 1):
        span = 12.0 * float(np.sqrt(np.sum(pulls[:, k] ** 2)))
        kept = []
        for shift in np.linspace(-span, span, 481):
            # Under "the truth is the estimate plus shift" each cluster's pull is moved by its share of the shift.
            moved = pulls[:, k] - shift * weight[:, k]
            total, spread = abs(moved.sum()), math.sqrt(float(np.sum((moved - moved.sum() * weight[:, k]) ** 2)))
            drawn = signs * moved
            sums = drawn.sum(axis=1)
            spreads = np.sqrt(np.sum((drawn - sums[:, None] * weight[:, k]) ** 2, axis=1))
            share = np.mean(np.abs(sums) / np.maximum(spreads, 1e-300) >= total / max(spread, 1e-300) * (1 - 1e-9))
            if share > 0.05:
                kept.append(shift)
        if not kept or min(kept) <= -span or max(kept) >= span:
            ends.append((-math.inf, math.inf))
        else:
            ends.append((float(estimate[k] + min(kept)), float(estimate[k] + max(kept))))
    return ends


def _weights(clusters: Sequence[tuple[Array, Array]], at: Array) -> Array:
    found = []
    for q, _ in clusters:
        curve = np.exp(at[0] + at[1] * np.log(np.abs(q)))
        found.append([float(np.sum(curve**2)), float(np.sum((curve * np.log(np.abs(q))) ** 2))])
    table = np.array(found)
    return table / table.sum(axis=0)


@dataclass(frozen=True)
class CrossImpact:
    """`dp_i = sum_j lam_ij sign(q_j) |q_j|^g_j`, in sigma_i and V_j; an association, with a test of lam_12 = lam_21."""

    symbols: tuple[str, str]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    standard_errors: tuple[tuple[float, float], tuple[float, float]]
    exponents: tuple[float, float]
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

    The size exponents are those of each symbol's own law; the four slopes are least squares, price changes in units of
    daily volatility and flows in units of daily volume, so that the two cross terms can be compared. Errors hold under
    serial dependence and across the two equations (blocks of both influences together). With linear exponents symmetry
    is what keeps a round trip in both symbols from earning (Schneider & Lillo, Quant. Finance 19(1), 2019).
    """
    if first.date != second.date or first.instrument.symbol == second.instrument.symbol:
        raise InputError(
            f"{first.instrument.symbol} on {first.date} and {second.instrument.symbol} on {second.date} have no cross-impact. "
            "Allowed: two symbols of one day."
        )
    tables = [aggregate_flow(day, horizon_s, flow=flow) for day in (first, second)]
    joined = tables[0].join(tables[1], on="ts", suffix="_2", maintain_order="left")
    if joined.height < 50:
        raise RefusedFit(f"{joined.height} buckets that both symbols have are too few for four slopes; at least 50.")
    columns, exponents, moves = [], [], []
    for day, end in ((first, ""), (second, "_2")):
        sigma, volume, _ = day_scales(day)
        q, change = joined["quantity" + end].to_numpy() / volume, joined["price_change" + end].to_numpy()
        traded = q != 0.0
        fit = fit_noise_model(prepare(q[traded], change[traded]), "gaussian")
        exponents.append(fit.gamma)
        columns.append(signed_powers(q, np.array([fit.gamma]))[0])
        moves.append(change / (float(market_orders(day, flow=flow)["mid_before"].mean()) * sigma))  # type: ignore[arg-type]
    x, y = np.column_stack(columns), np.column_stack(moves)
    inverse = np.linalg.inv(x.T @ x)
    slopes = (inverse @ x.T @ y).T  # row i: what moves symbol i
    residual = y - x @ slopes.T
    influence = np.concatenate([(x @ inverse) * residual[:, [i]] for i in (0, 1)], axis=1)  # (n, 4): 11, 12, 21, 22
    block = max(optimal_block(column) for column in influence.T)
    covariance = long_run_covariance(influence, block)
    errors = np.sqrt(np.diag(covariance)).reshape(2, 2)
    gap = float(slopes[0, 1] - slopes[1, 0])
    gap_se = math.sqrt(float(covariance[1, 1] + covariance[2, 2] - 2.0 * covariance[1, 2]))
    alone = [1.0 - float(np.sum((y[:, i] - x[:, i] * (x[:, i] @ y[:, i]) / (x[:, i] @ x[:, i])) ** 2)) / float(y[:, i] @ y[:, i]) for i in (0, 1)]
    whole = [1.0 - float(residual[:, i] @ residual[:, i]) / float(y[:, i] @ y[:, i]) for i in (0, 1)]
    return CrossImpact(
        symbols=(first.instrument.symbol, second.instrument.symbol),
        matrix=((float(slopes[0, 0]), float(slopes[0, 1])), (float(slopes[1, 0]), float(slopes[1, 1]))),
        standard_errors=((float(errors[0, 0]), float(errors[0, 1])), (float(errors[1, 0]), float(errors[1, 1]))),
        exponents=(exponents[0], exponents[1]),
        asymmetry=gap,
        asymmetry_se=gap_se,
        symmetry_p_value=math.erfc(abs(gap / gap_se) / math.sqrt(2.0)),
        r2=(whole[0], whole[1]),
        r2_without_cross=(alone[0], alone[1]),
        horizon_s=horizon_s,
        flow=flow,
        volume_base=", ".join(sorted({first.volume_base, second.volume_base})),
        n_obs=joined.height,
    )
