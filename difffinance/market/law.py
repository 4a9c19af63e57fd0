"""The `law` mode's dynamics: no book, the mid moves by an impact law. The exact games live here.

Programmes are signed quantities per step, buys positive, K instruments. In step k, which lasts `tau`, all trades pay

    S_k + Gamma (traded before + half of this step) + lam sign(v) |v|^g + transient_k,     v = step's total / tau

(second-order consistent: SCIENCE 4.2), and `half_spread` on each one's own side; then the fundamental S moves. Gamma is
the permanent (cross-)impact matrix; `transient_k` is the mean over the step of what `market.transient` leaves behind.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from difffinance.errors import CostLawError, InputError
from difffinance.market.impact import probe_law
from difffinance.market.options import check_positive
from difffinance.market.transient import TransientLaw, check_transient
from difffinance.records import Array

_SEARCHED, _LEGS = 2000, 8


@dataclass(frozen=True)
class ImpactLaw:
    """A law for K instruments; prices in the quote currency, quantities in units, time in the caller's unit.

    `permanent` (K, K) is price per unit traded, `temporary` (K,) the price at rate 1, `exponent` its power,
    `half_spread` (K,) price, `transient` a law of the rate for each instrument's own trades. `permanent_exponent` other
    than 1 can be asked for and is refused: any other power can be milked (Huberman & Stanzl 2004).
    """

    permanent: ArrayLike
    temporary: ArrayLike
    exponent: float = 1.0
    half_spread: ArrayLike = 0.0
    transient: TransientLaw | None = None
    permanent_exponent: float = 1.0
    instruments: int = field(init=False)

    def __post_init__(self) -> None:
        permanent = np.atleast_2d(np.asarray(self.permanent, float))
        k = len(permanent)
        if permanent.shape != (k, k):
            raise InputError(f"permanent must be a square matrix; got {permanent.shape}.")
        vectors = {}
        for name in ("temporary", "half_spread"):
            given = np.asarray(getattr(self, name), float)
            if given.shape not in ((), (1,), (k,)):
                raise InputError(f"{name} must be one number or one for each of {k} instruments; got {given.shape}.")
            vectors[name] = np.broadcast_to(given, k).copy()
        for name, given in {"permanent": permanent, **vectors}.items():
            if not np.isfinite(given).all() or (name != "permanent" and (given < 0).any()):
                raise InputError(f"{name} = {given.tolist()} is not allowed. Allowed: finite, costs 0 or more.")
        check_positive(exponent=self.exponent, permanent_exponent=self.permanent_exponent)
        object.__setattr__(self, "instruments", k)
        object.__setattr__(self, "permanent", permanent)
        for name, given in vectors.items():
            object.__setattr__(self, name, given)


def check_law(law: ImpactLaw, *, rng: np.random.Generator | None = None) -> ImpactLaw:
    """Return a law that no round trip can milk and whose costs survive slicing; raise `CostLawError` otherwise."""
    rng = np.random.default_rng(0) if rng is None else rng
    matrix = np.asarray(law.permanent)
    if law.permanent_exponent != 1.0:
        power = law.permanent_exponent
        found = probe_law(
            lambda q: np.sign(q) * np.abs(q) ** power, lambda v: 0.0 * v, quantity=1.0, rng=rng
        )  # the temporary part cannot save it: traded slowly, it costs nothing
        raise CostLawError(
            f"permanent impact with power {power} cannot be charged: a round trip earns "
            f"{found.round_trip_profit:.3g} of the impact of one unit. Allowed: power 1 (Huberman & Stanzl 2004)."
        )
    gap = np.abs(matrix - matrix.T)
    scale = max(float(np.abs(matrix).max()), 1e-300)
    if gap.max() > 1e-9 * scale:
        i, j = sorted(np.unravel_index(int(np.argmax(gap)), gap.shape))
        raise CostLawError(
            f"permanent impact must be symmetric; [{i}, {j}] is {matrix[i, j]:g} and [{j}, {i}] is {matrix[j, i]:g}: "
            f"buying one, then the other, and selling in the same order earns {gap[i, j]:g} per unit of each. "
            "Allowed: a symmetric matrix, e.g. (G + G') / 2."
        )
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least < -1e-9 * scale:
        raise CostLawError(
            f"permanent impact has the eigenvalue {least:g}: buying that basket slowly costs less than nothing. "
            "Allowed: a positive semi-definite matrix."
        )
    if law.transient is not None:
        check_transient(law.transient)
    profit = best_round_trip(law, rng=rng)
    if profit > 1e-9:
        raise CostLawError(f"{law} cannot be charged: a round trip earns {profit:.3g} of what its trades cost.")
    return law


def best_round_trip(law: ImpactLaw, *, rng: np.random.Generator) -> float:
    """Return the best profit found over random round trips of all sizes and paces, over the sum of costs paid."""
    best = -np.inf
    for tau in (1e-3, 1.0, 1e3):
        for size in (1e-3, 1.0, 1e3):
            trades = rng.standard_normal((_SEARCHED, _LEGS, law.instruments))
            trades *= rng.choice([0.0, 0.1, 1.0], trades.shape)
            trades = size * (trades - trades.mean(axis=1, keepdims=True))
            paid = execution_prices(law, trades, tau) * trades
            gross = np.abs(paid).sum(axis=(1, 2))
            profit = -paid.sum(axis=(1, 2)) / np.where(gross > 0, gross, 1.0)
            best = max(best, float(profit.max()))
    return best


def execution_prices(law: ImpactLaw, trades: ArrayLike, tau: float) -> Array:
    """Return what programmes (..., T, K) of one trader alone pay per unit, beyond the fundamental, `(..., T, K)`."""
    trades = _programme(law, trades, tau)
    before = np.cumsum(trades, axis=-2) - trades
    prices = (before + 0.5 * trades) @ np.asarray(law.permanent).T
    prices += temporary_price(law, trades / tau) + np.asarray(law.half_spread) * np.sign(trades)
    if law.transient is not None:
        during, _ = transient_weights(law.transient, trades.shape[-2], tau)
        lag = np.subtract.outer(np.arange(trades.shape[-2]), np.arange(trades.shape[-2]))
        weights = np.where(lag >= 0, during[np.abs(lag)], 0.0)
        prices += weights @ law.transient.impact(trades / tau)
    return prices


def expected_cost(law: ImpactLaw, trades: ArrayLike, tau: float) -> Array:
    """Return the expected cost (...,) of programmes (..., T, K) of one trader alone, against the first price."""
    return np.sum(execution_prices(law, trades, tau) * np.asarray(trades, float), axis=(-2, -1))


def temporary_price(law: ImpactLaw, rate: ArrayLike) -> Array:
    """Return `lam sign(v) |v|^g`."""
    rate = np.asarray(rate, float)
    return np.asarray(law.temporary) * np.sign(rate) * np.abs(rate) ** law.exponent


def transient_weights(law: TransientLaw, steps: int, tau: float) -> tuple[Array, Array]:
    """Return what one step's impact leaves behind: (T,) mean over the step m steps later, (T,) at its end."""
    edges = tau * np.arange(steps + 1.0)
    cost = np.diff(law.kernel.double_integral(edges), prepend=0.0)
    during = np.append(cost[1:2], np.diff(cost[1:]))
    return during / tau, np.diff(law.kernel.integral(edges))


