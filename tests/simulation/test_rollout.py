import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from difffinance.agents.factory import AgentFactory, agent_streams
from difffinance.calibration.costs import load_costs
from difffinance.config import AgentsConfig, MarketConfig, load_config
from difffinance.diffusion.checkpoint import save_model
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import CheckpointError, InputError
from difffinance.market.costs import draw_cost_laws
from difffinance.market.environment import MarketEnvironment
from difffinance.market.observation import mixed_kinds
from difffinance.schemas import TRAJECTORIES
from difffinance.simulation.audit import find_violations
from difffinance.simulation.episode import record_episode
from difffinance.simulation.rollout import simulate_market

KINDS = ("market_maker", "speculator", "arbitrageur", "informed")
MARKET = MarketConfig(max_position=2000, max_open=1000, max_order=500)


@pytest.fixture
def episode():
    env = MarketEnvironment(4, MARKET, kinds=KINDS, num_steps=60)
    return record_episode(env, AgentFactory.create_population(KINDS), seed=1)


def violations(episode, market=MARKET):
    return find_violations(episode, market, AgentsConfig())


def test_an_honest_market_breaks_no_rule(episode):
    assert violations(episode) == {}
    assert np.abs(episode.inventory).max() > 0 and len(episode.trades) > 100


@pytest.mark.parametrize("config", [{"t_plus_one": True}, {"short_allowed": False}, {"price_limit": 0.003}])
def test_tighter_rules_are_kept_too(config):
    market, agents = MarketConfig(**config), AgentsConfig(inventory=1000)
    env = MarketEnvironment(4, market, agents=agents, kinds=KINDS, num_steps=60)
    episode = record_episode(env, AgentFactory.create_population(KINDS), seed=2)
    assert find_violations(episode, market, agents) == {}
    assert np.ptp(episode.inventory[:, 1:]) > 0


def test_the_audit_sees_each_kind_of_foul(episode):
    assert violations(episode, MARKET.model_copy(update={"max_order": 20}))["max_order"] > 0
    assert violations(episode, MARKET.model_copy(update={"max_open": 20}))["max_open"] > 0
    assert violations(episode, MARKET.model_copy(update={"max_position": 20}))["position_limit after a fill"] > 0
    assert violations(episode, MARKET.model_copy(update={"short_allowed": False}))["position_limit"] > 0
    assert violations(episode, MARKET.model_copy(update={"t_plus_one": True}))["not_sellable"] > 0
    assert violations(episode, MARKET.model_copy(update={"max_leverage": 0.01}))["leverage"] > 0
    assert violations(episode, MARKET.model_copy(update={"price_limit": 0.0001}))["price_limit"] > 0
    assert violations(episode, MARKET.model_copy(update={"fee_bps": 9.0}))["cash net of fees differs"] == 4


def test_the_audit_sees_a_wrong_fill_and_wrong_accounts(episode):
    fills = next(f for f in episode.fills if len(f))
    fills["price"][0] += 1
    assert violations(episode)["price-time priority: fills differ from the plain book"] == 1
    episode.inventory[-1, 2] += 1
    assert violations(episode)["inventory differs"] == 1


def test_episode_agrees_with_itself(episode):
    filled = episode.bought - episode.sold
    assert np.allclose(np.diff(episode.inventory, axis=0), filled)
    assert np.allclose(np.diff(episode.wealth, axis=0), episode.rewards)
    assert np.allclose(episode.wealth, episode.cash + episode.inventory * episode.mid[:, None])
    assert episode.depth.shape == (61, 2, 5, 2)
    assert episode.trades["seconds"].is_sorted()
    assert set(episode.trades["side"].unique()) == {-1, 1}


