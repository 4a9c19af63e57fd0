"""The closed loop: the code that calibrates a real day calibrates days of the flow fitted to it.

Where the two laws agree the flow reproduces the association that the real day shows; where they do not, the distance
says by how much. Points are (ln lam, gamma), whose errors are joint: with lam at one unit they nearly lie on a line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from difffinance.calibration.impact import calibrate_impact
from difffinance.config import CalibrationConfig, MarketConfig
from difffinance.errors import InputError, RefusedFit
from difffinance.market.flow_fits import FlowFit
from difffinance.records import Array, BookDay, ImpactParameters
from difffinance.simulation.simulated_day import simulate_day


@dataclass(frozen=True)
class ClosedLoop:
    """The law of a real day and those of K simulated days, in one unit, horizon and flow."""

    real: ImpactParameters
    simulated: tuple[ImpactParameters, ...]
    refused: tuple[str, ...]  # why simulated days gave no law
    confidence: float = 0.95

    @cached_property
    def points(self) -> Array:
        """(K, 2) of (ln lam, gamma)."""
        return np.array([law_point(fit) for fit in self.simulated])

    @property
    def distances(self) -> Array:
        """(K,) Mahalanobis distances of the simulated days from the real law, by the real fit's covariance."""
        return np.array([_distance(point, self.real, law_covariance(self.real)) for point in self.points])

    @property
    def mean_distance(self) -> float:
        """Distance of the mean of the simulated laws."""
        return _distance(self.points.mean(axis=0), self.real, law_covariance(self.real))

    @property
    def radius(self) -> float:
        """Mahalanobis radius of the joint region: chi-squared with two degrees of freedom."""
        return math.sqrt(-2.0 * math.log(1.0 - self.confidence))

    @property
    def inside(self) -> bool:
        """Tell whether the mean of the simulated laws lies in the real law's joint region."""
        return self.mean_distance <= self.radius

    @property
    def p_value(self) -> float:
        """Of "the flow has the real law", by the errors of the real fit and of the simulated mean together."""
        if len(self.points) < 3:
            return float("nan")
        total = law_covariance(self.real) + np.cov(self.points.T) / len(self.points)
        return math.exp(-0.5 * _distance(self.points.mean(axis=0), self.real, total) ** 2)

    def table(self) -> pl.DataFrame:
        """Return one row a day, the real one first: day, lam, gamma, their errors, r2, n_obs, distance."""
        fits, names = (self.real, *self.simulated), ("lam", "gamma", "lam_se", "gamma_se", "r2", "n_obs")
        columns = {name: [getattr(fit, name) for fit in fits] for name in names}
        days = ["real", *(f"simulated {k + 1}" for k in range(len(self.simulated)))]
        return pl.DataFrame({"day": days, **columns, "distance": [0.0, *self.distances]})

    def __str__(self) -> str:
        mean, spread = self.points.mean(axis=0), self.points.std(axis=0, ddof=1) if len(self.points) > 1 else [0.0, 0.0]
        said = "inside" if self.inside else "OUTSIDE"
        return (
            f"real {self.real}\nsimulated, {len(self.simulated)} days: lam {math.exp(mean[0]):.3g} (ln +/- "
            f"{spread[0]:.2f} a day), gamma {mean[1]:.3f} (+/- {spread[1]:.3f} a day); mean {said} the joint "
            f"{self.confidence:.0%} region: distance {self.mean_distance:.2f} of {self.radius:.2f} allowed; "
            f"{np.mean(self.distances <= self.radius):.0%} of the days inside, p = {self.p_value:.2g}"
        )


def close_loop(
    day: BookDay,
    config: MarketConfig,
    seeds: Sequence[int],
    *,
    fit: FlowFit | None = None,
    horizon_s: float = 10.0,
    calibration: CalibrationConfig | None = None,
) -> ClosedLoop:
    """Calibrate `day`, then as many simulated days as there are seeds, all by the same code.

    `config` names the flow (`flow_model`; for a fitted one `flow_fit`, or `fit` in its place). Visible flow: simulated
    books hide nothing. Simulated days whose law is refused are counted; `RefusedFit` where all are, or the real one is.
    """
    if not seeds:
        raise InputError("no seeds are given. Allowed: one or more, a simulated day each.")
    real = calibrate_impact(day, horizon_s=horizon_s, config=calibration)
    found, refused = [], []
    for seed in seeds:
        simulated = simulate_day(config, seed, fit=fit, levels=1)
        try:
            found.append(calibrate_impact(simulated, horizon_s=horizon_s, config=calibration))
        except RefusedFit as reason:
            refused.append(str(reason))
    return compare_laws(real, found, refused)


def compare_laws(real: ImpactParameters, simulated: Sequence[ImpactParameters], refused: Sequence[str]) -> ClosedLoop:
    """Return the loop of laws that are known; raise `RefusedFit` where there is nothing to compare."""
    told = [fit for fit in simulated if _is_told(fit)]
    untold = [f"{fit}: impact cannot be told from none" for fit in simulated if not _is_told(fit)]
    if not _is_told(real) or not told:
        raise RefusedFit(f"{real}: no law on one side of the loop. " + " ".join([*refused, *untold])[:500])
    return ClosedLoop(real, tuple(told), (*refused, *untold))


def law_point(fit: ImpactParameters) -> Array:
    """Return (ln lam, gamma)."""
    return np.array([math.log(fit.lam), fit.gamma])


def law_covariance(fit: ImpactParameters) -> Array:
    """Return the covariance (2, 2) of the errors of (ln lam, gamma)."""
    error = np.array([fit.lam_se / fit.lam, fit.gamma_se])
    return np.outer(error, error) * np.array([[1.0, fit.lam_gamma_corr], [fit.lam_gamma_corr, 1.0]])


def joint_region(fit: ImpactParameters, *, confidence: float = 0.95, points: int = 200) -> Array:
    """Return the edge (points, 2) of the joint region as (lam, gamma)."""
    angle = np.linspace(0.0, 2.0 * np.pi, points)
    circle = math.sqrt(-2.0 * math.log(1.0 - confidence)) * np.stack([np.cos(angle), np.sin(angle)])
    edge = law_point(fit)[:, None] + np.linalg.cholesky(law_covariance(fit)) @ circle
    return np.column_stack([np.exp(edge[0]), edge[1]])


def _is_told(fit: ImpactParameters) -> bool:
    return fit.lam > 0.0 and bool(np.isfinite(fit.gamma_ci).all())


def _distance(point: Array, real: ImpactParameters, covariance: Array) -> float:
    gap = point - law_point(real)
    return math.sqrt(float(gap @ np.linalg.solve(covariance, gap)))
