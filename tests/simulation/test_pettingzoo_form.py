import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from difffinance.errors import InputError
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
    _, rewards, terminated, truncated, infos = env.step(actions)
    assert infos["speculator_1"]["refused"] == {"action_not_finite": 1}
    assert infos["informed_3"]["refused"] == {"action_shape": 1}
    assert set(rewards) == set(env.possible_agents) and not any(terminated.values()) and not any(truncated.values())
    for _ in range(2):
        truncated = env.step(dict.fromkeys(env.agents, np.zeros(10)))[3]
    assert all(truncated.values()) and env.agents == []
    with pytest.raises(InputError, match="reset"):
        env.step({})
