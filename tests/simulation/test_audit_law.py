"""Episodes of the `law` mode: written down, audited apart from the market, and simulated from the command line."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from difffinance.agents.factory import AgentFactory
from difffinance.cli import app
from difffinance.config import AgentsConfig, MarketConfig
from difffinance.market.environment import MarketEnvironment
from difffinance.simulation.audit_law import find_law_violations
from difffinance.simulation.episode import record_episode

KINDS = ["speculator", "noise", "noise", "twap"]
TIGHT = MarketConfig(
    mode="law", t_plus_one=True, max_position=600.0, max_order=120.0, price_limit=0.001, fee_bps=2.0, lot_size=2.0
)
HOLDING = AgentsConfig(inventory=100.0)


def play(config, accounts=None):
    env = MarketEnvironment(4, config, agents=accounts, kinds=KINDS, num_steps=60)
    return record_episode(env, AgentFactory.create_population(KINDS, seed=3), seed=5), env


@pytest.fixture(scope="module")
def tight():
    return play(TIGHT, HOLDING)[0]


def test_what_is_written_down_is_what_the_market_did(tight):
    loose, env = play(MarketConfig(mode="law"))
    assert find_law_violations(loose, env.config, env.agents) == {}
    assert (loose.bought + loose.sold).any(axis=0).all() and loose.refusals == {}
    assert loose.wealth[-1] == pytest.approx(env.wealth) and loose.fees == pytest.approx(env.session.accounts.fees)
    assert np.diff(loose.wealth, axis=0) == pytest.approx(loose.rewards, abs=1e-6)
    traded = loose.bought + loose.sold > 0
    assert np.isnan(loose.fill_price[~traded]).all() and len(loose.trades) == traded.sum()
    signed = loose.trades["quantity"] * loose.trades["side"]
    assert signed.sum() == pytest.approx(loose.inventory[-1].sum() - loose.inventory[0].sum())
    paid = (loose.trades["price"] * signed).sum()
    assert loose.cash[-1].sum() == pytest.approx(loose.cash[0].sum() - paid - loose.fees.sum())
    assert loose.frame("r", 0).height == 4 * 60
    assert find_law_violations(tight, TIGHT, HOLDING) == {}
    assert (tight.bought + tight.sold).max() == 120 and tight.inventory.max() > 300  # the limits are felt


def spoiled(episode, **changes):
    return dataclasses.replace(
        episode, **{name: change(getattr(episode, name).copy()) for name, change in changes.items()}
    )


def at(step, seat, by):
    def change(array):
        array[step, seat] += by
        return array

    return change


def test_every_foul_is_seen(tight):
    step, seat = (int(i[0]) for i in np.nonzero(tight.bought))
    others = np.nonzero((tight.bought + tight.sold > 0).sum(axis=1) > 1)[0]
    dear, who = int(others[0]), int(np.flatnonzero(tight.bought[others[0]] + tight.sold[others[0]])[0])
    fouls = {
        "inventory is the sum of fills": spoiled(tight, inventory=at(step + 1, seat, 2.0)),
        "cash is what was paid": spoiled(tight, cash=at(step + 1, seat, 1.0)),
        "wealth is cash and inventory": spoiled(tight, wealth=at(3, 0, 5.0)),
        "start is as configured": spoiled(tight, cash=at(0, 1, 5.0)),
        "one price for all": spoiled(tight, fill_price=at(dear, who, 0.05)),
        "max_order": spoiled(tight, bought=at(step, seat, 500.0)),
        "position_limit": spoiled(tight, inventory=at(step + 1, seat, 5000.0)),
        "not_sellable": spoiled(tight, sold=at(step, seat, 400.0)),
        "leverage": spoiled(tight, wealth=at(step, seat, -1e9)),
        "price_limit": spoiled(tight, mid=lambda mid: mid + 5.0),
    }
    for rule, episode in fouls.items():
        assert rule in find_law_violations(episode, TIGHT, HOLDING), rule


def test_simulate_in_law_mode_from_the_command_line(tmp_path):
    call = ["simulate", "market.mode=law", "--num-steps", "25", "--num-agents", "2", "--lake", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["violations"] == 0 and answer["trades"] > 0
    assert [agent["kind"] for agent in answer["agents"]] == ["market_maker", "speculator"]
    frame = pl.read_parquet(answer["path"])
    assert frame.height == 50 and frame["filled"].abs().sum() > 0
