"""Informed trader: trades on a private signal of the value, in slices that hide it."""

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_positive
from difffinance.records import Array

_SIGNAL, _DECAY, _POSITION = STATE_INDEX["signal"], STATE_INDEX["signal_decay"], STATE_INDEX["position"]
_LINEAR = STATE_INDEX["linear_cost"]


@policy_kernel
def trade_the_gap(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Send one slice; below the cost of crossing the spread wait."""
    beta, rate, max_position = parameters
    position, decay = state[_POSITION], state[_DECAY]
    gap = state[_SIGNAL] / decay if decay > 0 else 0.0
    slice_ = 0.0
    if abs(gap) >= state[_LINEAR]:
        wish = max(-rate, min(beta * gap, rate))
        slice_ = max(-max_position, min(position + wish, max_position)) - position
    send_market(action, constraints, slice_)


class InformedTrader(ScriptedAgent):
    """Trades `beta` times the gap between its estimate of the value and the mid, as Kyle's (1985) insider does.

    Objective: expected profit of the gap's closing. The gap is `signal / signal_decay` sigmas; below the cost of
    crossing the spread it waits. `rate` hides it behind the flow, `max_position` bounds its inventory.
    """

    kind = "informed"
    policy = trade_the_gap

    def __init__(self, seat: int = 0, *, beta: float = 0.05, rate: float = 0.4, max_position: float = 8.0) -> None:
        super().__init__(seat)
        check_positive(beta=beta, rate=rate, max_position=max_position)
        self.beta, self.rate, self.max_position = beta, rate, max_position

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.beta, self.rate, self.max_position], float)
