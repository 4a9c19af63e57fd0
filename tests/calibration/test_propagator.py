from dataclasses import replace

import numpy as np
import pytest

from difffinance.calibration.costs import load_costs
from difffinance.calibration.lagged_law import search_law
from difffinance.calibration.propagator import (
    fit_charged_propagator,
    fit_propagator,
    propagator_curve,
    sign_memory,
)
from difffinance.config import CalibrationConfig
from difffinance.errors import RefusedFit
from difffinance.market.impact import check_admissible
from difffinance.market.transient import Kernel, TransientLaw, transient_cost, transient_displacement, transient_law
from tests.calibration.conftest import make_day

QUICK = CalibrationConfig(bootstrap=199, permutations=39)


def long_memory_signs(n, rng, tail=1.5):
    """Split orders with Pareto run lengths, one after the other: the exponent of the autocorrelation is tail - 1."""
    runs = np.minimum(rng.random(n) ** (-1 / tail), 2000.0).astype(int)
    return np.repeat(rng.choice([-1.0, 1.0], n), runs)[:n]


def planted_orders(decay, *, n=3000, size_exponent=0.3, noise=0.004, seed=1):
    """Orders every 100 ms whose mids follow a propagator of 0.01 per order of the median size."""
    rng = np.random.default_rng(seed)
    sign = long_memory_signs(n, rng)
    size = np.ceil(np.exp(4.6 + 0.9 * rng.standard_normal(n)))
    lag = np.arange(1.0, n + 1)
    push = sign * (size / np.median(size)) ** size_exponent
    kernel = 0.01 * np.diff(lag**-decay, prepend=0.0)
    change = np.convolve(push, kernel)[:n] + noise * rng.standard_normal(n)
    mid = 1000.0 + np.cumsum(change)
    half_ticks = np.round(mid * 2e4).astype(int)  # a tick of 1e-4 keeps rounding out of the question
    rows = [(0, "new", 1, 10, 10_000_000 - 200, 10_000_000 + 200)]
    for i in range(n):
        bid = half_ticks[i] // 2 - 200
        ask = half_ticks[i] - bid
        rows.append(((i + 1) * 100_000_000, "execution", -int(sign[i]), float(size[i]), int(bid), int(ask)))
    day = make_day(rows)
    return replace(day, instrument=replace(day.instrument, tick_size=1e-4))


@pytest.mark.parametrize("decay", [0.15, 0.35])
def test_planted_decay_and_size_exponent_are_inside_their_intervals(decay):
    found = fit_propagator(planted_orders(decay), config=QUICK, rng=np.random.default_rng(0))
    assert found.decay_ci[0] - 0.01 <= decay <= found.decay_ci[1] + 0.01
    assert found.size_exponent == pytest.approx(0.3, abs=0.1)
    assert found.amplitude == pytest.approx(0.01, rel=0.15)
    assert found.decay_ci[1] - found.decay_ci[0] < 0.15


def test_decay_is_covered_as_often_as_stated():
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, 91])
        push = long_memory_signs(2000, rng) * np.exp(0.3 * rng.standard_normal(2000))
        lag = np.arange(1.0, 2001)
        kernel = lambda b: np.diff(lag**-b, prepend=0.0)  # noqa: B023, E731
        change = np.convolve(np.sign(push) * np.abs(push) ** 0.4, kernel(0.25))[:2000] + rng.standard_normal(2000)
        fit = search_law(
            change, push, kernel, sizes=(-1.0, 1.5), decays=(-0.4, 1.2), replications=199, rng=rng,
        )  # fmt: skip
        covered += fit.interval(2)[0] <= 0.25 <= fit.interval(2)[1]
    assert covered >= 30 * 0.95 - 3 * np.sqrt(30 * 0.95 * 0.05)


def test_curve_without_a_formula_follows_the_planted_kernel():
    table = propagator_curve(planted_orders(0.3), size_exponent=0.3, longest=64)
    expected = 0.01 * table["lag"].to_numpy() ** -0.3
    # Bins of lags average the kernel: exact at the first lag, close later.
    miss = (table["propagator"].to_numpy() - expected) / table["standard_error"].to_numpy()
    assert abs(miss[0]) < 3 and np.abs(miss).max() < 4


