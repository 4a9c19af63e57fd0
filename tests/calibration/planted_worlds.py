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


TICKED = ("rounded", "threshold", "idle")


def plant_ticked(
    kind: str,
    rng: np.random.Generator,
    *,
    zeros: float,
    how: str,
    n: int = 2000,
    snr: float = 0.1,
    gamma: float = 0.5,
) -> World:
    """Price changes of which a share `zeros` is exactly 0; `lam` and `gamma` are those of the mean E[dp | q].

    `rounded`: law plus noise, rounded to a coarse tick. The mean of the rounded change is the law itself to within
    `4 exp(-2 pi^2 sd^2 / tick^2)` for normal noise of one size (Sheppard), so the planted law is the truth.
    `threshold`: the price moves by law plus noise if that is large, and not at all otherwise. For m small against the
    noise the mean is `(1 - F + 2 c f) m` with F the chance of no move, f the density at the threshold c.
    `idle`: most of the time nothing happens whatever the flow, else the price moves by several hundred tiny ticks; the
    planted law is the mean over both.
    """
    latent = plant(kind, rng, n=n, snr=snr, gamma=gamma)
    change, lam = latent.price_change, latent.lam
    edge = float(np.quantile(np.abs(change), zeros))
    if how == "rounded":
        change = 2.0 * edge * np.round(change / (2.0 * edge))
    elif how == "threshold":
        near = float(np.mean(np.abs(np.abs(change) - edge) < 0.1 * edge)) / (0.4 * edge)
        lam *= 1.0 - zeros + 2.0 * edge * near
        change = np.where(np.abs(change) > edge, change, 0.0)
    else:
        moves = rng.random(n) > zeros
        change, lam = np.where(moves, change, 0.0), lam * (1.0 - zeros)
        tick = 2e-3 * float(np.std(change))
        change = np.round(change / tick) * tick
    return World(latent.quantity, change, lam, gamma, latent.bound)
