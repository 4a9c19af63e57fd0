"""Builds the 10 numbers of `market.observation.ACTION` within what the seat's constraints allow."""

import numpy as np

from difffinance.market.observation import ACTION, ACTION_INDEX, CONSTRAINT_INDEX, STATE_INDEX
from difffinance.records import Array, SeatView


def number(view: SeatView, name: str) -> float:
    """Return one number of a seat's state or constraints by its published name, state first."""
    if name in STATE_INDEX:
        return float(view.state[STATE_INDEX[name]])
    return float(view.constraints[CONSTRAINT_INDEX[name]])


def market_action(view: SeatView, participation: float, *, cancel: bool = True) -> Array:
    """Return an action that sends one market order, cut to what the rules allow, step volumes."""
    action = np.zeros(len(ACTION))
    largest = number(view, "max_participation")
    buy = min(largest, number(view, "buyable")) if number(view, "can_buy") else 0.0
    sell = min(largest, number(view, "sellable")) if number(view, "can_sell") else 0.0
    action[ACTION_INDEX["participation"]] = np.clip(participation, -sell, buy)
    action[ACTION_INDEX["cancel"]] = float(cancel)
    return action


def quote_action(view: SeatView, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Array:
    """Return an action that replaces all resting orders by up to two quotes a side: (offset in ticks, step volumes)."""
    action = np.zeros(len(ACTION))
    action[ACTION_INDEX["cancel"]] = 1.0
    # Cancelling comes first, so what rests now may be bought or sold again.
    room = {
        "bid": number(view, "buyable") + number(view, "open_buys"),
        "ask": number(view, "sellable") + number(view, "open_sells"),
    }
    for side, quotes in (("bid", bids), ("ask", asks)):
        left = min(room[side], number(view, "max_open"))
        for k, (offset, quantity) in enumerate(quotes[:2], start=1):
            quantity = min(quantity, left, number(view, "max_order"))
            if quantity > 0:
                action[ACTION_INDEX[f"{side}_offset_{k}"]] = offset
                action[ACTION_INDEX[f"{side}_quantity_{k}"]] = quantity
                left -= quantity
    return action
