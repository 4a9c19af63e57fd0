"""Speculator: follows the trend of the mid with market orders."""

import math
from typing import Any

from difffinance.agents.actions import market_action, number
from difffinance.agents.base import Agent
from difffinance.records import Array, MarketState


class Speculator(Agent):
    """Holds `max_position * tanh(z)` where `z` is the return of the last `lookback` steps in its own sigmas.

    Objective: profit from trends. It moves towards that position by at most `rate` step volumes a step, and only once
    it is `patience` away from it, so that noise does not make it pay the spread each step.
    """

    kind = "speculator"

    def __init__(
        self,
        seat: int = 0,
        *,
        lookback: int = 10,
        max_position: float = 3.0,
        rate: float = 0.5,
        patience: float = 0.5,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(seat)
        self.lookback, self.max_position, self.rate = min(lookback, 10), max_position, rate
        self.patience, self.threshold = patience, threshold

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Trade towards the position that the trend asks for; below `threshold` there is no trend."""
        view = state.view(self.seat)
        trend = sum(number(view, f"return_{i}") for i in range(1, self.lookback + 1)) / math.sqrt(self.lookback)
        target = self.max_position * math.tanh(trend) if abs(trend) > self.threshold else 0.0
        gap = target - number(view, "position")
        return market_action(view, math.copysign(min(abs(gap), self.rate), gap) if abs(gap) > self.patience else 0.0)
