"""Worlds whose impact law is known, with the Cramér-Rao bound of gamma."""

from dataclasses import dataclass

import numpy as np

KINDS = ("gaussian", "student_t", "size_dependent", "both")


@dataclass(frozen=True)
class World:
    quantity: np.ndarray
    price_change: np.ndarray
    lam: float
    gamma: float
    bound: float  # smallest standard deviation that an unbiased estimate of gamma can have


def plant(
    kind: str,
    rng: np.random.Generator,
    *,
    n: int = 4000,
    snr: float = 0.1,
    lam: float = 0.02,
    gamma: float = 0.5,
    sizes: str = "log-normal",
    long_memory: bool = False,
    autoregression: float = 0.0,
    grid: float = 0.0,
) -> World:
    """Sizes around 150 units with log-sd 1.1, or Pareto with tail 2.5; signs independent or with long memory.

    With `lam` 0 the noise is that of `lam` 0.02.
    """
    quantity = 100.0 * rng.random(n) ** (-1 / 2.5) if sizes == "pareto" else np.exp(5.0 + 1.1 * rng.standard_normal(n))
    sign = rng.choice([-1.0, 1.0], n)
    if long_memory:
        runs = np.minimum(rng.random(n) ** (-1 / 1.5), 200.0).astype(int)
        sign = np.repeat(sign, runs)[:n]
    logs = np.log(quantity)
    shape = np.exp(0.5 * (logs - logs.mean())) if kind in ("size_dependent", "both") else np.ones(n)
    heavy = kind in ("student_t", "both")
    noise = rng.standard_t(3, n) if heavy else rng.standard_normal(n)
    variance, information = (3.0, 4 / 6) if heavy else (1.0, 1.0)
    x = quantity**gamma
    scale = (lam or 0.02) * np.sqrt(np.mean(x**2) / snr / variance)
    error = scale * shape * noise
    for t in range(1, n if autoregression else 0):
        error[t] = autoregression * error[t - 1] + np.sqrt(1 - autoregression**2) * error[t]
    change = lam * sign * x + error
    if grid:
        change = np.round(change / grid) * grid
    weight = information / (scale * shape) ** 2 * x**2
    centre = weight @ logs / weight.sum()
    bound = 1 / (lam * np.sqrt(weight @ (logs - centre) ** 2)) if lam else np.inf
    return World(sign * quantity, change, lam, gamma, float(bound))
