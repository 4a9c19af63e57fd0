import math
from dataclasses import replace

import numpy as np
import pytest

from difffinance.agents.pairs_arbitrageur import PairsArbitrageur
from difffinance.errors import InputError
from tests.agents.views import shown


def two(first, second, **numbers):
    states = (shown(volatility=0.001, linear_cost=0.5, **numbers), shown(volatility=0.001, linear_cost=0.5))
    return tuple(replace(s, mid=mid) for s, mid in zip(states, (first, second), strict=True))


def participations(agent, *states):
    for state in states:
        action = agent.act(state)
    return action[:, 0].tolist()


def test_it_sells_the_dear_leg_and_buys_the_cheap_one():
    agent = PairsArbitrageur(0, half_life=1e6, size=0.1, rate=0.4)
    # A gap of 5 sigmas against a round trip of 2: a position of 0.5, by at most 0.4 a step.
    assert participations(agent, two(100.0, 100.0), two(100.0 * math.exp(0.005), 100.0)) == pytest.approx([-0.4, 0.4])
    agent.reset(np.random.default_rng(0))
    assert participations(agent, two(100.0, 100.0), two(100.0, 100.0 * math.exp(0.003))) == pytest.approx([0.3, -0.3])


def test_a_gap_below_the_round_trips_cost_is_left_alone_and_a_closed_one_is_closed():
    agent = PairsArbitrageur(0, half_life=1e6, entry=0.0)
    assert participations(agent, two(100.0, 100.0), two(100.15, 100.0)) == [0.0, 0.0]
    held = two(100.0, 100.01, position=-0.3)
    assert participations(agent, held)[0] == pytest.approx(0.3)


def test_when_one_leg_cannot_trade_the_other_waits():
    agent = PairsArbitrageur(0, half_life=1e6)
    assert participations(agent, two(100.0, 100.0), two(101.0, 100.0, can_sell=0.0)) == [0.0, 0.0]


def test_it_sees_its_own_views_of_two_instruments_only():
    with pytest.raises(InputError, match="two instruments"):
        PairsArbitrageur(0).act(shown())


@pytest.mark.parametrize("name", ["half_life", "entry", "size", "max_position", "rate"])
def test_bad_parameters_are_refused(name):
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=name):
            PairsArbitrageur(0, **{name: bad})
