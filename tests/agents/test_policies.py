"""Each compiled policy against a plain Python twin, on states drawn at random."""

import math

import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.agents.market_maker import avellaneda_stoikov_quotes
from difffinance.errors import InputError
from difffinance.market.observation import (
    ACTION_INDEX,
    CONSTRAINT_INDEX,
    KINDS,
    STATE_INDEX,
    constraint_vector,
    state_vector,
)
from difffinance.participants import PARTICIPANTS
from difffinance.records import MarketState


def clipped(view, participation):
    buy = min(view["max_participation"], view["buyable"]) * view["can_buy"]
    sell = min(view["max_participation"], view["sellable"]) * view["can_sell"]
    return {"participation": float(np.clip(participation, -sell, buy)), "cancel": 1.0}


def market_maker(a, view):
    sigma, position = 1 / view["tick"], view["position"]
    bid, ask = avellaneda_stoikov_quotes(0, position, 0, T=a.horizon, gamma=a.gamma, sigma=sigma, k=a.k)
    least, action = 0.5 - 0.5 * view["spread"] * sigma, {"cancel": 1.0}
    for side, offset, room, full in (
        ("bid", -bid, view["buyable"] + view["open_buys"], position >= a.max_inventory),
        ("ask", ask, view["sellable"] + view["open_sells"], position <= -a.max_inventory),
    ):
        quantity = 0.0 if full else min(a.quantity, room, view["max_open"], view["max_order"])
        if quantity > 0:
            action |= {f"{side}_offset_1": max(offset, least), f"{side}_quantity_1": quantity}
    return action


def speculator(a, view):
    trend = sum(view[f"return_{i}"] for i in range(1, a.lookback + 1)) / math.sqrt(a.lookback)
    gap = (a.max_position * math.tanh(trend) if abs(trend) > a.threshold else 0.0) - view["position"]
    return clipped(view, math.copysign(min(abs(gap), a.rate), gap) if abs(gap) > a.patience else 0.0)


def arbitrageur(a, view):
    gap = view["signal"] / view["signal_decay"] if view["signal_decay"] > 0 else 0.0
    target = position = view["position"]
    if abs(gap) > a.margin * 2 * view["linear_cost"]:
        target = math.copysign(min(a.size * abs(gap), a.max_position), gap)
        if target * position > 0 and abs(target) < abs(position):
            target = position
    elif gap * position < 0:
        target = 0.0
    return clipped(view, max(-a.rate, min(target - position, a.rate)))


def informed(a, view):
    gap = view["signal"] / view["signal_decay"] if view["signal_decay"] > 0 else 0.0
    if abs(gap) < view["linear_cost"]:
        return clipped(view, 0.0)
    wish = max(-a.rate, min(a.beta * gap, a.rate))
    return clipped(view, max(-a.max_position, min(view["position"] + wish, a.max_position)) - view["position"])


def random_state(rng):
    numbers = {f"return_{i}": rng.normal() for i in range(1, 11)}
    numbers |= {"signal": rng.normal(), "signal_decay": rng.choice([0.0, 0.05]), "position": 6 * rng.normal()}
    numbers |= {name: rng.exponential() for name in ("spread", "linear_cost", "open_buys", "open_sells")}
    limits = {name: rng.choice([0.0, 0.2, 5.0]) for name in ("buyable", "sellable", "max_open", "max_order")}
    limits |= {"max_participation": rng.exponential(), "tick": rng.uniform(0.1, 2.0)}
    limits |= {"can_buy": rng.choice([0.0, 1.0, 1.0]), "can_sell": rng.choice([0.0, 1.0, 1.0])}
    return state_vector(1, **numbers)[0], constraint_vector(1, **limits)[0]


@pytest.mark.parametrize("twin", [market_maker, speculator, arbitrageur, informed])
def test_policy_decides_as_its_plain_python_twin(twin):
    agent, rng = AgentFactory.create(twin.__name__), np.random.default_rng(5)
    acted = 0
    for _ in range(500):
        state, limits = random_state(rng)
        shown = MarketState(0, 100.0, 0.01, 99.99, 100.0, np.zeros((2, 5, 2)), 0.0, False,
                            (state,), (np.zeros(40),), (limits,))  # fmt: skip
        view = {n: state[i] for n, i in STATE_INDEX.items()} | {n: limits[i] for n, i in CONSTRAINT_INDEX.items()}
        expected = np.zeros(10)
        for name, value in twin(agent, view).items():
            expected[ACTION_INDEX[name]] = value
        assert agent.act(shown) == pytest.approx(expected, abs=1e-12)
        acted += bool(np.any(expected[:9]))
    assert acted > 50


def test_every_registered_kind_has_a_pool_and_every_pool_its_numbers():
    assert {p.pool for p in PARTICIPANTS.values()} == set(KINDS)
    assert all(AgentFactory.create(kind).kind == kind for kind in PARTICIPANTS if kind not in ("diffusion", "pairs"))


def test_a_maker_outside_its_formula_is_refused():
    with pytest.raises(InputError, match="gamma"):
        AgentFactory.create("market_maker", gamma=0.0)
