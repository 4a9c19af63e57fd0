"""What every participant is: in an order book (`Agent`) and on bars (`BarTrader`)."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from difffinance.market.observation import ACTION
from difffinance.market.utility import MeanVariance, Utility
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

    @property
    def utility(self) -> Utility:
        """What it maximises; prices in ticks, quantities in mean step volumes. Without more: wealth."""
        return MeanVariance()

    @abstractmethod
    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Return the 10 numbers of `market.observation.ACTION` for the next step, from this seat's view only."""


class ScriptedAgent(Agent):
    """An agent whose decision is a compiled policy, so that a batch of episodes runs without Python.

    `policy` is a `market.compiled.policy_kernel`: it reads the seat's state (50,), opponents (40,) and constraints
    (20,), its `parameters` and its `memory` (zeros at the start of an episode, its own to change), may draw from `rng`,
    and writes the 10 numbers of `action` (zeros on entry).
    """

    policy: ClassVar[Any]
    memory_size: ClassVar[int] = 0

    def __init__(self, seat: int = 0) -> None:
        super().__init__(seat)
        self.memory = np.zeros(self.memory_size)

    @property
    @abstractmethod
    def parameters(self) -> Array:
        """What distinguishes this agent from others of its kind, `(P,)` floats, in the order the policy reads."""

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode and take the random numbers of the next."""
        super().reset(rng)
        self.memory = np.zeros(self.memory_size)

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Return the action of the compiled policy on this seat's view."""
        view, action = state.view(self.seat), np.zeros(len(ACTION))
        type(self).policy(view.state, view.opponents, view.constraints, self.parameters, self.memory, self.rng, action)
        return action


class BarTrader(ABC):
    """A trader on bars: looks at conditions, trades once per bar, looks again."""

    name: str = ""

    @abstractmethod
    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the signed participation of the next bar, `(B,)` step volumes, that the rules allow.

        Row b of `conditions` is one portfolio's state, opponents and constraints (`market.observation`).
        """