@pytest.mark.parametrize("tail", [1.4, 1.7])
def test_sign_exponent_of_split_orders_is_the_tail_less_one(tail):
    g, se = sign_memory(long_memory_signs(60_000, np.random.default_rng(5), tail))
    assert g == pytest.approx(tail - 1.0, abs=max(3 * se, 0.15))


def test_signs_without_memory_have_no_exponent():
    with pytest.raises(RefusedFit, match="memory"):
        sign_memory(np.random.default_rng(0).choice([-1.0, 1.0], 400))


def planted_buckets(law, *, sigma=0.01, seed=3, noise=1.0, n=2340):
    """A day of one order per 10 s whose mids follow a transient law of the rate of trading, plus diffusion."""
    rng = np.random.default_rng(seed)
    sign = long_memory_signs(n, rng)
    quantity = np.ceil(np.exp(5.0 + 1.0 * rng.standard_normal(n)))
    volume = quantity.sum()
    rate = sign * quantity / volume * n
    left = transient_displacement(law, rate, np.linspace(0.0, 1.0, n + 1))[0]
    walk = np.cumsum(noise * rng.standard_normal(n)) / np.sqrt(n)
    half_ticks = np.round(2e5 * np.exp(sigma * (left + walk))).astype(int)  # price 1000, tick 0.01
    rows = [(-1, "new", 1, 10, 99_990, 100_010)]
    for i in range(n):
        bid = half_ticks[i] // 2 - 10
        rows.append(
            (int((i + 0.5) * 1e10), "execution", -int(sign[i]), float(quantity[i]), int(bid), int(half_ticks[i] - bid))
        )
    return make_day(rows)


def test_planted_transient_law_is_charged_as_it_is():
    truth = TransientLaw(2.0, 1.0, Kernel("power", 0.45))
    day = planted_buckets(truth, noise=0.3)
    found = fit_charged_propagator(day, config=QUICK, rng=np.random.default_rng(0))
    law = transient_law(found.law)
    assert (found.law.exponent, found.law.exponent_ci) == (1.0, (1.0, 1.0))
    assert found.law.decay_ci[0] <= 0.45 <= found.law.decay_ci[1]
    # sigma of the fit is that of the whole price, impact included: compare in price units.
    at = (np.array([[0.1]]), [0.0, 1.0])
    assert transient_cost(law, *at)[0] * found.sigma == pytest.approx(transient_cost(truth, *at)[0] * 0.01, rel=0.5)
    assert found.free.gamma == pytest.approx(1.0, abs=0.1) and found.loss_of_r2 < 0.01
    assert found.placebo_p_value == pytest.approx(1 / 40)


def test_law_that_can_be_milked_is_replaced_with_its_loss():
    day = planted_buckets(TransientLaw(8.0, 0.4, Kernel("power", 0.1)), noise=0.5)
    found = fit_charged_propagator(day, config=QUICK, rng=np.random.default_rng(0))
    assert found.replaced and found.round_trip_share > 0.1
    assert found.free.gamma == pytest.approx(0.4, abs=0.1)
    assert found.loss_of_r2 == pytest.approx(found.r2 - found.r2_charged) and found.loss_of_r2 > 0.01
    assert check_admissible(found.law) is found.law


def test_day_without_impact_supports_none():
    day = planted_buckets(TransientLaw(0.0, 0.5, Kernel("power", 0.5)), n=600)
    with pytest.raises(RefusedFit, match="no propagator"):
        fit_charged_propagator(day, config=QUICK)
    with pytest.raises(RefusedFit, match="too few"):
        fit_propagator(make_day([(i, "execution", 1, 5, 100, 102) for i in range(50)]), config=QUICK)


@pytest.mark.slow
def test_apple_has_a_propagator_that_only_costs_when_asked(real_lakes):
    lake = real_lakes["AAPL_1"]
    assert load_costs("AAPL", lake=lake).kind == "metaorder_prior"
    law = load_costs("AAPL", lake=lake, config=CalibrationConfig(cost_law="propagator"))
    assert law.kind == "propagator" and law.exponent == 1.0 and 0.0 <= law.decay < 1.0
    assert load_costs("AAPL", lake=lake, config=CalibrationConfig(cost_law="square_root")).exponent == 0.489
