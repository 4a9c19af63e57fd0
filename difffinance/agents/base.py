"""What every participant is: in an order book (`Agent`) and on bars (`BarTrader`)."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from difffinance.records import Array, Conditions, MarketState


class Agent(ABC):
    """A participant of the order-book market. `seat` says which view of the state is its own."""

    kind: str = ""

    def __init__(self, seat: int = 0) -> None:
        self.seat = seat
        self.rng = np.random.default_rng(0)

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode and take the random numbers of the next."""
        self.rng = rng

    @abstractmethod
    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Return the 10 numbers of `market.observation.ACTION` for the next step, from this seat's view only."""


class BarTrader(ABC):
    """A trader on bars: looks at conditions, trades once per bar, looks again."""

    name: str = ""

    @abstractmethod
    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the signed participation of the next bar, `(B,)` step volumes, that the rules allow.

        Row b of `conditions` is one portfolio's state, opponents and constraints (`market.observation`).
        """
