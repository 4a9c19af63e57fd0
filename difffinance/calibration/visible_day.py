"""The visible messages of an order-book day as arrays: what flow models are fitted on and judged by.

Hidden executions change nothing in the book and are left out, on real and simulated days alike. Prices in ticks,
quantities in units, times in seconds.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from difffinance.errors import InputError
from difffinance.records import Array, BookDay

BLOCK_SECONDS = 300.0
ADD, LEAVE, TAKE = range(3)  # kinds of messages: new order, cancellation, execution
_ABOUT = ("side", "price_ticks", "quantity", "order_id")
_VISIBLE = ("new", "partial_cancel", "delete", "execution")


@dataclass(frozen=True)
class VisibleDay:
    """The visible messages of a day as arrays, one entry a message; books are the states after it."""

    seconds: Array  # since the opening of the day's first whole half hour on the clock
    kind: Array  # 0 limit, 1 cancel, 2 execution
    side: Array  # of the resting order
    price: Array
    quantity: Array
    order_id: Array
    prices: Array  # (n, 2, L) ticks, bid and ask; NaN where a level is empty
    depth: Array  # (n, 2, L)
    blocks: Array

    @property
    def mid(self) -> Array:
        """Mid after each message, ticks."""
        return 0.5 * (self.prices[:, 0, 0] + self.prices[:, 1, 0])

    @property
    def spread(self) -> Array:
        """Spread after each message, ticks."""
        return self.prices[:, 1, 0] - self.prices[:, 0, 0]


def visible_day(day: BookDay, *, opening_s: float | None = None) -> VisibleDay:
    """Return the visible messages of a day, those with both sides of the book present.

    `opening_s` is where blocks and seconds are counted from, seconds after midnight UTC; default: the last whole half
    hour before the first message.
    """
    events = day.events.with_row_index("row").filter(pl.col("kind").is_in(_VISIBLE))
    depth = day.depth[events["row"]]
    prices = np.stack([_levels(depth, f"{side}_price_ticks", day.levels) for side in ("bid", "ask")], axis=1)
    sizes = np.stack([_levels(depth, f"{side}_quantity", day.levels) for side in ("bid", "ask")], axis=1)
    whole = np.isfinite(prices[:, :, 0]).all(axis=1)
    if whole.sum() < 2:
        raise InputError("the day has no two visible messages with both sides of the book present.")
    since_midnight = events["ts"].cast(pl.Int64).to_numpy() % 86_400_000_000_000
    opening = since_midnight[0] // 1_800_000_000_000 * 1800 if opening_s is None else opening_s
    seconds = (since_midnight - round(opening * 1e9)) / 1e9
    kinds = events["kind"].to_numpy()
    kind = np.select([kinds == "new", kinds == "execution"], [0, 2], default=1)
    side, price, quantity, order = (events[c].to_numpy()[whole] for c in _ABOUT)
    return VisibleDay(
        seconds[whole], kind[whole], side, price, quantity, order, prices[whole], np.nan_to_num(sizes[whole]),
        (seconds[whole] // BLOCK_SECONDS).astype(np.int64),
    )  # fmt: skip


def _levels(depth: pl.DataFrame, name: str, levels: int) -> Array:
    columns = depth.select(pl.col(f"{name}_{i}").cast(pl.Float64).fill_null(np.nan) for i in range(1, levels + 1))
    return columns.to_numpy()
