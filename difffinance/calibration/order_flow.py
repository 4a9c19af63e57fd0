"""Signed flow from an order-book day: merged market orders, and their sums over seconds (SCIENCE 1).

A market order is all prints with the same nanosecond and the same sign. Its price change runs from the mid just
before its first print to the mid just after its last one. The sign is minus the side of the resting order, hidden
prints included.
"""

import numpy as np
import polars as pl

from difffinance.errors import InputError
from difffinance.records import Array, BookDay

FLOWS = ("visible", "all")
_KINDS = {"visible": ["execution"], "all": ["execution", "hidden_execution"]}


def market_orders(day: BookDay, *, flow: str = "visible") -> pl.DataFrame:
    """Return the day's market orders, sorted by time.

    Columns: `ts`, `first_row` and `last_row` (of the events), signed `quantity`, `prints`, `mid_before`,
    `price_change` in quote currency. Orders at a moment when a side of the book is empty, or before the first known
    state, have no mid and are left out.
    """
    mids = pl.Series("mid", mid_prices(day))
    prints = (
        day.events.lazy()
        .select("ts", "kind", "side", "quantity")
        .with_row_index("row")
        .filter(pl.col("kind").is_in(_kinds(flow)) & (pl.col("side") != 0))
        .with_columns(sign=-pl.col("side"))
    )
    orders = (
        prints.group_by("ts", "sign")
        .agg(
            first_row=pl.col("row").min().cast(pl.Int64),
            last_row=pl.col("row").max().cast(pl.Int64),
            size=pl.col("quantity").sum(),
            prints=pl.len(),
        )
        .sort("first_row")
        .collect()
    )
    orders = orders.filter(pl.col("first_row") > 0)
    before = mids.gather(orders["first_row"] - 1)
    after = mids.gather(orders["last_row"])
    return orders.select(
        "ts",
        "first_row",
        "last_row",
        "prints",
        quantity=pl.col("sign") * pl.col("size"),
        mid_before=before,
        price_change=(after - before).round(9),
    ).filter(pl.col("price_change").is_finite())


def aggregate_flow(day: BookDay, horizon_s: float, *, flow: str = "visible") -> pl.DataFrame:
    """Return signed volume and mid change over buckets of `horizon_s` seconds on the clock.

    Columns: `ts` (start of the bucket), signed `quantity`, `orders`, `price_change`. A bucket begins with the last
    state before it; the one in which the file begins has none and is left out. Buckets without trades are kept with
    quantity 0.
    """
    if not 0.001 <= horizon_s <= 86_400:
        raise InputError(f"horizon_s = {horizon_s} is not allowed. Allowed: 0.001 to 86400 seconds.")
    step = round(horizon_s * 1e9)
    times = day.events["ts"].cast(pl.Int64).to_numpy()
    mids = mid_prices(day)
    if len(times) == 0:
        raise InputError("the order-book day has no events.")
    edges = np.arange(times[0] // step + 1, times[-1] // step + 2) * step
    state = mids[np.searchsorted(times, edges, side="left") - 1]
    bucket = pl.col("ts").cast(pl.Int64) // step * step
    sums = (
        market_orders(day, flow=flow)
        .group_by(bucket.alias("start"))
        .agg(quantity=pl.col("quantity").sum(), orders=pl.len().cast(pl.Int64))
    )
    changes = pl.DataFrame({"start": edges[:-1], "price_change": np.round(np.diff(state), 9)})
    return (
        changes.join(sums, on="start", how="left", maintain_order="left")
        .filter(pl.col("price_change").is_finite())
        .select(
            ts=pl.col("start").cast(pl.Datetime("ns", "UTC")),
            quantity=pl.col("quantity").fill_null(0.0),
            orders=pl.col("orders").fill_null(0),
            price_change="price_change",
        )
    )


def mid_prices(day: BookDay) -> Array:
    """Return the mid after each event, quote currency; NaN where a side of the book is empty."""
    ticks = day.depth.select((pl.col("bid_price_ticks_1") + pl.col("ask_price_ticks_1")).cast(pl.Float64))
    return ticks.to_series().fill_null(np.nan).to_numpy() * (0.5 * day.instrument.tick_size)


def traded_volume(day: BookDay) -> float:
    """Return the units traded in the day, hidden executions and crosses included."""
    kinds = [*_KINDS["all"], "cross"]
    return float(day.events.filter(pl.col("kind").is_in(kinds))["quantity"].sum())


def _kinds(flow: str) -> list[str]:
    if flow not in _KINDS:
        raise InputError(f"flow '{flow}' is not known. Allowed: {', '.join(FLOWS)}.")
    return _KINDS[flow]
