import numpy as np
import pytest

from difffinance.diffusion.constraints import project
from difffinance.diffusion.rules import plan_rules
from difffinance.market.observation import constraint_vector, opponent_vector, state_vector
from difffinance.records import Conditions


def allowed(wish, horizon=3, position=0.0, capital=1.0, halted=0.0, **rules):
    state = state_vector(1, position=position, capital=capital, halted=halted)
    conditions = Conditions(state, opponent_vector(1), constraint_vector(1, **rules))
    return project(np.full((1, horizon), wish), plan_rules(conditions, horizon))[0]


@pytest.mark.parametrize(
    ("wish", "given", "sums"),
    [
        (1.0, {}, [1, 2, 3]),
        (1.0, {"max_participation": 0.2}, [0.2, 0.4, 0.6]),
        (1.0, {"max_order": 0.1}, [0.1, 0.2, 0.3]),
        (1.0, {"can_buy": 0.0}, [0, 1, 2]),
        (-1.0, {"can_sell": 0.0}, [0, -1, -2]),
        (1.0, {"halted": 1.0}, [0, 1, 2]),
        (-1.0, {"short_allowed": 0.0, "min_position": 0.0, "position": 0.9}, [-0.3, -0.6, -0.9]),
        (-1.0, {"sellable": 0.5}, [-0.5, -1.5, -2.5]),
        (-1.0, {"sellable": 0.6, "t_plus_one": 1.0, "position": 2.0}, [-0.2, -0.4, -0.6]),
        (1.0, {"buyable": 0.6}, [0.2, 0.4, 0.6]),
        (1.0, {"max_leverage": 1.5, "capital": 2.0, "position": 2.7}, [0.1, 0.2, 0.3]),
        (1.0, {"max_position": 0.9, "position": 0.6}, [0.1, 0.2, 0.3]),
    ],
)
def test_each_rule_binds_where_it_should(wish, given, sums):
    np.testing.assert_allclose(np.cumsum(allowed(wish, **given)), sums, atol=1e-12)


def test_a_broken_limit_forbids_more_and_forces_nothing():
    np.testing.assert_allclose(allowed(1.0, position=3.0, max_leverage=1.0), 0.0)
    np.testing.assert_allclose(allowed(0.0, position=3.0, max_leverage=1.0), 0.0)
    np.testing.assert_allclose(allowed(-0.5, position=3.0, max_leverage=1.0), -0.5)


def test_lots_are_whole():
    np.testing.assert_allclose(np.cumsum(allowed(0.26, lot=0.1)), [0.3, 0.5, 0.8])
