"""Projection against a general solver, the closed form for box and budget, and the properties that define it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from difffinance.diffusion import PlanConstraints, project
from difffinance.errors import InputError


def random_case(rng, horizon):
    """A plan and limits around some other plan, so that at least that one is allowed; some limits are missing."""
    x, inside = 2 * rng.normal(size=horizon), 0.7 * rng.normal(size=horizon)
    sums = np.cumsum(inside)
    bounds = [
        inside - 0.7 * rng.exponential(size=horizon),
        inside + 0.7 * rng.exponential(size=horizon),
        sums - 0.5 * rng.exponential(size=horizon),
        sums + 0.5 * rng.exponential(size=horizon),
    ]
    for i, missing in enumerate((-np.inf, np.inf, -np.inf, np.inf)):
        if rng.random() < 0.3:
            bounds[i] = np.full(horizon, missing)
    budget = sums[-1] if rng.random() < 0.5 else None
    return x, inside, PlanConstraints(bounds[0], bounds[1], budget, bounds[2], bounds[3])


def largest_violation(y, c):
    sums = np.cumsum(y, axis=-1)
    gaps = [c.lower - y, y - c.upper, c.prefix_lower - sums, sums - c.prefix_upper]
    if c.budget is not None:
        gaps.append(np.abs(sums[..., -1] - c.budget))
    return max(float(np.max(g)) for g in gaps)


def by_general_solver(x, inside, c):
    total = np.tril(np.ones((len(x), len(x))))
    constraints = []
    for bound, sign in ((c.prefix_lower, 1.0), (c.prefix_upper, -1.0)):
        rows = np.isfinite(bound)
        if rows.any():
            constraints.append(
                {"type": "ineq", "fun": lambda v, r=rows, s=sign, b=bound: s * (total[r] @ v - b[r]),
                 "jac": lambda v, r=rows, s=sign: s * total[r]}
            )  # fmt: skip
    if c.budget is not None:
        constraints.append({"type": "eq", "fun": lambda v: v.sum() - c.budget, "jac": lambda v: np.ones(len(x))})
    return minimize(
        lambda v: 0.5 * ((v - x) ** 2).sum(), inside, jac=lambda v: v - x, method="SLSQP", constraints=constraints,
        bounds=list(zip(c.lower, c.upper, strict=True)), options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip


def test_agrees_with_a_general_solver_on_random_cases():
    rng = np.random.default_rng(0)
    for _ in range(120):
        x, inside, c = random_case(rng, rng.integers(1, 11))
        y, other = project(x, c), by_general_solver(x, inside, c)
        assert largest_violation(y, c) < 1e-12
        assert 0.5 * ((y - x) ** 2).sum() <= other.fun + 1e-9
        if other.success:
            np.testing.assert_allclose(y, other.x, atol=1e-6)


def test_box_and_budget_is_a_clip_after_one_shift():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 8))
    y = project(x, PlanConstraints(-0.5, 1.0, 1.5))
    for row, plan in zip(x, y, strict=True):
        free = (plan > -0.5 + 1e-9) & (plan < 1.0 - 1e-9)
        shift = (row - plan)[free]
        np.testing.assert_allclose(shift, shift.mean(), atol=1e-9)
        np.testing.assert_allclose(plan, np.clip(row - shift.mean(), -0.5, 1.0), atol=1e-9)


def test_projecting_twice_changes_nothing_and_distances_do_not_grow():
    rng = np.random.default_rng(2)
    a, b = 2 * rng.normal(size=(2, 5000, 10))
    c = PlanConstraints(-0.6, 0.5, None, -1.0, 0.8)
    pa, pb = project(a, c), project(b, c)
    np.testing.assert_allclose(project(pa, c), pa, atol=1e-12)
    before, after = np.linalg.norm(a - b, axis=1), np.linalg.norm(pa - pb, axis=1)
    assert (after <= before + 1e-9).all() and (after < before).any()


@pytest.mark.slow
def test_no_violation_in_hundreds_of_thousands_of_plans_with_and_without_lots():
    rng = np.random.default_rng(3)
    for lot, times in ((0.0, 3), (0.01, 1)):
        for _ in range(times):
            x = rng.normal(size=(100_000, 10)) * np.exp(rng.normal(size=(100_000, 1)))
            lower, upper = -rng.uniform(0, 1, (100_000, 1)), rng.uniform(0, 1, (100_000, 1))
            low, high = -rng.uniform(0, 2, (100_000, 1)), rng.uniform(0, 2, (100_000, 1))
            c = PlanConstraints(lower, upper, None, low, high, lot)
            y = project(x, c)
            assert largest_violation(y, c) <= 1e-12
            if lot:
                assert (y == np.rint(y / lot) * lot).all()


def test_lots_are_whole_near_the_plan_and_inside_narrow_limits():
    x = np.array([[0.34, 0.34, 0.34, -0.9]])
    y = project(x, PlanConstraints(-1, 1, None, 0.0, 0.95, 0.1))
    np.testing.assert_allclose(y / 0.1, np.rint(y / 0.1), atol=1e-12)
    assert np.abs(np.cumsum(y) - np.cumsum(project(x, PlanConstraints(-1, 1, None, 0.0, 0.95)))).max() <= 0.1
    assert np.cumsum(y).min() >= 0 and np.cumsum(y).max() <= 0.95


def test_lots_may_differ_by_row_and_rows_without_a_lot_stay():
    x = np.full((3, 4), 0.33)
    y = project(x, PlanConstraints(-1, 1, lot=np.array([0.0, 0.1, 0.5])))
    np.testing.assert_array_equal(y[0], x[0])
    np.testing.assert_allclose(y[1].sum(), 1.3), np.testing.assert_allclose(y[2] / 0.5, np.rint(y[2] / 0.5))


def test_columns_of_an_action_are_plans_of_their_own():
    rng = np.random.default_rng(4)
    x, c = rng.normal(size=(6, 5, 2)), PlanConstraints(-0.5, 0.5, rng.normal(size=6) * 0.1, -np.ones((6, 5)), 1.0)
    y = project(x, c)
    for a in range(2):
        np.testing.assert_allclose(y[:, :, a], project(x[:, :, a], c), atol=1e-12)


def test_torch_in_torch_out():
    y = project(torch.full((2, 3), 2.0), PlanConstraints(upper=0.5))
    assert isinstance(y, torch.Tensor) and torch.equal(y, torch.full((2, 3), 0.5))


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (PlanConstraints(1.0, 0.0), "box"),
        (PlanConstraints(prefix_lower=1.0, prefix_upper=0.5), "prefix-sum"),
        (PlanConstraints(-0.1, 0.1, 5.0), "together"),
        (PlanConstraints(0.02, 0.08, lot=0.1), "lot grid"),
        (PlanConstraints(lower=np.nan), "NaN"),
        (PlanConstraints(lower=np.inf), "lower must not be"),
        (PlanConstraints(prefix_upper=-np.inf), "prefix_upper must not be"),
        (PlanConstraints(budget=np.nan), "budget must be finite"),
        (PlanConstraints(lot=np.nan), "lot must be finite"),
        (PlanConstraints(lot=-1.0), "lot must not be negative"),
        (PlanConstraints(lower=np.zeros(7)), "broadcast"),
    ],
)
def test_contradictions_are_named(constraints, words):
    with pytest.raises(InputError, match=words):
        project(np.zeros((2, 3)), constraints)


def test_plans_that_are_not_numbers_are_refused():
    with pytest.raises(InputError, match="finite"):
        project(np.array([[0.0, np.nan]]), PlanConstraints())
