import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory, agent_streams
from difffinance.config import AgentsConfig, FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.compiled import policy_kernel
from difffinance.market.environment import MarketEnvironment
from difffinance.market.footprint import impact_bps
from difffinance.market.utility import Cara, MeanVariance, Shortfall
from difffinance.simulation.batch import simulate_batch
from difffinance.simulation.episode import record_episode, record_in_python
from difffinance.simulation.players import OPPONENTS, RNG, reads

KINDS = ("market_maker", "speculator", "arbitrageur", "informed", "noise")
JUMPS = FlowConfig(fundamental_volatility=0.5)
TOKYO = MarketConfig(rulebook="jp", start_price=101.0, tick_size=1.0, step_seconds=60.0, flow=JUMPS)
STAR = MarketConfig(rulebook="cn.star", start_price=10.0, step_seconds=260.0)  # to after the close
TIGHT = MarketConfig(max_position=900, max_open=150, max_order=300, max_leverage=0.05)


def step_by_step(market, seed, episodes, steps, latency=0.0):
    """The same episodes through the step API."""
    env = MarketEnvironment(5, market, seed, kinds=KINDS, num_steps=steps, latency=latency)
    for streams in agent_streams(seed, episodes, 5):
        agents = AgentFactory.create_population(KINDS)
        for agent, rng in zip(agents, streams, strict=True):
            agent.reset(rng)
        yield record_in_python(env, agents)


@pytest.mark.parametrize(
    ("market", "latency"),
    [(MarketConfig(), 0.0), (TIGHT, 0.0), (TIGHT, (0, 3, 3, 12, 25)), (TOKYO, 0.0), (STAR, 0.0)],
)
def test_a_batch_is_the_step_api_to_the_bit(market, latency):
    names = ("wealth", "rewards", "states", "opponents", "constraints", "actions", "inventory")
    batch = simulate_batch(KINDS, market=market, episodes=2, num_steps=60, seed=3, paths=names, latency=latency)
    for e, episode in enumerate(step_by_step(market, 3, 2, 60, latency)):
        for name in names:
            assert np.array_equal(batch.paths[name][e], getattr(episode, name)), name
        assert np.array_equal(batch.pnl[e], episode.wealth[-1] - episode.wealth[0])
        assert np.array_equal(batch.rewards[e], batch.pnl[e])
        assert np.array_equal(batch.fees[e], episode.fees)
        assert np.allclose(batch.bought[e] - batch.sold[e], episode.inventory[-1])
        assert batch.trades[e] == len(episode.trades)
        counts = {n: int(c) for n, c in zip(reasons.NAMES, batch.refused[e].sum(axis=0), strict=True) if c}
        assert counts == episode.refusals
        filled, mid = (episode.bought - episode.sold)[:, 2], episode.mid
        impact = impact_bps(filled, mid[:-1], mid[1:])
        assert batch.impact_bps[e, 2] == pytest.approx(np.nan if impact is None else impact, nan_ok=True)  # no fill
    assert np.abs(batch.inventory).max() > 0
    # What nobody reads is not filled in, and changes nothing.
    assert np.array_equal(
        simulate_batch(KINDS, market=market, episodes=2, num_steps=60, seed=3, latency=latency).pnl, batch.pnl
    )


@policy_kernel
def watch(state, opponents, constraints, parameters, memory, rng, action):
    action[0] = 0.1 * opponents[0]


def test_a_policy_that_looks_at_its_opponents_is_shown_them():
    class Watcher(type(AgentFactory.create("speculator"))):
        policy = watch

    assert reads(Watcher, OPPONENTS) and not reads(type(AgentFactory.create("speculator")), OPPONENTS)
    assert reads(type(AgentFactory.create("noise")), RNG) and not reads(Watcher, RNG)
    batch = simulate_batch([Watcher(), AgentFactory.create("market_maker", 1)], episodes=1, num_steps=20,
                           paths=("actions", "states"))  # fmt: skip
    assert np.all(batch.paths["actions"][0, :, 0, 0] > 0)


