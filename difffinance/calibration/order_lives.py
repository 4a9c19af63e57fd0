"""The life of every visible order of a day: where it was placed, when and why it ended, and who stood beside it."""

import heapq
from dataclasses import dataclass

import numpy as np

from difffinance.calibration.excitation import AGE_EDGES
from difffinance.calibration.visible_day import ADD, LEAVE, VisibleDay
from difffinance.market.flow_state import LIFE_SIZES
from difffinance.records import Array

LIFE_EDGES = np.array([6.0, 21.0])  # ticks behind the touch between the classes of orders behind it
PLACES = 3 + len(LIFE_EDGES)
_ABOUT_USUAL = (0.5, 1.5)  # of the usual size: smaller, about as large, larger


@dataclass(frozen=True)
class OrderLives:
    """Birth rows, classes, end of observation; by message: orders and ages.

    A class is a place (0 inside, 1 at the touch, then behind) and a size: `place * LIFE_SIZES + size`.
    """

    birth: Array  # (orders,) row of the new order
    end: Array  # (orders,) seconds: death, leaving the window of levels, or the end of the day
    life_class: Array  # (orders,)
    order_of: Array  # (messages,) which order a message is about, -1 where its birth was not seen
    beside: Array  # (messages,) visible orders of the side before the message


def behind_touch(day: VisibleDay) -> Array:
    """Return ticks behind the own touch before each message (below 0: inside the spread); 0 for the first message."""
    touch = np.where(day.side > 0, _before(day.prices[:, 0, 0]), _before(day.prices[:, 1, 0]))
    return np.asarray(day.side * (touch - day.price))


def spread_before(day: VisibleDay) -> Array:
    """Return the spread before each message, ticks."""
    return _before(day.spread)


def _before(values: Array) -> Array:
    return np.concatenate([values[:1], values[:-1]])


def life_sizes(quantity: Array) -> Array:
    """Return the edges between small, usual and large orders: the usual size is where half of the volume is reached."""
    ordered = np.sort(quantity)
    reached = np.cumsum(ordered)
    return np.array(_ABOUT_USUAL) * ordered[np.searchsorted(reached, 0.5 * reached[-1])]


def order_lives(day: VisibleDay, size_edges: Array) -> OrderLives:
    """Follow every order from its message; one that the window of levels loses is no longer observed."""
    behind = behind_touch(day)
    deepest = np.nanmax(
        np.where(np.isfinite(day.prices), np.array([-1.0, 1.0])[None, :, None] * day.prices, -np.inf), 2
    )
    open_orders: dict[int, int] = {}
    watch: tuple[list[tuple[float, int, int]], list[tuple[float, int, int]]] = ([], [])
    births: list[int] = []
    ends: list[float] = []
    of, beside = np.full(len(day.kind), -1), np.zeros(len(day.kind))
    count, left = [0, 0], {}
    for i, (kind, side, order, price, quantity, now) in enumerate(
        zip(
            *(x.tolist() for x in (day.kind, day.side, day.order_id, day.price, day.quantity, day.seconds)), strict=True
        )
    ):
        column = 0 if side > 0 else 1
        beside[i] = count[column]
        if kind == ADD:
            open_orders[order] = len(births)
            left[order] = quantity
            heapq.heappush(watch[column], (side * price, order, len(births)))
            of[i] = len(births)
            births.append(i)
            ends.append(np.inf)
            count[column] += 1
        elif order in open_orders:
            of[i] = open_orders[order]
            left[order] -= quantity
            if left[order] <= 0:
                ends[open_orders.pop(order)] = now
                count[column] -= 1
        for side_column in (0, 1):
            heap, edge = watch[side_column], -deepest[i, side_column]
            while heap and heap[0][0] < edge:
                _, gone, number = heapq.heappop(heap)
                if open_orders.get(gone) == number:
                    ends[open_orders.pop(gone)] = now
                    count[side_column] -= 1
    birth = np.array(births, int)
    where = behind[birth]
    place = np.where(where < 0, 0, np.where(where == 0, 1, 2 + np.searchsorted(LIFE_EDGES, where, side="right")))
    life_class = place * LIFE_SIZES + np.searchsorted(size_edges, day.quantity[birth], side="right")
    return OrderLives(birth, np.minimum(np.array(ends), day.seconds[-1]), life_class, of, beside)


def exposure_by_age(day: VisibleDay, lives: OrderLives, blocks: Array, block_seconds: float) -> Array:
    """Return order-seconds at risk of the orders born in the blocks, each to the end of its block.

    By place, size and age.
    """
    born = day.seconds[lives.birth]
    keep = np.isin(day.blocks[lives.birth], blocks)
    stop = np.minimum(lives.end, (day.blocks[lives.birth] + 1) * block_seconds)
    reach = np.maximum(stop - born, 0.0)[keep]
    classes = lives.life_class[keep]
    upper = np.append(AGE_EDGES[1:], np.inf)
    spent = np.clip(np.minimum(reach[:, None], upper) - AGE_EDGES, 0.0, None)
    table = np.zeros((PLACES * LIFE_SIZES, len(AGE_EDGES)))
    np.add.at(table, classes, spent)
    return table.reshape(PLACES, LIFE_SIZES, -1)


def ages(day: VisibleDay, lives: OrderLives) -> tuple[Array, Array]:
    """Return the age and the class of the order that each cancellation takes, where it was born in the same block."""
    age, kind = np.full(len(day.kind), np.nan), np.full(len(day.kind), -1)
    rows = np.flatnonzero((day.kind == LEAVE) & (lives.order_of >= 0))
    birth = lives.birth[lives.order_of[rows]]
    same = day.blocks[birth] == day.blocks[rows]
    rows, birth = rows[same], birth[same]
    age[rows], kind[rows] = day.seconds[rows] - day.seconds[birth], lives.life_class[lives.order_of[rows]]
    return age, kind
