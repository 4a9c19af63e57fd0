"""What new orders take over from the message that set them off: a price near the old one, the old size."""

from dataclasses import dataclass

import numpy as np

from difffinance.calibration.flow_tables import QUANTILES, levels
from difffinance.calibration.order_lives import behind_touch
from difffinance.calibration.visible_day import ADD, LEAVE, VisibleDay
from difffinance.market.flow_state import NEAR
from difffinance.records import Array

_LIKELY = 0.5  # chance from which on a message counts as a child
_ITERATIONS = 50


@dataclass(frozen=True)
class Requotes:
    """The tables `stay`, `shift` and `join`; by message: is it a re-quote near the old price, is its size its own."""

    tables: dict[str, Array]
    near: Array  # (messages,)
    own_size: Array  # (messages,) chance that the size was drawn and not kept


def fit_requotes(day: VisibleDay, of_cancellation: Array, of_order: Array, inside: Array) -> Requotes:
    """Return what children on the side of their parent keep; nothing but the messages `inside` enters.

    `of_cancellation` and `of_order` are each message's chances of being a child of one; the parent is the last one.
    """
    new = inside & (day.kind == ADD)
    old, parent = _last(day, LEAVE), _last(day, ADD)
    again, follows = new & (of_cancellation > _LIKELY) & (old >= 0), new & (of_order > _LIKELY) & (parent >= 0)
    shift = day.side * (day.price - day.price[old])
    near = again & (np.abs(shift) <= NEAR)
    joined, join = _joins(shift[near], (shift + behind_touch(day))[near])
    kept, own = _kept_sizes(day.quantity, new, [(again, old), (follows, parent)])
    tables = {
        "stay": np.append(near.sum() / max(again.sum(), 1), kept),
        "shift": levels(np.sort(shift[near][~joined]), 2 * QUANTILES),
        "join": np.array([join]),
    }
    return Requotes(tables, near, own)


def _last(day: VisibleDay, kind: int) -> Array:
    """Return the row of the last message of that kind on the side of each message before it, -1: none in its block."""
    found = np.full(len(day.kind), -1)
    for side in (1, -1):
        rows = np.where((day.kind == kind) & (day.side == side), np.arange(len(found)), -1)
        before = np.append(-1, np.maximum.accumulate(rows)[:-1])
        found[day.side == side] = before[day.side == side]
    return np.where(day.blocks[found] == day.blocks, found, -1)


def _kept_sizes(quantity: Array, new: Array, families: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the chance that children of each family keep their parent's size, and by row that its size was drawn.

    A drawn size may be the old one by chance: EM, with one distribution of drawn sizes for all `new` rows. `families`
    are (rows that are children, parent of each row).
    """
    values, place = np.unique(quantity, return_inverse=True)
    alike = [children & (quantity == quantity[parents]) for children, parents in families]
    kept, own = np.full(len(families), 0.5), np.ones(len(quantity))
    for _ in range(_ITERATIONS):
        drawn = np.bincount(place[new], own[new], minlength=len(values)) / max(own[new].sum(), 1e-12)
        for k, same in enumerate(alike):
            by_chance = (1.0 - kept[k]) * drawn[place[same]]
            own[same] = by_chance / np.maximum(by_chance + kept[k], 1e-12)
            kept[k] = (1.0 - own[same]).sum() / max(families[k][0].sum(), 1)
    return kept, own


def _joins(shift: Array, away: Array) -> tuple[Array, float]:
    """Return which re-quotes go to a touch that is `away` ticks better than the old price, and the chance that they do.

    Only of those that could, and beyond the chance that another shift leads there.
    """
    able = (away > 0) & (away <= NEAR)
    others = shift[~able]
    by_chance = [np.mean(others == ticks) for ticks in away[able]] if len(others) else [0.0]
    return able & (shift == away), _beyond((shift == away)[able], float(np.mean(by_chance)) if able.any() else 0.0)


def _beyond(happened: Array, chance: float) -> float:
    """Return how often something happens that is not mere chance."""
    share = float(happened.mean()) if len(happened) else 0.0
    return float(np.clip((share - chance) / max(1.0 - chance, 1e-12), 0.0, 1.0))
