"""Which noise model the data ask for."""

import math

import numpy as np

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.likelihood import NOISES, Fit, Sample, derivatives, fit_noise_model, influences

_SYMMETRY_LEVEL = 0.001


def choose_noise_model(sample: Sample) -> Fit:
    """Return the noise model with the smallest Bayesian information criterion, if its law is a law of the mean.

    The law is about the mean price change. The normal likelihoods estimate it whatever the noise; Student-t does so
    only for symmetric noise, and single orders on ticked prices are not: nothing, or a jump in their own direction.
    So a Student-t model is taken only if `symmetry_p_value` does not speak against it.
    """
    fits = sorted((fit_noise_model(sample, noise) for noise in NOISES), key=lambda fit: fit.bic)
    for fit in fits:
        if math.isinf(fit.nu) or symmetry_p_value(sample, fit) > _SYMMETRY_LEVEL:
            return fit
    raise AssertionError("the normal models have no veto")


def symmetry_p_value(sample: Sample, fit: Fit) -> float:
    """Return the p-value of "the Student-t law is the law of the mean" (Hausman 1978, Econometrica 46).

    The statistic is the Newton step from the fit to weighted least squares with the same weights, against its
    covariance under serial dependence; chi-squared with two degrees of freedom.
    """
    squares = influences(*derivatives(sample, fit, normal=True))
    difference = squares - influences(*derivatives(sample, fit))
    block = max(optimal_block(difference[:, 0]), optimal_block(difference[:, 1]))
    covariance = long_run_covariance(difference, block)
    step = squares.sum(axis=0)
    statistic = float(step @ np.linalg.pinv(covariance, hermitian=True) @ step)
    return math.exp(-0.5 * statistic)
