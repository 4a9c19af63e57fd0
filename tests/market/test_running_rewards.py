"""Rewards by utilities, step by step: against hand-computed numbers, and against whole episodes written down apart."""

import math

import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.observation import STATE_INDEX, state_vector
from difffinance.market.running_rewards import RunningRewards
from difffinance.market.snapshot import load_snapshot, save_snapshot
from difffinance.market.utility import Cara, MeanVariance, Shortfall, Trajectory

KINDS = ["market_maker", "gueant", "twap", "noise"]


def by_hand(utility):
    """Two steps of 5 quote currency per tick and step volume: wealth 50, 60, 45, position 0, 2, 1, mid 10, 11, 9.

    In ticks and mean step volumes wealth is 10, 12, 9; the second step's volatility is .02 of a mid of 11: .22 ticks.
    """
    views = [state_vector(1, position=x / 4, relative_volume=4.0, volatility=0.02) for x in (0.0, 2.0, 1.0)]
    running = RunningRewards(utility, 1)
    running.begin(0, 5.0, 50.0, views[0][0], 10.0)
    steps = ((60.0, views[1], 11.0, False), (45.0, views[2], 9.0, True))
    return [running.step(np.array([w]), view, np.array([m]), np.array([end])).item() for w, view, m, end in steps]


def test_two_steps_by_hand():
    assert by_hand(MeanVariance()) == pytest.approx([10.0, -15.0])
    # Held 0, then 2 over the second step: a/2 (2 * .22)^2 / 12 with a = 6.
    assert by_hand(MeanVariance(6.0)) == pytest.approx([10.0, -15.0 - 5 * 3 * 0.44**2 / 12])
    one, two = (1 - math.exp(-0.1 * 2)) / 0.1, (1 - math.exp(-0.1 * -1)) / 0.1
    assert by_hand(Cara(0.1)) == pytest.approx([5 * one, 5 * (two - one)])
    # One is left at the end: less 3 * 1^2.
    assert by_hand(Cara(0.1, 3.0)) == pytest.approx([5 * one, 5 * (two - one) - 15])
    # Buy 4: on paper 4 * 1 and 4 * -2 ticks; 2 and 3 untraded after the steps, risk .5 (2 * .2)^2 and .5 (3 * .22)^2.
    hand = [5 * (2 - 4 - 0.5 * 0.4**2), 5 * (-3 + 8 - 0.5 * 0.66**2 - 2 * 3**2)]
    assert by_hand(Shortfall(0.5, 2.0, quantity=4.0)) == pytest.approx(hand)


@pytest.mark.parametrize("mode", ["book", "law"])
def test_rewards_of_an_episode_add_up_to_the_utility(mode):
    config = MarketConfig(mode=mode, tick_size=0.01, lot_size=2.0)
    agents = AgentFactory.create_population(KINDS, seed=1)
    utilities = [Cara(2e-4, 0.5), agents[1].utility, agents[2].utility, MeanVariance(3.0)]
    env = MarketEnvironment(4, config, kinds=KINDS, num_steps=25, rewards=utilities)
    state, rewards, done = env.reset(seed=3), [], False
    mean = env.step_volume / state.views[0][STATE_INDEX["relative_volume"]]  # lots
    unit = mean * 0.01 * 2.0

    def moment(state):
        lots = np.array([view[STATE_INDEX["position"]] for view in state.views]) * env.step_volume
        return [env.wealth / unit, lots / mean, np.full(4, state.mid / 0.01)]

    moments, sigmas = [moment(state)], []
    while not done:
        sigmas.append([view[STATE_INDEX["volatility"]] * state.mid / 0.01 for view in state.views])
        state, reward, done, _ = env.step([agent.act(state) for agent in agents])
        rewards.append(reward)
        moments.append(moment(state))
    table = np.array(moments)  # (T+1, 3, 4)
    traded = np.diff(table[:, 1], axis=0).any(axis=0)
    assert traded[2:].all() and (mode == "law" or traded.all())  # makers need a book
    for seat, utility in enumerate(utilities):
        wealth, inventory, mid = table[:, :, seat].T
        whole = unit * utility.rewards(Trajectory(wealth, inventory, mid, np.array(sigmas)[:, seat]))
        assert np.array(rewards)[:, seat] == pytest.approx(whole, rel=1e-9, abs=1e-9 * unit)
    gain = table[-1, 0, 0] - table[0, 0, 0]
    total = (1 - math.exp(-2e-4 * gain)) / 2e-4 - 0.5 * table[-1, 1, 0] ** 2
    assert np.sum(rewards, axis=0)[0] == pytest.approx(unit * total, rel=1e-9)


def test_a_trader_without_risk_aversion_earns_its_change_of_wealth():
    wealths = []
    for rewards in ("wealth", [MeanVariance()] * 4):
        env = MarketEnvironment(4, kinds=KINDS, num_steps=10, rewards=rewards)
        agents, state = AgentFactory.create_population(KINDS, seed=1), env.reset(seed=3)
        wealths.append([])
        for _ in range(10):
            state, reward, _, _ = env.step([agent.act(state) for agent in agents])
            wealths[-1].append(reward)
    assert np.array(wealths[1]) == pytest.approx(np.array(wealths[0]), abs=1e-6)


def test_a_restored_market_rewards_as_before(tmp_path):
    env = MarketEnvironment(2, kinds=["noise", "noise"], num_steps=12, rewards=[Cara(1e-3), Shortfall(quantity=3.0)])
    agents, state = AgentFactory.create_population(env.kinds, seed=1), env.reset(seed=3)
    for _ in range(5):
        state = env.step([agent.act(state) for agent in agents]).state
    path = save_snapshot(tmp_path / "market.npz", env.snapshot())
    still = np.zeros((2, 10))
    expected = [env.step(still).rewards for _ in range(5)]
    other = MarketEnvironment(2, kinds=["noise", "noise"], num_steps=12, rewards=env.utilities)
    other.restore(load_snapshot(path))
    assert np.array_equal([other.step(still).rewards for _ in range(5)], expected)
    plain = MarketEnvironment(2, kinds=["noise", "noise"], num_steps=12)
    with pytest.raises(InputError, match="another market"):
        plain.restore(load_snapshot(path))


@pytest.mark.parametrize(
    ("bad", "message"),
    [("utility", "agent.utility for agent in agents"), ([Cara()], "each of the 2 seats; got Cara"),
     ([Cara(), "fame"], "got Cara, str"), ([], "got none")],
)  # fmt: skip
def test_bad_rewards_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        MarketEnvironment(2, rewards=bad)
