"""The agent against traders whose rule is known, on simulated bars and the same random numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from difffinance.agents.base import BarTrader
from difffinance.agents.diffusion_agent import DiffusionAgent
from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.agents.naive import NaiveTrader
from difffinance.diffusion.constraints import project
from difffinance.diffusion.rules import plan_rules
from difffinance.records import Array, Conditions
from difffinance.simulation.bars import BarParameters, BarSimulation, Scenario, draw_scenarios, quadratic_scenarios
from difffinance.training.plans import solve_plans


class PlanSolver(BarTrader):
    """Solves the teacher's problem anew at every bar and executes the first step: what the network has to learn."""

    name = "solver"

    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the first trade of the best plan, `(B,)` step volumes."""
        first = solve_plans(conditions, 1)[:, :1]
        return project(first, plan_rules(conditions, 1))[:, 0]


def compare_with_garleanu_pedersen(
    agent: DiffusionAgent,
    parameters: BarParameters | None = None,
    *,
    episodes: int = 400,
    bars: int = 100,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return mean utility per bar where Garleanu and Pedersen's rule is optimal, and how much of it the agent misses.

    Simulated bars with quadratic costs, no binding rules and nobody else; every trader meets the same random numbers.
    Utilities are per bar, over what a frictionless trader would earn on average in that episode's market
    (`s^2 / 2a`, s the sd of the signal), so that episodes weigh alike. `gap` is 1 - U_agent / U_GP, `gap_to_naive`
    is (U_GP - U_agent) / (U_GP - U_naive), each with its standard error over episodes (delta method).
    """
    parameters = parameters or BarParameters()
    traders = {"naive": NaiveTrader(), "garleanu_pedersen": GarleanuPedersenTrader(), "diffusion": agent}
    scenario = quadratic_scenarios(parameters, episodes, rng)
    utility = play(traders, parameters, scenario, bars=bars, rng=rng)
    best, own, naive = (utility[k] for k in ("garleanu_pedersen", "diffusion", "naive"))
    gap, to_naive = _ratio(best - own, best), _ratio(best - own, best - naive)
    report: dict[str, Any] = {f"utility_{name}": float(u.mean()) for name, u in utility.items()}
    return report | {
        "gap": gap[0],
        "gap_se": gap[1],
        "gap_to_naive": to_naive[0],
        "gap_to_naive_se": to_naive[1],
        "episodes": episodes,
        "bars": bars,
    }


def compare_with_solver(
    agent: DiffusionAgent,
    parameters: BarParameters | None = None,
    *,
    episodes: int = 200,
    bars: int = 40,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the same comparison in the whole training world (power-law costs, rules, others) against the solver.

    There nobody's rule is exactly optimal; solving the plan anew at every bar is what the network was taught.
    `gap` is 1 - U / U_solver for the diffusion agent and, for scale, for Garleanu and Pedersen's rule.
    """
    parameters = parameters or BarParameters()
    traders = {"solver": PlanSolver(), "garleanu_pedersen": GarleanuPedersenTrader(), "diffusion": agent}
    scenario = draw_scenarios(parameters, episodes, rng)
    utility = play(traders, parameters, scenario, bars=bars, rng=rng)
    report: dict[str, Any] = {f"utility_{name}": float(u.mean()) for name, u in utility.items()}
    for name, key in (("diffusion", "gap"), ("garleanu_pedersen", "gap_garleanu_pedersen")):
        report[key], report[f"{key}_se"] = _ratio(utility["solver"] - utility[name], utility["solver"])
    return report | {"episodes": episodes, "bars": bars}


def play(
    traders: Mapping[str, BarTrader],
    parameters: BarParameters,
    scenario: Scenario,
    *,
    bars: int,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Return each trader's mean utility per bar and episode, `(B,)`, over `s^2 / 2a`; same market, same noise."""
    market_seed, trader_seed = rng.integers(2**63, size=2)
    frictionless = scenario.signal_strength**2 / (2.0 * scenario.risk_aversion)
    result = {}
    for name, trader in traders.items():
        market = BarSimulation(parameters, scenario, np.random.default_rng(market_seed), bars)
        own = np.random.default_rng(trader_seed)
        total = np.zeros(len(scenario))
        for _ in range(bars):
            total += market.step(trader.participation(market.conditions(), own)).utility
        result[name] = total / bars / frictionless
    return result


def _ratio(above: Array, below: Array) -> tuple[float, float]:
    """Return the ratio of two means and its standard error."""
    ratio = above.mean() / below.mean()
    error = (above - ratio * below).std(ddof=1) / np.sqrt(len(above)) / abs(below.mean())
    return float(ratio), float(error)
