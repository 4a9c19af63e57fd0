"""Price responses by type of event (Eisler, Bouchaud & Kockelkoren 2012), as LOB-Bench compares them."""

import numpy as np

from difffinance.calibration.visible_day import VisibleDay
from difffinance.records import Array

EVENT_TYPES = ("market_still", "market_moving", "limit_still", "limit_moving", "cancel_still", "cancel_moving")
LAGS = (1, 2, 5, 10, 20, 50, 100, 200)


def event_types(day: VisibleDay) -> tuple[Array, Array]:
    """Return the place in `EVENT_TYPES` of each message at the touch and its sign (+1 pushes up), -1 and 0 elsewhere.

    An execution or a cancellation of an offer and a new bid push up.
    """
    best = np.where(day.side > 0, day.prices[:, 0, 0], day.prices[:, 1, 0])
    before = np.concatenate([best[:1], np.where(day.side[1:] > 0, day.prices[:-1, 0, 0], day.prices[:-1, 1, 0])])
    moving = best != before
    at_touch = (day.price == before) | moving
    order = np.array([2, 4, 0])[day.kind]  # limit, cancel, execution
    kind = np.where(at_touch, order + moving, -1)
    sign = np.where(day.kind == 0, day.side, -day.side)
    return kind, np.where(at_touch, sign, 0)


def response_functions(day: VisibleDay, blocks: Array | None = None, lags: tuple[int, ...] = LAGS) -> Array:
    """Return mean signed moves of the mid, ticks, from before an event to `lag` events after it: (6, lags).

    NaN where a type does not occur; lags count messages and stay inside a block.
    """
    kind, sign = event_types(day)
    mid = np.concatenate([day.mid[:1], day.mid[:-1]])
    chosen = np.ones(len(kind), bool) if blocks is None else np.isin(day.blocks, blocks)
    table = np.full((len(EVENT_TYPES), len(lags)), np.nan)
    for j, lag in enumerate(lags):
        start = np.arange(len(kind) - lag)
        start = start[chosen[start] & (day.blocks[start] == day.blocks[start + lag])]
        move = sign[start] * (mid[start + lag] - mid[start])
        for k in range(len(EVENT_TYPES)):
            rows = kind[start] == k
            if rows.any():
                table[k, j] = move[rows].mean()
    return table


def response_distance(real: Array, generated: Array) -> float:
    """Return the mean absolute difference of responses over the mean absolute real one, over types both have."""
    both = np.isfinite(real) & np.isfinite(generated)
    return float(np.abs(real - generated)[both].mean() / np.abs(real)[both].mean())
