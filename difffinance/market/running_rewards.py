"""Rewards by a utility from what the seats are shown, as episodes run or at their end; their sum is the utility.

A utility counts prices in ticks and quantities in mean step volumes, as the parameters of agents do. Rewards come back
in quote currency, as changes of wealth do: a trader without risk aversion earns the same by either.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from difffinance.errors import InputError
from difffinance.market.observation import STATE_INDEX
from difffinance.market.session import Session
from difffinance.market.utility import Trajectory, Utility
from difffinance.records import Array

_POSITION, _VOLUME, _SIGMA = (STATE_INDEX[name] for name in ("position", "relative_volume", "volatility"))


def market_money(session: Session, tick_size: float, lot_size: float) -> float:
    """Return the value of one tick on one mean step volume, quote currency."""
    return float(tick_size * lot_size * session.step_volume / session.tables.state[0, _VOLUME])


def check_rewards(rewards: str | Sequence[Utility], seats: int) -> tuple[Utility, ...]:
    """Return the utility of each seat, none where rewards are changes of wealth."""
    if isinstance(rewards, str):
        if rewards == "wealth":
            return ()
        raise InputError(
            f"rewards is '{rewards}'. Allowed: wealth, or one utility per seat: [agent.utility for agent in agents]."
        )
    given = list(rewards) if isinstance(rewards, Iterable) else [rewards]
    if len(given) != seats or not all(isinstance(utility, Utility) for utility in given):
        names = ", ".join(type(utility).__name__ for utility in given)
        raise InputError(f"rewards must be one utility for each of the {seats} seats; got {names or 'none'}.")
    return tuple(given)


class RunningRewards:
    """One utility in R rows: the seats of a market, or one seat of many markets."""

    def __init__(self, utility: Utility, rows: int) -> None:
        self.utility = utility
        self.money = np.ones(rows)  # quote currency per tick and mean step volume
        self.first = np.zeros((4, rows))  # wealth, inventory, mid and the coming step's volatility
        self.now = np.zeros((4, rows))

    def begin(self, row: int | slice, money: float, wealth: float | Array, view: Array, mid: float | Array) -> None:
        """Start the episode of a row, or of several: wealth in quote currency, the state (50,), mid in ticks."""
        self.money[row] = money
        self.first[:, row] = self.now[:, row] = _moment(np.asarray(wealth / money), view, np.asarray(mid))

    def step(self, wealth: Array, views: Array, mid: Array, ended: Array) -> Array:
        """Return the rewards (R,) of the step that led to wealth (R,), states (R, 50) and mids (R,)."""
        before, self.now = self.now, _moment(wealth / self.money, views, mid)
        held, inventory, mids, sigma = np.stack([self.first, before, self.now], axis=-1)  # each (R, 3)
        trajectory = Trajectory(held, inventory, mids, sigma[:, :2])
        return self.money * self.utility.last_rewards(trajectory, ended)

    def save(self) -> list[list[float]]:
        """Return what the rewards to come depend on, plain numbers."""
        return [self.money.tolist(), *self.first.tolist(), *self.now.tolist()]

    def load(self, saved: list[list[float]]) -> None:
        """Go back to what `save` returned."""
        self.money, self.first, self.now = np.array(saved[0]), np.array(saved[1:5]), np.array(saved[5:])


def episode_rewards(utility: Utility, money: float, wealth: Array, views: Array, mid: Array) -> Array:
    """Return the rewards (T,) of a whole episode, those that `RunningRewards.step` gives one by one.

    `wealth` (T + 1,) in quote currency, the seat's states (T + 1, 50) and mids (T + 1,) in ticks; the last is the end.
    """
    steps = len(wealth) - 1
    running = RunningRewards(utility, steps)
    running.begin(slice(None), money, wealth[:-1], views[:-1], mid[:-1])
    running.first[:] = running.first[:, :1]
    return running.step(wealth[1:], views[1:], mid[1:], np.arange(1, steps + 1) == steps)


def _moment(wealth: Array, views: Array, mid: Array) -> Array:
    inventory = views[..., _POSITION] * views[..., _VOLUME]
    return np.stack([wealth, inventory, mid, views[..., _SIGMA] * mid])
