import math
from dataclasses import replace

import numpy as np
import pytest

from difffinance.agents.arbitrageur import Arbitrageur
from difffinance.agents.factory import AgentFactory
from difffinance.agents.gueant import GueantMarketMaker
from difffinance.agents.informed import InformedTrader
from difffinance.agents.market_maker import MarketMaker, avellaneda_stoikov_quotes
from difffinance.agents.speculator import Speculator
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.observation import ACTION_INDEX, CONSTRAINT_INDEX, NO_LIMIT, STATE_INDEX, mixed_kinds

KINDS = ("market_maker", "speculator", "arbitrageur", "informed")


@pytest.fixture(scope="module")
def calm():
    """A state of a real market, to be changed number by number."""
    return MarketEnvironment(4, kinds=KINDS, num_steps=10).reset(seed=1)


def seen_by(state, seat, **numbers):
    view, limits = state.views[seat].copy(), state.constraints[seat].copy()
    for name, value in numbers.items():
        if name in STATE_INDEX:
            view[STATE_INDEX[name]] = value
        else:
            limits[CONSTRAINT_INDEX[name]] = value
    views, constraints = list(state.views), list(state.constraints)
    views[seat], constraints[seat] = view, limits
    return replace(state, views=tuple(views), constraints=tuple(constraints))


def participation(agent, state, **numbers):
    return agent.act(seen_by(state, agent.seat, **numbers))[ACTION_INDEX["participation"]]


def test_quotes_are_those_of_the_closed_form():
    # The paper's setting at t = 0: s = 100, T = 1, sigma = 2, gamma = 0.1, k = 1.5.
    bid, ask = avellaneda_stoikov_quotes(100, 0, 0, T=1, gamma=0.1, sigma=2, k=1.5)
    assert ask - bid == pytest.approx(0.1 * 4 + 20 * math.log(1 + 0.1 / 1.5))
    assert (ask + bid) / 2 == pytest.approx(100)
    bid, ask = avellaneda_stoikov_quotes(100, 3, 0.5, T=1, gamma=0.1, sigma=2, k=1.5)
    assert (ask + bid) / 2 == pytest.approx(100 - 3 * 0.1 * 4 * 0.5)


@pytest.mark.parametrize("bad", [{"gamma": 0}, {"k": -1}, {"sigma": -1}, {"T": -1}])
def test_quotes_outside_the_formula_are_refused(bad):
    good = {"T": 1, "gamma": 0.1, "sigma": 2, "k": 1.5}
    with pytest.raises(InputError):
        avellaneda_stoikov_quotes(100, 0, 0, **{**good, **bad})


def test_maker_sends_its_closed_form_and_leans_against_inventory(calm):
    maker = MarketMaker(0)
    tick = calm.constraints[0][CONSTRAINT_INDEX["tick"]]
    expected = avellaneda_stoikov_quotes(0, 1.0, 0, T=10, gamma=maker.gamma, sigma=1 / tick, k=maker.k)
    action = maker.act(seen_by(calm, 0, position=1.0, spread=50.0))
    assert action[ACTION_INDEX["bid_offset_1"]] == pytest.approx(-expected[0])
    assert action[ACTION_INDEX["ask_offset_1"]] == pytest.approx(expected[1])
    assert action[ACTION_INDEX["cancel"]] == 1
    full = maker.act(seen_by(calm, 0, position=maker.max_inventory))
    assert full[ACTION_INDEX["bid_quantity_1"]] == 0 < full[ACTION_INDEX["ask_quantity_1"]]


@pytest.mark.parametrize("maker", [MarketMaker(0), GueantMarketMaker(0)])
def test_a_quote_farther_than_quotes_may_be_stands_at_the_farthest_place(maker, calm):
    wild = maker.act(seen_by(calm, 0, tick=1e-4, position=-1.0))  # sigma is 10,000 ticks
    assert NO_LIMIT == wild[ACTION_INDEX["ask_offset_1"]] >= wild[ACTION_INDEX["bid_offset_1"]] >= -NO_LIMIT
    assert wild[ACTION_INDEX["bid_quantity_1"]] > 0 < wild[ACTION_INDEX["ask_quantity_1"]]


def test_speculator_follows_the_trend(calm):
    trend = {f"return_{i}": 1.0 for i in range(1, 11)}
    agent = Speculator(1)
    assert participation(agent, calm, **trend) > 0
    assert participation(agent, calm, **dict.fromkeys(trend, -1.0)) < 0
    assert participation(agent, calm, **dict.fromkeys(trend, 0.0)) == 0


def test_arbitrageur_buys_cheap_and_needs_the_gap_to_pay(calm):
    agent = Arbitrageur(2)
    assert participation(agent, calm, signal=0.5, signal_decay=0.05) > 0
    assert participation(agent, calm, signal=-0.5, signal_decay=0.05) < 0
    assert participation(agent, calm, signal=0.01, signal_decay=0.05) == 0
    assert participation(agent, calm, signal=-0.01, signal_decay=0.05, position=2.0) < 0  # the gap has closed


def test_informed_trades_in_proportion_up_to_its_rate(calm):
    agent = InformedTrader(3)
    small, large = (participation(agent, calm, signal=s, signal_decay=0.05) for s in (0.2, 5.0))
    assert small == pytest.approx(agent.beta * 4)
    assert large == agent.rate
    assert participation(agent, calm, signal=5.0, signal_decay=0.05, position=agent.max_position) == 0


@pytest.mark.parametrize("agent", [Speculator(1), Arbitrageur(2), InformedTrader(3)])
def test_no_agent_asks_for_more_than_it_may(agent, calm):
    wish = {f"return_{i}": 1.0 for i in range(1, 11)} | {"signal": 1.0, "signal_decay": 0.05}
    assert participation(agent, calm, **wish) > 0
    assert participation(agent, calm, **wish, buyable=0.01) == pytest.approx(0.01)
    assert participation(agent, calm, **wish, can_buy=0.0) == 0


def test_agents_use_their_own_view_only(calm):
    for seat, kind in enumerate(KINDS):
        agent, other = AgentFactory.create(kind, seat), (seat + 1) % 4
        changed = seen_by(calm, other, signal=9.0, position=5.0)
        assert np.array_equal(agent.act(calm), agent.act(changed))


def test_factory_is_reproducible_and_names_what_it_knows():
    assert mixed_kinds(7)[5:] == ["market_maker", "speculator"]
    assert [a.kind for a in AgentFactory.create_mixed_population(4)] == list(KINDS)
    draws = [[a.rng.random() for a in AgentFactory.create_population(KINDS, seed=3)] for _ in range(2)]
    assert draws[0] == draws[1] and len(set(draws[0])) == 4
    with pytest.raises(InputError, match="market_maker"):
        AgentFactory.create("whale")


def test_informed_and_arbitrageur_earn_from_the_value_on_average():
    env, gains = MarketEnvironment(4, kinds=KINDS, num_steps=400), []
    for seed in range(6):
        agents, state, done = AgentFactory.create_population(KINDS), env.reset(seed=seed), False
        start = env.wealth
        while not done:
            state, _, done, _ = env.step([agent.act(state) for agent in agents])
        gains.append(env.wealth - start)
    assert (np.mean(gains, axis=0)[2:] > 0).all()
