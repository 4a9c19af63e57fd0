import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.utility import Cara, Shortfall
from difffinance.simulation import parallel_env
from difffinance.simulation.learner import Learner


@pytest.mark.filterwarnings("ignore")
def test_conforms():
    parallel_api_test(parallel_env(num_steps=30), num_cycles=60)
    parallel_seed_test(lambda: parallel_env(num_agents=3, num_steps=15, learner=Learner("participation", "return")))


def test_everybody_sees_their_own_and_is_told_what_was_refused():
    env = parallel_env(num_agents=4, num_steps=3)
    seen, infos = env.reset(seed=1)
    assert env.agents == ["market_maker_0", "speculator_1", "arbitrageur_2", "informed_3"] and set(infos) == set(seen)
    actions = {agent: np.zeros(10) for agent in env.agents}
    actions["speculator_1"] = np.full(10, np.nan)
    del actions["informed_3"]
    with pytest.raises(InputError, match="dict of one action"):
        env.step(None)
    _, rewards, terminated, truncated, infos = env.step(actions)
    assert infos["speculator_1"]["refused"] == {"action_not_finite": 1}
    assert infos["informed_3"]["refused"] == {"action_shape": 1}
    assert env.market.refusals == {"action_not_finite": 1, "action_shape": 1}
    assert set(rewards) == set(env.possible_agents) and not any(terminated.values()) and not any(truncated.values())
    infos = env.step(dict.fromkeys([*env.agents, "informed", "whale_9"], np.zeros(10)))[4]
    assert not any(info["refused"] for info in infos.values()) and set(infos) == set(env.agents)
    assert env.market.refusals == {"action_not_finite": 1, "action_shape": 3}  # two actions of nobody
    truncated = env.step(dict.fromkeys(env.agents, np.zeros(10)))[3]
    assert all(truncated.values()) and env.agents == []
    with pytest.raises(InputError, match="reset"):
        env.step({})


def test_each_seat_may_be_rewarded_by_its_own_utility():
    kinds, utilities = ["noise", "twap"], [Cara(1e-3), Shortfall(quantity=2.0)]
    own = parallel_env(2, kinds=kinds, num_steps=4, rewards=utilities)
    same = parallel_env(2, kinds=kinds, num_steps=4, learner=Learner(reward=Cara(1e-3)))
    market = MarketEnvironment(2, kinds=kinds, num_steps=4, rewards=utilities)
    for env in (own, same, market):
        env.reset(seed=2)
    for size in (1.0, -0.5, 0.3, 0.0):
        table = np.zeros((2, 10))
        table[:, 0] = size
        rewards = [env.step(dict(zip(env.agents, table, strict=True)))[1] for env in (own, same)]
        expected = market.step(table).rewards
        assert list(rewards[0].values()) == expected.tolist()
        assert rewards[1]["noise_0"] == expected[0] and rewards[1]["twap_1"] != expected[1]
    with pytest.raises(InputError, match="rewards is 'return'"):
        parallel_env(2, kinds=kinds, rewards="return")
    with pytest.raises(InputError, match="num_agents is '2'"):
        parallel_env("2", learner=Learner(reward=Cara()))
    with pytest.raises(InputError, match="learner is 'orders'"):
        parallel_env(2, learner="orders")
    with pytest.raises(InputError, match="one of them"):
        parallel_env(2, kinds=kinds, learner=Learner(reward=Cara()), rewards=utilities)
