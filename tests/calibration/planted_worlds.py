"""Worlds whose impact law is known, with the Cramér-Rao bound of gamma."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import curve_fit

KINDS = ("gaussian", "student_t", "size_dependent", "both")


@dataclass(frozen=True)
class World:
    quantity: np.ndarray
    price_change: np.ndarray
    lam: float
    gamma: float
    bound: float  # smallest standard deviation that an unbiased estimate of gamma can have
    scale: np.ndarray  # of the noise of each order


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
    return World(sign * quantity, change, lam, gamma, float(bound), scale * shape)


TICKED = ("rounded", "threshold", "idle")


def plant_ticked(
    kind: str, rng: np.random.Generator, *, zeros: float, how: str, n: int = 2000, snr: float = 0.1
) -> World:
    """Price changes of which a share `zeros` is exactly 0; `lam` and `gamma` are those of the mean E[dp | q].

    `rounded`: law plus noise, rounded to a coarse tick. `threshold`: the price moves by law plus noise if that is
    large, and not at all otherwise. `idle`: most of the time nothing happens whatever the flow, else the price moves
    by law plus noise in several hundred tiny ticks.

    The truth is the power law nearest to E[dp | q] of these orders, weighted as the noise asks: exact for `idle`
    (the latent law times the chance to move), where ticks are coarse a few percent to a fifth from the latent law.
    """
    latent = plant(kind, rng, n=n, snr=snr)
    if how == "idle":
        change = np.where(rng.random(n) > zeros, latent.price_change, 0.0)
        tick = 2e-3 * float(np.std(change))
        return replace(latent, price_change=np.round(change / tick) * tick, lam=latent.lam * (1.0 - zeros))
    law = latent.lam * np.abs(latent.quantity) ** latent.gamma
    noise = stats.t(3) if kind in ("student_t", "both") else stats.norm()
    edge = float(np.quantile(np.abs(latent.price_change), zeros))
    if how == "rounded":
        change = 2.0 * edge * np.round(latent.price_change / (2.0 * edge))
        steps = edge * (2.0 * np.arange(200) + 1.0)[:, None]
        mean = (
            2.0
            * edge
            * np.sum(noise.sf((steps - law) / latent.scale) - noise.cdf((-steps - law) / latent.scale), axis=0)
        )
    else:
        change = np.where(np.abs(latent.price_change) > edge, latent.price_change, 0.0)
        nodes, weights = np.polynomial.legendre.leggauss(48)
        inside = edge * nodes[:, None]
        density = noise.pdf((inside - law) / latent.scale) / latent.scale
        mean = law - edge * weights @ (inside * density)
    power = lambda q, log_lam, gamma: np.exp(log_lam) * q**gamma  # noqa: E731
    (log_lam, gamma), _ = curve_fit(
        power, np.abs(latent.quantity), mean, p0=(np.log(latent.lam), latent.gamma), sigma=latent.scale
    )
    return replace(latent, price_change=change, lam=float(np.exp(log_lam)), gamma=float(gamma))
