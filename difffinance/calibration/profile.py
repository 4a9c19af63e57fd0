"""Ends of intervals that follow the likelihood: how far ln|lam| and gamma may go before it falls by a given amount.

The standard error of gamma changes with gamma itself (a larger one puts more weight on the largest orders), so ends
as many standard errors to the left as to the right miss on one side: with Pareto sizes and noise that grows with size,
9% of the truths lay below a 95% interval and 1% above. The likelihood ratio does not mind how a parameter is written.
Its fall is read in units of the measured errors, for where the noise model is wrong or errors depend on each other.

The noise, the weights of the orders and their working responses stay those of the fit (iteratively reweighted least
squares), so the fall at any (a, gamma) is a weighted sum of squares.
"""

import math

import numpy as np

from difffinance.calibration.likelihood import Fit, Sample, working
from difffinance.records import Array

_NEAR, _FAR = 16, 96  # steps of gamma to where a parabola would end, and to where the search does


def profile_ends(sample: Sample, fit: Fit, errors: Array, reach: Array) -> Array:
    """Return the ends (lower, upper) of ln|lam| and of gamma as distances from the fit (2, 2), the lower negative.

    `errors` (2,) are the standard errors of (ln|lam|, gamma) that the noise model gives; `reach` (2, 2) holds how far
    the ends would lie from the fit if the likelihood were a parabola, both positive. An end is infinite where the
    likelihood never falls so far.
    """
    falls = np.maximum(reach, 0.0) / errors[:, None]  # roots of the fall, in the model's own errors
    x, pull, weight = working(sample, fit)
    law = fit.amplitude * x
    deepest = math.sqrt(max(float((weight * law + 2.0 * pull) @ law), 0.0))  # where there is no law at all
    furthest = float(falls[falls < deepest].max(initial=0.0))
    if furthest == 0.0:
        return np.array([[-math.inf, math.inf]] * 2)
    step = furthest * float(errors[1]) / _NEAR
    with np.errstate(over="ignore"):
        sides = [_walk(sample, fit, way * step, furthest**2) for way in (-1, 1)]
    # The length element holds the fit a little off the top of the likelihood itself.
    top = min(float(side[1].min()) for side in sides)
    gamma = [_crossing(side[0], side[1] - top, fall**2) for side, fall in zip(sides, falls[1], strict=True)]
    log_lam = [
        way * max(_furthest_lam(sample, fit, side, top, way, fall**2) for side in sides)
        for way, fall in zip((-1, 1), falls[0], strict=True)
    ]
    return np.array([log_lam, gamma])


def _walk(sample: Sample, fit: Fit, step: float, enough: float) -> tuple[Array, Array, Array, Array]:
    """Return gamma from the fit on, twice the fall of the profile likelihood there, the best a and its information."""
    start, pull, weight = working(sample, fit)
    law = fit.amplitude * start
    target = weight * law + pull
    rows = []
    for k in range(_FAR + 1):
        growth = k * step * sample.log_size
        most = float(growth.max())
        x = start * np.exp(growth - most)
        information = float((weight * x) @ x)
        amplitude = float(target @ x) / information
        difference = law - amplitude * x
        fall = float((weight * difference + 2.0 * pull) @ difference)
        rows.append((k * step, fall, amplitude * np.exp(-most), information * np.exp(2.0 * most)))
        if fall > enough:
            break
    distance, falls, amplitudes, informations = np.array(rows).T
    return distance, falls, amplitudes, informations


def _crossing(distance: Array, fall: Array, enough: float) -> float:
    """Return where the fall first exceeds `enough`: between two steps its root is nearly straight."""
    beyond = np.flatnonzero(fall > enough)
    if not len(beyond):
        return math.copysign(math.inf, distance[-1])
    k = max(int(beyond[0]), 1)
    low, high = math.sqrt(max(fall[k - 1], 0.0)), math.sqrt(max(fall[k], 0.0))
    share = min(max((math.sqrt(enough) - low) / (high - low), 0.0), 1.0) if high > low else 0.0
    return float(distance[k - 1] + share * (distance[k] - distance[k - 1]))


def _furthest_lam(
    sample: Sample, fit: Fit, side: tuple[Array, Array, Array, Array], top: float, way: int, enough: float
) -> float:
    """Return how far ln|lam| goes one way (a positive number) at the gammas of one side."""
    distance, fall, amplitude, information = side
    inside = fall - top <= enough
    spread = np.sqrt(np.where(inside, enough - (fall - top), 0.0) / information)
    ratio = amplitude / fit.amplitude + way * spread / abs(fit.amplitude)
    with np.errstate(divide="ignore"):
        moved = way * (np.log(np.maximum(ratio, 0.0)) - distance * sample.log_centre)
    moved = np.where(inside, moved, -math.inf)
    best = int(np.argmax(moved))
    return math.inf if inside.all() and best == len(moved) - 1 else max(float(moved[best]), 0.0)
