import numpy as np
import pytest

from difffinance.agents.naive import NaiveTrader
from difffinance.market.observation import constraint_vector, opponent_vector, state_vector
from difffinance.records import Conditions

NUMBERS = {"signal": 0.1, "volatility": 0.01, "capital": 2.0, "risk_aversion": 10.0, "position": 0.5}


def conditions(**rules):
    return Conditions(state_vector(1, **NUMBERS), opponent_vector(1), constraint_vector(1, **rules))


def trade(**rules):
    return NaiveTrader().participation(conditions(**rules), np.random.default_rng(0))[0]


def test_jumps_to_the_frictionless_optimum():
    # f / (a sigma^2) with f = 0.1 sigma: 0.1 / (10 * 0.01) = 1 of wealth, 2 step volumes, 0.5 held
    assert trade() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"max_participation": 0.2}, 0.2),
        ({"max_leverage": 0.5}, 0.5),
        ({"max_position": 0.7}, 0.2),
        ({"buyable": 0.1}, 0.1),
        ({"can_buy": 0.0}, 0.0),
        ({"halted": 1.0}, 0.0),
        ({"lot": 0.4}, 1.6),
    ],
)
def test_stops_where_the_rules_say(rules, expected):
    assert trade(**rules) == pytest.approx(expected)
