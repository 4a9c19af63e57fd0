"""Avellaneda & Stoikov's (Quant. Finance 8(3), 2008) experiment: any rule of quotes, its exact moments and its paths.

A step: buyers and sellers each hit a quote at distance `depth` from the mid with probability `A exp(-k depth) dt` (at
most 1), then the mid moves by `sigma sqrt(dt)` up or down. Quotes depend on inventory and time alone, so the law of
(inventory, wealth) is carried by `(P(q), E[W; q], E[W^2; q])` without a simulation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from difffinance.errors import InputError
from difffinance.market.options import check_positive
from difffinance.records import Array

# Distances below the mid of the bid and above it of the ask, (Q,) each, at inventories (Q,) and a time.
Depths = Callable[[Array, float], tuple[Array, Array]]


@dataclass(frozen=True)
class QuotingExperiment:
    """The paper's numbers by default: `sigma` per root unit of time, `A` orders per unit of time at the mid."""

    T: float = 1.0
    dt: float = 0.005
    sigma: float = 2.0
    A: float = 140.0
    k: float = 1.5

    def __post_init__(self) -> None:
        check_positive(T=self.T, dt=self.dt, sigma=self.sigma, A=self.A, k=self.k)
        if not np.isclose(self.steps * self.dt, self.T):
            raise InputError(f"T = {self.T} is not a whole number of steps of dt = {self.dt}.")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return max(round(self.T / self.dt), 1)

    def fill_probability(self, depth: Array) -> Array:
        """Return the probability that a quote at `depth` is hit in a step."""
        rate = np.log(self.A * self.dt) - self.k * np.asarray(depth, float)
        return np.exp(np.minimum(rate, 0.0))

    def exact_moments(self, depths: Depths) -> "QuotingMoments":
        """Return mean and standard deviation of the final wealth and inventory, starting from 0."""
        q = np.arange(-self.steps, self.steps + 1)  # one unit a step at most: nothing leaves the grid
        moments = np.zeros((3, len(q)))  # P, E[W], E[W^2] on each inventory
        moments[0, self.steps] = 1.0
        for step in range(self.steps):
            bid, ask = (np.broadcast_to(np.asarray(d, float), q.shape) for d in depths(q, step * self.dt))
            buy, sell = self.fill_probability(bid), self.fill_probability(ask)
            after = _moved(moments, (1 - buy) * (1 - sell), np.zeros(len(q)), 0)
            after += _moved(moments, buy * (1 - sell), bid, 1) + _moved(moments, sell * (1 - buy), ask, -1)
            moments = after + _moved(moments, buy * sell, bid + ask, 0)
            moments[2] += q**2 * self.sigma**2 * self.dt * moments[0]
        wealth, square = moments[1].sum(), moments[2].sum()
        mean = q @ moments[0]
        return QuotingMoments(
            float(wealth), float(np.sqrt(square - wealth**2)), float(mean), float(np.sqrt(q**2 @ moments[0] - mean**2))
        )

    def simulate(self, depths: Depths, paths: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return final wealth and inventory of `paths` paths, `(paths,)` each."""
        if paths < 1:
            raise InputError(f"paths = {paths} is not allowed. Allowed: 1 or more.")
        wealth, q = np.zeros(paths), np.zeros(paths, np.int64)
        for step in range(self.steps):
            bid, ask = (np.broadcast_to(np.asarray(d, float), q.shape) for d in depths(q, step * self.dt))
            bought = rng.random(paths) < self.fill_probability(bid)
            sold = rng.random(paths) < self.fill_probability(ask)
            wealth += bought * bid + sold * ask
            q += bought.astype(np.int64) - sold
            wealth += q * self.sigma * np.sqrt(self.dt) * rng.choice([-1.0, 1.0], paths)
        return wealth, q


@dataclass(frozen=True)
class QuotingMoments:
    """Of the final wealth and the final inventory."""

    wealth_mean: float
    wealth_sd: float
    inventory_mean: float
    inventory_sd: float


def _moved(moments: Array, probability: Array, gain: Array, shift: int) -> Array:
    """Return the part of the moments that earns `gain` and moves by `shift` with `probability`."""
    p, w, w2 = moments * probability
    earned = np.stack([p, w + gain * p, w2 + 2 * gain * w + gain**2 * p])
    out = np.zeros_like(earned)
    if shift == 0:
        return earned
    if shift > 0:
        out[:, 1:] = earned[:, :-1]
    else:
        out[:, :-1] = earned[:, 1:]
    return out
