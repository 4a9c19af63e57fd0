import math

import numpy as np
import pytest

from difffinance.agents.almgren_chriss import almgren_chriss_schedule
from difffinance.errors import InputError
from difffinance.market.utility import Cara, MeanVariance, Shortfall, Trajectory


@pytest.fixture
def walk():
    rng = np.random.default_rng(3)
    mid = 100 + np.cumsum(rng.normal(size=(4, 21)), axis=1)
    inventory = rng.integers(-5, 6, size=(4, 21)).astype(float)
    gains = np.sum(inventory[:, :-1] * np.diff(mid), axis=1)
    wealth = 1000 + np.cumsum(np.pad(inventory[:, :-1] * np.diff(mid), ((0, 0), (1, 0))), axis=1)
    return Trajectory(wealth, inventory, mid, np.ones((4, 20))), gains


def test_without_risk_aversion_rewards_add_up_to_the_gain(walk):
    trajectory, gains = walk
    for utility in (MeanVariance(), Cara()):
        assert utility.rewards(trajectory).sum(axis=1) == pytest.approx(gains)


def test_mean_variance_is_the_published_utility_of_a_step(walk):
    trajectory, _ = walk
    a, x, w = 5.0, trajectory.inventory[:, :-1], trajectory.wealth[:, :-1]
    share, sigma = x * trajectory.mid[:, :-1] / w, 1.0 / trajectory.mid[:, :-1]
    r = np.diff(trajectory.mid) / trajectory.mid[:, :-1]
    expected = w * (share * r - a / 2 * (share * sigma) ** 2)
    assert MeanVariance(a).rewards(trajectory) == pytest.approx(expected)


def test_cara_adds_up_to_exponential_utility_and_is_the_certainty_equivalent_of_a_gaussian():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    gains = 2.0 + 3.0 * nodes
    wealth = np.stack([np.full(40, 10.0), 10.0 + gains / 2, 10.0 + gains], axis=1)
    flat = np.zeros_like(wealth)
    total = Cara(0.1).rewards(Trajectory(wealth, flat, flat + 1, 1.0)).sum(axis=1)
    assert total == pytest.approx((1 - np.exp(-0.1 * gains)) / 0.1)
    equivalent = -math.log(1 - 0.1 * total @ weights / weights.sum()) / 0.1
    assert equivalent == pytest.approx(2.0 - 0.1 / 2 * 9.0, abs=1e-9)


def test_shortfall_of_a_schedule_is_its_almgren_chriss_cost():
    """Sell a schedule at prices without noise: the rewards add up to minus (E + risk V), term by term."""
    gamma, eta, sigma, risk, N = 2.5e-7, 2.5e-6, 0.95, 1e-6, 5
    plan = almgren_chriss_schedule(1e6, 5.0, N, sigma=sigma, eta=eta, gamma=gamma, risk=risk)
    before = np.append(0, np.cumsum(plan.trades)[:-1])
    mid = 50 - gamma * np.append(before, 1e6)
    cash = np.append(0, np.cumsum(plan.trades * (50 - gamma * before - eta * plan.trades)))
    trajectory = Trajectory(cash + plan.holdings * mid, plan.holdings, mid, sigma)
    rewards = Shortfall(risk, quantity=-1e6).rewards(trajectory)
    assert rewards.sum() == pytest.approx(-(plan.expected_cost + risk * plan.variance), rel=1e-9)


def test_the_terminal_penalty_charges_what_is_left(walk):
    trajectory, _ = walk
    for utility, left in ((MeanVariance, trajectory.inventory[:, -1]), (Cara, trajectory.inventory[:, -1])):
        saved = utility(0.0).rewards(trajectory) - utility(0.0, 2.0).rewards(trajectory)
        assert saved[:, -1] == pytest.approx(2 * left**2) and not saved[:, :-1].any()
    left = trajectory.inventory[:, 0] + 7 - trajectory.inventory[:, -1]
    saved = Shortfall(quantity=7.0).rewards(trajectory) - Shortfall(0.0, 2.0, quantity=7.0).rewards(trajectory)
    assert saved[:, -1] == pytest.approx(2 * left**2)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "x"])
def test_bad_parameters_are_refused(bad):
    for utility in (MeanVariance, Cara, Shortfall):
        with pytest.raises(InputError, match="risk_aversion"):
            utility(bad)
        with pytest.raises(InputError, match="terminal_penalty"):
            utility(0.0, bad)
    with pytest.raises(InputError, match="quantity"):
        Shortfall(quantity=math.nan)


def test_bad_trajectories_are_refused():
    ok = np.ones(4)
    with pytest.raises(InputError, match="moments"):
        Trajectory(ok, np.ones(3), ok, 1.0)
    with pytest.raises(InputError, match="volatility"):
        Trajectory(ok, ok, ok, np.ones(4))
    with pytest.raises(InputError, match="finite"):
        Trajectory(ok * math.nan, ok, ok, 1.0)
    with pytest.raises(InputError, match="wealth above 0"):
        MeanVariance(1.0).rewards(Trajectory(-ok, ok, ok, 1.0))
    with pytest.raises(InputError, match="no finite exponential"):
        Cara(1.0).rewards(Trajectory(np.array([0.0, -1e4]), np.zeros(2), np.ones(2), 1.0))
