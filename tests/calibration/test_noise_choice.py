import math

import numpy as np
import pytest
from planted_worlds import KINDS, TICKED, plant, plant_ticked

from difffinance.calibration import fit_impact_law
from difffinance.calibration.impact import calibrate_impact
from difffinance.calibration.likelihood import NOISES, Fit, explained, prepare, resolution
from difffinance.calibration.maximum import fit_noise_model
from difffinance.calibration.noise_choice import choose_noise_model, misses_flow, symmetry_p_value
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.errors import RefusedFit

HEAVY = (("student_t", 0.7), ("gaussian", 0.7), ("both", 0.6), ("student_t", 0.4))  # noise, share of exact zeros


@pytest.mark.parametrize("how", TICKED)
@pytest.mark.parametrize(("kind", "zeros"), HEAVY)
def test_law_of_the_mean_is_recovered_among_exact_zeros(how, kind, zeros):
    errors, levels = [], []
    for seed in range(8):
        world = plant_ticked(kind, np.random.default_rng([seed, 31]), zeros=zeros, how=how)
        assert np.mean(world.price_change == 0) == pytest.approx(zeros, abs=0.05)
        fit = fit_impact_law(world.quantity, world.price_change)
        assert fit.noise in ("gaussian", "size_dependent")
        assert fit.r2 > 0.002
        errors.append((fit.gamma - world.gamma) / fit.gamma_se)
        at = 150.0  # the geometric mean of sizes
        levels.append(fit.lam * at**fit.gamma / (world.lam * at**world.gamma))
    assert abs(np.mean(errors)) < 4 / math.sqrt(8)
    assert np.median(levels) == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("how", TICKED)
def test_intervals_cover_the_law_of_the_mean_among_exact_zeros(how):
    count, gamma, lam = 40, 0, 0
    for seed in range(count):
        world = plant_ticked("gaussian", np.random.default_rng([seed, 32]), zeros=0.7, how=how)
        fit = fit_impact_law(world.quantity, world.price_change)
        gamma += fit.gamma_ci[0] <= world.gamma <= fit.gamma_ci[1]
        lam += fit.lam_ci[0] <= world.lam <= fit.lam_ci[1]
    assert min(gamma, lam) >= 0.95 * count - 3.5 * math.sqrt(count * 0.95 * 0.05)


def test_noise_model_that_fits_the_unmoved_prices_is_refused():
    world = plant_ticked("student_t", np.random.default_rng([0, 33]), zeros=0.7, how="idle")
    with pytest.raises(RefusedFit, match=r"lost the flow.*70% of the price changes are exactly 0"):
        fit_impact_law(world.quantity, world.price_change, noise="both")
    sample = prepare(world.quantity, world.price_change)
    squares, lost = (fit_noise_model(sample, noise) for noise in ("gaussian", "both"))
    assert explained(sample, lost) < 1e-6 < 0.01 < explained(sample, squares)
    assert misses_flow(sample, lost)
    assert not misses_flow(sample, squares)


def test_nothing_is_missed_where_flow_says_nothing():
    world = plant("student_t", np.random.default_rng(34), lam=0.0, n=500)
    sample = prepare(world.quantity, world.price_change)
    nothing = Fit("both", 1e-15, 0.5, np.zeros(3), 2.0, 0.0, 0.0)
    assert not misses_flow(sample, nothing)


def test_symmetry_is_refuted_by_a_law_of_almost_nothing():
    """A law near zero tells gamma with a huge variance; it must not hide that lam is wrong by many deviations."""
    world = plant("student_t", np.random.default_rng(35), snr=0.3)
    sample = prepare(world.quantity, world.price_change)
    own = fit_noise_model(sample, "student_t")
    for amplitude in (1e-3, 1e-9, 1e-14):
        nothing = Fit("student_t", amplitude, 0.5, own.theta, own.nu, 0.0, 0.0)
        assert symmetry_p_value(sample, nothing) < 1e-6
    assert symmetry_p_value(sample, own) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_price_changes_without_zeros_keep_the_best_criterion(kind):
    world = plant(kind, np.random.default_rng(36), snr=0.2)
    sample = prepare(world.quantity, world.price_change)
    assert fit_noise_model(sample, kind).bic == min(fit_noise_model(sample, noise).bic for noise in KINDS)
    assert fit_impact_law(world.quantity, world.price_change).noise == kind


