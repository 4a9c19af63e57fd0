import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory, agent_streams
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.utility import Utility
from difffinance.participants import PARTICIPANTS, Participant, counted_kinds

SCRIPTED = [kind for kind in PARTICIPANTS if kind not in ("diffusion", "pairs")]


def test_populations_come_by_names_or_by_counts():
    assert counted_kinds({"noise": 2, "twap": 1, "pov": 0}) == ["noise", "noise", "twap"]
    agents = AgentFactory.create_population({"noise": 2, "twap": 1}, seed=4, options={"twap": {"quantity": -3.0}})
    assert [(a.kind, a.seat) for a in agents] == [("noise", 0), ("noise", 1), ("twap", 2)]
    assert agents[2].quantity == -3.0
    again = AgentFactory.create_population(["noise", "noise", "twap"], seed=4)
    assert [a.rng.random() for a in agents] == [a.rng.random() for a in again]


@pytest.mark.parametrize("mode", ["book", "law"])
def test_agents_draw_from_no_stream_of_a_market_of_the_same_seed(mode):
    """First words of the agents', and of the market's generators after `reset(seed)` and in its first episodes."""

    def first_word(state):
        rng = np.random.default_rng()
        rng.bit_generator.state = state
        return rng.integers(2**63)

    for seed in (0, 1, 7):
        env = MarketEnvironment(4, MarketConfig(mode=mode), seed, kinds=["noise"] * 4, num_steps=2)
        theirs = []
        for restart in (seed, None, None):
            env.reset(restart)
            theirs += [first_word(state) for state in env.snapshot()["state"]["generators"].values()]
        agents = AgentFactory.create_population(env.kinds, seed=seed)
        again = next(agent_streams(seed, 1, 4))
        ours = [agent.rng.integers(2**63) for agent in agents]
        assert ours == [rng.integers(2**63) for rng in again]
        assert len(theirs) >= 6 and len({*ours, *theirs}) == len(ours) + len(theirs)


def test_every_kind_states_its_utility():
    assert all(isinstance(AgentFactory.create(kind).utility, Utility) for kind in SCRIPTED)


def test_all_kinds_trade_together_without_a_refused_order():
    env = MarketEnvironment(len(SCRIPTED), kinds=SCRIPTED, num_steps=150)
    agents, state, done = AgentFactory.create_population(SCRIPTED, seed=1), env.reset(3), False
    while not done:
        state, _, done, _ = env.step([agent.act(state) for agent in agents])
    assert env.refusals == {}
    traded = env.venue.floor.fees[: len(SCRIPTED)] > 0
    assert all(traded), [k for k, t in zip(SCRIPTED, traded, strict=True) if not t]


@pytest.mark.parametrize("bad", [{"noise": -1}, {"noise": 1.5}, {"noise": True}, "noise", 5, None])
def test_bad_counts_are_refused(bad):
    with pytest.raises(InputError):
        counted_kinds(bad)


def test_unknown_kinds_and_options_without_an_agent_are_refused():
    with pytest.raises(InputError, match=r"kind 'speculator' has no option 'speed'\. Allowed: lookback, "):
        AgentFactory.create("speculator", speed=2)
    for given in ({"seat": 3}, {"model": 3}, 5):
        with pytest.raises(InputError, match="options of 'noise' are"):
            AgentFactory.create_population(["noise"], options={"noise": given})
    with pytest.raises(InputError, match="whale"):
        AgentFactory.create_population({"whale": 1})
    with pytest.raises(InputError, match="not known"):
        AgentFactory.create(["noise"])
    for wrong in (2.5, "3", None, 0, 10**6):
        with pytest.raises(InputError, match="num_agents is"):
            AgentFactory.create_mixed_population(wrong)
    with pytest.raises(InputError, match="seed is"):
        AgentFactory.create_population(["noise"], seed="x")
    with pytest.raises(InputError, match="pov"):
        AgentFactory.create_population(["noise"], options={"pov": {"rate": 0.1}})


def test_a_kind_of_ones_own_is_a_class_and_a_line(monkeypatch):
    monkeypatch.setitem(PARTICIPANTS, "mine", Participant("difffinance.agents.noise_trader.NoiseTrader", "speculator"))
    kinds = ["market_maker", "mine"]
    env, agents = MarketEnvironment(2, kinds=kinds, num_steps=3), AgentFactory.create_population(kinds)
    state = env.reset()
    assert env.step([agent.act(state) for agent in agents]).info["refused"] == []
    with pytest.raises(InputError, match=r"kind 'other' is not known\. Allowed: .*mine"):
        AgentFactory.create("other")
