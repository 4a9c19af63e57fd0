import math

import numpy as np
import pytest
from planted_worlds import plant

from difffinance.calibration.likelihood import NOISES, prepare
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.placebo import out_of_sample_r2, shuffle_placebo


def test_impact_beats_shuffled_flow():
    world = plant("student_t", np.random.default_rng(41), n=1000, snr=0.2)
    sample = prepare(world.quantity, world.price_change)
    r2_95, p_value = shuffle_placebo(sample, 0.15, permutations=99, rng=np.random.default_rng(0))
    assert p_value == 0.01
    assert 0.001 < r2_95 < 0.03


def test_placebo_percentile_is_that_of_the_largest_correlation():
    """One size nearly everywhere leaves one shape: n R2 of independent data is then chi-squared(1)."""
    rng = np.random.default_rng(42)
    quantity = rng.choice([-1.0, 1.0], 2000) * np.where(np.arange(2000) < 3, 1.001, 1.0)
    sample = prepare(quantity, rng.standard_normal(2000))
    r2_95, _ = shuffle_placebo(sample, 0.0, permutations=1999, rng=rng)
    assert 2000 * r2_95 == pytest.approx(3.84, rel=0.15)


@pytest.mark.parametrize("long_memory", [False, True])
def test_p_values_without_impact_are_rarely_small(long_memory):
    small, count = 0, 60
    for seed in range(count):
        world = plant("gaussian", np.random.default_rng([seed, 43]), lam=0.0, n=400, long_memory=long_memory)
        sample = prepare(world.quantity, world.price_change)
        fit = fit_noise_model(sample, "gaussian")
        miss = sample.change - sample.predict(fit.amplitude, fit.gamma)
        r2 = 1 - miss @ miss / (sample.change @ sample.change)
        small += shuffle_placebo(sample, r2, permutations=19, rng=np.random.default_rng(seed))[1] <= 0.05
    assert small <= 0.05 * count + 3 * math.sqrt(count * 0.05 * 0.95)


def test_out_of_sample_r2_is_that_of_the_world():
    world = plant("gaussian", np.random.default_rng(44), snr=0.25)
    sample = prepare(world.quantity, world.price_change)
    assert out_of_sample_r2(sample, fit_noise_model(sample, "gaussian"), folds=5) == pytest.approx(0.2, abs=0.04)


def test_out_of_sample_r2_without_impact_is_not_above_zero():
    world = plant("gaussian", np.random.default_rng(45), lam=0.0, n=400)
    sample = prepare(world.quantity, world.price_change)
    assert out_of_sample_r2(sample, fit_noise_model(sample, "gaussian"), folds=5) < 0.003


@pytest.mark.parametrize("noise", NOISES)
def test_a_fold_that_starts_from_the_whole_finds_its_own_maximum(noise):
    world = plant("both", np.random.default_rng(46), n=1000, snr=0.2)
    sample = prepare(world.quantity, world.price_change)
    half = sample.take(np.arange(500))
    fits = [fit_noise_model(half, noise), fit_noise_model(half, noise, near=fit_noise_model(sample, noise))]
    assert fits[0].gamma == pytest.approx(fits[1].gamma, abs=1e-4)
    assert fits[0].log_likelihood == pytest.approx(fits[1].log_likelihood, abs=1e-5)
