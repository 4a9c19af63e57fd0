import math

import numpy as np
import pytest
from scipy.optimize import minimize

from difffinance.agents.almgren_chriss import AlmgrenChrissAgent, almgren_chriss_schedule, remaining_fractions
from difffinance.errors import InputError

# The paper's case: 10^6 shares in 5 days; prices in dollars, time in days.
PAPER = {"sigma": 0.95, "eta": 2.5e-6, "gamma": 2.5e-7, "risk": 1e-6, "epsilon": 0.0625}


def test_the_published_case():
    found = almgren_chriss_schedule(1e6, 5.0, 5, **PAPER)
    assert found.kappa == pytest.approx(0.61, abs=0.005)
    assert found.trades.sum() == pytest.approx(1e6) and (np.diff(found.trades) < 0).all()
    eta = 2.5e-6 - 2.5e-7 / 2
    assert 2 * (math.cosh(found.kappa) - 1) == pytest.approx(1e-6 * 0.95**2 / eta, rel=1e-12)
    j = np.arange(6)
    assert found.holdings == pytest.approx(1e6 * np.sinh(found.kappa * (5 - j)) / np.sinh(found.kappa * 5))


@pytest.mark.parametrize("risk", [0.0, 1e-7, 1e-5])
def test_no_other_schedule_is_better(risk):
    X, T, N, tau = 1e6, 5.0, 5, 1.0
    found = almgren_chriss_schedule(X, T, N, **{**PAPER, "risk": risk})

    def cost(shares):
        """Added up trade by trade: permanent impact of earlier trades, temporary of one's own."""
        n = np.append(shares, 1 - np.sum(shares)) * X
        before = np.append(0, np.cumsum(n)[:-1])
        paid = n @ (PAPER["gamma"] * before + PAPER["eta"] / tau * n) + PAPER["epsilon"] * np.abs(n).sum()
        left = X - np.cumsum(n)
        return paid, PAPER["sigma"] ** 2 * tau * left @ left

    def objective(shares):
        paid, variance = cost(shares)
        return (paid + risk * variance) / X

    best = minimize(objective, np.full(4, 0.2), tol=1e-14, options={"maxiter": 2000})
    assert objective(found.trades[:-1] / X) <= best.fun + 1e-9
    paid, variance = cost(found.trades[:-1] / X)
    assert found.expected_cost == pytest.approx(paid, rel=1e-12)
    assert found.variance == pytest.approx(variance, rel=1e-12)


def test_no_urgency_is_equal_pace_and_much_urgency_is_at_once():
    assert remaining_fractions(0.0, 4) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert remaining_fractions(1e-5, 4) == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=1e-8)
    assert remaining_fractions(500.0, 4) == pytest.approx([1, 0, 0, 0, 0])


def test_the_agent_follows_the_schedule():
    found = almgren_chriss_schedule(1e6, 5.0, 5, **PAPER)
    agent = AlmgrenChrissAgent(0, quantity=3.0, steps=5, kappa=found.kappa)
    assert agent.done_by == pytest.approx(1 - found.holdings[1:] / 1e6)


@pytest.mark.parametrize("bad", [{"T": 0.0}, {"N": 0}, {"eta": math.nan}, {"gamma": -1.0}, {"risk": math.inf},
                                 {"X": math.nan}, {"epsilon": -0.1}, {"gamma": 1e-5}])  # fmt: skip
def test_bad_numbers_are_refused(bad):
    with pytest.raises(InputError):
        almgren_chriss_schedule(**{"X": 1e6, "T": 5.0, "N": 5, **PAPER, **bad})


def test_a_bad_kappa_is_refused():
    with pytest.raises(InputError, match="kappa"):
        AlmgrenChrissAgent(0, kappa=math.nan)
