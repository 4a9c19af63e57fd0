"""The teacher against a general solver, against the closed form, and against the law it says it draws from."""

import numpy as np
import pytest
from scipy.optimize import minimize

from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.diffusion.features import read_problem
from difffinance.market.observation import CONSTRAINT_INDEX, STATE_INDEX
from difffinance.records import Conditions
from difffinance.simulation.bars import (
    BarParameters,
    BarSimulation,
    draw_scenarios,
    opponent_outlook,
    plan_response,
    quadratic_scenarios,
)
from difffinance.training.objective import BLOCKS, Objective, maximise
from difffinance.training.plans import scaled_rules, solve_plans, teach


def some_conditions(draw, count, seed=0, bars=6):
    rng = np.random.default_rng(seed)
    market = BarSimulation(BarParameters(), draw(BarParameters(), count, rng), rng, bars)
    for _ in range(bars - 1):
        c = market.conditions()
        market.step(GarleanuPedersenTrader().participation(c, rng) * rng.uniform(0, 1.2, count))
    return market.conditions()


def objective_of(conditions, horizon=10):
    permanent = conditions.state[:, STATE_INDEX["permanent_impact"]]
    problem = read_problem(conditions)
    return Objective(problem, opponent_outlook(conditions.opponents, permanent), horizon), problem


def test_first_trade_in_a_quadratic_world_is_the_closed_form():
    conditions = some_conditions(quadratic_scenarios, 300)
    unit = read_problem(conditions).unit
    exact = GarleanuPedersenTrader().participation(conditions, np.random.default_rng(0)) / unit
    assert np.percentile(np.abs(solve_plans(conditions, 10)[:, 0] / unit - exact), 99) < 0.01


def test_utility_is_the_sum_over_bars_written_out():
    """Bar by bar in the units of the published table, with the twin's price response as the cost."""
    conditions = some_conditions(draw_scenarios, 60)
    objective, problem = objective_of(conditions)
    rng = np.random.default_rng(1)
    plan = rng.normal(size=(60, 10))
    rest = np.zeros((60, len(BLOCKS)))
    n = {name: conditions.state[:, i] for name, i in STATE_INDEX.items()}
    outlook = opponent_outlook(conditions.opponents, n["permanent_impact"])
    trades = plan * problem.unit[:, None]
    # Only the temporary, followers' and half of the own permanent move are charged; past permanent moves are not.
    met, _ = plan_response(conditions, trades)
    past = n["permanent_impact"][:, None] * (np.cumsum(trades, 1) - trades)
    charged = met - past
    total = np.zeros(60)
    w = n["position"] / n["capital"]
    for k in range(10 + sum(BLOCKS)):
        y = trades[:, k] / n["capital"] if k < 10 else 0.0
        w = w + y
        f = n["signal"] * (1 - n["signal_decay"]) ** k + outlook.drift * outlook.drift_kept**k
        total += w * f * n["volatility"] - n["risk_aversion"] / 2 * (w * n["volatility"]) ** 2
        if k < 10:
            total -= n["volatility"] * (y * charged[:, k] + np.abs(y) * n["linear_cost"])
    unit = problem.kappa * problem.scale**2 * n["volatility"]
    np.testing.assert_allclose(
        objective.value(np.concatenate([plan, rest], 1), 0.0) * unit, total, rtol=1e-8, atol=1e-12
    )


def test_gradient_and_curvature_are_those_of_the_utility():
    conditions = some_conditions(draw_scenarios, 20)
    objective, _ = objective_of(conditions)
    y = np.random.default_rng(0).normal(size=(20, 18)) * 0.5
    gradient, _ = objective.slope_and_curvature(y, 0.1)
    curvature = objective.curvature(y, 0.1)
    for i in (0, 4, 17):
        step = np.zeros(18)
        step[i] = 1e-5
        slope = (objective.value(y + step, 0.1) - objective.value(y - step, 0.1)) / 2e-5
        assert (np.abs(slope - gradient[:, i]) < 1e-3 * np.abs(gradient).max(1)).all()
        up, down = (objective.slope_and_curvature(y + s * step, 0.1)[0] for s in (1, -1))
        assert (np.abs((down - up) / 2e-5 - curvature[:, i]).max(1) < 1e-4 * curvature.max((1, 2))).all()


