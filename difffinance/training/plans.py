"""The teacher: the law of good plans for a condition, solved from the utility itself.

The utility of a plan is the sum over bars of `w f_k - a/2 (w sigma)^2 - costs` with the state's own numbers (see
`diffusion.features`); f_k fades by the signal's decay, and where the opponents are known their persistent flow drifts
the price and their following adds a transient cost with an exponential kernel (positive definite, so the problem stays
convex). Permanent impact is charged once, half of it on the trade; the mark-up of what is already held is not counted
as a profit. The plan looks past H: H single bars, then blocks of 1, 2, 4, ... 128 bars with one trade rate each, and
the first H are kept.

The target is a law, not a point: the logit quantal response (SCIENCE 4.7), Gaussian around the optimum with covariance
temperature times the inverse Hessian. The temperature is set per condition so that the first trade has a standard
deviation of `spread` plan units. The optimum obeys the rules; a draw need not: the model learns the Gaussian, and plans
are projected when they leave it. Learning projected plans instead would put the mean inside every wall that the optimum
lies on, and the agent would hold too little for as long as a limit binds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difffinance.diffusion.constraints import PlanConstraints, project
from difffinance.diffusion.features import Problem, read_problem
from difffinance.diffusion.rules import plan_rules
from difffinance.market.observation import STATE_INDEX
from difffinance.records import Array, Conditions
from difffinance.simulation.bars import opponent_outlook
from difffinance.training.objective import BLOCKS, Objective, maximise

_PERMANENT = STATE_INDEX["permanent_impact"]
_SMOOTH_LAW = 0.25  # |y| is smoothed this wide for the curvature of the law, which a kink would make singular
_AT_REST = 0.02  # plan units
_CHUNK = 2048


@dataclass(frozen=True)
class Teaching:
    """Plans in plan units (`Problem.scale`), `(B, H)`: the optimum and one draw of the law around it."""

    optimum: Array
    drawn: Array
    problem: Problem
    settled: Array  # (B,) False where the solver had not come to rest: about one in a hundred, extreme numbers


def teach(conditions: Conditions, horizon: int, rng: np.random.Generator, *, spread: float = 0.15) -> Teaching:
    """Return optimum and quantal response for each condition; thousands per second."""
    problem = read_problem(conditions)
    outlook = opponent_outlook(conditions.opponents, np.asarray(conditions.state)[:, _PERMANENT])
    noise = rng.standard_normal((len(conditions), horizon))
    optimum, drawn, settled = np.empty_like(noise), np.empty_like(noise), np.empty(len(noise), dtype=bool)
    for start in range(0, len(conditions), _CHUNK):
        rows = slice(start, start + _CHUNK)
        part = Conditions(conditions.state[rows], conditions.opponents[rows], conditions.constraints[rows])
        objective = Objective(_rows(problem, rows), _rows(outlook, rows), horizon)
        rules = scaled_rules(part, objective.problem, horizon)
        plan, move = maximise(objective, scaled_rules(part, objective.problem, horizon + len(BLOCKS)))
        best = project(plan[:, :horizon], rules)
        covariance = np.linalg.inv(objective.curvature(plan, _SMOOTH_LAW))[:, :horizon, :horizon]
        covariance *= (spread**2 / covariance[:, 0, 0])[:, None, None]
        root = np.linalg.cholesky(covariance)
        optimum[rows], settled[rows] = best, move[:, :horizon].max(axis=1) < _AT_REST
        drawn[rows] = best + np.einsum("bij,bj->bi", root, noise[rows])
    return Teaching(optimum, drawn, problem, settled)


def solve_plans(conditions: Conditions, horizon: int) -> Array:
    """Return the best plans themselves, `(B, H)` step volumes."""
    problem = read_problem(conditions)
    outlook = opponent_outlook(conditions.opponents, np.asarray(conditions.state)[:, _PERMANENT])
    plan, _ = maximise(Objective(problem, outlook, horizon), scaled_rules(conditions, problem, horizon + len(BLOCKS)))
    return project(plan[:, :horizon], scaled_rules(conditions, problem, horizon)) * problem.unit[:, None]


def scaled_rules(conditions: Conditions, problem: Problem, horizon: int) -> PlanConstraints:
    """Return the rules in plan units, without the lot grid."""
    rules, unit = plan_rules(conditions, horizon), problem.unit[:, None]
    return PlanConstraints(
        rules.lower / unit, rules.upper / unit, None, rules.prefix_lower / unit, rules.prefix_upper / unit
    )


def _rows(record: Any, rows: slice) -> Any:
    values = {k: v[rows] if isinstance(v, np.ndarray) else v for k, v in vars(record).items()}
    return type(record)(**values)
