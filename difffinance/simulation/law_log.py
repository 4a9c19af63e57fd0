"""What an episode of the `law` mode writes down: there is no book, so no orders rest and nothing is matched.

Each seat's orders of a step trade as one, at the step's price, or are refused.
"""

from typing import Any

import numpy as np
import polars as pl

from difffinance.market.engine import FILL
from difffinance.market.environment import MarketEnvironment
from difffinance.market.law_session import LawSession
from difffinance.market.observation import ACTION_INDEX
from difffinance.market.settlement import EVENT
from difffinance.records import Array, MarketState


class LawLog:
    """The log of a running `law` market."""

    def __init__(self, env: MarketEnvironment) -> None:
        self.env = env
        self._cash = np.zeros(env.num_agents)  # before fees

    @property
    def _session(self) -> LawSession:
        session: LawSession = self.env.session
        return session

    def opening(self) -> Array:
        """Return no orders."""
        return np.zeros((0, 5), np.int64)

    def snapshot(self, state: MarketState) -> dict[str, Any]:
        """Return where the market stands."""
        accounts = self._session.accounts
        self._cash = accounts.cash.copy()
        return {
            "mid": state.mid,
            "spread": state.spread,
            "value": self.env.value,
            "depth": state.depth,
            "wealth": self.env.wealth,
            "inventory": accounts.lots * self.env.config.lot_size,
            "cash": accounts.cash - accounts.fees,
        }

    def note(self, before: MarketState, rewards: Array, unit: float) -> dict[str, Any]:
        """Return what the step did, before its `snapshot`."""
        accounts, lot = self._session.accounts, self.env.config.lot_size
        filled = (accounts.bought - accounts.sold) * lot
        price = np.divide(self._cash - accounts.cash, filled, out=np.full(len(filled), np.nan), where=filled != 0)
        wanted = self.env.last_actions[:, ACTION_INDEX["participation"]] * unit
        return {
            "asked": np.abs(filled),
            "bought": accounts.bought * lot,
            "sold": accounts.sold * lot,
            "fill_price": price,
            "at_market": np.sign(wanted) * np.floor(np.abs(wanted) + 1e-6) * lot,
            "rewards": rewards,
            "states": np.array(before.views),
            "opponents": np.array(before.opponents),
            "constraints": np.array(before.constraints),
            "actions": self.env.last_actions.copy(),
            "events": np.zeros(0, EVENT),
            "fills": np.zeros(0, FILL),
        }

    def trades(self, notes: list[dict[str, Any]]) -> pl.DataFrame:
        """Return the trades of the seats, each at the end of its step."""
        filled = np.array([note["bought"] - note["sold"] for note in notes])
        steps, seats = np.nonzero(filled)
        return pl.DataFrame(
            {
                "seconds": (steps + 1) * self.env.config.step_seconds,
                "price": np.array([note["fill_price"] for note in notes])[steps, seats],
                "quantity": np.abs(filled[steps, seats]),
                "side": np.sign(filled[steps, seats]).astype(np.int32),
            }
        )

    def fees(self) -> Array:
        """Return the fees that each seat has paid."""
        return self._session.accounts.fees.copy()
