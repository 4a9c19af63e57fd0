"""Which noise model the data ask for, and which answers are no law of the mean.

The law is about the mean price change. The normal likelihoods estimate it whatever the noise; Student-t does so only
for symmetric noise. Prices on a tick break that in two ways. Single orders move the mid by nothing or by a jump in
their own direction. And where many changes are exactly zero a density can be made as high as one likes on the zeros:
scale and nu run to their bounds and the law to zero, which is the law of the median (no move), and no information
criterion between densities sees it. So the best criterion decides only among models that pass the checks below.
"""

import math

import numpy as np

from difffinance.calibration.intervals import identification_p_value, long_run_covariance, optimal_block
from difffinance.calibration.likelihood import (
    LEAST_NU,
    NOISES,
    Fit,
    Sample,
    derivatives,
    explained,
    fit_noise_model,
    influences,
)

_LEVEL = 0.001
_MANY_ZEROS = 0.1  # share of exact zeros; changes without a tick have none
_LEAST_SHARE = 0.1  # of what least squares explain; the efficient law of a heteroskedastic world keeps most of it


def choose_noise_model(sample: Sample) -> Fit:
    """Return the noise model with the smallest Bayesian information criterion, if its law is a law of the mean.

    A Student-t model is taken only if `symmetry_p_value` does not speak against it and, on changes with many zeros,
    if nu is not at its bound. No model is taken that has lost the flow (`misses_flow`). Least squares always stand.
    """
    fits = {noise: fit_noise_model(sample, noise) for noise in NOISES}
    zeros = float(np.mean(sample.change == 0.0))
    for fit in sorted(fits.values(), key=lambda fit: fit.bic):
        if math.isfinite(fit.nu):
            if zeros > _MANY_ZEROS and fit.nu <= LEAST_NU * (1.0 + 1e-9):
                continue
            if symmetry_p_value(sample, fit) <= _LEVEL:
                continue
        if not misses_flow(sample, fit, fits["gaussian"]):
            return fit
    raise AssertionError("least squares miss nothing that least squares explain")


def symmetry_p_value(sample: Sample, fit: Fit) -> float:
    """Return the p-value of "the Student-t law is the law of the mean" (Hausman 1978, Econometrica 46).

    The statistic is the Newton step from the fit to weighted least squares with the same weights, against its
    covariance under serial dependence; chi-squared with two degrees of freedom.
    """
    squares = influences(*derivatives(sample, fit, normal=True))
    difference = squares - influences(*derivatives(sample, fit))
    block = max(optimal_block(difference[:, 0]), optimal_block(difference[:, 1]))
    covariance = long_run_covariance(difference, block)
    # In units of its own deviations: a law near zero tells gamma so badly that its variance would hide that of lam.
    deviation = np.sqrt(covariance.diagonal())
    deviation[deviation == 0.0] = 1.0
    step = squares.sum(axis=0) / deviation
    statistic = float(step @ np.linalg.pinv(covariance / np.outer(deviation, deviation), hermitian=True) @ step)
    return math.exp(-0.5 * statistic)


def misses_flow(sample: Sample, fit: Fit, least_squares: Fit) -> bool:
    """Return whether a law explains next to nothing where least squares show beyond doubt that flow moves the price."""
    best = explained(sample, least_squares)
    if explained(sample, fit) >= _LEAST_SHARE * best:
        return False
    pull = influences(*derivatives(sample, least_squares))
    block = max(optimal_block(pull[:, 0]), optimal_block(pull[:, 1]))
    return identification_p_value(sample, least_squares, block) < _LEVEL
