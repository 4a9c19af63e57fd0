"""The published experiment of Avellaneda & Stoikov (2008): exact moments, and the simulation against them."""

import math
from itertools import product

import numpy as np
import pytest

from difffinance.agents.market_maker import avellaneda_stoikov_quotes
from difffinance.errors import InputError
from tests.agents.quoting_experiment import QuotingExperiment

EXPERIMENT = QuotingExperiment()  # T = 1, sigma = 2, dt = 0.005, k = 1.5, A = 140


def inventory_rule(gamma):
    def depths(q, t):
        bid, ask = avellaneda_stoikov_quotes(0.0, q, t, T=1.0, gamma=gamma, sigma=2.0, k=1.5)
        return -bid, ask

    return depths


def symmetric_rule(gamma):
    """The quote around the mid with the inventory rule's average spread."""
    half = np.mean([np.sum(inventory_rule(gamma)(np.zeros(1), k * 0.005)) / 2 for k in range(200)])
    return lambda q, t: (half, half)


@pytest.mark.parametrize("gamma", [0.1, 0.01, 0.5])
@pytest.mark.parametrize("rule", [inventory_rule, symmetric_rule])
def test_simulated_moments_are_the_exact_ones(gamma, rule):
    paths, depths = 1000, rule(gamma)
    exact = EXPERIMENT.exact_moments(depths)
    wealth, q = EXPERIMENT.simulate(depths, paths, np.random.default_rng(7))
    for sample, mean, sd in (
        (wealth, exact.wealth_mean, exact.wealth_sd), (q, exact.inventory_mean, exact.inventory_sd),
    ):  # fmt: skip
        kurtosis = np.mean((sample - sample.mean()) ** 4) / sample.var() ** 2
        assert abs(sample.mean() - mean) < 3 * sd / math.sqrt(paths)
        assert abs(sample.std() - sd) < 3 * sd * math.sqrt((kurtosis - 1) / 4 / paths)


def test_leaning_against_inventory_costs_a_little_profit_and_saves_much_risk():
    """The paper's conclusion, from exact moments: less risk at every gamma, and more so for the more averse."""
    ratios = []
    for gamma in (0.01, 0.1, 0.5):
        lean, flat = (EXPERIMENT.exact_moments(rule(gamma)) for rule in (inventory_rule, symmetric_rule))
        assert lean.wealth_mean < flat.wealth_mean and lean.inventory_sd < flat.inventory_sd
        ratios.append(lean.wealth_sd / flat.wealth_sd)
    assert ratios == sorted(ratios, reverse=True) and ratios[0] < 0.7


def test_two_steps_by_hand():
    """All 2 x 4 outcomes of fills and moves in each of two steps, added up."""
    small = QuotingExperiment(T=0.02, dt=0.01, sigma=1.5, A=60.0, k=1.1)

    def depths(q, t):
        return 0.3 + 0.2 * q + 5 * t, 0.5 - 0.2 * q + 5 * t

    chance, wealth, stock = [], [], []
    for path in product(product((0, 1), (0, 1), (-1, 1)), repeat=2):
        p, w, q = 1.0, 0.0, 0
        for step, (buy, sell, move) in enumerate(path):
            bid, ask = depths(q, step * 0.01)
            pb, pa = (min(60 * math.exp(-1.1 * d) * 0.01, 1.0) for d in (bid, ask))
            p *= (pb if buy else 1 - pb) * (pa if sell else 1 - pa) / 2
            w, q = w + buy * bid + sell * ask, q + buy - sell
            w += q * move * 1.5 * 0.1
        chance.append(p), wealth.append(w), stock.append(q)
    chance, wealth, stock = map(np.array, (chance, wealth, stock))
    exact = small.exact_moments(depths)
    assert chance.sum() == pytest.approx(1)
    assert exact.wealth_mean == pytest.approx(chance @ wealth, abs=1e-14)
    assert exact.wealth_sd == pytest.approx(math.sqrt(chance @ wealth**2 - (chance @ wealth) ** 2), abs=1e-12)
    assert exact.inventory_mean == pytest.approx(chance @ stock, abs=1e-14)
    assert exact.inventory_sd == pytest.approx(math.sqrt(chance @ stock**2 - (chance @ stock) ** 2), abs=1e-12)


def test_fill_probabilities_are_capped_at_one():
    assert EXPERIMENT.fill_probability(np.array([-1000.0, 0.0])) == pytest.approx([1.0, 0.7])


@pytest.mark.parametrize("bad", [{"T": 0.0}, {"sigma": math.nan}, {"A": -1.0}, {"dt": 0.3}, {"k": math.inf}])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        QuotingExperiment(**bad)
    with pytest.raises(InputError, match="paths"):
        EXPERIMENT.simulate(symmetric_rule(0.1), 0, np.random.default_rng(0))
