"""Market maker of Gueant, Lehalle & Fernandez-Tapia (Math. Finan. Econ. 7, 2013): quotes under inventory limits."""

import math

import numpy as np
from scipy.linalg import eigh_tridiagonal

from difffinance.agents.actions import send_quote
from difffinance.agents.base import ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import CONSTRAINT_INDEX, STATE_INDEX
from difffinance.market.options import check_positive
from difffinance.market.utility import Cara, Utility
from difffinance.records import Array

_POSITION, _SPREAD, _TICK = STATE_INDEX["position"], STATE_INDEX["spread"], CONSTRAINT_INDEX["tick"]


def gueant_depths(q: Array, *, gamma: float, sigma: float, k: float, A: float) -> tuple[Array, Array]:
    """Return the asymptotic (bid, ask) distances from the mid at inventories q, the paper's closed-form approximation.

    `ln(1 + gamma/k) / gamma + (1 +- 2q) / 2 * sqrt(sigma^2 gamma / (2 k A) (1 + gamma/k)^(1 + k/gamma))`: far from the
    end and from the inventory limits. `A` and `k`: fills `A exp(-k depth)` per unit of time; `gamma` absolute.
    """
    check_positive(gamma=gamma, sigma=sigma, k=k, A=A)
    half = math.log1p(gamma / k) / gamma
    lean = math.sqrt(sigma**2 * gamma / (2 * k * A) * (1 + gamma / k) ** (1 + k / gamma))
    q = np.asarray(q, float)
    return half + (1 + 2 * q) / 2 * lean, half + (1 - 2 * q) / 2 * lean


def gueant_exact_depths(
    time_left: float, *, limit: int, gamma: float, sigma: float, k: float, A: float
) -> tuple[Array, Array]:
    """Return the optimal (bid, ask) distances, `(2 limit + 1,)` each for inventories -limit..limit (Theorem 1).

    `v(t) = exp(-M (T - t)) 1` with M tridiagonal: `k gamma sigma^2 q^2 / 2` on the diagonal and
    `-A (1 + gamma/k)^-(1 + k/gamma)` beside it. `time_left` may be infinite: then v is the eigenvector of the smallest
    eigenvalue. Infinite where the inventory limit forbids the quote.
    """
    check_positive(gamma=gamma, sigma=sigma, k=k, A=A)
    if not time_left >= 0 or limit < 1:
        raise InputError(f"time_left must be 0 or more and limit 1 or more; got {time_left} and {limit}.")
    q = np.arange(-limit, limit + 1)
    beside = np.full(2 * limit, -A * (1 + gamma / k) ** -(1 + k / gamma))
    values, vectors = eigh_tridiagonal(k * gamma * sigma**2 / 2 * q.astype(float) ** 2, beside)
    # A common factor of v cancels in the quotes: leave out the smallest rate, and nothing under- or overflows.
    weight = vectors.sum(axis=0) * np.exp(-(values - values[0]) * time_left) if np.isfinite(time_left) else None
    v = np.abs(vectors[:, 0]) if weight is None else vectors @ weight
    log_v, half = np.log(v), math.log1p(gamma / k) / gamma
    bid, ask = np.full(len(q), np.inf), np.full(len(q), np.inf)
    bid[:-1] = half + (log_v[:-1] - log_v[1:]) / k
    ask[1:] = half + (log_v[1:] - log_v[:-1]) / k
    return bid, ask


@policy_kernel
def quote_under_limits(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Write the quotes of `gueant_depths` at this inventory and volatility."""
    gamma, k, intensity, quantity, limit = parameters
    sigma, position = 1.0 / constraints[_TICK], state[_POSITION]
    half = np.log1p(gamma / k) / gamma
    lean = np.sqrt(sigma**2 * gamma / (2 * k * intensity) * (1 + gamma / k) ** (1 + k / gamma))
    # A quote never crosses the market: at least half a spread inside of the other side stays free.
    least, shift = 0.5 - 0.5 * state[_SPREAD] * sigma, lean * position / quantity
    bid = quantity if position + quantity <= limit + 1e-9 else 0.0
    ask = quantity if position - quantity >= -limit - 1e-9 else 0.0
    send_quote(action, state, constraints, 1, 0, max(half + lean / 2 + shift, least), bid)
    send_quote(action, state, constraints, -1, 0, max(half + lean / 2 - shift, least), ask)


class GueantMarketMaker(ScriptedAgent):
    """Quotes both sides each step by the closed form above, and no side that would pass its inventory limit.

    Prices in ticks, time in steps, inventory in quotes of `quantity` step volumes; the volatility is the view's.
    Objective: exponential utility of the final wealth, risk aversion `gamma` per tick and quote.
    """

    kind = "gueant"
    policy = quote_under_limits

    def __init__(
        self,
        seat: int = 0,
        *,
        gamma: float = 0.01,
        k: float = 0.5,
        A: float = 1.0,
        quantity: float = 0.4,
        max_inventory: float = 8.0,
    ) -> None:
        super().__init__(seat)
        check_positive(gamma=gamma, k=k, A=A, quantity=quantity, max_inventory=max_inventory)
        self.gamma, self.k, self.A, self.quantity, self.max_inventory = gamma, k, A, quantity, max_inventory

    @property
    def utility(self) -> Utility:
        """Exponential utility; `gamma` counts inventory in quotes."""
        return Cara(self.gamma / self.quantity)

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.gamma, self.k, self.A, self.quantity, self.max_inventory], float)
