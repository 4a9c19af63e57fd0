"""The accounts of `law` mode and its published tables: the same 50, 40 and 20 numbers as in a book.

What only a book knows (depth, imbalance, resting orders) is 0, as `market.observation` says.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difffinance.market.observation import CONSTRAINT_INDEX, KINDS, NO_LIMIT, OPPONENT_INDEX, STATE_INDEX
from difffinance.records import Array

_KEEP = 0.5 ** (1 / 5)  # half-life of 5 steps


@dataclass(frozen=True)
class Accounts:
    """One row a seat; money in quote currency, quantities in lots; histories newest first."""

    cash: Array
    lots: Array
    bought_today: Array
    fees: Array
    start_wealth: Array
    bought: Array  # in the last step
    sold: Array
    memory: Array  # (N, 2) exponential means of signed and unsigned volume
    returns: Array  # (10,) of the mid
    flow: Array  # (5,)
    volume: Array  # (3,)

    @staticmethod
    def open(seats: int, capital: float, lots: int) -> "Accounts":
        """Return the accounts of an episode's start."""
        whole = np.zeros((4, seats), np.int64)
        whole[0] = lots
        return Accounts(
            np.full(seats, float(capital)), whole[0], whole[1], np.zeros(seats), np.zeros(seats), whole[2], whole[3],
            np.zeros((seats, 2)), np.zeros(10), np.zeros(5), np.zeros(3),
        )  # fmt: skip

    def settle(self, lots: Array, value: Array, fees: Array) -> None:
        """Book signed lots, their signed value and their fees."""
        self.cash[:] -= value
        self.lots[:] += lots
        self.fees[:] += fees
        self.bought[:], self.sold[:] = np.maximum(lots, 0), np.maximum(-lots, 0)
        self.bought_today[:] += self.bought
        self.memory[:] = _KEEP * self.memory + (1 - _KEEP) * np.stack([lots, np.abs(lots)], axis=1)

    def remember(self, log_return: float, flow: float, volume: float) -> None:
        """Close the step: push its return, its signed and its unsigned volume."""
        for history, newest in ((self.returns, log_return), (self.flow, flow), (self.volume, volume)):
            history[1:] = history[:-1].copy()
            history[0] = newest


def observe(session: Any) -> None:
    """Fill the tables of a `law_session.LawSession` from its market and accounts."""
    law, tables, accounts = session.parameters, session.tables, session.accounts
    unit, mid, lot = session.step_volume, session.mid, session.config.lot_size
    # A fundamental that never moves still needs a unit: a tenth of a tick, as in a book.
    sigma = max(law.volatility * session.config.start_price, 0.1 * session.config.tick_size) / mid
    lower, upper = session.band
    up, down = (min((upper - mid) / mid / sigma, NO_LIMIT), min((mid - lower) / mid / sigma, NO_LIMIT))
    if session.rules.upper_ticks is None:
        up = down = NO_LIMIT
    half, rules = session.half_spread, session.rules
    impact = law.volatility * session.config.start_price / mid / sigma  # of the law's sigma in the view's
    wealth = tables.wealth
    row = {
        "volatility": sigma, "relative_volume": 1.0, "position": accounts.lots / unit,
        "capital": wealth / (unit * lot * mid), "risk_aversion": session.seating.agents.risk_aversion,
        "temporary_impact": law.temporary * impact, "temporary_exponent": law.exponent,
        "permanent_impact": law.permanent * impact,
        "linear_cost": (half / mid + (rules.buy_fee + rules.sell_fee) / 2) / sigma,
        "steps_left": 1.0 - session.market.done / session.seating.num_steps,
        "cash": np.divide(accounts.cash - accounts.fees, wealth, out=np.zeros_like(wealth), where=wealth > 0),
        "profit": wealth / accounts.start_wealth - 1.0, "spread": 2 * half / mid / sigma,
        "upper_limit": up, "lower_limit": down,
    }  # fmt: skip
    row |= {f"return_{k + 1}": value / sigma for k, value in enumerate(accounts.returns)}
    row |= {f"flow_{k + 1}": value / unit for k, value in enumerate(accounts.flow)}
    row |= {f"volume_{k + 1}": value / unit for k, value in enumerate(accounts.volume)}
    for name, value in row.items():
        tables.state[:, STATE_INDEX[name]] = value
    _constraints(session, sigma, up, down)
    _opponents(session)


def _constraints(session: Any, sigma: float, up: float, down: float) -> None:
    rules, accounts, unit, mid = session.rules, session.accounts, session.step_volume, session.mid
    held, lot, half, (lower, upper) = accounts.lots, session.config.lot_size, session.half_spread, session.band
    reach = np.maximum(rules.max_leverage * session.tables.wealth / (mid * lot), 0.0)
    free = held - accounts.bought_today if rules.t_plus_one else held - rules.min_position
    row = {
        "max_participation": min(rules.max_order / unit, NO_LIMIT), "max_order": min(rules.max_order / unit, NO_LIMIT),
        "max_open": 0.0, "min_position": max(rules.min_position / unit, -NO_LIMIT),
        "max_position": min(rules.max_position / unit, NO_LIMIT),
        "sellable": np.clip(np.minimum(free, held + reach) / unit, 0.0, NO_LIMIT),
        "buyable": np.clip((np.minimum(rules.max_position, reach) - held) / unit, 0.0, NO_LIMIT),
        "upper_limit": up, "lower_limit": down, "lot": 1.0 / unit,
        "tick": session.config.tick_size / mid / sigma, "t_plus_one": float(rules.t_plus_one),
        "short_allowed": float(rules.min_position < 0), "buy_fee_bps": rules.buy_fee * 1e4,
        "sell_fee_bps": rules.sell_fee * 1e4, "max_leverage": rules.max_leverage,
        "price_limit": float(rules.upper_ticks is not None),
        "can_buy": float(mid < upper and mid + half <= upper), "can_sell": float(mid > lower and mid - half >= lower),
    }  # fmt: skip
    for name, value in row.items():
        session.tables.constraints[:, CONSTRAINT_INDEX[name]] = value


def _opponents(session: Any) -> None:
    """Fill the numbers of the others, pooled by kind: sums over the kind less one's own, per trader."""
    accounts, unit, pools = session.accounts, session.step_volume, session.pools
    own = {
        "count": np.ones(len(pools)), "buy_volume": accounts.bought / unit, "sell_volume": accounts.sold / unit,
        "flow": accounts.memory[:, 0] / unit, "activity": accounts.memory[:, 1] / unit,
    }  # fmt: skip
    for pool, kind in enumerate(KINDS):
        mine = pools == pool
        count = mine.sum() - mine
        for name, value in own.items():
            others = (value * mine).sum() - value * mine
            shown = others if name == "count" else np.where(count > 0, others / np.maximum(count, 1), 0.0)
            session.tables.opponents[:, OPPONENT_INDEX[f"{kind}_{name}"]] = shown
