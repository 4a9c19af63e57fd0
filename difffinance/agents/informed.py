"""Informed trader: trades on a private signal of the value, in slices that hide it."""

from typing import Any

from difffinance.agents.actions import market_action, number
from difffinance.agents.base import Agent
from difffinance.records import Array, MarketState


class InformedTrader(Agent):
    """Trades `beta` times the gap between its estimate of the value and the mid, as Kyle's (1985) insider does.

    Objective: expected profit of the gap's closing. The gap is `signal / signal_decay` sigmas; below the cost of
    crossing the spread it waits. `rate` hides it behind the flow, `max_position` bounds its inventory.
    """

    kind = "informed"

    def __init__(self, seat: int = 0, *, beta: float = 0.05, rate: float = 0.4, max_position: float = 8.0) -> None:
        super().__init__(seat)
        self.beta, self.rate, self.max_position = beta, rate, max_position

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Send one slice."""
        view = state.view(self.seat)
        position, decay = number(view, "position"), number(view, "signal_decay")
        gap = number(view, "signal") / decay if decay > 0 else 0.0
        if abs(gap) < number(view, "linear_cost"):
            return market_action(view, 0.0)
        wish = max(-self.rate, min(self.beta * gap, self.rate))
        return market_action(view, max(-self.max_position, min(position + wish, self.max_position)) - position)