def test_rewards_by_utilities_are_those_of_the_step_api():
    utilities = [Cara(2e-4, 0.5), MeanVariance(3.0), Shortfall(0.1, 2.0, quantity=4.0), Cara(), MeanVariance()]
    env = MarketEnvironment(5, TIGHT, 3, kinds=KINDS, num_steps=60, rewards=utilities)
    batch = simulate_batch(KINDS, market=TIGHT, episodes=2, num_steps=60, seed=3, rewards=utilities, paths=["rewards"])
    assert set(batch.paths) == {"rewards"}
    for e, streams in enumerate(agent_streams(3, 2, 5)):
        agents = AgentFactory.create_population(KINDS)
        for agent, rng in zip(agents, streams, strict=True):
            agent.reset(rng)
        expected = record_in_python(env, agents).rewards
        assert np.array_equal(batch.paths["rewards"][e], expected)
        assert np.allclose(batch.rewards[e], expected.sum(axis=0))
    assert np.abs(batch.rewards[:, :3] - batch.pnl[:, :3]).min() > 0.0
    assert np.allclose(batch.rewards[:, 3:], batch.pnl[:, 3:])
    with pytest.raises(InputError, match="each of the 5 seats"):
        simulate_batch(KINDS, episodes=1, rewards=utilities[:2])


def test_a_recorded_episode_is_the_same_either_way():
    env = MarketEnvironment(5, TIGHT, kinds=KINDS, num_steps=50)
    fast, slow = (
        record(env, AgentFactory.create_population(KINDS), seed=4) for record in (record_episode, record_in_python)
    )
    for name, value in vars(slow).items():
        other = getattr(fast, name)
        if name in ("events", "fills"):
            assert len(value) == len(other) and all(np.array_equal(a, b) for a, b in zip(value, other, strict=True))
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, other, equal_nan=True), name
        elif name == "trades":
            assert value.equals(other)
        else:
            assert value == other, name


def test_growth_inside_a_batch_loses_nothing():
    market = MarketConfig(price_limit=None, max_leverage=1e5)
    batch = simulate_batch(("informed",) * 6, market=market, accounts=AgentsConfig(inventory=100), episodes=1,
                           num_steps=1200, seed=1, paths=("inventory", "cash"))  # fmt: skip
    assert batch.trades[0] > 8192  # more than the arrays begin with
    assert np.allclose(batch.paths["inventory"][0, -1] - batch.paths["inventory"][0, 0], (batch.bought - batch.sold)[0])


def test_what_cannot_be_played_in_a_batch_is_refused():
    with pytest.raises(InputError, match="decides in Python"):
        simulate_batch(("diffusion",), episodes=1)
    with pytest.raises(InputError, match="episodes"):
        simulate_batch(KINDS, episodes=0)
    with pytest.raises(InputError, match="wealth"):
        simulate_batch(KINDS, episodes=1, paths=("moods",))
    with pytest.raises(InputError, match="run in the book mode"):
        simulate_batch(KINDS, episodes=1, market=MarketConfig(mode="law"))
    twice = [AgentFactory.create("noise")] * 2  # one memory, and the view of one seat
    with pytest.raises(InputError, match=r"seats 0 to 1, in their order; got \[0, 0\]"):
        simulate_batch(twice, episodes=1)
    with pytest.raises(InputError, match="seats 0 to 1"):
        record_episode(MarketEnvironment(2, kinds=["noise"] * 2, num_steps=2), twice)


def test_kinds_may_be_counted_and_an_episode_may_end_with_the_session():
    batch = simulate_batch({"noise": 2, "twap": 1}, episodes=1, num_steps=None, paths=["unit"],
                           market=MarketConfig(session_seconds=45.0))  # fmt: skip
    assert batch.kinds == ("noise", "noise", "twap") and batch.paths["unit"].shape == (1, 4)


def test_an_agent_that_raises_is_refused_and_the_market_goes_on():
    class Broken(type(AgentFactory.create("speculator"))):
        def act(self, state, info=None):
            raise RuntimeError("no idea")

    env = MarketEnvironment(2, kinds=("speculator", "informed"), num_steps=10)
    episode = record_in_python(env, [Broken(0), AgentFactory.create("informed", 1)], seed=1)
    assert episode.refusals == {"agent_raised": 10}
    assert len(episode.trades) > 0
