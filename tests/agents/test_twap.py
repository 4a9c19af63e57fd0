import math

import numpy as np
import pytest

from difffinance.agents.execution import ScheduledAgent
from difffinance.agents.factory import AgentFactory
from difffinance.agents.twap import TwapAgent
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.utility import Shortfall
from tests.agents.views import check_twin, market_order, shown


def twin(a, view, memory):
    unit = view["relative_volume"]
    at, start = memory.setdefault("at", 0), memory.setdefault("start", view["position"] * unit)
    memory["at"] += 1
    wish = (a.quantity * min((at + 1) / len(a.done_by), 1) - (view["position"] * unit - start)) / unit
    return market_order(view, wish if wish * a.quantity > 0 else 0.0)


@pytest.mark.parametrize("quantity", [3.0, -8.0])
def test_policy_decides_as_its_plain_python_twin(quantity):
    check_twin(TwapAgent(0, quantity=quantity, steps=40), twin)


def run(env, agent, seed=1):
    agent.reset(np.random.default_rng(0))
    state, done, positions = env.reset(seed), False, []
    while not done:
        state, _, done, _ = env.step([agent.act(state)])
        positions.append(int(env.venue.floor.inventory[0]))
    return state, positions


@pytest.mark.parametrize("name", ["twap", "vwap", "almgren_chriss"])
def test_every_schedule_completes_to_the_lot_in_a_deep_book(name):
    env = MarketEnvironment(1, kinds=[name], num_steps=60)
    lots = round(10 * env.session.scale.volume)
    agent = AgentFactory.create(name, quantity=lots / env.session.scale.volume, steps=50)
    state, positions = run(env, agent)
    assert positions[-1] == lots and min(np.diff(positions)) >= 0
    assert positions[48] < lots  # not before its time
    found = agent.completion(state.view(0))
    assert (found.remaining, found.reason) == (0.0, "") and env.refusals == {}


def remaining(agent, seat_rules, steps=20, **config):
    env = MarketEnvironment(1, MarketConfig(**config), kinds=["twap"], num_steps=steps)
    state, _ = run(env, agent)
    return agent.completion(state.view(0)), env


def test_what_remains_and_why_is_reported():
    found, env = remaining(TwapAgent(0, quantity=5.0, steps=10), None, max_position=500.0)
    assert found.reason.startswith("limit") and found.done * env.session.scale.volume == pytest.approx(500)
    assert found.done + found.remaining == pytest.approx(5.0)
    found, _ = remaining(TwapAgent(0, quantity=5.0, steps=10), None, max_order=10.0)
    assert found.reason.startswith("largest order")
    found, _ = remaining(TwapAgent(0, quantity=5.0, steps=40), None)
    assert found.reason.startswith("running")
    found, _ = remaining(TwapAgent(0, quantity=-1.0, steps=10), None, t_plus_one=True)
    assert found.reason.startswith("limit") and found.done == 0
    found, _ = remaining(TwapAgent(0, quantity=1e-3, steps=10), None)
    assert found.reason.startswith("lot")
    thin = {"limit_rate": 1e-4, "market_rate": 0.0}
    found, _ = remaining(TwapAgent(0, quantity=50.0, steps=10), None, flow=thin)
    assert found.reason.startswith("unfilled")


def test_a_halt_is_a_reason():
    agent = TwapAgent(0, quantity=5.0, steps=2)
    state = shown(can_buy=0.0)
    for _ in range(3):
        assert agent.act(state)[0] == 0
    assert agent.completion(state.view(0)).reason.startswith("halted")


def test_its_utility_is_the_shortfall_of_its_order():
    assert TwapAgent(0, quantity=-4.0).utility == Shortfall(quantity=-4.0)


@pytest.mark.parametrize("bad", [{"quantity": math.nan}, {"quantity": 0.0}, {"steps": 0}, {"steps": 2.5},
                                 {"steps": math.inf}])  # fmt: skip
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        TwapAgent(0, **bad)


@pytest.mark.parametrize("bad", [[], [0.5], [0.6, 0.5, 1.0], [math.nan, 1.0]])
def test_a_schedule_that_is_none_is_refused(bad):
    with pytest.raises(InputError, match="schedule"):
        ScheduledAgent(0, quantity=1.0, done_by=bad)
