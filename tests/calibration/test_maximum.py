import math
from dataclasses import replace

import numpy as np
import pytest
from planted_worlds import KINDS, plant, plant_ticked

from difffinance.calibration.intervals import leverages
from difffinance.calibration.likelihood import NOISES, Fit, Sample, derivatives, prepare
from difffinance.calibration.maximum import _Maximiser, fit_noise_model


def differences(sample: Sample, noise: str, state: np.ndarray, h: float = 1e-4) -> tuple[np.ndarray, np.ndarray]:
    """Gradient, and minus the second derivatives without the length element, by central differences."""
    climb, steps = _Maximiser(sample, noise), h * np.eye(len(state))

    def bare(at: np.ndarray) -> float:
        point = climb._at(at)
        return point.value - 0.5 * math.log(point.length[0])  # with the prior of the slopes

    gradient = [(climb._at(state + e).value - climb._at(state - e).value) / (2 * h) for e in steps]
    corner = [
        [bare(state + e + f) - bare(state + e - f) - bare(state - e + f) + bare(state - e - f) for f in steps]
        for e in steps
    ]
    return np.array(gradient), -np.array(corner) / (4 * h * h)


@pytest.mark.parametrize("noise", NOISES)
def test_derivatives_are_those_of_differences(noise):
    world = plant("both", np.random.default_rng(1), n=700, snr=0.3)
    sample = replace(prepare(world.quantity, world.price_change), step=0.4)  # a floor that counts
    climb = _Maximiser(sample, noise)
    state = np.array([0.2, 0.4, -0.3, *[0.3, -0.1] * (climb.columns == 3), *[1.3] * climb.heavy])
    gradient, curvature = differences(sample, noise, state)
    np.testing.assert_allclose(climb._gradient(state, climb._at(state)), gradient, atol=1e-4)
    np.testing.assert_allclose(climb._observed(state, climb._at(state)), curvature, atol=1e-2)


def still_to_gain(sample: Sample, fit: Fit) -> float:
    """Rise of the log likelihood that another optimiser finds from a fit, nu apart."""
    from scipy.optimize import minimize

    climb = _Maximiser(sample, fit.noise)
    end = np.array([fit.amplitude, fit.gamma, *fit.theta[: climb.columns], *[math.log(fit.nu)] * climb.heavy])
    free = len(end) - climb.heavy
    found = minimize(lambda s: -climb._at(np.append(s, end[free:])).value, end[:free], method="BFGS")
    return -float(found.fun) - climb._at(end).value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_climb_ends_at_the_top(kind, zeros):
    """Steps whose parts are cut one by one end the second world of size-dependent noise at the start, gamma 0.45."""
    for seed in range(3):
        rng = np.random.default_rng([seed, 92])
        world = plant_ticked(kind, rng, zeros=zeros, how="rounded") if zeros else plant(kind, rng, n=1000)
        sample = prepare(world.quantity, world.price_change)
        noises = ("gaussian", "size_dependent") if zeros else NOISES
        for fit in (fit_noise_model(sample, noise) for noise in noises):
            assert still_to_gain(sample, fit) < 1e-4


def test_leverage_is_what_leaving_an_order_out_changes():
    world = plant("gaussian", np.random.default_rng(2), n=100, snr=2.0, sizes="pareto")
    sample = prepare(world.quantity, world.price_change)
    fit = fit_noise_model(sample, "gaussian")
    _, information = derivatives(sample, fit)
    leverage = leverages(information)
    assert leverage.sum() == pytest.approx(2.0)
    for order in np.argsort(leverage)[-3:]:
        rest = fit_noise_model(sample.take(np.delete(np.arange(100), order)), "gaussian")
        kept, missed = (sample.change[order] - sample.predict(f.amplitude, f.gamma)[order] for f in (fit, rest))
        assert 1.0 / (1.0 - leverage[order]) == pytest.approx(missed / kept, rel=0.1)
        assert missed / kept > 1.05