@pytest.mark.parametrize("most", [3, 400, 7000])
def test_grid_step_is_found_however_many_steps_the_largest_change_has(most):
    rng = np.random.default_rng(37)
    steps = np.concatenate([rng.integers(-60, 61, 3000) // 20, [1, most, -most // 3]])
    mids = 61_234.565 + 0.005 * np.cumsum(steps)  # as floating point leaves them
    assert resolution(np.diff(mids)) == pytest.approx(0.005, rel=1e-6)
    assert resolution(rng.standard_normal(3000)) == 0.0


@pytest.mark.minutes
def test_spot_prices_that_mostly_stand_still(shared_data, tmp_path):
    """Binance BTCUSDT spot: 71% of single orders and 59% of seconds with flow move nothing; the tick is tiny."""
    lake = Lake(tmp_path)
    capture = shared_data / "binance_ws_raw" / "spot_btcusdt_20240808.gz"
    fetch_tables("binance", [str(capture)], lake=lake, config=DataConfig())
    day = load_book("BTCUSDT", lake=lake)
    for horizon_s, least in ((0.0, 0.08), (1.0, 0.3)):
        fit = calibrate_impact(day, horizon_s=horizon_s)
        assert fit.noise in ("gaussian", "size_dependent")
        assert fit.r2 > least  # correlations of signed flow and price change: 0.32 and 0.62
        assert fit.placebo_p_value is not None and fit.placebo_p_value < 0.01
        assert 0 < fit.gamma_ci[0] < fit.gamma < fit.gamma_ci[1] < 1


@pytest.mark.slow
def test_coarse_ticks_do_not_hide_which_sizes_have_little_noise():
    """With a whole step for a floor of normal noise too, the mean error is -0.06 and the 95% intervals cover in 85%."""
    errors = []
    for seed in range(40):
        world = plant_ticked("both", np.random.default_rng([seed, 41]), zeros=0.6, how="rounded")
        errors.append(fit_impact_law(world.quantity, world.price_change).gamma - world.gamma)
    assert abs(np.mean(errors)) < 0.035


def test_after_an_asymmetric_student_t_comes_a_normal_model():
    """Small orders whose noise leans their way: Student-t of one scale hardly weighs them and passes the test."""
    rng = np.random.default_rng(38)
    world = plant("both", rng, n=4000, snr=0.3)
    small, mean = np.abs(world.quantity) < 100.0, math.gamma(2.5)
    lean = small * np.sign(world.quantity) * world.scale * (rng.exponential(1.0, 4000) ** 1.5 - mean)
    sample = prepare(world.quantity, world.price_change + lean)
    fits = {noise: fit_noise_model(sample, noise) for noise in NOISES}
    assert sorted(fits, key=lambda noise: fits[noise].bic)[:2] == ["both", "student_t"]
    assert symmetry_p_value(sample, fits["both"]) < 1e-3 < symmetry_p_value(sample, fits["student_t"])
    assert choose_noise_model(sample).noise == "size_dependent"


def test_an_order_that_decides_is_named():
    world = plant("gaussian", np.random.default_rng(39), n=500, snr=0.3)
    quantity = np.append(world.quantity, 1e5 * np.abs(world.quantity).max())
    change = np.append(world.price_change, 10.0 * np.abs(world.price_change).max())
    fit = fit_impact_law(quantity, change, noise="gaussian")
    assert fit.largest_leverage > 0.5
    assert "one order decides" in str(fit)
    plain = fit_impact_law(world.quantity, world.price_change)
    assert 2 / 500 < plain.largest_leverage < 0.2
    assert "decides" not in str(plain)
