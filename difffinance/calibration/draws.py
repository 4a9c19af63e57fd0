"""Draws from the joint law of a fit's errors, for whatever comes after it."""

import numpy as np

from difffinance.errors import RefusedFit
from difffinance.records import Array, ImpactParameters


def draw_parameters(parameters: ImpactParameters, rng: np.random.Generator, count: int) -> Array:
    """Return `count` draws (count, 2) of (lam, gamma): ln|lam| and gamma jointly normal, with their correlation.

    The same law as the band of `diagnostics.impact_curve`. Where gamma's interval has an open end there is no law to
    draw from (`RefusedFit`).
    """
    if not np.isfinite(parameters.gamma_ci).all() or parameters.lam == 0.0:
        raise RefusedFit(
            f"{parameters}: gamma's interval {parameters.gamma_ci} has an open end, so there is nothing to draw from. "
            "Fit more data, or state the law yourself."
        )
    z = rng.standard_normal((count, 2))
    # lam_gamma_corr is that of lam itself: for a negative lam, ln|lam| has the opposite one.
    corr = parameters.lam_gamma_corr * np.sign(parameters.lam)
    log_lam = np.log(abs(parameters.lam)) + abs(parameters.lam_se / parameters.lam) * z[:, 0]
    gamma = parameters.gamma + parameters.gamma_se * (corr * z[:, 0] + np.sqrt(1.0 - corr**2) * z[:, 1])
    return np.column_stack([np.sign(parameters.lam) * np.exp(log_lam), gamma])
