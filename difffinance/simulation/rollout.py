"""`simulate`: episodes of the market with a mixed population, their trajectories and what came of them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.agents.base import Agent
from difffinance.agents.factory import AgentFactory, agent_streams
from difffinance.calibration.costs import load_costs
from difffinance.config import AgentsConfig, CalibrationConfig, MarketConfig
from difffinance.data.store import AnyLake, Lake, Progress, check_symbol, check_writable, no_progress
from difffinance.errors import InputError
from difffinance.market.compiled import is_compiled
from difffinance.market.costs import draw_cost_laws
from difffinance.market.environment import MarketEnvironment, seat_count
from difffinance.market.footprint import impact_bps
from difffinance.market.observation import mixed_kinds
from difffinance.market.options import whole
from difffinance.records import Array, CostLaw
from difffinance.schemas import TRAJECTORIES
from difffinance.simulation.audit import find_violations
from difffinance.simulation.audit_law import find_law_violations
from difffinance.simulation.episode import Episode, record_episode

_DRAWS = 4  # stream of random numbers, as that of a backtest


def simulate_market(
    *,
    market: MarketConfig | None = None,
    agents: AgentsConfig | None = None,
    num_agents: int = 5,
    num_steps: int = 500,
    episodes: int = 1,
    seed: int = 7,
    checkpoint: Path | None = None,
    draws: int = 0,
    calibration: CalibrationConfig | None = None,
    lake: AnyLake | None = None,
    run: str = "latest",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Simulate `episodes` of a mixed population and return the answer of `simulate` (CONTRACT section 2).

    `agents` has one row per kind: `pnl_*` is the change of wealth over an episode in quote currency, one observation
    per seat and episode (`pnl_se` is null for fewer than two); `inventory_mean` in units, after each step;
    `fill_ratio` quantity traded over quantity in accepted orders; `impact_bps` as in `market.footprint`. `violations`
    is counted by `simulation.audit`, which replays the log with the plain Python book, not by the market's own refusals
    (those are in `refused`). `agent_steps_per_second` counts the decisions of agents and the market's answers.
    With `lake` the trajectories go to `trajectories/<run>.parquet`. `checkpoint` is the diffusion agent's; without it
    the shipped one.

    With `draws` (mode `law`) the market is under the cost law of `market.symbol` (`calibration.costs.load_costs` with
    `calibration`), and the same episodes are played again under each of so many draws of its error: `pnl_band95` and
    `impact_bps_band95` of a kind are the central 95% of what they come to, `cost_law` says which law it is.
    """
    episodes, num_agents = whole(episodes, "episodes", least=1), seat_count(num_agents)
    num_steps = whole(num_steps, "num_steps", least=1)
    if draws < 0 or draws == 1:
        raise InputError(f"draws is {draws}. Allowed: 0 for none, or 2 or more.")
    check_symbol(run)
    if lake is not None:
        lake = Lake(lake)
        check_writable(lake.root)
    market, agents = market or MarketConfig(), agents or AgentsConfig()
    kinds = mixed_kinds(num_agents)
    law = _cost_law(market, lake, calibration) if draws else None
    seating: dict[str, Any] = {"agents": agents, "kinds": kinds, "num_steps": num_steps}
    first_use = market.mode == "book" and not is_compiled("steps")
    if first_use:
        progress("compile the market, once", 0, 1)
    env = MarketEnvironment(num_agents, market, seed, **seating, cost_laws=() if law is None else (law,))
    market = env.config  # a venue's day is in it
    population = AgentFactory.create_population(kinds, seed=seed, model=_model(checkpoint, lake))
    played, frames, violations, refused, seconds = [], [], 0, dict[str, int](), 0.0
    for k, streams in enumerate(agent_streams(seed, episodes, num_agents)):
        progress("simulate", k, episodes)
        start = time.perf_counter()
        episode = _play(env, population, streams)
        seconds += time.perf_counter() - start
        if k == 0 and first_use:
            progress("compile the market, once", 1, 1)
        audit = find_law_violations if market.mode == "law" else find_violations
        violations += sum(audit(episode, market, agents).values())
        played.append(episode)
        frames.append(episode.frame(run, k))
        for reason, count in episode.refusals.items():
            refused[reason] = refused.get(reason, 0) + count
    progress("simulate", episodes, episodes)
    answer: dict[str, Any] = {
        "agents": [_summary(kind, played) for kind in dict.fromkeys(kinds)],
        "trades": sum(len(episode.trades) for episode in played),
        "path": None,
        "agent_steps_per_second": num_agents * num_steps * episodes / seconds,
        "violations": violations,
        "refused": refused,
    }
    if law is not None:
        found = []
        for k, drawn in enumerate(draw_cost_laws(law, np.random.default_rng([seed, _DRAWS]), draws)):
            progress("draws", k, draws)
            other = MarketEnvironment(num_agents, market, seed, **seating, cost_laws=(drawn,))
            again = [_play(other, population, streams) for streams in agent_streams(seed, episodes, num_agents)]
            found.append([_summary(row["kind"], again) for row in answer["agents"]])
        progress("draws", draws, draws)
        for row, drawn_rows in zip(answer["agents"], zip(*found, strict=True), strict=True):
            row["pnl_band95"] = _band([r["pnl_mean"] for r in drawn_rows])
            row["impact_bps_band95"] = _band([r["impact_bps"] for r in drawn_rows])
        answer |= {"draws": draws, "cost_law": str(law)}
    if lake is not None:
        answer["path"] = str(_write(lake, run, pl.concat(frames), seed, market))
    return answer