def test_draws_of_the_cost_law_give_each_kind_its_band(lake):
    small = {"market": MarketConfig(mode="law"), "num_agents": 2, "num_steps": 40, "episodes": 2, "seed": 3}
    answer = simulate_market(**small, draws=5, lake=lake)
    plain = simulate_market(**small, lake=lake, run="plain")
    assert answer["draws"] == 5 and "Almgren" in answer["cost_law"] and "draws" not in plain
    law, found = load_costs("SYNTH", lake=lake), []
    for drawn in [law, *draw_cost_laws(law, np.random.default_rng([3, 4]), 5)]:
        env = MarketEnvironment(2, small["market"], 3, kinds=mixed_kinds(2), num_steps=40, cost_laws=(drawn,))
        population, pnl = AgentFactory.create_population(mixed_kinds(2)), []
        for streams in agent_streams(3, 2, 2):
            for agent, rng in zip(population, streams, strict=True):
                agent.reset(rng)
            wealth = record_episode(env, population).wealth[:, 1]
            pnl.append(wealth[-1] - wealth[0])
        found.append(np.mean(pnl))
    speculator = answer["agents"][1]
    assert speculator["kind"] == "speculator" and speculator["pnl_mean"] == pytest.approx(found[0])
    assert speculator["pnl_band95"] == pytest.approx(np.quantile(found[1:], [0.025, 0.975]))
    assert speculator["pnl_band95"][0] < speculator["pnl_band95"][1]
    assert answer["agents"][0]["impact_bps_band95"] is None  # without a book nobody trades with a maker
    for bad in ({"draws": 1}, {"draws": 5, "market": MarketConfig()}):
        with pytest.raises(InputError, match="Allowed"):
            simulate_market(**(small | bad))


def test_answer_and_table_of_simulate(lake):
    def play(run):
        return simulate_market(
            market=MARKET, agents=AgentsConfig(), num_agents=4, num_steps=30, episodes=2, seed=7, lake=lake, run=run
        )

    answer = play("one")
    json.dumps(answer, allow_nan=False)
    assert [row["kind"] for row in answer["agents"]] == list(KINDS)
    assert set(answer["agents"][0]) >= {
        "kind", "episodes", "pnl_mean", "pnl_se", "inventory_mean", "fill_ratio", "impact_bps"
    }  # fmt: skip
    assert answer["violations"] == 0 and answer["trades"] > 0 and answer["agent_steps_per_second"] > 0
    frame = pl.read_parquet(answer["path"])
    assert frame.shape == (2 * 30 * 4, len(TRAJECTORIES.columns))
    assert [len(frame[c][0]) for c in ("state", "action", "opponents", "constraints")] == [50, 10, 40, 20]
    assert frame.filter(pl.col("done"))["step"].unique().to_list() == [29]
    held = dict(frame.group_by("agent_kind").agg(pl.col("inventory").mean()).iter_rows())
    assert {row["kind"]: row["inventory_mean"] for row in answer["agents"]} == pytest.approx(held)
    again = pl.read_parquet(play("two")["path"])
    assert frame.drop("run").equals(again.drop("run"))


def test_bad_arguments_are_refused(lake):
    for wrong in ({"episodes": 0}, {"num_steps": None}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            simulate_market(market=MARKET, agents=AgentsConfig(), num_agents=4, **wrong)
    with pytest.raises(InputError, match=r"agents\.capital"):
        simulate_market(market=MARKET, agents=AgentsConfig(capital=1e30), num_agents=4)
    with pytest.raises(InputError, match=r"agents\.inventory"):
        simulate_market(market=MARKET, agents=AgentsConfig(inventory=1e30), num_agents=4)
    with pytest.raises(InputError, match="cannot name"):
        simulate_market(market=MARKET, agents=AgentsConfig(), num_agents=4, run="../x", lake=lake)
    with pytest.raises(InputError, match="seats"):
        record_episode(MarketEnvironment(2), AgentFactory.create_population(["informed", "informed"]))


def test_a_checkpoint_is_named_as_in_the_lake(lake):
    save_model(MarketDiffusionModel(1, hidden_dim=16, num_layers=1), lake.folder("checkpoints") / "mine")
    answer = simulate_market(
        market=MARKET, agents=AgentsConfig(), num_steps=2, checkpoint=Path("mine"), lake=lake, run="mine"
    )
    assert answer["agents"][-1]["kind"] == "diffusion"
    with pytest.raises(CheckpointError, match="mine"):
        simulate_market(market=MARKET, agents=AgentsConfig(), num_steps=2, checkpoint=Path("yours"), lake=lake)


@pytest.mark.slow
@pytest.mark.parametrize("rulebook", ["cn.main", "hk.large", "jp"])
def test_a_venue_runs_as_it_is_named_on_the_command_line(rulebook):
    market = load_config("quick", [f"market.rulebook={rulebook}"]).market
    assert simulate_market(market=market, num_agents=4, num_steps=5)["violations"] == 0
