"""Euclidean projection of plans on what the rules allow: exact, batched, then onto the lot grid.

A plan is a row of H signed trades `y`. It may be bound by a box `lower <= y <= upper`, by limits on its prefix sums
(position, cash and sellable quantity along the plan) and by a budget `sum(y) = budget`. Projection is not
conditioning (SCIENCE 8): it moves what is forbidden to the nearest allowed plan and leaves atoms on the boundary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difffinance.errors import InputError
from difffinance.records import Array

_SLACK = 1e-9  # relative: bounds that cross by less are rounding of the caller, and count as equal


@dataclass(frozen=True)
class PlanConstraints:
    """What a plan of H signed trades may be; scalars, `(H,)` or `(B, H)` arrays, in the units of the plan.

    `budget` is a scalar or `(B,)`, None for no budget. `lot` is a scalar or `(B,)`; 0 means no grid. `prefix_lower`
    and `prefix_upper` bound the running sum after each trade.
    """

    lower: Any = -np.inf
    upper: Any = np.inf
    budget: Any = None
    prefix_lower: Any = -np.inf
    prefix_upper: Any = np.inf
    lot: Any = 0.0


def project(x: Any, constraints: PlanConstraints) -> Any:
    """Return the allowed plans nearest to `x`: `(H,)`, `(B, H)`, or `(B, H, A)` where every column is a plan.

    Without lots this is the Euclidean projection. With lots the running sum of the projection is rounded to the
    grid inside the limits, so each trade is a whole number of lots and no limit is broken. Torch tensors come back
    as torch tensors. Raises `InputError` when no plan is allowed, naming the limits that contradict each other.

    The multiplier form of dynamic programming over the running sum: with `h_0 = 0`,
    `h_k(p) = clip(h_{k-1}(p) + clip(x_k + p, l_k, u_k), lo_k, hi_k)` gives the best running sum at multiplier p; it
    is piecewise linear with at most 2k kinks, so the optimum is found without iteration.
    """
    if hasattr(x, "detach"):
        import torch

        return torch.as_tensor(project(x.detach().cpu().numpy(), constraints), dtype=x.dtype, device=x.device)
    plans = np.asarray(x, dtype=float)
    if plans.ndim == 3:
        batch, horizon, action = plans.shape
        columns = plans.transpose(0, 2, 1).reshape(-1, horizon)
        return project(columns, _repeat(constraints, action)).reshape(batch, action, horizon).transpose(0, 2, 1)
    if plans.ndim not in (1, 2) or plans.shape[-1] == 0:
        raise InputError(f"plans must have shape (H,), (B, H) or (B, H, A); got {plans.shape}.")
    if not np.isfinite(plans).all():
        raise InputError("plans must be finite; got NaN or infinity.")
    for name, value in (("budget", constraints.budget), ("lot", constraints.lot)):
        if value is not None and not np.isfinite(value).all():
            raise InputError(f"{name} must be finite; got {value}. No budget is None, no grid of lots is 0.")
    if np.any(np.asarray(constraints.lot) < 0):
        raise InputError(f"lot must not be negative; got {constraints.lot}. No grid of lots is 0.")
    rows = np.atleast_2d(plans)
    low, high, lo, hi = _limits(rows.shape, constraints)
    result = _clamp(rows, low, high, lo, hi)
    moved = ~(result == rows).all(axis=1)
    if moved.any():
        part = [a[moved] for a in (rows, low, high, lo, hi)]
        result[moved] = _clamp(_nearest(*part), *part[1:])
    lot = np.broadcast_to(np.asarray(constraints.lot, dtype=float), (len(rows),))
    if (lot > 0).any():
        grid = lot > 0
        result[grid] = _on_grid(result[grid], lot[grid][:, None], constraints, grid)
    return result.reshape(plans.shape)


def _repeat(constraints: PlanConstraints, times: int) -> PlanConstraints:
    """Return the constraints with every row of a batch repeated `times` times."""

    def rows(value: Any, dimensions: int) -> Any:
        array = np.asarray(0.0 if value is None else value, dtype=float)
        return np.repeat(array, times, axis=0) if array.ndim == dimensions else array

    c = constraints
    budget = None if c.budget is None else rows(c.budget, 1)
    bounds = [rows(b, 2) for b in (c.lower, c.upper, c.prefix_lower, c.prefix_upper)]
    return PlanConstraints(bounds[0], bounds[1], budget, bounds[2], bounds[3], rows(c.lot, 1))


def _limits(shape: tuple[int, ...], c: PlanConstraints, rows: Any = None, unit: Any = None) -> tuple[Array, ...]:
    """Return box and prefix limits as `(B, H)`, tightened until every reachable running sum can be completed.

    With `unit` (the lot) everything is counted in whole lots: bounds are rounded inwards.
    """
    low, high = _table(c.lower, shape, rows, "lower"), _table(c.upper, shape, rows, "upper")
    lo, hi = _table(c.prefix_lower, shape, rows, "prefix_lower"), _table(c.prefix_upper, shape, rows, "prefix_upper")
    if c.budget is not None:
        budget = np.asarray(c.budget, dtype=float)
        budget = budget[rows] if rows is not None and budget.ndim else budget
        lo[:, -1], hi[:, -1] = np.maximum(lo[:, -1], budget), np.minimum(hi[:, -1], budget)
    if unit is not None:
        low, lo = (np.ceil(a / unit - 1e-9) for a in (low, lo))
        high, hi = (np.floor(a / unit + 1e-9) for a in (high, hi))
    grid = " on the lot grid" if unit is not None else ""
    _refuse(low > high, low, high, f"the box: lower is above upper{grid}")
    _refuse(lo > hi, lo, hi, f"the prefix-sum limits (with the budget): lower is above upper{grid}")
    steps = shape[-1]
    for k in range(steps - 1, 0, -1):
        lo[:, k - 1] = np.maximum(lo[:, k - 1], lo[:, k] - high[:, k])
        hi[:, k - 1] = np.minimum(hi[:, k - 1], hi[:, k] - low[:, k])
    lo[:, 0], hi[:, 0] = np.maximum(lo[:, 0], low[:, 0]), np.minimum(hi[:, 0], high[:, 0])
    for k in range(1, steps):
        lo[:, k] = np.maximum(lo[:, k], lo[:, k - 1] + low[:, k])
        hi[:, k] = np.minimum(hi[:, k], hi[:, k - 1] + high[:, k])
    _refuse(lo > hi, lo, hi, f"box and prefix-sum limits (with the budget) together: no plan meets both{grid}")
    return low, high, lo, np.maximum(lo, hi)


def _table(value: Any, shape: tuple[int, ...], rows: Any, name: str) -> Array:
    array = np.asarray(value, dtype=float)
    if rows is not None and array.ndim == 2 and len(array) > 1:
        array = array[rows]
    unreachable = np.inf if name.endswith("lower") else -np.inf
    if np.isnan(array).any() or (array == unreachable).any():
        raise InputError(f"{name} must not be NaN or {unreachable}; no limit is {-unreachable}.")
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise InputError(f"{name} must broadcast to the plans' shape {shape}; got {array.shape}.") from None


def _refuse(broken: Array, lower: Array, upper: Array, what: str) -> None:
    """Raise where bounds cross by more than rounding."""
    if not broken.any():
        return
    with np.errstate(invalid="ignore"):
        size = 1.0 + np.where(np.isfinite(lower), np.abs(lower), 0) + np.where(np.isfinite(upper), np.abs(upper), 0)
        broken = broken & ~(lower - upper <= _SLACK * size)
    if broken.any():
        row, step = np.argwhere(broken)[0]
        raise InputError(
            f"no plan is allowed by {what}; first at row {row}, step {step}: "
            f"{lower[row, step]:g} > {upper[row, step]:g}. Widen one of the two."
        )


def _clamp(plans: Array, low: Array, high: Array, lo: Array, hi: Array) -> Array:
    """Return `plans` walked forward inside the tightened limits: feasible to the last bit, unchanged where it was."""
    total = np.zeros(len(plans))
    result = np.empty_like(plans)
    for k in range(plans.shape[1]):
        least, most = np.maximum(low[:, k], lo[:, k] - total), np.minimum(high[:, k], hi[:, k] - total)
        result[:, k] = np.minimum(np.maximum(plans[:, k], least), np.maximum(most, least))
        total += result[:, k]
    return result


def _nearest(x: Array, low: Array, high: Array, lo: Array, hi: Array) -> Array:
    """Return the projection for rows whose limits are consistent (see `project`)."""
    batch, steps = x.shape
    # The tightened prefix limits bound every single trade as well; what is still infinite can never bind.
    before_lo = np.concatenate([np.zeros((batch, 1)), lo[:, :-1]], axis=1)
    before_hi = np.concatenate([np.zeros((batch, 1)), hi[:, :-1]], axis=1)
    low, high = np.maximum(low, lo - before_hi), np.minimum(high, hi - before_lo)
    finite = [np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=1) for a in (x, low, high, lo, hi)]
    far = (4.0 * steps * (1.0 + np.sum(finite, axis=0)))[:, None]
    low, high = np.maximum(low, -far), np.maximum(np.minimum(high, far), low)
    at = np.arange(batch)
    kinks, values = np.empty((batch, 0)), np.empty((batch, 0))
    history = []
    for k in range(steps):
        ends = np.stack([low[:, k] - x[:, k], high[:, k] - x[:, k]], axis=1)
        if k:
            inner = np.stack([_interpolate(at, kinks, values, ends[:, i]) for i in range(2)], axis=1)
            kinks, values = np.concatenate([kinks, ends], axis=1), np.concatenate([values, inner], axis=1)
            order = np.argsort(kinks, axis=1, kind="stable")
            kinks, values = np.take_along_axis(kinks, order, 1), np.take_along_axis(values, order, 1)
        else:
            kinks, values = ends, np.zeros_like(ends)
        values = values + np.clip(x[:, k : k + 1] + kinks, low[:, k : k + 1], high[:, k : k + 1])
        history.append((kinks, values))
        first, last = _interpolate(at, values, kinks, lo[:, k]), _interpolate(at, values, kinks, hi[:, k])
        kinks = np.clip(kinks, first[:, None], np.maximum(first, last)[:, None])
        values = np.clip(values, lo[:, k : k + 1], hi[:, k : k + 1])
    multiplier, result = np.zeros(batch), np.empty_like(x)
    for k in range(steps - 1, -1, -1):
        kinks, values = history[k]
        total = _interpolate(at, kinks, values, multiplier)
        bounded = np.clip(total, lo[:, k], hi[:, k])
        multiplier = np.where(bounded == total, multiplier, _interpolate(at, values, kinks, bounded))
        result[:, k] = np.clip(x[:, k] + multiplier, low[:, k], high[:, k])
    return result


def _interpolate(at: Array, xs: Array, ys: Array, target: Array) -> Array:
    """Return each row's piecewise-linear function (sorted `xs`, values `ys`) at `target`, constant outside."""
    right = (xs < target[:, None]).sum(axis=1)
    left = np.maximum(right - 1, 0)
    right = np.minimum(right, xs.shape[1] - 1)
    x0, x1, y0, y1 = xs[at, left], xs[at, right], ys[at, left], ys[at, right]
    width = x1 - x0
    share = np.where(width > 0, (target - x0) / np.where(width > 0, width, 1.0), 0.0)
    return y0 + np.clip(share, 0.0, 1.0) * (y1 - y0)


def _on_grid(plans: Array, lot: Array, c: PlanConstraints, rows: Array) -> Array:
    """Return whole numbers of lots near `plans`: the running sum is rounded, inside limits counted in lots."""
    low, high, lo, hi = _limits(plans.shape, c, rows, lot)
    wanted = np.rint(np.cumsum(plans, axis=1) / lot)
    return _clamp_sums(wanted, low, high, lo, hi) * lot


def _clamp_sums(wanted: Array, low: Array, high: Array, lo: Array, hi: Array) -> Array:
    """Return the trades whose running sums follow `wanted` as closely as box and prefix limits let them."""
    total = np.zeros(len(wanted))
    result = np.empty_like(wanted)
    for k in range(wanted.shape[1]):
        sums = np.clip(wanted[:, k], np.maximum(lo[:, k], total + low[:, k]), np.minimum(hi[:, k], total + high[:, k]))
        result[:, k] = sums - total
        total = sums
    return result
