import math

import numpy as np
import pytest

from difffinance.agents.pov import PovAgent
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from tests.agents.views import check_twin, market_order


def twin(a, view, memory):
    unit, first = view["relative_volume"], "start" not in memory
    position = view["position"] * unit
    if first:
        memory |= {"start": position, "others": 0.0}
    else:
        memory["others"] += max(view["volume_1"] * unit - abs(position - memory["last"]), 0.0)
    memory["last"] = position
    due = math.copysign(min(memory["others"] * a.rate / (1 - a.rate), abs(a.quantity)), a.quantity)
    wish = (due - (position - memory["start"])) / unit
    return market_order(view, wish if wish * a.quantity > 0 else 0.0)


def test_policy_decides_as_its_plain_python_twin():
    check_twin(PovAgent(0, quantity=-5.0, rate=0.3), twin)


def test_it_trades_its_share_of_the_volume_until_it_is_done():
    env = MarketEnvironment(1, kinds=["pov"], num_steps=300)
    agent = PovAgent(0, quantity=15.0, rate=0.2)
    state, done, own, market, before = env.reset(2), False, 0, 0, 0
    while not done:
        state, _, done, _ = env.step([agent.act(state)])
        if agent.running:
            own, before = int(env.venue.floor.inventory[0]), market
            market += env.fills["quantity"].sum()
    assert own / before == pytest.approx(0.2, abs=0.003)  # it answers what it has seen: one step behind
    found = agent.completion(state.view(0))
    assert found.reason.startswith("lot") or found.reason == ""
    assert found.done == pytest.approx(15.0, abs=1.01 / env.session.scale.volume)


def test_too_little_volume_is_a_reason():
    env = MarketEnvironment(1, kinds=["pov"], num_steps=20)
    agent, state, done = PovAgent(0, quantity=50.0), env.reset(1), False
    while not done:
        state, _, done, _ = env.step([agent.act(state)])
    found = agent.completion(state.view(0))
    assert found.reason.startswith("volume") and 0 < found.done < 50 == found.done + found.remaining


@pytest.mark.parametrize("bad", [{"rate": 0.0}, {"rate": 1.0}, {"rate": math.nan}, {"quantity": np.inf}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        PovAgent(0, **bad)