class LawMarket:
    """One market of K instruments under a law, step by step; `steps` at most, each of length `tau`.

    `covariance` (K, K) is that of the fundamental per unit of time (Gaussian increments). `mid` is what is shown
    between steps: the fundamental, the permanent impact of all trades, and what is left of the transient one.
    """

    def __init__(
        self, law: ImpactLaw, *, start: ArrayLike, covariance: ArrayLike, tau: float, steps: int, checked: bool = False
    ) -> None:
        self.law = law if checked else check_law(law)
        k = law.instruments
        self.covariance = np.atleast_2d(np.asarray(covariance, float))
        if not 0.0 < tau < np.inf or steps < 1:
            raise InputError(f"tau must be finite and above 0, steps 1 or more; got {tau} and {steps}.")
        if self.covariance.shape != (k, k) or not np.isfinite(self.covariance).all():
            raise InputError(f"covariance must be finite and {(k, k)}; got {self.covariance.shape}.")
        values, vectors = np.linalg.eigh(self.covariance)
        lopsided = np.abs(self.covariance - self.covariance.T).max() > 1e-9 * np.abs(self.covariance).max()
        if lopsided or values[0] < -1e-9 * max(values[-1], 0.0):
            raise InputError("covariance must be symmetric and positive semi-definite.")
        self._root = vectors * np.sqrt(np.clip(values, 0.0, None) * tau)
        self.fundamental = np.array(np.broadcast_to(np.asarray(start, float), k))
        if not np.isfinite(self.fundamental).all():
            raise InputError(f"start = {self.fundamental.tolist()} is not allowed. Allowed: finite prices.")
        self.tau, self.steps, self.done = tau, steps, 0
        self.traded = np.zeros(k)
        self.impacts = np.zeros((steps, k))  # of each step's rate, what the kernel forgets
        self.use(law)

    def use(self, law: ImpactLaw) -> None:
        """Go on under another law, one that was checked."""
        self.law = law
        self._during, self._after = np.zeros(self.steps), np.zeros(self.steps)
        if law.transient is not None:
            self._during, self._after = transient_weights(law.transient, self.steps, self.tau)

    @property
    def mid(self) -> Array:
        """Prices (K,) between steps."""
        left = self._after[: self.done][::-1] @ self.impacts[: self.done]
        return self.fundamental + np.asarray(self.law.permanent) @ self.traded + left

    def price(self, total: ArrayLike) -> Array:
        """Return the price (K,) that everybody would pay in the coming step for a total trade (K,), spread apart."""
        total = np.asarray(total, float)
        rate = total / self.tau
        price = self.fundamental + np.asarray(self.law.permanent) @ (self.traded + 0.5 * total)
        price += temporary_price(self.law, rate)
        if self.law.transient is not None:
            price += self._during[1 : self.done + 1][::-1] @ self.impacts[: self.done]
            price += self._during[0] * self.law.transient.impact(rate)
        return price

    def advance(self, total: ArrayLike, rng: np.random.Generator) -> Array:
        """Carry out a step in which all together trade `total` (K,); return the price (K,) they pay, spread apart."""
        total = np.asarray(total, float)
        if self.done >= self.steps:
            raise InputError(f"the market of {self.steps} steps is over.")
        if total.shape != self.fundamental.shape or not np.isfinite(total).all():
            raise InputError(f"a step's trade must be finite and {self.fundamental.shape}; got {total.shape}.")
        price = self.price(total)
        if self.law.transient is not None:
            self.impacts[self.done] = self.law.transient.impact(total / self.tau)
        self.traded += total
        self.done += 1
        self.fundamental += self._root @ rng.standard_normal(len(total))
        return price


def _programme(law: ImpactLaw, trades: ArrayLike, tau: float) -> Array:
    trades = np.asarray(trades, float)
    if trades.ndim < 2 or trades.shape[-1] != law.instruments or trades.shape[-2] < 1:
        raise InputError(f"trades must be (..., T, {law.instruments}); got {trades.shape}.")
    if not np.isfinite(trades).all() or not 0.0 < tau < np.inf:
        raise InputError(f"trades must be finite and tau finite and above 0; got tau = {tau}.")
    return trades
