"""Market maker: Avellaneda-Stoikov quotes around an inventory-adjusted price."""

import math
from typing import Any

from difffinance.agents.actions import number, quote_action
from difffinance.agents.base import Agent
from difffinance.errors import InputError
from difffinance.records import Array, MarketState


def avellaneda_stoikov_quotes(
    s: float, q: float, t: float, *, T: float, gamma: float, sigma: float, k: float
) -> tuple[float, float]:
    """Return (bid, ask) of Avellaneda & Stoikov (2008), eqs. 29 and 30.

    Reservation price `s - q gamma sigma^2 (T-t)`, spread `gamma sigma^2 (T-t) + (2/gamma) ln(1 + gamma/k)`. Price and
    time units are the caller's; `gamma` is absolute risk aversion, `k` the decay of fill rates with distance.
    """
    if gamma <= 0 or k <= 0 or sigma < 0 or t > T:
        raise InputError(
            f"gamma, k must be positive, sigma not negative, t at most T; got gamma={gamma}, k={k}, sigma={sigma}, "
            f"t={t}, T={T}."
        )
    risk = gamma * sigma**2 * (T - t)
    reservation, half = s - q * risk, risk / 2 + math.log1p(gamma / k) / gamma
    return reservation - half, reservation + half


class MarketMaker(Agent):
    """Quotes both sides each step; prices in ticks, inventory in step volumes, a rolling horizon of `horizon` steps.

    Objective: mean-variance of terminal wealth with absolute risk aversion `gamma` per tick and step volume.
    """

    kind = "market_maker"

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
        self.gamma, self.k, self.horizon = gamma, k, horizon
        self.quantity, self.max_inventory = quantity, max_inventory

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Replace the quotes; the side that would pass `max_inventory` is left empty."""
        view = state.view(self.seat)
        sigma_ticks, position = 1.0 / number(view, "tick"), number(view, "position")
        bid, ask = avellaneda_stoikov_quotes(
            0.0, position, 0.0, T=self.horizon, gamma=self.gamma, sigma=sigma_ticks, k=self.k
        )
        # A quote never crosses the market: at least half a spread inside of the other side stays free.
        least = 0.5 - 0.5 * number(view, "spread") * sigma_ticks
        bids = [(max(-bid, least), self.quantity)] if position < self.max_inventory else []
        asks = [(max(ask, least), self.quantity)] if position > -self.max_inventory else []
        return quote_action(view, bids, asks)
