"""Speculator: follows the trend of the mid with market orders."""

import math

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_count, check_not_negative, check_positive
from difffinance.records import Array

_RETURN, _POSITION = STATE_INDEX["return_1"], STATE_INDEX["position"]
_RETURNS = sum(name.startswith("return_") for name in STATE_INDEX)


@policy_kernel
def follow_trend(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Trade towards the position that the trend asks for; below `threshold` there is no trend."""
    lookback, max_position, rate, patience, threshold = parameters
    total = 0.0
    for k in range(int(lookback)):
        total += state[_RETURN + k]
    trend = total / math.sqrt(lookback)
    target = max_position * math.tanh(trend) if abs(trend) > threshold else 0.0
    gap = target - state[_POSITION]
    send_market(action, constraints, math.copysign(min(abs(gap), rate), gap) if abs(gap) > patience else 0.0)


class Speculator(ScriptedAgent):
    """Holds `max_position * tanh(z)` where `z` is the return of the last `lookback` steps in its own sigmas.

    Objective: profit from trends. It moves towards that position by at most `rate` step volumes a step, and only once
    it is `patience` away from it, so that noise does not make it pay the spread each step.
    """

    kind = "speculator"
    policy = follow_trend

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
        check_positive(max_position=max_position, rate=rate)
        check_not_negative(patience=patience, threshold=threshold)
        if check_count(lookback, "lookback") > _RETURNS:
            raise InputError(f"lookback = {lookback} is not allowed. Allowed: up to {_RETURNS}, the returns of a view.")
        self.lookback, self.max_position, self.rate = lookback, max_position, rate
        self.patience, self.threshold = patience, threshold

    @property
    def parameters(self) -> Array:
        """The arguments, in their order."""
        return np.array([self.lookback, self.max_position, self.rate, self.patience, self.threshold], float)