def _cost_law(market: MarketConfig, lake: Lake | None, calibration: CalibrationConfig | None) -> CostLaw:
    if market.mode != "law":
        raise InputError(
            "draws are of a cost law, and in a book impact is what happens. Allowed: market.mode=law, or no draws."
        )
    return load_costs(market.symbol, lake=lake, config=calibration)


def _play(env: MarketEnvironment, population: list[Agent], streams: Sequence[np.random.Generator]) -> Episode:
    """Play the next episode of a market with agents that begin it afresh."""
    for agent, rng in zip(population, streams, strict=True):
        agent.reset(rng)
    return record_episode(env, population)


def _band(values: list[float | None]) -> list[float] | None:
    told = [value for value in values if value is not None]
    return [float(edge) for edge in np.quantile(told, [0.025, 0.975])] if len(told) > 1 else None


def _model(checkpoint: Path | None, lake: Lake | None) -> Any:
    if checkpoint is None:
        return None
    from difffinance.diffusion.checkpoint import load_model

    return load_model(checkpoint, lake=lake)


def _summary(kind: str, played: list[Episode]) -> dict[str, Any]:
    seats = [i for i, k in enumerate(played[0].kinds) if k == kind]

    def of(name: str) -> Array:
        return np.concatenate([getattr(episode, name)[:, seats] for episode in played])

    pnl = np.concatenate([episode.wealth[-1, seats] - episode.wealth[0, seats] for episode in played])
    asked, traded, filled = of("asked").sum(), (of("bought") + of("sold")).sum(), of("bought") - of("sold")
    before = np.concatenate([episode.mid[:-1] for episode in played])[:, None]
    after = np.concatenate([episode.mid[1:] for episode in played])[:, None]
    return {
        "kind": kind,
        "episodes": len(played),
        "pnl_mean": float(pnl.mean()),
        "pnl_se": float(pnl.std(ddof=1) / np.sqrt(len(pnl))) if len(pnl) > 1 else None,
        "inventory_mean": float(np.mean([episode.inventory[1:, seats] for episode in played])),
        "fill_ratio": float(traded / asked) if asked > 0 else None,
        "impact_bps": impact_bps(filled, before, after),
    }


def _write(lake: Lake, run: str, frame: pl.DataFrame, seed: int, market: MarketConfig) -> Path:
    metadata = {
        "source": "simulated",
        "synthetic": True,
        "symbol": market.symbol,
        "seed": seed,
        "tick_size": market.tick_size,
        "lot_size": market.lot_size,
        "market": market.model_dump(mode="json"),
    }
    return lake.write_table(lake.folder("trajectories") / f"{run}.parquet", frame, TRAJECTORIES, metadata)
