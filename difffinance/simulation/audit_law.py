"""An independent check of an episode in `law` mode: accounts and rules worked out again from its fills."""

from collections import Counter
from decimal import Decimal

import numpy as np

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.market.rules import price_band, session_rules
from difffinance.records import Array
from difffinance.simulation.episode import Episode

_MONEY = 1e-9  # relative, of sums in floating point


def find_law_violations(episode: Episode, market: MarketConfig, agents: AgentsConfig) -> Counter[str]:
    """Return in how many steps of seats each rule was broken; an empty counter when none was."""
    rules, lot = session_rules(market), market.lot_size
    filled, price = episode.bought - episode.sold, np.nan_to_num(episode.fill_price)
    value, held = filled * price, episode.inventory
    rate = np.where(filled > 0, rules.buy_fee, rules.sell_fee)
    grows = np.abs(held[1:]) > np.abs(held[:-1])
    outside = (held[1:] > rules.max_position * lot) | (held[1:] < rules.min_position * lot)
    bought_before = np.cumsum(episode.bought, axis=0) - episode.bought
    money = np.abs(held[1:]) * episode.mid[:-1, None]
    found = {
        "inventory is the sum of fills": ~np.isclose(held[1:], held[:-1] + filled, rtol=0, atol=1e-9 * lot),
        "cash is what was paid": ~_equal(np.diff(episode.cash, axis=0), -value - rate * np.abs(value), agents.capital),
        "wealth is cash and inventory": ~_equal(
            episode.wealth, episode.cash + held * episode.mid[:, None], agents.capital
        ),
        "start is as configured": ~_equal(held[0], agents.inventory, 0.0)
        | ~_equal(episode.cash[0], agents.capital, 0.0),
        "one price for all": _off_price(filled, episode.fill_price, episode.spread),
        "max_order": np.abs(filled) > rules.max_order * lot * (1 + 1e-9),
        "position_limit": outside & (np.abs(held[1:]) >= np.abs(held[:-1])) & (filled != 0),
        "not_sellable": (episode.sold > held[:-1] - bought_before + 1e-9) & (episode.sold > 0) & rules.t_plus_one,
        "leverage": grows & (money > rules.max_leverage * np.maximum(episode.wealth[:-1], 0.0) * (1 + 1e-9)),
    }
    if market.price_limit is not None:
        tick, close = Decimal(str(market.tick_size)), Decimal(str(market.start_price))
        lower, upper = (float(limit) for limit in price_band(close, Decimal(str(market.price_limit)), tick))
        found["price_limit"] = (episode.mid < lower - 1e-9) | (episode.mid > upper + 1e-9)
    return Counter({rule: int(broken.sum()) for rule, broken in found.items() if broken.any()})


def _equal(one: Array, other: Array | float, scale: float) -> Array:
    return np.abs(one - other) <= _MONEY * np.maximum(np.abs(other), scale)


def _off_price(filled: Array, price: Array, spread: Array) -> Array:
    """Return in which steps not all trade at one price, half a spread dearer for buys and cheaper for sells."""
    middle = price - np.sign(filled) * spread[:-1, None] / 2
    dearest = np.where(filled != 0, middle, -np.inf).max(axis=1)
    cheapest = np.where(filled != 0, middle, np.inf).min(axis=1)
    return dearest > cheapest * (1 + _MONEY)
