import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.simulation.counterfactual import counterfactual

KINDS = ("market_maker", "speculator", "arbitrageur", "informed")


@pytest.fixture(scope="module")
def running():
    """A market in its eleventh step."""
    env, agents = MarketEnvironment(4, kinds=KINDS, num_steps=100), AgentFactory.create_population(KINDS)
    state = env.reset(seed=3)
    for _ in range(10):
        state = env.step([agent.act(state) for agent in agents]).state
    return env, agents


def orders(steps, participation):
    table = np.zeros((steps, 10))
    table[:, 0] = participation
    return table


def test_twins_without_orders_are_the_same_to_the_bit(running):
    env, agents = running
    before = env.snapshot()["arrays"]
    twins = counterfactual(env, agents, 1, orders=orders(15, 0.0), replications=5)
    assert np.array_equal(twins.mid_with, twins.mid_without)
    assert np.array_equal(twins.traded_with, twins.traded_without)
    assert (twins.cost == 0).all()
    assert len(np.unique(twins.mid_with[:, -1])) > 1  # replications are different futures
    assert all(np.array_equal(before[name], array) for name, array in env.snapshot()["arrays"].items())


def test_a_buyer_lifts_the_mid_and_pays_for_it_and_common_numbers_cut_the_noise(running):
    env, agents = running
    twins = counterfactual(env, agents, 1, orders=orders(10, 0.8), replications=60)
    impact, error = twins.impact
    assert impact[0] == 0 and impact[10] > 4 * error[10] > 0
    cost, cost_error = twins.own_cost
    assert cost > 4 * cost_error
    assert str(twins).startswith("seat 1, 60 replications: after 10 steps its orders have moved the mid by ")
    assert f"{impact[10]:.4g} +/- {error[10]:.2g} and cost {cost:.4g} +/- {cost_error:.2g}" in str(twins)
    reaction = twins.reaction[0].sum(axis=0)
    assert reaction[1] > 0 > reaction[0]  # the seat itself bought; the maker sold to it
    independent = np.sqrt(twins.mid_with.var(axis=0) + twins.mid_without.var(axis=0))
    assert (twins.mid_with - twins.mid_without).std(axis=0)[3] < 0.8 * independent[3]


def test_an_agent_decides_for_itself_and_the_call_is_reproducible(running):
    env, agents = running
    one, two = (counterfactual(env, agents, 3, steps=12, replications=4, seed=8) for _ in range(2))
    assert np.array_equal(one.mid_with, two.mid_with) and np.array_equal(one.cost, two.cost)
    assert np.abs(one.traded_with[:, :, 3]).sum() > 0 and (one.traded_without[:, :, 3] == 0).all()


def test_wrong_arguments_say_what_is_allowed(running):
    env, agents = running
    with pytest.raises(InputError, match="seat"):
        counterfactual(env, agents, 9)
    with pytest.raises(InputError, match="steps"):
        counterfactual(env, agents, 0, steps=500)
    with pytest.raises(InputError, match="action_not_finite"):
        counterfactual(env, agents, 0, orders=np.full((3, 10), np.nan))
    with pytest.raises(InputError, match="agents"):
        counterfactual(env, agents[:2], 0)
    with pytest.raises(InputError, match=r"replications is 1\.5"):
        counterfactual(env, agents, 0, replications=1.5)
    with pytest.raises(InputError, match="reset"):
        counterfactual(MarketEnvironment(len(KINDS), kinds=KINDS), agents, 0)
