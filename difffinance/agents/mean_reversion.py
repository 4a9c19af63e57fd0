"""Speculator who bets that the mid comes back: the trend follower's mirror image."""

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_not_negative, check_positive
from difffinance.records import Array

_POSITION, _RETURN, _LINEAR = STATE_INDEX["position"], STATE_INDEX["return_1"], STATE_INDEX["linear_cost"]


@policy_kernel
def fade_the_move(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Trade towards a position against the distance of the mid from its exponential mean."""
    keep, entry, size, max_position, rate = parameters
    # The distance x = log mid - mean follows x' = keep * (x + r).
    memory[0] = keep * (memory[0] + state[_RETURN])
    distance, position = memory[0], state[_POSITION]
    target = position
    if abs(distance) > max(entry * np.sqrt(keep**2 / (1 - keep**2)), 2 * state[_LINEAR]):
        target = -min(max(size * distance, -max_position), max_position)
        if target * position > 0 and abs(target) < abs(position):
            target = position  # holds what it has until the distance has changed sign
    elif distance * position >= 0:
        target = 0.0
    send_market(action, constraints, max(-rate, min(target - position, rate)))


class MeanReversionTrader(ScriptedAgent):
    """Sells what has risen above its exponential mean and buys what has fallen below, with market orders.

    The mean forgets half of the past in `half_life` steps; distances are in sigmas of one step. It opens a position
    `size * distance`, at most `max_position` step volumes, where the distance exceeds `entry` standard deviations of a
    random walk's and a round trip's cost, at most `rate` step volumes a step; it closes once the mid has crossed.
    Objective: expected profit less costs.
    """

    kind = "mean_reversion"
    policy = fade_the_move
    memory_size = 1

    def __init__(
        self,
        seat: int = 0,
        *,
        half_life: float = 10.0,
        entry: float = 1.0,
        size: float = 0.5,
        max_position: float = 3.0,
        rate: float = 0.5,
    ) -> None:
        super().__init__(seat)
        check_positive(half_life=half_life, size=size, max_position=max_position, rate=rate)
        check_not_negative(entry=entry)
        self.half_life, self.entry = half_life, entry
        self.size, self.max_position, self.rate = size, max_position, rate

    @property
    def parameters(self) -> Array:
        """Part of the distance kept per step, entry, size, largest position, largest trade."""
        return np.array([0.5 ** (1 / self.half_life), self.entry, self.size, self.max_position, self.rate], float)
