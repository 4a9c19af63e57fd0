from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.running_rewards import market_money
from difffinance.market.utility import Cara
from difffinance.simulation import gymnasium_env, vector_env
from difffinance.simulation.learner import Learner


@pytest.fixture(scope="module")
def env():
    return gymnasium_env(num_steps=12)


@pytest.mark.filterwarnings("ignore:.*(Box|space).*")
@pytest.mark.parametrize("learner", [Learner(), Learner(action="participation", reward="mean_variance")])
def test_conforms(learner):
    check_env(gymnasium_env(num_steps=12, learner=learner), skip_render_check=True)


def test_a_learner_is_an_agent_of_the_market(env):
    seen, _ = env.reset(seed=5)
    assert env.observation_space.contains(seen) and seen.shape == (110,)
    rng, total, start = np.random.default_rng(0), 0.0, env._markets.gains[0, 1]
    for step in range(12):
        action = env.action_space.sample() * 0
        action[0] = rng.uniform(-1, 1)
        seen, reward, terminated, truncated, info = env.step(action)
        total += reward
        assert (terminated, truncated) == (False, step == 11)
    assert total == pytest.approx(info["wealth"] - start)
    with pytest.raises(InputError, match="reset"):
        env.step(action)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(np.full(10, np.nan), "action_not_finite"), (np.full(10, 1e9), "action_off_range"), (np.zeros(3), "action_shape"),
     ("text", "action_shape"), (np.r_[900.0, np.zeros(9)], "leverage")],
)  # fmt: skip
def test_bad_actions_are_refused_by_name(env, bad, reason):
    env.reset(seed=1)
    assert env.step(bad)[4]["refused"] == {reason: 1}


def test_rewards_are_what_they_say():
    seen, gain, wealth = np.zeros((1, 110)), np.array([2.0]), np.array([102.0])
    market = MarketEnvironment(2)
    market.reset(seed=1)
    seen[0, :50] = market.session.tables.state[1]
    seen[0, 4] = 0.5 * seen[0, 5]  # half of the wealth invested
    sigma, aversion = seen[0, 2], seen[0, 6]
    assert Learner(reward="wealth").rewards(gain, wealth, seen) == [2.0]
    assert Learner(reward="return").rewards(gain, wealth, seen) == pytest.approx([0.02])
    expected = 0.02 - aversion / 2 * (0.5 * sigma) ** 2
    assert Learner(reward="mean_variance").rewards(gain, wealth, seen) == pytest.approx([expected])
    with pytest.raises(InputError, match="learner is 'orders'"):
        gymnasium_env(learner="orders")
    with pytest.raises(InputError, match="mean_variance or a utility"):
        Learner(reward="fame")


def test_rewards_of_a_utility_add_up_to_it_in_one_market_and_in_many():
    """With the utility of a gain the episode is worth (1 - exp(-g gain)) / g, gains counted in ticks and volumes."""
    learner, g = Learner(reward=Cara(2e-3)), 2e-3
    one, many = gymnasium_env(num_steps=8, learner=learner), vector_env(2, num_steps=8, learner=learner)
    market = MarketEnvironment(5, num_steps=8)
    market.reset(seed=1)
    unit = market_money(market.session, market.config.tick_size, market.config.lot_size)
    (_, at_first), start = one.reset(seed=7), many.reset(seed=7)[1]["wealth"].copy()
    actions, sums, alone = np.zeros((8, 2, 10)), np.zeros(2), 0.0
    actions[:, :, 0] = np.random.default_rng(2).uniform(-2, 2, (8, 2))
    for a in actions:
        _, rewards, _, _, info = many.step(a)
        reward = one.step(a[0])[1]
        assert reward == rewards[0]
        sums, alone = sums + rewards, alone + reward
    gain = (info["wealth"] - start) / unit
    assert at_first["wealth"] == start[0] and np.abs(g * gain).max() > 0.05
    assert sums == pytest.approx(unit * (1 - np.exp(-g * gain)) / g)
    rewards = many.step(actions[0])[1]  # the next episode begins
    assert not rewards.any() and np.abs(many.step(actions[1])[1]).min() > 0


def test_many_markets_are_each_what_one_would_be_and_reset_themselves():
    many, rng = vector_env(3, num_steps=8, market=MarketConfig(max_order=200)), np.random.default_rng(2)
    assert many.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    actions = np.zeros((20, 3, 10))
    actions[:, :, 0] = rng.uniform(-2, 2, (20, 3))
    actions[3, 1, 0], actions[4, 2, 0] = np.nan, 900.0
    seen = [many.reset(seed=np.int64(7))[0]]
    steps = [many.step(a) for a in actions]
    for k in range(3):
        one = gymnasium_env(num_steps=8, market=MarketConfig(max_order=200))
        assert np.array_equal(one.reset(seed=7 + k)[0], seen[0][k])
        over = False
        for a, (observed, rewards, terminated, truncated, info) in zip(actions, steps, strict=True):
            if over:
                assert np.array_equal(one.reset()[0], observed[k]) and rewards[k] == 0 and not truncated[k]
                over = False
                continue
            expected = one.step(a[k])
            over = expected[3]
            assert np.array_equal(expected[0], observed[k]) and expected[1] == rewards[k]
            assert (expected[2], expected[3]) == (terminated[k], truncated[k]) and info["wealth"][k] > 0
            assert expected[4]["refused"] == {why: counts[k] for why, counts in info["refused"].items() if counts[k]}
    assert steps[3][4]["refused"]["action_not_finite"].tolist() == [0, 1, 0]
    assert steps[4][4]["refused"]["max_order"][2] == 1
    for seed in (-1, 1.5):
        with pytest.raises(InputError, match="seed is"):
            many.reset(seed=seed)
    with pytest.raises(InputError, match="Call reset"):
        vector_env(2, num_steps=8).step(actions[0, :2])
    with pytest.raises(InputError, match="actions"):
        many.step(np.zeros((2, 10)))


def test_participation_is_a_market_order_within_its_space():
    share, orders = (gymnasium_env(num_steps=4, learner=Learner(action)) for action in ("participation", "orders"))
    share.reset(seed=3), orders.reset(seed=3)
    sent = np.zeros(10)
    sent[[0, 9]] = -0.6, 1.0
    for one, other in zip(share.step([-0.6]), orders.step(sent), strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
    for bad, reason in (([1.5], "action_off_range"), ([np.inf], "action_not_finite"), (0.5, "action_shape")):
        assert share.step(bad)[4]["refused"] == {reason: 1}


def test_without_a_number_of_steps_an_episode_ends_with_the_session():
    market, counted = MarketConfig(session_seconds=25.0), {"noise": 2, "twap": 1}
    one, many = (make(counted, market=market, num_steps=None) for make in (gymnasium_env, partial(vector_env, 2)))
    one.reset(seed=1), many.reset(seed=1)
    assert [one.step(np.zeros(10))[3] for _ in range(2)] == [False, True]
    assert [many.step(np.zeros((2, 10)))[3].tolist() for _ in range(2)] == [[False] * 2, [True] * 2]
