"""The closed form against a numerical optimum of the same problem, and against rules beside it."""

import numpy as np
import pytest

from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.market.observation import STATE_INDEX, constraint_vector, opponent_vector, state_vector
from difffinance.records import Conditions


def quadratic_world(batch, rng):
    state = state_vector(
        batch, signal=rng.normal(size=batch) * 0.1, signal_decay=rng.uniform(0.02, 0.3, batch),
        volatility=rng.uniform(0.005, 0.03, batch), position=rng.normal(size=batch) * 0.2,
        capital=np.exp(rng.uniform(-4, 1, batch)), risk_aversion=rng.uniform(2, 20, batch),
        temporary_impact=rng.uniform(0.05, 1, batch), temporary_exponent=1.0,
        permanent_impact=rng.uniform(0, 1, batch),
    )  # fmt: skip
    return Conditions(state, opponent_vector(batch), constraint_vector(batch))


def numbers(conditions):
    n = {name: conditions.state[:, i] for name, i in STATE_INDEX.items()}
    kappa = n["risk_aversion"] * n["volatility"]
    lam = n["capital"] * (2 * n["temporary_impact"] + n["permanent_impact"])
    return n, kappa, lam


def test_first_trade_is_that_of_a_long_horizon_numerical_optimum():
    conditions = quadratic_world(40, np.random.default_rng(0))
    n, kappa, lam = numbers(conditions)
    own = GarleanuPedersenTrader().participation(conditions, np.random.default_rng(0)) / n["capital"]
    bars = 3000
    for b in range(40):
        # First-order conditions of sum w f - kappa/2 w^2 - lam/2 (w - w_before)^2: one tridiagonal system.
        from scipy.linalg import solveh_banded

        start = n["position"][b] / n["capital"][b]
        main = np.full(bars, kappa[b] + 2 * lam[b])
        main[-1] = kappa[b] + lam[b]
        right = n["signal"][b] * (1 - n["signal_decay"][b]) ** np.arange(bars)
        right[0] += lam[b] * start
        path = solveh_banded(np.stack([np.r_[0, np.full(bars - 1, -lam[b])], main]), right)
        assert own[b] == pytest.approx(path[0] - start, abs=1e-6 * max(1, abs(path[0])))


def test_beats_every_linear_rule_beside_it():
    """Exact expected utility of a linear rule w' = (1 - r) w + c f, by Monte Carlo on paired signals."""
    rng = np.random.default_rng(1)
    conditions = quadratic_world(1, rng)
    n, kappa, lam = numbers(conditions)
    rate, aim = GarleanuPedersenTrader().rate_and_aim(conditions)
    phi, slope = 1 - n["signal_decay"], aim / n["signal"]
    shocks = rng.normal(size=(4000, 400))

    def utility(faster, further):
        w, f, total = np.zeros(4000), np.zeros(4000), np.zeros(4000)
        for k in range(400):
            f = phi * f + np.sqrt(1 - phi**2) * shocks[:, k] * 0.1
            y = faster * rate * (further * slope * f - w)
            w = w + y
            total += w * f - kappa / 2 * w**2 - lam / 2 * y**2
        return total

    best = utility(1, 1)
    for faster, further in ((0.8, 1), (1.25, 1), (1, 0.8), (1, 1.25)):
        gain = best - utility(faster, further)
        assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_power_law_is_made_quadratic_at_the_reference():
    rng = np.random.default_rng(2)
    power, quadratic = quadratic_world(5, rng), quadratic_world(5, np.random.default_rng(2))
    power.state[:, STATE_INDEX["temporary_exponent"]] = 0.6
    quadratic.state[:, STATE_INDEX["temporary_impact"]] *= 0.02 ** (0.6 - 1)
    trader = GarleanuPedersenTrader(reference_participation=0.02)
    np.testing.assert_allclose(trader.participation(power, rng), trader.participation(quadratic, rng))


def test_keeps_the_rules():
    conditions = quadratic_world(200, np.random.default_rng(3))
    rules = constraint_vector(200, max_participation=0.01, max_leverage=0.5, lot=0.001)
    trade = GarleanuPedersenTrader().participation(
        Conditions(conditions.state, conditions.opponents, rules), np.random.default_rng(0)
    )
    assert np.abs(trade).max() <= 0.01 and (trade == np.rint(trade / 0.001) * 0.001).all()
