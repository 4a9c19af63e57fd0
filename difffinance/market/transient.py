"""Transient impact: `dp(t) = amplitude * integral of sign(v_s) |v_s|^gamma G(t - s) ds`, and its two tests.

`v` is the rate of trading in participation (fraction of a period's volume) per period and time is in periods, so that
`dp` is in units of the period's sigma. Rates are constant on intervals; all integrals of the kernel are closed forms.

Power impact with a power-law kernel needs `gamma + b >= 1`: below, a burst costs nothing and round trips pay
(Gatheral, "No-dynamic-arbitrage and market impact", Quant. Finance 10(7), 2010). A kernel that is bounded at 0 leaves
bursts free for every gamma below 1, so only linear impact survives there (same paper, section 4). The search for round
trips does not take either for granted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from difffinance.errors import CostLawError, InputError
from difffinance.market.admissibility import Admissibility
from difffinance.market.costs import check_cost_law
from difffinance.records import Array, CostLaw

KERNELS = ("power", "exponential", "bounded")
_SLICES = (1, 4, 16, 64, 256, 1024)
_SPANS = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # of a round trip, over the kernel's own time scale
_SEARCHED, _LEGS, _CLIMBS = 1000, 12, 100
_PRECISION = 1e-3  # of the decay exponent that a replacement is raised to
_TERMS, _SMALL = 9, 1e-2  # of the power series of a kernel's double integral, and where it is used
_TWICE = np.array([(k + 1.0) * (k + 2.0) for k in range(_TERMS)])
_EXPONENTIAL = np.array([(-1.0) ** k / math.factorial(k + 2) for k in range(_TERMS)])


@dataclass(frozen=True)
class Kernel:
    """`G(l)`: power `l^-b`, exponential `exp(-b l)` or bounded `(1 + l / scale)^-b`, with l in periods.

    A power with b below 0 grows: fits may find one, no cost may have it.
    """

    kind: Literal["power", "exponential", "bounded"]
    decay: float
    scale: float = 1.0  # periods, of the bounded kernel

    def __post_init__(self) -> None:
        allowed = -1.0 < self.decay < 1.0 if self.kind == "power" else 0.0 <= self.decay < np.inf
        if self.kind not in KERNELS or not allowed or not 0.0 < self.scale < np.inf:
            raise InputError(
                f"kernel '{self.kind}' with decay {self.decay} and scale {self.scale} is not allowed. Allowed: "
                f"{', '.join(KERNELS)}; decay from 0 (power: -1 to 1, at 1 a trade's own cost is infinite); scale > 0."
            )

    def __call__(self, lag: ArrayLike) -> Array:
        """Return G at lags above 0."""
        lag = np.asarray(lag, float)
        if self.kind == "power":
            return lag**-self.decay
        return np.exp(-self.decay * lag) if self.kind == "exponential" else (1.0 + lag / self.scale) ** -self.decay

    def integral(self, lag: ArrayLike) -> Array:
        """Return the integral of G from 0 to `lag`: the displacement left by a unit rate of that length at its end."""
        lag, b = np.asarray(lag, float), self.decay
        if self.kind == "power":
            return lag ** (1.0 - b) / (1.0 - b)
        if self.kind == "exponential":
            return -np.expm1(-b * lag) / b if b else lag
        x = np.log1p(lag / self.scale)
        return self.scale * (x if b == 1.0 else np.expm1((1.0 - b) * x) / (1.0 - b))

    def double_integral(self, lag: ArrayLike) -> Array:
        """Return the integral of `integral` from 0 to `lag`: the cost of a unit rate of that length."""
        lag, b = np.asarray(lag, float), self.decay
        if self.kind == "power":
            return lag ** (2.0 - b) / ((1.0 - b) * (2.0 - b))
        if self.kind == "exponential":
            z = b * lag
            return _near_zero(z, lag, _EXPONENTIAL, lambda: (z + np.expm1(-z)) / b**2)
        x, growth = lag / self.scale, np.log1p(lag / self.scale)
        if b == 1.0:
            found = (1.0 + x) * growth - x
        elif b == 2.0:
            found = x - growth
        else:
            found = (np.expm1((2.0 - b) * growth) / (2.0 - b) - x) / (1.0 - b)
        terms = np.cumprod([1.0] + [-(b + k) / (k + 1) for k in range(_TERMS - 1)])  # of (1 + x)^-b
        return _near_zero(x, lag, terms / _TWICE, lambda: self.scale**2 * found)


def _near_zero(z: Array, lag: Array, terms: Array, closed: Callable[[], Array]) -> Array:
    """Return `lag^2 sum terms_k z^k` where the closed form would cancel (small z), the closed form elsewhere."""
    series = lag**2 * np.polynomial.polynomial.polyval(np.minimum(z, _SMALL), terms)
    return np.where(z < _SMALL, series, closed() if np.any(z >= _SMALL) else 0.0)


@dataclass(frozen=True)
class TransientLaw:
    """Power impact of the rate of trading, forgotten as the kernel says."""

    amplitude: float
    gamma: float
    kernel: Kernel

    def impact(self, rate: ArrayLike) -> Array:
        """Return `amplitude * sign(v) |v|^gamma`."""
        rate = np.asarray(rate, float)
        return self.amplitude * np.sign(rate) * np.abs(rate) ** self.gamma


def transient_law(law: CostLaw) -> TransientLaw:
    """Return the transient part of a cost law with a decay, in participation units and periods."""
    law = check_cost_law(law)
    if law.decay is None:
        raise InputError(f"{law} has no decay. Allowed: a propagator.")
    kernel = Kernel("power", law.decay)
    return TransientLaw(law.temporary / float(kernel.double_integral(1.0)), law.exponent, kernel)


def period_kernels(law: CostLaw, periods: int) -> tuple[Array, Array]:
    """Return what a trade spread evenly over a period leaves behind, over what it pays itself (`temporary`).

    First the mean displacement during each of the next `periods` periods (its own, which is 1, included), second the
    displacement at the end of each. Zero for a law without decay.
    """
    if law.decay is None:
        return np.zeros(periods), np.zeros(periods)
    kernel, edges = Kernel("power", law.decay), np.arange(periods + 1.0)
    own = float(kernel.double_integral(1.0))
    cost = kernel.double_integral(edges)
    during = np.diff(cost, prepend=0.0)[1:] - np.diff(cost, prepend=0.0)[:-1]
    return during / own, np.diff(kernel.integral(edges)) / own


def transient_displacement(law: TransientLaw, rates: ArrayLike, edges: ArrayLike) -> Array:
    """Return what programmes (K, N) of rates between `edges` (N + 1,) have moved the price by at each later edge."""
    rates, edges = _programme(rates, edges)
    lag = np.clip(edges[1:, None] - edges[None, :], 0.0, None)  # (N, N + 1)
    kernel = law.kernel.integral(lag)
    return law.impact(rates) @ (kernel[:, :-1] - kernel[:, 1:]).T


def transient_cost(law: TransientLaw, rates: ArrayLike, edges: ArrayLike) -> Array:
    """Return the expected cost (K,) of programmes (K, N) of rates between `edges` (N + 1,), in periods."""
    rates, edges = _programme(rates, edges)
    return _cost(law, rates, _pairs(law, edges))


def _pairs(law: TransientLaw, edges: Array) -> Array:
    """Return the cost (N, N) of a unit rate in interval k against what a unit impact in interval j has moved."""
    cost = law.kernel.double_integral(np.clip(edges[:, None] - edges[None, :], 0.0, None))
    return np.tril(cost[1:, :-1] - cost[1:, 1:] - cost[:-1, :-1] + cost[:-1, 1:])


def _cost(law: TransientLaw, rates: Array, pairs: Array) -> Array:
    return np.einsum("kn,kn->k", rates, law.impact(rates) @ pairs.T)


def _programme(rates: ArrayLike, edges: ArrayLike) -> tuple[Array, Array]:
    rates, edges = np.atleast_2d(np.asarray(rates, float)), np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) != rates.shape[1] + 1 or np.any(np.diff(edges) <= 0.0):
        raise InputError(f"edges must be {rates.shape[1] + 1} increasing times for {rates.shape[1]} rates.")
    return rates, edges


def probe_transient(law: TransientLaw, *, rng: np.random.Generator) -> Admissibility:
    """Put a transient law through both tests; its power makes them the same at every size.

    Slicing: one unit over one period, traded in the first half of each of N equal slots. Round trips: two legs with
    and without a pause, on fine grids of their lengths, and many legs, from random starts uphill.
    """
    costs = tuple(_sliced_cost(law, n) for n in _SLICES)
    change = np.abs(np.diff(costs))
    converges = costs[-1] > 0.0 and bool(change[-1] <= max(1e-6 * costs[-1], 0.98 * change[-2]))
    time = 1.0 / law.kernel.decay if law.kernel.kind == "exponential" and law.kernel.decay else law.kernel.scale
    spans = (1.0,) if law.kernel.kind == "power" else tuple(time * s for s in _SPANS)
    found = [trip for span in spans for trip in (_two_legs(law, span), _many_legs(law, span, rng))]
    share, profit, trades = max(found, key=lambda trip: trip[0])
    return Admissibility(_SLICES, costs, converges, profit, trades, share, _free_bursts(law))


def _free_bursts(law: TransientLaw) -> bool:
    """Tell whether the cost of a quantity goes to 0 with the time it is traded in: it is `time^(1 - b - gamma)`."""
    at_zero = law.kernel.decay if law.kernel.kind == "power" else 0.0
    return law.gamma + at_zero < 1.0 - 1e-12


def check_transient(law: TransientLaw, *, rng: np.random.Generator | None = None) -> TransientLaw:
    """Return a law that passes both tests; raise `CostLawError` otherwise."""
    found = probe_transient(law, rng=np.random.default_rng(0) if rng is None else rng)
    if found.admissible:
        return law
    what = "its cost does not converge under finer slicing"
    if found.free_bursts:
        what = "bursts cost nothing (gamma plus the decay at lag 0 is below 1)"
    if found.free_money:
        what = f"a round trip earns {found.round_trip_share:.1%} of the cost of buying"
    raise CostLawError(
        f"{law} cannot be charged: {what}. Allowed: a power kernel with gamma + decay of 1 or more, or linear impact; "
        "nearest_admissible gives the closest."
    )


def nearest_admissible(law: TransientLaw) -> TransientLaw:
    """Return `law` if it passes, else the closest that does, with the cost of one period at 1% participation kept.

    A power kernel forgets faster, from `gamma + decay = 1` on until no round trip is found; where bursts are free for
    every nonlinear impact (exponential and bounded kernels) the impact becomes linear. The loss of fit is measured
    where data are: `calibration.propagator`.
    """
    if not 0.0 < law.gamma <= 1.0 or law.amplitude <= 0.0:
        raise CostLawError(
            f"{law} has no admissible neighbour. Allowed: amplitude above 0, gamma above 0 and at most 1."
        )
    if _passes(law):
        return law
    if law.kernel.kind != "power":
        return _same_cost(law, replace(law, gamma=1.0))
    low = max(law.kernel.decay, 1.0 - law.gamma)
    if _passes(_with_decay(law, low)):
        return _same_cost(law, _with_decay(law, low))
    high, ceiling = low, 1.0 - _PRECISION
    while high < ceiling and not _passes(_with_decay(law, high)):
        low, high = high, min(high + 0.05, ceiling)
    while high - low > _PRECISION:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _passes(_with_decay(law, middle)) else (middle, high)
    # A margin: near the boundary the best round trip found depends a little on where the search began.
    return _same_cost(law, _with_decay(law, min(high + 2.0 * _PRECISION, ceiling)))


def _passes(law: TransientLaw) -> bool:
    return probe_transient(law, rng=np.random.default_rng(0)).admissible


def _with_decay(law: TransientLaw, decay: float) -> TransientLaw:
    return replace(law, kernel=replace(law.kernel, decay=decay))


def _same_cost(law: TransientLaw, other: TransientLaw) -> TransientLaw:
    at, edges = [[0.01]], [0.0, 1.0]
    ratio = float(transient_cost(law, at, edges)[0] / transient_cost(other, at, edges)[0])
    return replace(other, amplitude=other.amplitude * ratio)


def _sliced_cost(law: TransientLaw, slices: int) -> float:
    cost = law.kernel.double_integral(np.arange(2.0 * slices + 1.0) / (2.0 * slices))
    apart = np.arange(2, 2 * slices, 2)  # half slots between a child order and an earlier one
    pairs = cost[apart + 1] - 2.0 * cost[apart] + cost[apart - 1]
    return float(2.0 * law.impact(2.0) * (slices * cost[1] + (slices - apart / 2.0) @ pairs))


def _two_legs(law: TransientLaw, span: float) -> tuple[float, float, tuple[float, ...]]:
    """Return profit over one-way cost, profit per unit, and the rates and lengths of the best buy, pause, sell."""
    length = np.geomspace(1e-3, 1.0, 37)  # shorter legs would measure the rounding of the second differences
    first, pause, second = np.meshgrid(length, np.concatenate([[0.0], length[::6]]), length, indexing="ij")
    unit = span / (first + pause + second)
    first, pause, second = first * unit, pause * unit, second * unit
    cost = law.kernel.double_integral
    cross = cost(first + pause + second) - cost(pause + second) - cost(first + pause) + cost(pause)
    buy, sell = law.impact(1.0 / first), law.impact(1.0 / second)
    profit = -(buy * cost(first) / first + sell * cost(second) / second - buy * cross / second)
    best = np.unravel_index(np.argmax(profit / _one_way(law, span)), profit.shape)
    trip = (1.0 / first[best], first[best], pause[best], -1.0 / second[best], second[best])
    return float(profit[best]) / _one_way(law, span), float(profit[best]), tuple(float(x) for x in trip)


def _many_legs(law: TransientLaw, span: float, rng: np.random.Generator) -> tuple[float, float, tuple[float, ...]]:
    """Return the same for the best of many programmes on even and on shrinking intervals."""
    best: tuple[float, float, tuple[float, ...]] = (-np.inf, -np.inf, ())
    shrinking = np.cumsum(np.concatenate([[0.0], 0.5 ** np.arange(_LEGS)]))
    for edges in (np.linspace(0.0, span, _LEGS + 1), span * shrinking / shrinking[-1]):
        width, pairs = np.diff(edges), _pairs(law, edges)
        trades = rng.standard_normal((_SEARCHED, _LEGS)) * rng.choice([0.01, 0.1, 1.0], (_SEARCHED, _LEGS))
        # Sold evenly, or in equal amounts, until some leg, and bought back after it: near to these the best ones lie.
        later = np.tri(_LEGS, _LEGS, -1)[1:, ::-1]
        for amount in (np.ones(_LEGS), width):
            bought = later * amount / (later @ amount)[:, None]
            sold = (1.0 - later) * amount / ((1.0 - later) @ amount)[:, None]
            trades = np.concatenate([trades, bought - sold])
        profit, rates = _profit(law, trades, width, pairs)
        for step in range(_CLIMBS):
            top = np.argsort(profit)[-8:]
            around = np.repeat(rates[top] * width, 16, axis=0)
            around = around + 0.97**step * rng.standard_normal(around.shape) * (0.5 * np.abs(around) + 0.02)
            more, more_rates = _profit(law, around, width, pairs)
            profit, rates = np.concatenate([profit[top], more]), np.concatenate([rates[top], more_rates])
        k = int(np.argmax(profit))
        if profit[k] / _one_way(law, span) > best[0]:
            best = (float(profit[k]) / _one_way(law, span), float(profit[k]), tuple(float(r) for r in rates[k]))
    return best


def _profit(law: TransientLaw, trades: Array, width: Array, pairs: Array) -> tuple[Array, Array]:
    trades = trades - trades.mean(axis=1, keepdims=True)
    trades = trades / np.clip(trades, 0.0, None).sum(axis=1, keepdims=True)
    return -_cost(law, trades / width, pairs), trades / width


def _one_way(law: TransientLaw, span: float) -> float:
    """Return the cost of one unit bought evenly over `span` periods."""
    return float(law.impact(1.0 / span) * law.kernel.double_integral(span) / span)
