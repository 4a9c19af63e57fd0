"""Views of a market made by hand or drawn at random, and policies against plain Python twins."""

import numpy as np
import pytest

from difffinance.market.observation import (
    ACTION_INDEX,
    CONSTRAINT_INDEX,
    STATE_INDEX,
    constraint_vector,
    state_vector,
)
from difffinance.records import MarketState

FREE = {"tick": 0.5, "lot": 1e-3, "buyable": 50.0, "sellable": 50.0}


def shown(**numbers):
    """The state of a market with one seat and the named numbers of its state and constraints."""
    state = state_vector(1, **({"relative_volume": 1.0} | {k: v for k, v in numbers.items() if k in STATE_INDEX}))[0]
    limits = constraint_vector(1, **(FREE | {k: v for k, v in numbers.items() if k in CONSTRAINT_INDEX}))[0]
    return MarketState(0, 100.0, 0.01, 99.99, 100.0, np.zeros((2, 5, 2)), 0.0, False,
                       (state,), (np.zeros(40),), (limits,))  # fmt: skip


def action_of(agent, **numbers):
    return dict(zip(ACTION_INDEX, agent.act(shown(**numbers)), strict=True))


def random_numbers(rng):
    numbers = {f"return_{i}": rng.normal() for i in range(1, 11)}
    numbers |= {"signal": rng.normal(), "signal_decay": rng.choice([0.0, 0.05]), "position": 4 * rng.normal()}
    numbers |= {name: rng.exponential() for name in ("spread", "linear_cost", "open_buys", "open_sells", "volume_1")}
    numbers |= {name: rng.choice([0.0, 0.2, 5.0]) for name in ("buyable", "sellable", "max_open", "max_order")}
    numbers |= {"max_participation": rng.exponential(), "tick": rng.uniform(0.1, 2.0), "lot": 1e-3}
    numbers |= {"can_buy": rng.choice([0.0, 1.0, 1.0]), "can_sell": rng.choice([0.0, 1.0, 1.0])}
    return numbers | {"relative_volume": rng.uniform(0.5, 2.0)}


def market_order(view, participation):
    """What `agents.actions.send_market` writes."""
    buy = min(view["max_participation"], view["buyable"]) * view["can_buy"]
    sell = min(view["max_participation"], view["sellable"]) * view["can_sell"]
    return {"participation": float(np.clip(participation, -sell, buy)), "cancel": 1.0}


def check_twin(agent, twin, *, steps=300, seed=5, least=50):
    """Let the policy and its twin, a function of (agent, view, memory), decide on the same views one after another."""
    rng, memory, acted = np.random.default_rng(seed), {}, 0
    agent.reset(np.random.default_rng(0))
    for _ in range(steps):
        numbers = random_numbers(rng)
        given, expected = action_of(agent, **numbers), dict.fromkeys(ACTION_INDEX, 0.0)
        expected |= twin(agent, numbers, memory)
        assert given == pytest.approx(expected, abs=1e-12)
        acted += any(value != 0 for name, value in expected.items() if name != "cancel")
    assert acted > least
