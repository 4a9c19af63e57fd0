"""Arbitrageur between two instruments that belong together: trades the gap between their prices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from difffinance.agents.base import Agent
from difffinance.errors import InputError
from difffinance.market.observation import ACTION, ACTION_INDEX, CONSTRAINT_INDEX, STATE_INDEX
from difffinance.market.options import check_not_negative, check_positive
from difffinance.records import Array, MarketState, SeatView


class PairsArbitrageur(Agent):
    """Sells the instrument that is dear against the other and buys the cheap one, in two legs of equal step volumes.

    The gap is `log(mid_1 / mid_2)` less its exponential mean of half-life `half_life` steps, in sigmas of the first
    instrument. Where it exceeds `entry` and a round trip's cost in both, the position is `size * gap`, at most
    `max_position`; it is closed once the gap has changed sign. `rate` bounds a step's trade. When one leg cannot trade
    the other waits, so that the two stay hedged. Objective: the gap's closing less costs.
    """

    kind = "pairs"

    def __init__(
        self,
        seat: int = 0,
        *,
        half_life: float = 50.0,
        entry: float = 1.0,
        size: float = 0.5,
        max_position: float = 4.0,
        rate: float = 0.4,
    ) -> None:
        super().__init__(seat)
        check_positive(half_life=half_life, size=size, max_position=max_position, rate=rate)
        check_not_negative(entry=entry)
        self.keep, self.entry, self.size = 0.5 ** (1 / half_life), entry, size
        self.max_position, self.rate = max_position, rate
        self.mean: float | None = None

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the mean of the last episode."""
        super().reset(rng)
        self.mean = None

    def act(self, state: Any, info: dict[str, Any] | None = None) -> Array:
        """Return the actions in both instruments, `(2, 10)`, from the two states."""
        views = self._views(state)
        log_ratio = float(np.log(views[0].public.mid / views[1].public.mid))
        self.mean = log_ratio if self.mean is None else self.keep * self.mean + (1 - self.keep) * log_ratio
        sigma = _number(views[0], "volatility")
        gap, position = (log_ratio - self.mean) / sigma, _number(views[0], "position")
        cost = 2 * sum(_number(v, "linear_cost") * _number(v, "volatility") for v in views) / sigma
        target = position
        if abs(gap) > max(self.entry, cost):
            target = float(-np.clip(self.size * gap, -self.max_position, self.max_position))
            if target * position > 0 and abs(target) < abs(position):
                target = position
        elif gap * position > 0:
            target = 0.0
        return self._legs(views, target)

    def _legs(self, views: list[SeatView], target: float) -> Array:
        wishes = [
            np.clip(t - _number(v, "position"), -self.rate, self.rate)
            for t, v in zip((target, -target), views, strict=True)
        ]
        actions = np.zeros((2, len(ACTION)))
        actions[:, ACTION_INDEX["cancel"]] = 1.0
        trades = [_allowed(view, wish) for view, wish in zip(views, wishes, strict=True)]
        blocked = any(wish != 0 and trade == 0 for wish, trade in zip(wishes, trades, strict=True))
        actions[:, ACTION_INDEX["participation"]] = 0.0 if blocked else trades
        return actions

    def _views(self, state: Any) -> list[SeatView]:
        states: Sequence[MarketState] = state if isinstance(state, Sequence) else (state,)
        if len(states) != 2:
            raise InputError(f"a pairs arbitrageur needs the states of two instruments; got {len(states)}.")
        return [s.view(self.seat) for s in states]


def _number(view: SeatView, name: str) -> float:
    return float(view.state[STATE_INDEX[name]])


def _allowed(view: SeatView, wish: float) -> float:
    limit = {name: float(view.constraints[i]) for name, i in CONSTRAINT_INDEX.items()}
    buy = min(limit["max_participation"], limit["buyable"]) if limit["can_buy"] > 0 else 0.0
    sell = min(limit["max_participation"], limit["sellable"]) if limit["can_sell"] > 0 else 0.0
    return float(np.clip(wish, -sell, buy))
