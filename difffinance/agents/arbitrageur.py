"""Arbitrageur: trades the price against the public estimate of the fundamental value."""

import math

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_not_negative, check_positive
from difffinance.records import Array

_SIGNAL, _DECAY, _POSITION = STATE_INDEX["signal"], STATE_INDEX["signal_decay"], STATE_INDEX["position"]
_LINEAR = STATE_INDEX["linear_cost"]


@policy_kernel
def close_the_gap(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Trade towards a position in proportion to the gap, cut to `max_position`."""
    size, max_position, rate, margin = parameters
    position, decay = state[_POSITION], state[_DECAY]
    gap = state[_SIGNAL] / decay if decay > 0 else 0.0
    target = position
    if abs(gap) > margin * 2 * state[_LINEAR]:
        target = math.copysign(min(size * abs(gap), max_position), gap)
        if target * position > 0 and abs(target) < abs(position):
            target = position
    elif gap * position < 0:
        target = 0.0
    send_market(action, constraints, max(-rate, min(target - position, rate)))


class Arbitrageur(ScriptedAgent):
    """Buys what its estimate of the value says is cheap and sells what is dear.

    Its view holds a forecast of the next return, `signal`, made from the public estimate: the part `signal_decay` of
    the gap between value and mid. The gap itself is `signal / signal_decay` sigmas. Objective: the gap's closing less
    costs. It opens a position only where the gap pays a round trip `margin` times over, and closes it once the gap
    has changed sign.
    """

    kind = "arbitrageur"
    policy = close_the_gap

    def __init__(
        self, seat: int = 0, *, size: float = 0.5, max_position: float = 6.0, rate: float = 0.4, margin: float = 1.5
    ) -> None:
        super().__init__(seat)
        check_positive(size=size, max_position=max_position, rate=rate)
        check_not_negative(margin=margin)
        self.size, self.max_position, self.rate, self.margin = size, max_position, rate, margin

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.size, self.max_position, self.rate, self.margin], float)
