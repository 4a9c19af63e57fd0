import numpy as np
import pytest
import torch

from difffinance import DiffusionAgent, load_model
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.diffusion.rules import plan_rules
from difffinance.errors import InputError
from difffinance.market.observation import constraint_vector, opponent_vector, state_vector
from difffinance.records import Conditions, MarketState
from difffinance.simulation.bars import BarParameters, BarSimulation, draw_scenarios


@pytest.fixture(scope="module")
def model():
    return load_model("sample")


@pytest.fixture(scope="module")
def conditions():
    rng = np.random.default_rng(0)
    market = BarSimulation(BarParameters(), draw_scenarios(BarParameters(), 300, rng), rng, 6)
    for _ in range(5):
        market.step(rng.normal(size=300) * 0.01)
    return market.conditions()


def holder(**numbers):
    """A condition with a plain signal: frictionless optimum at 0.5 of wealth, nothing held."""
    usual = {
        "signal": 0.05, "signal_decay": 0.02, "volatility": 0.01, "capital": 0.1, "risk_aversion": 10.0,
        "temporary_impact": 0.142, "temporary_exponent": 0.6, "permanent_impact": 0.314, "linear_cost": 0.01,
        "relative_volume": 1.0, "steps_left": 1.0, "cash": 1.0,
    }  # fmt: skip
    return Conditions(state_vector(1, **(usual | numbers)), opponent_vector(1), constraint_vector(1))


def test_every_trade_keeps_the_rules_of_the_bar(model, conditions):
    trade = DiffusionAgent(model).participation(conditions, np.random.default_rng(0))[:, None]
    rules = plan_rules(conditions, 1)
    slack = 1e-12
    assert (trade >= rules.lower - slack).all() and (trade <= rules.upper + slack).all()
    assert (trade >= rules.prefix_lower - slack).all() and (trade <= rules.prefix_upper + slack).all()


def test_buys_on_a_good_signal_sells_on_a_bad_one_and_slower_with_more_capital(model):
    agent, rng = DiffusionAgent(model), np.random.default_rng(0)
    good, bad = (agent.participation(holder(signal=s), rng)[0] for s in (0.05, -0.05))
    assert good > 0 > bad
    share = [agent.participation(holder(capital=c), rng)[0] / c for c in (0.001, 0.1, 10.0)]
    assert share[0] > 1.2 * share[1] > 2 * share[2] > 0


def test_the_mean_of_antithetic_draws_hardly_depends_on_the_seed(model, conditions):
    agent, single = DiffusionAgent(model), DiffusionAgent(model, draws=1)
    spread = {}
    for name, trader in (("pair", agent), ("one", single)):
        trades = [trader.participation(conditions, np.random.default_rng(s)) for s in range(8)]
        unit = model.prepare(conditions).unit.numpy()
        spread[name] = np.median(np.std(trades, axis=0) / unit)
    assert spread["pair"] < 0.5 * spread["one"]


def test_takes_its_seat_in_an_order_book_from_its_own_view_only(model):
    mine, other = holder(), holder(signal=-0.3)
    views = [tuple(t[0] for t in (c.state, c.opponents, c.constraints)) for c in (other, mine)]
    state = MarketState(
        0, 100.0, 0.01, 99.99, 100.01, np.zeros((2, 1, 2)), 0.0, False, *(tuple(v[i] for v in views) for i in range(3))
    )
    agent = DiffusionAgent(model, seat=1)
    agent.reset(np.random.default_rng(5))
    action = agent.act(state, {})
    assert action.shape == (10,) and action[0] > 0 and (action[1:] == 0).all()
    assert action[0] == DiffusionAgent(model).participation(mine, np.random.default_rng(5))[0]


def test_a_model_of_quotes_is_refused():
    torch.manual_seed(0)
    with pytest.raises(InputError, match="action_dim 1"):
        DiffusionAgent(MarketDiffusionModel(10, hidden_dim=16, num_layers=1))
