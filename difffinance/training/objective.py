"""The utility of a plan with its gradient and curvature, and the barrier method that finds the best plan."""

from typing import Any

import numpy as np

from difffinance.diffusion.constraints import PlanConstraints
from difffinance.diffusion.features import Problem
from difffinance.records import Array
from difffinance.simulation.bars import Outlook

BLOCKS = (1, 2, 4, 8, 16, 32, 64, 128)  # bars of each block of equal trades after the plan's own H bars
SMOOTH = 1e-3  # |y| is sqrt(y^2 + smooth^2), in plan units
SLACK = 1e-4  # the barrier's room outside the rules, in plan units


class Objective:
    """Utility of `(B, n)` trade rates, n = H + len(BLOCKS), in units of `kappa s^2`; concave."""

    def __init__(self, problem: Problem, outlook: Outlook, horizon: int) -> None:
        self.problem = problem
        self.bars = np.concatenate([np.ones(horizon), BLOCKS])
        member = np.repeat(np.eye(len(self.bars)), self.bars.astype(int), axis=0)  # (N, n)
        held = np.cumsum(member, axis=0)
        steps = np.arange(len(held))[:, None]
        kept = np.clip(problem.kept, 0.0, 1.0)
        path = problem.signal[:, None] * kept[:, None] ** steps.T
        drift = outlook.drift / (problem.kappa * problem.scale)
        path = path + drift[:, None] * outlook.drift_kept**steps.T - problem.position[:, None]
        self.slope = path @ held  # (B, n)
        self.constant = path.sum(axis=1) * problem.position + len(held) * problem.position**2 / 2
        self.quadratic = np.repeat((held.T @ held)[None], len(kept), axis=0)
        self.quadratic[:, range(len(self.bars)), range(len(self.bars))] += problem.permanent[:, None] * self.bars
        self._add_followers(member, outlook)

    def _add_followers(self, member: Array, outlook: Outlook) -> None:
        """Add the transient cost `pi following sum_jk kept^|j-k| y_j y_k / 2` of those who follow our flow."""
        lag = np.abs(np.subtract.outer(np.arange(len(member)), np.arange(len(member))))
        for kept in np.unique(outlook.following_kept[outlook.following > 0]):
            rows = (outlook.following_kept == kept) & (outlook.following > 0)
            kernel = member.T @ (kept**lag @ member)
            self.quadratic[rows] += (self.problem.permanent * outlook.following)[rows, None, None] * kernel

    def value(self, y: Array, smooth: float = SMOOTH) -> Array:
        """Return the utility, `(B,)`."""
        p = self.problem
        size = np.sqrt(y**2 + smooth**2)
        costs = p.temporary[:, None] * size ** (1 + p.exponent[:, None]) + p.linear[:, None] * size
        bent = (y * self._bend(y)).sum(axis=1) / 2
        return (self.slope * y).sum(axis=1) - bent - (self.bars * costs).sum(axis=1) + self.constant

    def _bend(self, y: Array) -> Array:
        return np.matmul(self.quadratic, y[:, :, None])[:, :, 0]

    def slope_and_curvature(self, y: Array, smooth: float = SMOOTH) -> tuple[Array, Array]:
        """Return gradient of the utility `(B, n)` and the diagonal that costs add to its negative Hessian."""
        theta, ell = self.problem.temporary[:, None], self.problem.linear[:, None]
        e = self.problem.exponent[:, None]
        square = y**2 + smooth**2
        power = theta * (1 + e) * square ** ((e - 1) / 2)
        kink = ell / np.sqrt(square)
        gradient = self.slope - self._bend(y) - self.bars * (power + kink) * y
        diagonal = self.bars * (power * (1 + (e - 1) * y**2 / square) + kink * smooth**2 / square)
        return gradient, diagonal

    def curvature(self, y: Array, smooth: float = SMOOTH) -> Array:
        """Return the negative Hessian, `(B, n, n)`, positive definite."""
        _, diagonal = self.slope_and_curvature(y, smooth)
        result = self.quadratic.copy()
        result[:, range(y.shape[1]), range(y.shape[1])] += diagonal
        return result


def maximise(objective: Objective, rules: PlanConstraints, *, accuracy: float = 1e-5) -> tuple[Array, Array]:
    """Return the best trade rates under box and prefix limits: Newton on a log barrier, `(B, n)`, and its last move.

    Doing nothing is allowed by every rule, so it is where the search starts. `accuracy` is the last barrier weight.
    """
    n = len(objective.bars)
    sums = np.tril(np.tile(objective.bars, (n, 1)))  # the running sum at the end of each block
    y = np.zeros_like(objective.slope)
    weight = 1.0
    while weight > accuracy:
        weight *= 0.1
        for _ in range(3):
            y = _newton_step(objective, rules, sums, y, weight)
    for _ in range(4):
        before, y = y, _newton_step(objective, rules, sums, y, weight)
    return y, np.abs(y - before)


def _newton_step(objective: Objective, rules: PlanConstraints, sums: Array, y: Array, weight: Any) -> Array:
    """Return the plan after one damped Newton step that stays strictly inside the limits.

    The barrier is measured against what it has to hold back, else a strong signal presses the plan into the wall.
    """
    smooth = SMOOTH + 0.3 * weight**0.5
    p = objective.problem
    weight = (weight * (1.0 + np.abs(p.signal) + np.abs(p.position) + p.temporary + p.linear))[:, None]
    total = y @ sums.T
    rooms = (rules.upper - y + SLACK, y - rules.lower + SLACK)
    depths = (rules.prefix_upper - total + SLACK, total - rules.prefix_lower + SLACK)
    gradient, diagonal = objective.slope_and_curvature(y, smooth)
    gradient = gradient - weight * (1 / rooms[0] - 1 / rooms[1]) - weight * (1 / depths[0] - 1 / depths[1]) @ sums
    diagonal = diagonal + weight * (1 / rooms[0] ** 2 + 1 / rooms[1] ** 2)
    walls = weight * (1 / depths[0] ** 2 + 1 / depths[1] ** 2)
    hessian = objective.quadratic + (walls @ (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), -1)).reshape(
        objective.quadratic.shape
    )
    hessian[:, range(len(sums)), range(len(sums))] += diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True)
    step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    ahead = step @ sums.T
    moves = np.concatenate([step / rooms[0], -step / rooms[1], ahead / depths[0], -ahead / depths[1]], axis=1)
    length = np.minimum(1.0, 0.95 / np.maximum(moves.max(axis=1), 1e-12))
    # |y|^(1+e) bends most at 0: a full step across it can overshoot, so shorten until the barrier function agrees.
    before = _merit(objective, rules, sums, y, weight, smooth)
    for _ in range(3):
        after = _merit(objective, rules, sums, y + length[:, None] * step, weight, smooth)
        worse = after < before - 1e-9 * np.abs(before)
        if not worse.any():
            break
        length = np.where(worse, length / 4, length)
    return y + np.where(worse, 0.0, length)[:, None] * step


def _merit(objective: Objective, rules: PlanConstraints, sums: Array, y: Array, weight: Array, smooth: float) -> Array:
    """Return utility plus barrier, `(B,)`; limits at infinity add nothing."""
    total = y @ sums.T
    walls = np.zeros(len(y))
    for room in (rules.upper - y, y - rules.lower, rules.prefix_upper - total, total - rules.prefix_lower):
        walls += np.log(np.where(np.isinf(room), 1.0, room + SLACK)).sum(axis=1)
    return objective.value(y, smooth) + weight[:, 0] * walls
