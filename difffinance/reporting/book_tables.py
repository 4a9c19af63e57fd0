"""Tables for the pictures of an order-book day, computed from its events and depth."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from difffinance.records import BookDay

WINDOW = timedelta(minutes=15)
TIME_BINS = 240
PRICE_BINS = 110


def market_prints(day: BookDay) -> pl.DataFrame:
    """Return every execution, hidden ones included: ts, price, quantity, side (+1 buyer-initiated)."""
    tick = day.instrument.tick_size
    return day.events.filter(pl.col("kind").is_in(["execution", "hidden_execution"])).select(
        "ts", price=pl.col("price_ticks") * tick, quantity="quantity", side=-pl.col("side")
    )


def mid_path(day: BookDay, every: str = "10s") -> pl.DataFrame:
    """Return ts, price (mid) and spread_ticks, the last of each interval."""
    tick = day.instrument.tick_size
    bid, ask = pl.col("bid_price_ticks_1"), pl.col("ask_price_ticks_1")
    return (
        day.depth.drop_nulls(["bid_price_ticks_1", "ask_price_ticks_1"])
        .group_by_dynamic("ts", every=every)
        .agg(price=((bid + ask) / 2 * tick).last(), spread_ticks=(ask - bid).last())
    )


def busiest_window(day: BookDay) -> tuple[datetime, datetime]:
    """Return start and end of the quarter of an hour with the most trades."""
    counts = (
        market_prints(day).sort("ts").group_by_dynamic("ts", every=WINDOW).agg(trades=pl.len()).sort("trades", "ts")
    )
    start: datetime = counts["ts"][-1]
    return start, start + WINDOW


def book_heatmap(day: BookDay) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return resting quantity by time and price bin (ts, price, quantity), and the prints, of the busiest window."""
    start, end = busiest_window(day)
    tick = day.instrument.tick_size
    every = WINDOW / TIME_BINS
    snapshots = (
        day.depth.filter(pl.col("ts").is_between(start, end, closed="left"))
        .group_by_dynamic("ts", every=every)
        .agg(pl.exclude("symbol", "seq", "ts").last())
    )
    parts = [
        snapshots.select("ts", ticks=f"{side}_price_ticks_{level}", quantity=f"{side}_quantity_{level}")
        for side in ("bid", "ask")
        for level in range(1, day.levels + 1)
    ]
    levels = pl.concat(parts).drop_nulls()
    low, high = np.quantile(levels["ticks"].to_numpy(), [0.005, 0.995])
    width = max(1, int(np.ceil((high - low) / PRICE_BINS)))
    table = (
        levels.filter(pl.col("ticks").is_between(low - width, high + width))
        .with_columns(price=(((pl.col("ticks") // width) * width + (width - 1) / 2) * tick).round(6))
        .group_by("ts", "price")
        .agg(quantity=pl.col("quantity").sum().cast(pl.Float64))
        .sort("ts", "price")
    )
    return table, market_prints(day).filter(pl.col("ts").is_between(start, end, closed="left"))