def test_the_best_plan_is_that_of_a_general_solver():
    conditions = some_conditions(draw_scenarios, 25, seed=3)
    objective, problem = objective_of(conditions)
    rules = scaled_rules(conditions, problem, 18)
    plan, _ = maximise(objective, rules)
    sums = np.tril(np.tile(objective.bars, (18, 1)))
    worse = 0
    for b in range(25):
        one, _ = objective_of(Conditions(*(t[b : b + 1] for t in vars(conditions).values())))
        size = max(1.0, abs(float(one.value(plan[b : b + 1])[0] - one.value(0 * plan[:1])[0])))
        low, high = np.maximum(rules.prefix_lower[b], -1e6), np.minimum(rules.prefix_upper[b], 1e6)
        other = minimize(
            lambda y, one=one, s=size: -one.value(y[None])[0] / s, np.clip(plan[b], rules.lower[b], rules.upper[b]),
            jac=lambda y, one=one, s=size: -one.slope_and_curvature(y[None])[0][0] / s, method="SLSQP",
            bounds=list(zip(rules.lower[b], rules.upper[b], strict=True)),
            constraints=[{"type": "ineq", "fun": lambda y, a=low, z=high: np.r_[sums @ y - a, z - sums @ y],
                          "jac": lambda y: np.r_[sums, -sums]}],
            options={"maxiter": 300, "ftol": 1e-10},
        )  # fmt: skip
        worse += (-other.fun * size) - one.value(plan[b : b + 1])[0] > 1e-3 * size
    assert worse <= 1  # about one in a hundred comes to rest late, and is not taught


def test_drawn_plans_are_gaussian_around_the_optimum_with_the_inverse_hessian():
    one = some_conditions(quadratic_scenarios, 1)
    many = Conditions(*(np.repeat(t, 6000, axis=0) for t in vars(one).values()))
    taught = teach(many, 10, np.random.default_rng(0), spread=0.15)
    residual = taught.drawn - taught.optimum
    objective, _ = objective_of(one)
    covariance = np.linalg.inv(objective.curvature(np.zeros((1, 18)), 0.25))[0, :10, :10]
    covariance *= 0.15**2 / covariance[0, 0]
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(residual.mean(0) / deviation, 0, atol=4 / np.sqrt(6000))
    np.testing.assert_allclose(
        np.cov(residual.T) / np.outer(deviation, deviation), covariance / np.outer(deviation, deviation), atol=0.06
    )


def test_taught_plans_keep_the_rules_and_settle():
    conditions = some_conditions(draw_scenarios, 1500, seed=5)
    taught = teach(conditions, 10, np.random.default_rng(0))
    rules = scaled_rules(conditions, taught.problem, 10)
    plan = taught.optimum
    slack = 1e-9 * (1 + np.abs(np.cumsum(plan, 1)))
    assert (plan <= rules.upper + slack).all() and (plan >= rules.lower - slack).all()
    assert (np.cumsum(plan, 1) <= rules.prefix_upper + slack).all()
    assert (np.cumsum(plan, 1) >= rules.prefix_lower - slack).all()
    assert taught.settled.mean() > 0.95


def test_the_law_is_centred_on_the_optimum_where_a_limit_binds_too():
    one = some_conditions(quadratic_scenarios, 1)
    one.state[:, STATE_INDEX["position"]] = 0.4 * one.state[:, STATE_INDEX["capital"]]
    one.state[:, STATE_INDEX["signal"]] = 1.0  # wants far more than it may hold
    one.constraints[:, CONSTRAINT_INDEX["max_position"]] = one.state[:, STATE_INDEX["position"]]
    taught = teach(Conditions(*(np.repeat(t, 4000, axis=0) for t in vars(one).values())), 10, np.random.default_rng(0))
    np.testing.assert_allclose(taught.optimum[:, 0], 0, atol=1e-9)
    assert abs(taught.drawn[:, 0].mean()) < 4 * 0.15 / np.sqrt(4000)


@pytest.mark.parametrize("kind", ["known", "unknown"])
def test_opponents_change_the_plan_only_where_they_are_known(kind):
    conditions = some_conditions(draw_scenarios, 400)
    known = conditions.opponents.any(axis=1)
    blind = Conditions(conditions.state, np.zeros_like(conditions.opponents), conditions.constraints)
    unit = read_problem(conditions).unit[:, None]
    moved = np.abs(solve_plans(conditions, 10) - solve_plans(blind, 10)).max(axis=1) / unit[:, 0]
    if kind == "known":
        assert (moved[known] > 0.01).mean() > 0.2  # where capital is small against the market, others do not matter
    else:
        assert moved[~known].max() == 0.0
