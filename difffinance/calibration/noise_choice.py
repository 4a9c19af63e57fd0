"""Which noise model the data ask for, and which answers are no law of the mean.

The law is about the mean price change. The normal likelihoods estimate it whatever the noise; Student-t does so only
for symmetric noise. Prices on a tick break that in two ways. Single orders move the mid by nothing or by a jump in
their own direction. And where many changes are exactly zero a density can be made as high as one likes on the zeros:
scale and nu run to their bounds and the law to zero, which is the law of the median (no move), and no information
criterion between densities sees it. So the best criterion decides only among models that pass the checks below.
"""

import math
from statistics import NormalDist

import numpy as np

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.likelihood import NOISES, Fit, Sample, derivatives, influences
from difffinance.calibration.maximum import fit_noise_model

_LEVEL = 0.001
_MANY_ZEROS = (
    0.25  # share of exact zeros; in planted worlds with a fifth Student-t still gains, with two fifths it errs
)
_LEAST_SHARE = 0.1  # of the mean signed move that a law must reproduce


def choose_noise_model(sample: Sample) -> Fit:
    """Return the noise model with the smallest Bayesian information criterion, if its law is a law of the mean.

    A Student-t model is taken only if `symmetry_p_value` does not speak against it, and never where more than a
    quarter of the changes are exactly zero: normal noise whose size may depend on |q| needs no shape to find the mean.
    Nor is one taken that has lost the flow (`misses_flow`). Normal models have no veto. Where the best is refused no
    Student-t is taken: a worse one would pass by fitting less, and with noise that must not grow with size one order
    may decide.
    """
    refused = float(np.mean(sample.change == 0.0)) > _MANY_ZEROS
    for fit in sorted((fit_noise_model(sample, noise) for noise in NOISES), key=lambda fit: fit.bic):
        if math.isinf(fit.nu):
            return fit
        if not refused and not misses_flow(sample, fit) and symmetry_p_value(sample, fit) > _LEVEL:
            return fit
        refused = True
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
    # In units of its own deviations: a law near zero tells gamma so badly that its variance would hide that of lam.
    deviation = np.sqrt(covariance.diagonal())
    deviation[deviation == 0.0] = 1.0
    step = squares.sum(axis=0) / deviation
    statistic = float(step @ np.linalg.pinv(covariance / np.outer(deviation, deviation), hermitian=True) @ step)
    return math.exp(-0.5 * statistic)


def misses_flow(sample: Sample, fit: Fit) -> bool:
    """Return whether a law says next to nothing where the mean signed move `E[sign(q) dp]` is beyond doubt.

    A robust moment: every order counts the same, so no few large ones decide, as they may in least squares.
    """
    signed = sample.sign * sample.change
    told = float(np.mean(sample.sign * sample.predict(fit.amplitude, fit.gamma)))
    if abs(told) >= _LEAST_SHARE * abs(float(signed.mean())):
        return False
    spread = math.sqrt(float(long_run_covariance(signed[:, None], optimal_block(signed))[0, 0]))
    return 2.0 * NormalDist().cdf(-abs(float(signed.sum())) / spread) < _LEVEL
