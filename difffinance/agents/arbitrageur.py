"""Arbitrageur: trades the price against the public estimate of the fundamental value."""

import math
from typing import Any

from difffinance.agents.actions import market_action, number
from difffinance.agents.base import Agent
from difffinance.records import Array, MarketState


class Arbitrageur(Agent):
    """Buys what its estimate of the value says is cheap and sells what is dear.

    Its view holds a forecast of the next return, `signal`, made from the public estimate: the part `signal_decay` of
    the gap between value and mid. The gap itself is `signal / signal_decay` sigmas. Objective: the gap's closing less
    costs. It opens a position only where the gap pays a round trip `margin` times over, and closes it once the gap
    has changed sign.
    """

    kind = "arbitrageur"

    def __init__(
        self, seat: int = 0, *, size: float = 0.5, max_position: float = 6.0, rate: float = 0.4, margin: float = 1.5
    ) -> None:
        super().__init__(seat)
        self.size, self.max_position, self.rate, self.margin = size, max_position, rate, margin

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Trade towards a position in proportion to the gap, cut to `max_position`."""
        view = state.view(self.seat)
        position, decay = number(view, "position"), number(view, "signal_decay")
        gap = number(view, "signal") / decay if decay > 0 else 0.0
        target = position
        if abs(gap) > self.margin * 2 * number(view, "linear_cost"):
            target = math.copysign(min(self.size * abs(gap), self.max_position), gap)
            if target * position > 0 and abs(target) < abs(position):
                target = position
        elif gap * position < 0:
            target = 0.0
        return market_action(view, max(-self.rate, min(target - position, self.rate)))
