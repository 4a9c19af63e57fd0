"""Execution at a fixed share of what the market trades: percentage of volume."""

import numpy as np

from difffinance.agents.execution import STEP, Completion, ExecutionAgent, pursue
from difffinance.errors import InputError
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import is_finite
from difffinance.records import Array, SeatView

_POSITION, _RELATIVE_VOLUME, _VOLUME = (STATE_INDEX[n] for n in ("position", "relative_volume", "volume_1"))
_OTHERS, _LAST = 3, 4  # places in `memory` after those of `execution`: volume of the others, last position


@policy_kernel
def follow_volume(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Pursue `rate / (1 - rate)` of what the others have traded since the start."""
    quantity, rate = parameters
    unit = state[_RELATIVE_VOLUME]
    position = state[_POSITION] * unit
    if memory[STEP] > 0:
        memory[_OTHERS] += max(state[_VOLUME] * unit - abs(position - memory[_LAST]), 0.0)
    memory[_LAST] = position
    due = min(memory[_OTHERS] * rate / (1 - rate), abs(quantity))
    pursue(action, state, constraints, memory, quantity, due if quantity > 0 else -due)


class PovAgent(ExecutionAgent):
    """Trades until `quantity` mean step volumes are done, `rate` of the market's volume, its own included.

    It answers the volume it has seen, so it is one step behind. It has no end of its own: how long it takes depends on
    the others.
    """

    kind = "pov"
    policy = follow_volume
    memory_size = 5

    def __init__(self, seat: int = 0, *, quantity: float = 10.0, rate: float = 0.1) -> None:
        super().__init__(seat, quantity=quantity)
        if not (is_finite(rate) and 0.0 < rate < 1.0):
            raise InputError(f"rate = {rate} is not allowed. Allowed: a share of volume, above 0 and below 1.")
        self.rate = rate

    @property
    def parameters(self) -> Array:
        """The quantity and the share of volume."""
        return np.array([self.quantity, self.rate], float)

    @property
    def running(self) -> bool:
        """Tell whether the others have not traded enough yet for the whole quantity."""
        return self.memory[_OTHERS] * self.rate / (1 - self.rate) < abs(self.quantity) * (1 - 1e-9)

    def completion(self, view: SeatView) -> Completion:
        """Return what is done and why the rest is not; too little volume of the others is a reason."""
        found = super().completion(view)
        if found.reason.startswith("running"):
            reason = f"volume: the others have traded {self.memory[_OTHERS]:.4g} mean step volumes so far"
            return Completion(found.quantity, found.done, found.remaining, reason)
        return found
