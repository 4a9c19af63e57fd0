import numpy as np
import pytest

from difffinance.agents.diffusion_agent import DiffusionAgent
from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.simulation.bars import BarParameters, quadratic_scenarios
from difffinance.training.yardstick import compare_with_garleanu_pedersen, compare_with_solver, play


def test_the_same_trader_twice_earns_the_same():
    rng = np.random.default_rng(0)
    scenario = quadratic_scenarios(BarParameters(), 20, rng)
    traders = {"one": GarleanuPedersenTrader(), "two": GarleanuPedersenTrader()}
    utility = play(traders, BarParameters(), scenario, bars=15, rng=rng)
    np.testing.assert_array_equal(utility["one"], utility["two"])


def test_a_small_agent_is_near_the_closed_form_and_nobody_beats_it_there(trained):
    report = compare_with_garleanu_pedersen(
        DiffusionAgent(trained), episodes=100, bars=40, rng=np.random.default_rng(1)
    )
    assert report["utility_naive"] < report["utility_garleanu_pedersen"]
    assert -3 * report["gap_se"] - 0.005 < report["gap"] < 0.10
    assert report["gap_se"] < 0.02


@pytest.mark.slow
def test_a_small_agent_is_near_the_solver_in_the_whole_world(trained):
    report = compare_with_solver(DiffusionAgent(trained), episodes=60, bars=10, rng=np.random.default_rng(1))
    assert report["gap"] < 0.15
