"""What a participant maximises: a utility turns its trajectory into one reward per step.

Arrays are `(..., T+1)` for what is known at each moment and `(..., T)` for what belongs to a step. Units are the
caller's, as long as money is price times quantity: an agent's own `utility` counts prices in ticks and quantities in
mean step volumes, as its parameters do. The rewards of an episode add up to its utility.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from difffinance.errors import InputError
from difffinance.market.options import check_not_negative, is_finite
from difffinance.records import Array

_LARGEST_EXPONENT = 700.0  # exp overflows beyond


@dataclass(frozen=True)
class Trajectory:
    """What a utility needs of an episode: wealth, inventory and mid `(..., T+1)`, the step's volatility `(..., T)`.

    `volatility` is the standard deviation of the price over the step, in units of price.
    """

    wealth: ArrayLike
    inventory: ArrayLike
    mid: ArrayLike
    volatility: ArrayLike

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(getattr(self, name), float) for name in ("wealth", "inventory", "mid", "volatility")}
        steps = arrays["wealth"].shape[-1:]
        if not steps or steps[0] < 2 or any(arrays[n].shape[-1:] != steps for n in ("inventory", "mid")):
            given = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise InputError(f"wealth, inventory and mid must have T + 1 >= 2 moments each; got {given}.")
        if arrays["volatility"].ndim and arrays["volatility"].shape[-1] not in (1, steps[0] - 1):
            raise InputError(f"volatility must have {steps[0] - 1} steps; got {arrays['volatility'].shape}.")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{name} of a trajectory holds numbers that are not finite. Allowed: finite numbers.")
            object.__setattr__(self, name, array)


@dataclass(frozen=True)
class Utility(ABC):
    """Base of the utilities. `terminal_penalty` times the squared quantity left at the end is taken off at the end."""

    risk_aversion: float = 0.0
    terminal_penalty: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(risk_aversion=self.risk_aversion, terminal_penalty=self.terminal_penalty)

    def rewards(self, trajectory: Trajectory) -> Array:
        """Return the reward of each step, `(..., T)`, money."""
        rewards = self._steps(trajectory)
        rewards[..., -1] = self.last_rewards(trajectory, ended=True)
        return rewards

    def last_rewards(self, trajectory: Trajectory, ended: ArrayLike) -> Array:
        """Return the last of the steps' `rewards`, `(...,)`, of an episode that may go on: `ended` says which do not.

        A reward depends on the first moment and on its own step alone, so three moments are enough.
        """
        left = np.where(ended, self._left(trajectory), 0.0)
        return self._steps(trajectory)[..., -1] - self.terminal_penalty * left**2

    @abstractmethod
    def _steps(self, trajectory: Trajectory) -> Array:
        """Return the rewards without the terminal penalty, a new array."""

    def _left(self, trajectory: Trajectory) -> Array:
        return np.asarray(trajectory.inventory)[..., -1]


@dataclass(frozen=True)
class MeanVariance(Utility):
    """Change of wealth less `risk_aversion / 2` times the variance of the inventory's value, relative to wealth.

    With w the inventory's value over wealth W and sigma its volatility as a fraction, a step is worth
    `W (w r - a/2 (w sigma)^2) - costs`: the utility that `observation.STATE` publishes.
    """

    def _steps(self, trajectory: Trajectory) -> Array:
        wealth, inventory = np.asarray(trajectory.wealth), np.asarray(trajectory.inventory)
        start = wealth[..., :-1]
        if self.risk_aversion > 0 and (start <= 0).any():
            raise InputError("mean-variance relative to wealth needs wealth above 0. Use Cara for such a trader.")
        risk = (inventory[..., :-1] * trajectory.volatility) ** 2
        return np.diff(wealth) - (0.5 * self.risk_aversion * risk / start if self.risk_aversion > 0 else 0.0)


@dataclass(frozen=True)
class Cara(Utility):
    """Constant absolute risk aversion `g` per unit of money: the rewards add up to `(1 - exp(-g gain)) / g`.

    The utility of Avellaneda & Stoikov (2008), scaled to be the gain itself as `g` goes to 0.
    """

    def _steps(self, trajectory: Trajectory) -> Array:
        gain = np.asarray(trajectory.wealth) - np.asarray(trajectory.wealth)[..., :1]
        if self.risk_aversion == 0:
            return np.diff(gain)
        if (-self.risk_aversion * gain).max() > _LARGEST_EXPONENT:
            raise InputError(
                f"a loss of {-gain.min():g} at risk aversion {self.risk_aversion:g} has no finite exponential utility. "
                f"Allowed: risk aversion up to {_LARGEST_EXPONENT / -gain.min():.3g} on this trajectory."
            )
        return np.diff(-np.expm1(-self.risk_aversion * gain) / self.risk_aversion)


@dataclass(frozen=True)
class Shortfall(Utility):
    """Minus the implementation shortfall of an order of `quantity` units (Perold 1988), buys positive.

    The paper portfolio trades everything at the mid of the first moment; what the real one earns less is the shortfall.
    `risk_aversion` is that of Almgren & Chriss (2000) per unit of money: the rewards add up to `-(cost + risk_aversion
    * variance)`, with the variance of what was left untraded over each step after its trade.
    """

    quantity: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_finite(self.quantity):
            raise InputError(f"quantity = {self.quantity} is not allowed. Allowed: finite, buys positive.")

    def _steps(self, trajectory: Trajectory) -> Array:
        wealth, inventory = np.asarray(trajectory.wealth), np.asarray(trajectory.inventory)
        held = inventory[..., :1] + self.quantity
        left = held - inventory
        paper = held * np.diff(trajectory.mid)
        return np.diff(wealth) - paper - self.risk_aversion * (left[..., 1:] * trajectory.volatility) ** 2

    def _left(self, trajectory: Trajectory) -> Array:
        inventory = np.asarray(trajectory.inventory)
        return inventory[..., 0] + self.quantity - inventory[..., -1]
