from dataclasses import replace

import numpy as np
import pytest

from difffinance.errors import CostLawError
from difffinance.market.costs import almgren_prior
from difffinance.market.impact import check_admissible, probe_law, programme_cost

RNG = np.random.default_rng


def power(lam, gamma):
    return lambda q: lam * np.sign(q) * np.abs(q) ** gamma


def nothing(q):
    return 0.0 * q


def test_programme_cost_against_a_plain_loop():
    trades, permanent, temporary = [3.0, -1.0, 4.0], power(0.2, 0.7), power(0.05, 0.6)
    price = cost = 0.0
    for q in trades:
        own = permanent(q)
        cost += q * (price + own / 2 + temporary(q * 3 / 0.5))
        price += own
    assert programme_cost(np.array([trades]), permanent, temporary, duration=0.5)[0] == pytest.approx(cost)


def test_prior_passes_both_tests():
    assert check_admissible(almgren_prior()) == almgren_prior()


def test_linear_permanent_impact_is_neither_milked_nor_dear():
    found = probe_law(power(0.3, 1.0), nothing, quantity=1.0, rng=RNG(0))
    assert found.admissible
    assert found.slicing_costs == pytest.approx([0.15] * 6)
    assert abs(found.round_trip_profit) < 1e-12


def test_ten_second_law_of_goog_as_permanent_impact_fails_both():
    """SCIENCE 2.1b: buy in 100 pieces, sell at once, earn."""
    found = probe_law(power(0.0096, 0.395), nothing, quantity=10_000.0, rng=RNG(0))
    assert not found.slicing_converges
    assert found.slicing_costs[-1] > 10 * found.slicing_costs[0]
    assert found.free_money and not found.admissible
    trades = np.array([found.round_trip])
    assert abs(trades.sum()) < 1e-6 * np.abs(trades).sum()
    assert programme_cost(trades, power(0.0096, 0.395), nothing)[0] < 0


def test_science_figure_of_the_apple_round_trip():
    """More than a dollar a share on 10,000 AAPL with the 10 s law fitted to that day (lam .0041, gamma .464)."""
    trip = np.concatenate([np.full(100, 100.0), [-10_000.0]])[None]
    assert -programme_cost(trip, power(0.0041, 0.464), nothing)[0] / 10_000 > 1.0


@pytest.mark.parametrize("gamma", [0.7, 1.3])
def test_permanent_impact_that_is_not_linear_pays(gamma):
    assert probe_law(power(1.0, gamma), nothing, quantity=1.0, rng=RNG(0)).free_money


def test_law_that_pays_the_trader_is_not_charged():
    with pytest.raises(CostLawError, match="0 or more"):
        check_admissible(replace(almgren_prior(), temporary=-0.1))
