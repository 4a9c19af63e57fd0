"""What a learner of the Gymnasium and PettingZoo forms sees, does and earns: spaces and rewards, said once."""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from difffinance.errors import InputError
from difffinance.market.environment import HIGH, LOW
from difffinance.market.observation import ACTION, ACTION_INDEX, CONSTRAINTS, NO_LIMIT, OPPONENTS, STATE, STATE_INDEX
from difffinance.market.utility import Utility
from difffinance.records import Array

ACTIONS = ("orders", "participation")
REWARDS = ("wealth", "return", "mean_variance")
SEEN = len(STATE) + len(OPPONENTS) + len(CONSTRAINTS)
_POSITION, _CAPITAL = STATE_INDEX["position"], STATE_INDEX["capital"]
_SIGMA, _AVERSION = STATE_INDEX["volatility"], STATE_INDEX["risk_aversion"]


@dataclass(frozen=True)
class Learner:
    """The choices of a learner.

    It sees the 50 state, 40 opponent and 20 constraint numbers of its seat, one after the other
    (`market.observation`); they are in sigmas and step volumes, mostly of order 1, and have no bounds.
    `action`: `orders` is the published 10 numbers, `participation` one number in [-1, 1] step volumes that is sent as a
    market order (what rests is cancelled). `reward` of a step: `wealth` its change in quote currency; `return` that
    change over the wealth before; `mean_variance` the return less `a/2 (w sigma)^2`, w the position over wealth after
    the step and a the seat's risk aversion; a `market.utility.Utility` what the step adds to it, in quote currency
    (its parameters count prices in ticks and quantities in mean step volumes).
    """

    action: str = "orders"
    reward: str | Utility = "wealth"

    def __post_init__(self) -> None:
        for name, value, allowed in (("action", self.action, ACTIONS), ("reward", self.reward, REWARDS)):
            if value not in allowed and not (name == "reward" and isinstance(value, Utility)):
                also = " or a utility (market.utility)" if name == "reward" else ""
                raise InputError(f"{name} is '{value}'. Allowed: {', '.join(allowed)}{also}.")

    @staticmethod
    def chosen(learner: "Learner | None") -> "Learner":
        """Return the learner that a form was given, or the default one."""
        if learner is not None and not isinstance(learner, Learner):
            raise InputError(f"learner is {learner!r}. Allowed: a Learner, such as Learner(action='participation').")
        return learner or Learner()

    @property
    def utility(self) -> Utility | None:
        """The utility that rewards come from; None where they come from changes of wealth."""
        return None if isinstance(self.reward, str) else self.reward

    @property
    def action_space(self) -> spaces.Box:
        """The actions that are understood."""
        if self.action == "orders":
            return spaces.Box(LOW, HIGH, dtype=np.float64)
        return spaces.Box(-1.0, 1.0, (1,), dtype=np.float64)

    @property
    def observation_space(self) -> spaces.Box:
        """110 numbers without bounds."""
        return spaces.Box(-np.inf, np.inf, (SEEN,), dtype=np.float64)

    def orders(self, action: Array) -> Array:
        """Return the published 10 numbers of actions `(..., A)`; one outside the space is one the market refuses."""
        action, size = np.asarray(action, float), len(ACTION) if self.action == "orders" else 1
        if action.shape[-1:] != (size,):
            raise ValueError(f"an action has {size} numbers; got {action.shape}.")
        if self.action == "orders":
            return action
        table = np.zeros((*action.shape[:-1], len(ACTION)))
        wanted = action[..., 0]
        beyond = np.isfinite(wanted) & (np.abs(wanted) > 1.0)
        table[..., ACTION_INDEX["participation"]] = np.where(beyond, 2.0 * NO_LIMIT, wanted)  # the market says why
        table[..., ACTION_INDEX["cancel"]] = 1.0
        return table

    def rewards(self, gain: Array, wealth: Array, seen: Array) -> Array:
        """Return the rewards of steps that changed the wealth by `gain` to `wealth` and showed `seen` `(..., 110)`.

        With a utility `gain` is what the steps added to it, and the reward.
        """
        if self.reward == "wealth" or self.utility is not None:
            return gain
        returns = gain / (wealth - gain)
        if self.reward == "return":
            return returns
        weight = seen[..., _POSITION] / seen[..., _CAPITAL]
        return returns - seen[..., _AVERSION] / 2 * (weight * seen[..., _SIGMA]) ** 2
