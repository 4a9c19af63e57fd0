"""Transient impact: `dp(t) = amplitude * integral of sign(v_s) |v_s|^gamma G(t - s) ds`, and its two tests.

`v` is the rate of trading in participation (fraction of a period's volume) per period and time is in periods, so that
`dp` is in units of the period's sigma. Rates are constant on intervals; all integrals of the kernel are closed forms.

Only linear impact may be charged. A programme traded in 1/m of every slot comes, as the slots get finer, to cost and to
leave `m^(gamma - 1)` of the even one: its pulses do not feel each other's own cost (G is integrable at 0), only each
other's mean. So for gamma below 1 whoever buys evenly sells in pulses at the top for nothing, and for gamma above 1
the pulses push and the even leg is free, whatever the kernel. Gatheral's `gamma + b >= 1` ("No-dynamic-arbitrage and
market impact", Quant. Finance 10(7), 2010) is necessary; it is not sufficient (Curato, Gatheral & Lillo, "Optimal
execution with nonlinear transient market impact", Quant. Finance 17(1), 2017). Linear impact with a kernel that is
convex, falling and not negative pays no round trip (Gatheral, Schied & Slynko, Math. Finance 22(3), 2012).
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
_LEGS = 16
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


def probe_transient(law: TransientLaw) -> Admissibility:
    """Put a transient law through both tests; its power makes them the same at every size.

    Slicing: one unit over one period, traded in the first half of each of N equal slots, must come to cost what it
    costs evenly; its limit is `2^(gamma - 1)` of that. Round trips: for nonlinear impact the limit of an even leg and
    a pulsed one; for linear impact, whose cost is a quadratic form, the best of all programmes on even and on
    shrinking intervals.
    """
    costs = tuple(_sliced_cost(law, n) for n in _SLICES)
    change = np.abs(np.diff(costs))
    settles = costs[-1] > 0.0 and bool(change[-1] <= max(1e-6 * costs[-1], 0.98 * change[-2]))
    linear = abs(law.gamma - 1.0) < 1e-9
    share, profit, trades = _best_linear_trip(law) if linear else _pulsed_trip(law)
    return Admissibility(_SLICES, costs, settles and linear, profit, trades, share)


def check_transient(law: TransientLaw) -> TransientLaw:
    """Return a law that passes both tests (one without amplitude moves nothing); raise `CostLawError` otherwise."""
    found = probe_transient(law)
    if law.amplitude == 0.0 or found.admissible:
        return law
    what = "its cost does not converge under finer slicing to what the even programme costs"
    if found.free_money:
        legs = "an even leg and one in ever finer pulses" if law.gamma != 1.0 else "the best round trip"
        what = f"{legs} together earn up to {found.round_trip_share:.1%} of the cost of buying"
    raise CostLawError(
        f"{law} cannot be charged: {what}. Allowed: amplitude 0 or more, gamma 1 and a kernel that falls (decay 0 or "
        "more); nearest_admissible gives the closest."
    )


def nearest_admissible(law: TransientLaw) -> TransientLaw:
    """Return `law` if it passes, else the linear law of the same kernel with the same cost of 1% in one period.

    A kernel that grows is held constant. The loss of fit is measured where data are: `calibration.propagator`.
    """
    if not 0.0 < law.amplitude < np.inf or not np.isfinite(law.gamma):
        raise CostLawError(f"{law} has no admissible neighbour. Allowed: amplitude above 0 and a finite gamma.")
    if probe_transient(law).admissible:
        return law
    other = replace(law, gamma=1.0, kernel=replace(law.kernel, decay=max(law.kernel.decay, 0.0)))
    at, edges = [[0.01]], [0.0, 1.0]
    ratio = float(transient_cost(law, at, edges)[0] / transient_cost(other, at, edges)[0])
    return replace(other, amplitude=other.amplitude * ratio)


def _sliced_cost(law: TransientLaw, slices: int) -> float:
    cost = law.kernel.double_integral(np.arange(2.0 * slices + 1.0) / (2.0 * slices))
    apart = np.arange(2, 2 * slices, 2)  # half slots between a child order and an earlier one
    pairs = cost[apart + 1] - 2.0 * cost[apart] + cost[apart - 1]
    return float(2.0 * law.impact(2.0) * (slices * cost[1] + (slices - apart / 2.0) @ pairs))


def _pulsed_trip(law: TransientLaw) -> tuple[float, float, tuple[float, ...]]:
    """Return what an even leg and a pulsed one tend to earn, over the leg that pays: no finite programme, no rates.

    The unit bought in a short time is sold at the price at its end: `T G_1(T) / G_2(T) - 1` with the kernel's first and
    second integrals, which is 1 less the exponent of its singularity at 0.
    """
    share = 1.0 - law.kernel.decay if law.kernel.kind == "power" else 1.0
    return share, share * _one_way(law, 1.0), ()


def _best_linear_trip(law: TransientLaw) -> tuple[float, float, tuple[float, ...]]:
    """Return profit over one-way cost, profit per unit bought, and rates of the best zero-sum programme found."""
    time = 1.0 / law.kernel.decay if law.kernel.kind == "exponential" and law.kernel.decay else law.kernel.scale
    best: tuple[float, float, tuple[float, ...]] = (-np.inf, -np.inf, ())
    shrinking = np.cumsum(np.concatenate([[0.0], 0.5 ** np.arange(_LEGS)]))
    zero_sum = np.linalg.svd(np.ones((1, _LEGS)))[2][1:].T  # (N, N - 1), orthonormal
    for span in (1.0,) if law.kernel.kind == "power" else tuple(time * s for s in _SPANS):
        for edges in (np.linspace(0.0, span, _LEGS + 1), span * shrinking / shrinking[-1]):
            width, pairs = np.diff(edges), _pairs(law, edges)
            form = pairs / width[:, None] / width[None, :]
            vector = np.linalg.eigh(zero_sum.T @ (form + form.T) @ zero_sum)[1][:, 0]
            trades = zero_sum @ vector
            rates = trades / np.clip(trades, 0.0, None).sum() / width
            profit = -float(_cost(law, rates[None], pairs)[0])
            if profit / _one_way(law, span) > best[0]:
                best = (profit / _one_way(law, span), profit, tuple(float(r) for r in rates))
    return best


def _one_way(law: TransientLaw, span: float) -> float:
    """Return the cost of one unit bought evenly over `span` periods."""
    return float(law.impact(1.0 / span) * law.kernel.double_integral(span) / span)
