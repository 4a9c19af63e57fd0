"""Market maker: Avellaneda-Stoikov quotes around an inventory-adjusted price."""

import math

import numpy as np

from difffinance.agents.actions import send_quote
from difffinance.agents.base import ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.compiled import inlined, policy_kernel
from difffinance.market.observation import CONSTRAINT_INDEX, STATE_INDEX
from difffinance.market.options import check_not_negative, check_positive
from difffinance.market.utility import Cara, Utility
from difffinance.records import Array

_POSITION, _SPREAD, _TICK = STATE_INDEX["position"], STATE_INDEX["spread"], CONSTRAINT_INDEX["tick"]


def avellaneda_stoikov_quotes(
    s: float, q: float, t: float, *, T: float, gamma: float, sigma: float, k: float
) -> tuple[float, float]:
    """Return (bid, ask) of Avellaneda & Stoikov (2008), eqs. 29 and 30.

    Reservation price `s - q gamma sigma^2 (T-t)`, spread `gamma sigma^2 (T-t) + (2/gamma) ln(1 + gamma/k)`. Price and
    time units are the caller's; `gamma` is absolute risk aversion, `k` the decay of fill rates with distance.
    """
    if not (gamma > 0 and k > 0 and sigma >= 0 and t <= T):
        raise InputError(
            f"gamma, k must be positive, sigma not negative, t at most T; got gamma={gamma}, k={k}, sigma={sigma}, "
            f"t={t}, T={T}."
        )
    return _quotes(s, q, gamma * sigma**2 * (T - t), gamma, k)


def _quotes(s, q, risk, gamma, k):  # type: ignore[no-untyped-def]
    reservation, half = s - q * risk, risk / 2 + math.log1p(gamma / k) / gamma
    return reservation - half, reservation + half


_compiled_quotes = inlined(_quotes)


@policy_kernel
def make_market(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Replace the quotes; the side that would pass `max_inventory` is left empty."""
    gamma, k, horizon, quantity, max_inventory = parameters
    sigma_ticks, position = 1.0 / constraints[_TICK], state[_POSITION]
    bid, ask = _compiled_quotes(0.0, position, gamma * sigma_ticks**2 * horizon, gamma, k)
    # A quote never crosses the market: at least half a spread inside of the other side stays free.
    least = 0.5 - 0.5 * state[_SPREAD] * sigma_ticks
    send_quote(action, state, constraints, 1, 0, max(-bid, least), quantity if position < max_inventory else 0.0)
    send_quote(action, state, constraints, -1, 0, max(ask, least), quantity if position > -max_inventory else 0.0)


class MarketMaker(ScriptedAgent):
    """Quotes both sides each step; prices in ticks, inventory in step volumes, a rolling horizon of `horizon` steps.

    Objective: exponential utility of the final wealth, absolute risk aversion `gamma` per tick and step volume.
    """

    kind = "market_maker"
    policy = make_market

    def __init__(
        self,
        seat: int = 0,
        *,
        gamma: float = 0.05,
        k: float = 0.5,
        horizon: float = 10.0,
        quantity: float = 0.4,
        max_inventory: float = 8.0,
    ) -> None:
        super().__init__(seat)
        check_positive(gamma=gamma, k=k, quantity=quantity, max_inventory=max_inventory)
        check_not_negative(horizon=horizon)
        self.gamma, self.k, self.horizon = gamma, k, horizon
        self.quantity, self.max_inventory = quantity, max_inventory

    @property
    def utility(self) -> Utility:
        """Exponential utility with `gamma`."""
        return Cara(self.gamma)

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.gamma, self.k, self.horizon, self.quantity, self.max_inventory], float)
