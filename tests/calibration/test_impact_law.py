import math
import time

import numpy as np
import pytest
from planted_worlds import KINDS, plant
from scipy.optimize import curve_fit

from difffinance.calibration import fit_impact_law
from difffinance.errors import InputError, RefusedFit


def test_gaussian_likelihood_is_least_squares_of_another_library():
    world = plant("gaussian", np.random.default_rng(1), snr=0.3)
    ours = fit_impact_law(world.quantity, world.price_change, noise="gaussian")
    law = lambda q, lam, gamma: lam * np.sign(q) * np.abs(q) ** gamma  # noqa: E731
    (lam, gamma), covariance = curve_fit(law, world.quantity, world.price_change, p0=(0.01, 0.6))
    # The length element moves gamma by a small fraction of its standard error, no more.
    assert abs(ours.gamma - gamma) < 0.05 * ours.gamma_se
    assert abs(ours.lam - lam) < 0.05 * ours.lam_se
    assert ours.gamma_se == pytest.approx(math.sqrt(covariance[1, 1]), rel=0.1)
    assert ours.lam_se == pytest.approx(math.sqrt(covariance[0, 0]), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_model_is_recognised_and_the_truth_is_near(kind):
    world = plant(kind, np.random.default_rng(2), snr=0.2)
    fit = fit_impact_law(world.quantity, world.price_change)
    assert fit.noise == kind
    assert abs(fit.gamma - world.gamma) < 4 * world.bound
    assert fit.gamma_se == pytest.approx(world.bound, rel=0.25)
    assert fit.lam_ci[0] < fit.lam < fit.lam_ci[1]
    assert fit.gamma_ci[0] < fit.gamma < fit.gamma_ci[1]


def test_negative_gamma_is_found():
    world = plant("gaussian", np.random.default_rng(3), gamma=-0.4, snr=0.5)
    fit = fit_impact_law(world.quantity, world.price_change)
    assert abs(fit.gamma + 0.4) < 4 * world.bound
    assert fit.gamma_ci[1] < 0


def test_negative_lam_is_found():
    world = plant("student_t", np.random.default_rng(4), snr=0.3)
    plus, minus = (fit_impact_law(world.quantity, s * world.price_change) for s in (1, -1))
    assert minus.lam == pytest.approx(-plus.lam, rel=1e-6)
    assert minus.lam_ci[1] < 0
    assert minus.lam_gamma_corr == pytest.approx(-plus.lam_gamma_corr, abs=1e-6)


def test_noiseless_law_is_returned_exactly():
    quantity = plant("gaussian", np.random.default_rng(5), n=400).quantity
    fit = fit_impact_law(quantity, 0.02 * np.sign(quantity) * np.abs(quantity) ** 0.5)
    assert fit.lam == pytest.approx(0.02, rel=1e-6)
    assert fit.gamma == pytest.approx(0.5, abs=1e-6)
    assert fit.r2 == pytest.approx(1.0, abs=1e-9)


def test_units_of_price_and_quantity_only_rescale():
    world = plant("both", np.random.default_rng(6), snr=0.2)
    plain = fit_impact_law(world.quantity, world.price_change)
    other = fit_impact_law(world.quantity * 1000, world.price_change * 1e-6)
    assert other.gamma == pytest.approx(plain.gamma, abs=1e-6)
    assert other.lam == pytest.approx(plain.lam * 1e-6 * 1000**-plain.gamma, rel=1e-4)
    assert other.r2 == pytest.approx(plain.r2, abs=1e-6)


def test_same_data_same_bytes():
    world = plant("both", np.random.default_rng(7), n=500, snr=0.2)
    a = fit_impact_law(world.quantity, world.price_change)
    assert a == fit_impact_law(world.quantity, world.price_change)
    b = fit_impact_law(world.quantity, world.price_change, rng=np.random.default_rng(1))
    assert a.gamma == b.gamma
    assert a.gamma_ci != b.gamma_ci


def test_zero_quantities_are_dropped_and_not_counted():
    world = plant("gaussian", np.random.default_rng(8), n=500, snr=0.3)
    quantity = np.append(world.quantity, [0.0, 0.0])
    change = np.append(world.price_change, [5.0, -3.0])
    assert fit_impact_law(quantity, change) == fit_impact_law(world.quantity, world.price_change)


def dependent_world(rng, n=3000):
    """Sizes, signs and noise that all remember: independent-data errors of lam and gamma are far too small."""
    logs, noise = np.zeros(n), np.zeros(n)
    for t in range(1, n):
        logs[t] = 0.95 * logs[t - 1] + 0.3 * rng.standard_normal()
        noise[t] = 0.8 * noise[t - 1] + 0.6 * rng.standard_normal()
    quantity = np.repeat(rng.choice([-1.0, 1.0], n // 30), 30) * np.exp(logs)
    return quantity, np.sign(quantity) * np.abs(quantity) ** 0.5 + noise


def test_serial_dependence_widens_the_intervals():
    quantity, change = dependent_world(np.random.default_rng(9))
    width = lambda **k: np.diff(fit_impact_law(quantity, change, **k).gamma_ci)[0]  # noqa: E731
    assert width(confidence=0.5) < 0.5 * width(confidence=0.95)
    assert width(block=1) < 0.7 * width()
    assert width(block=40) == pytest.approx(width(), rel=0.3)


@pytest.mark.slow
def test_intervals_cover_under_serial_dependence():
    covered, naive, count = 0, 0, 60
    for seed in range(count):
        quantity, change = dependent_world(np.random.default_rng([seed, 23]))
        fit = fit_impact_law(quantity, change)
        covered += fit.gamma_ci[0] <= 0.5 <= fit.gamma_ci[1]
        fit = fit_impact_law(quantity, change, block=1)
        naive += fit.gamma_ci[0] <= 0.5 <= fit.gamma_ci[1]
    assert covered >= 0.95 * count - 3 * math.sqrt(count * 0.95 * 0.05)
    assert naive < 0.8 * count


def test_no_impact_says_so():
    world = plant("student_t", np.random.default_rng(10), lam=0.0, n=1000)
    fit = fit_impact_law(world.quantity, world.price_change)
    assert fit.lam_ci[0] < 0 < fit.lam_ci[1]
    assert fit.gamma_ci == (-math.inf, math.inf)
    assert math.isfinite(fit.gamma) and math.isfinite(fit.lam)


def test_no_bound_is_reported_where_nothing_tells_gamma():
    """Without the length element of the likelihood the largest of these 40 runs off to 4.6."""
    gammas = []
    for seed in range(40):
        world = plant("gaussian", np.random.default_rng([seed, 24]), lam=0.0, n=60)
        gammas.append(fit_impact_law(world.quantity, world.price_change).gamma)
    assert max(map(abs, gammas)) < 3
    assert len(set(gammas)) == 40


def test_one_order_of_another_size_tells_no_gamma():
    rng = np.random.default_rng(1)
    quantity = rng.choice([-1.0, 1.0], 400) * np.where(np.arange(400) == 7, 2.0, 1.0)
    fit = fit_impact_law(quantity, 0.1 * np.sign(quantity) + 0.1 * rng.standard_normal(400))
    assert fit.gamma_ci == (-math.inf, math.inf)
    assert fit.lam_ci[0] <= fit.lam <= fit.lam_ci[1] and not math.isnan(fit.lam_ci[0] + fit.lam_ci[1])


def test_two_sizes_are_enough():
    rng = np.random.default_rng(11)
    quantity = rng.choice([-200.0, -100.0, 100.0, 200.0], 2000)
    fit = fit_impact_law(
        quantity, 0.01 * np.sign(quantity) * np.abs(quantity) ** 0.5 + 0.05 * rng.standard_normal(2000)
    )
    assert abs(fit.gamma - 0.5) < 4 * fit.gamma_se


def test_mostly_zero_price_changes_do_not_collapse():
    """SCIENCE 2.4: 38% exact zeros drive a free Student-t to gamma 8.6."""
    rng = np.random.default_rng(12)
    quantity = rng.choice([-1.0, 1.0], 4000) * np.ceil(np.exp(4 + 1.1 * rng.standard_normal(4000)))
    jump = rng.random(4000) < 0.6
    change = 0.005 * np.round(jump * np.sign(quantity) * np.abs(quantity) ** 0.3 * rng.exponential(2.0, 4000))
    fit = fit_impact_law(quantity, change)
    assert fit.noise in ("gaussian", "size_dependent")  # the noise is one-sided: Student-t is no law of the mean here
    assert abs(fit.gamma - 0.3) < 3 * fit.gamma_se
    for noise in ("student_t", "both"):
        assert abs(fit_impact_law(quantity, change, noise=noise).gamma) < 1


@pytest.mark.parametrize("block", [1, 3, 40])
def test_a_block_of_one_s_own_uses_every_order(block):
    world = plant("gaussian", np.random.default_rng(16), n=12_000, snr=0.2)
    lower, upper = fit_impact_law(world.quantity, world.price_change, block=block).gamma_ci
    fit = fit_impact_law(world.quantity, world.price_change)
    assert fit.gamma - lower == pytest.approx(1.96 * world.bound, rel=0.15)
    assert upper - fit.gamma == pytest.approx(1.96 * world.bound, rel=0.15)


def test_ends_follow_the_likelihood():
    """The profile of weighted least squares falls by the same amount at both ends, far from the same distance."""
    world = plant("size_dependent", np.random.default_rng(3), n=2000, snr=0.1, sizes="pareto")
    fit = fit_impact_law(world.quantity, world.price_change)
    weight = 1.0 / world.scale**2

    def fall(gamma: float) -> float:
        x = np.sign(world.quantity) * np.abs(world.quantity) ** gamma
        return -(((weight * x) @ world.price_change) ** 2) / ((weight * x) @ x)

    top = min(map(fall, np.linspace(*fit.gamma_ci, 200)))
    low, high = (math.sqrt(fall(end) - top) for end in fit.gamma_ci)
    assert low == pytest.approx(high, rel=0.15)
    assert 1.5 < low < 2.4  # with the true weights; the fit has its own
    assert fit.gamma - fit.gamma_ci[0] > 1.25 * (fit.gamma_ci[1] - fit.gamma)


def test_an_end_that_nothing_fixes_is_infinite():
    world = plant("gaussian", np.random.default_rng(3), n=60, snr=0.1, sizes="pareto")
    fit = fit_impact_law(world.quantity, world.price_change)
    assert math.isfinite(fit.gamma_ci[0]) and fit.gamma_ci[1] == math.inf
    assert 0.0 <= fit.lam_ci[0] < fit.lam < fit.lam_ci[1]


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_units_are_answered(scale):
    world = plant("gaussian", np.random.default_rng(13), n=200, snr=0.5)
    fit = fit_impact_law(world.quantity, world.price_change * scale)
    assert math.isfinite(fit.lam) and math.isfinite(fit.gamma_se)


def test_four_thousand_points_take_less_than_a_second():
    world = plant("both", np.random.default_rng(14))
    fit_impact_law(world.quantity, world.price_change)
    start = time.process_time()
    fit_impact_law(world.quantity, world.price_change)
    assert time.process_time() - start < 1.0


GOOD = plant("gaussian", np.random.default_rng(15), n=60, snr=1.0)


@pytest.mark.parametrize(
    ("quantity", "change", "error", "words"),
    [
        (GOOD.quantity[:49], GOOD.price_change[:49], RefusedFit, "49 orders"),
        (np.sign(GOOD.quantity) * 100, GOOD.price_change, RefusedFit, "size 100"),
        (np.abs(GOOD.quantity), GOOD.price_change, RefusedFit, "buys"),
        (-np.abs(GOOD.quantity), GOOD.price_change, RefusedFit, "sells"),
        (GOOD.quantity, np.full(60, 0.01), RefusedFit, "0.01 for all"),
        (GOOD.quantity, np.zeros(60), RefusedFit, "nothing to explain"),
        (GOOD.quantity, GOOD.price_change[1:], InputError, "equal length; got 60 and 59"),
        (np.where(np.arange(60) == 7, np.nan, GOOD.quantity), GOOD.price_change, InputError, "position 7"),
        (GOOD.quantity, np.where(np.arange(60) == 3, np.inf, GOOD.price_change), InputError, "price_change"),
        (GOOD.quantity[:, None], GOOD.price_change, InputError, "one-dimensional"),
        (GOOD.quantity * (1 + 0j), GOOD.price_change, InputError, "quantity must be numbers"),
        (np.ma.masked_less(GOOD.quantity, 0.0), GOOD.price_change, InputError, "quantity must be finite; got nan"),
        (np.ma.masked_equal(np.arange(60), 3), GOOD.price_change, InputError, "position 3"),
        (["a"] * 60, GOOD.price_change, InputError, "numbers"),
        (GOOD.quantity + 1j, GOOD.price_change, InputError, "numbers"),
        ([], [], RefusedFit, "0 orders"),
    ],
)
def test_what_the_data_cannot_tell_is_refused(quantity, change, error, words):
    with pytest.raises(error, match=words):
        fit_impact_law(quantity, change)
    fit_impact_law(GOOD.quantity, GOOD.price_change)  # the good twin


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "cauchy"},
        {"confidence": 1.0},
        {"confidence": 95},
        {"confidence": "a"},
        {"rng": 3},
        {"block": 0},
        {"block": math.nan},
        {"block": 2.5},
        {"block": "a"},
        {"block": 10**9},
        {"block": 16},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        fit_impact_law(GOOD.quantity, GOOD.price_change, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_estimates_are_efficient_and_intervals_cover(kind):
    """SCIENCE 12, with room for the binomial error of 60 replications (tests/benchmarks has the full table)."""
    count, errors, covered = 60, [], 0
    for seed in range(count):
        world = plant(kind, np.random.default_rng([seed, 21]), n=2000, snr=0.2)
        fit = fit_impact_law(world.quantity, world.price_change)
        errors.append((fit.gamma - world.gamma) / world.bound)
        covered += fit.gamma_ci[0] <= world.gamma <= fit.gamma_ci[1]
    assert np.std(errors) < 1.10 + 3 * 1.10 / math.sqrt(2 * count)
    assert abs(np.mean(errors)) < 0.25 + 3 / math.sqrt(count)
    assert 0.95 * count - 3.5 * math.sqrt(count * 0.95 * 0.05) <= covered


@pytest.mark.slow
def test_worlds_without_impact_rarely_show_one():
    seen = 0
    for seed in range(100):
        world = plant("both", np.random.default_rng([seed, 22]), lam=0.0, n=500)
        fit = fit_impact_law(world.quantity, world.price_change)
        seen += not fit.lam_ci[0] <= 0 <= fit.lam_ci[1]
    assert seen <= 5 + 3 * math.sqrt(100 * 0.05 * 0.95)


def test_quantities_beyond_what_traded_cannot_be_units_of_the_asset():
    total = float(np.abs(GOOD.quantity).sum())
    assert fit_impact_law(GOOD.quantity, GOOD.price_change, volume=total) == fit_impact_law(
        GOOD.quantity, GOOD.price_change
    )
    with pytest.raises(RefusedFit, match="cannot be units"):
        fit_impact_law(585.0 * GOOD.quantity, GOOD.price_change, volume=total)
    with pytest.raises(InputError, match="volume"):
        fit_impact_law(GOOD.quantity, GOOD.price_change, volume=0.0)
