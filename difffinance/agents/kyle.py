"""Kyle's (Econometrica 53(6), 1985) sequential auctions: how fast an informed trader may show what it knows."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from difffinance.market.options import check_count, check_positive
from difffinance.records import Array


@dataclass(frozen=True)
class KyleEquilibrium:
    """The equilibrium of N auctions over one period; arrays `(N,)`, auction 1 first.

    `lam` is the price per unit of flow, `intensity` the order per unit of gap between value and price (beta dt),
    `variance` what the market does not know after each auction, `alpha` and `delta` the value function
    `alpha (v - p)^2 + delta` after each auction.
    """

    lam: Array
    intensity: Array
    variance: Array
    alpha: Array
    delta: Array
    prior_variance: float
    profit: float  # expected, of the informed trader before the first auction


def kyle_equilibrium(auctions: int, prior_variance: float = 1.0, noise_variance: float = 1.0) -> KyleEquilibrium:
    """Return the linear equilibrium (Theorem 2); `noise_variance` is that of noise trading over the whole period.

    Solved backwards from an arbitrary last variance, as only its scale is free: variances scale by c, prices per unit
    by sqrt(c), orders per gap by 1 / sqrt(c).
    """
    check_positive(prior_variance=prior_variance, noise_variance=noise_variance)
    n = check_count(auctions, "auctions")
    noise = noise_variance / n
    lam, intensity, variance, alpha, delta = (np.zeros(n) for _ in range(5))
    after, a, d = 1.0, 0.0, 0.0
    for k in reversed(range(n)):
        lam[k] = _price_impact(after, a, noise)
        intensity[k] = (1 - 2 * a * lam[k]) / (2 * lam[k] * (1 - a * lam[k]))
        variance[k], alpha[k], delta[k] = after, a, d
        after /= 1 - intensity[k] * lam[k]
        a, d = 1 / (4 * lam[k] * (1 - a * lam[k])), d + a * lam[k] ** 2 * noise
    root = np.sqrt(prior_variance / after)
    profit = root * (a * after + d)
    return KyleEquilibrium(
        lam * root, intensity / root, variance * root**2, alpha / root, delta * root, prior_variance, float(profit)
    )


def _price_impact(variance: float, alpha: float, noise: float) -> float:
    """Return the root of `2 lam^2 (1 - alpha lam) noise = variance (1 - 2 alpha lam)` that leaves a maximum."""
    if alpha == 0.0:
        return float(np.sqrt(variance / (2 * noise)))

    def gap(lam: float) -> float:
        return 2 * lam**2 * (1 - alpha * lam) * noise - variance * (1 - 2 * alpha * lam)

    return float(brentq(gap, 0.0, 1 / (2 * alpha), xtol=1e-300, rtol=4 * np.finfo(float).eps))
