"""Noise trader: market orders of random side and size, without any view."""

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_positive, is_finite
from difffinance.records import Array

_POSITION = STATE_INDEX["position"]


@policy_kernel
def trade_at_random(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Send an order with probability `rate`; near `max_position` only back towards 0."""
    rate, size, log_sd, max_position = parameters
    trades, side = rng.random() < rate, 1.0 if rng.random() < 0.5 else -1.0
    wish = side * size * np.exp(log_sd * rng.standard_normal()) if trades else 0.0
    position = state[_POSITION]
    send_market(
        action, constraints, max(-max_position, min(position + wish, max_position)) - position if trades else 0.0
    )


class NoiseTrader(ScriptedAgent):
    """Trades with probability `rate` a step: a fair coin for the side, a log-normal size of median `size` step volumes.

    The liquidity traders of Kyle (1985): no objective beyond trading; what they lose pays the others.
    """

    kind = "noise"
    policy = trade_at_random

    def __init__(
        self, seat: int = 0, *, rate: float = 0.2, size: float = 0.2, log_sd: float = 0.8, max_position: float = 8.0
    ) -> None:
        super().__init__(seat)
        if not (is_finite(rate) and 0.0 <= rate <= 1.0):
            raise InputError(f"rate = {rate} is not allowed. Allowed: a probability, 0 to 1.")
        check_positive(size=size, max_position=max_position)
        if not (is_finite(log_sd) and 0.0 <= log_sd <= 10.0):
            raise InputError(f"log_sd = {log_sd} is not allowed. Allowed: 0 to 10.")
        self.rate, self.size, self.log_sd, self.max_position = rate, size, log_sd, max_position

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.rate, self.size, self.log_sd, self.max_position], float)
