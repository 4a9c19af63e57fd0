"""From the messages of a level-2 venue to `BookEvents` and `Depth`, and how far they explain each other.

Order ids are 0: level-2 venues do not tell which order. Times are the venue's; a message whose time lies before that
of the message it follows takes that one's time and is counted, because the order of updates is the venue's own.
"""

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.decimals import Scaled, count_steps, find_step, join_scaled
from difffinance.data.level2 import DELETE, EXECUTION, GAP, HALT, NEW, PARTIAL_CANCEL, SNAPSHOT, TRADE, Book
from difffinance.data.verification import Replay
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TIME, TRADES, depth_schema

_KINDS = {
    NEW: "new",
    PARTIAL_CANCEL: "partial_cancel",
    DELETE: "delete",
    EXECUTION: "execution",
    HALT: "halt",
}


@dataclass(frozen=True)
class Messages:
    """Messages in the order in which they apply; message m sets the levels `first[m]:first[m + 1]`."""

    kind: Array  # (M,) of level2
    owner: Array  # (M,) row in its stream
    ts: Array  # (M,) UTC nanoseconds
    first: Array  # (M + 1,)
    side: Array  # (n,) 1 bid, 0 ask
    price: Scaled  # (n,)
    quantity: Scaled  # (n,)


@dataclass(frozen=True)
class Levels:
    """Levels of the messages of one stream, sorted by `owner`, the message's row in its stream."""

    owner: Array  # (n,)
    side: Array  # (n,) 1 bid, 0 ask
    price: Scaled  # (n,)
    quantity: Scaled  # (n,)


def merge_trades(kind: Array, ts: Array, owner: Array, levels: dict[int, Levels], ts_trade: Array) -> Messages:
    """Return a stream's messages (`owner` is the row of `levels[kind]`) with the trades of `levels[TRADE]` among them.

    A trade goes before the first message of its time or later, for a message is the book after what it contains.
    """
    at = np.searchsorted(np.maximum.accumulate(ts) if len(ts) else ts, ts_trade, side="left")
    order = np.argsort(np.concatenate([2 * np.arange(len(ts)) + 1, 2 * at]), kind="stable")
    kind = np.concatenate([kind, np.full(len(ts_trade), TRADE)])[order]
    owner = np.concatenate([owner, np.arange(len(ts_trade))])[order]
    price, quantity = (join_scaled([getattr(each, n) for each in levels.values()]) for n in ("price", "quantity"))
    side = np.concatenate([each.side for each in levels.values()])
    starts, counts = np.zeros(len(kind), np.int64), np.zeros(len(kind), np.int64)
    base = 0
    for which, each in levels.items():
        own = kind == which
        starts[own] = base + np.searchsorted(each.owner, owner[own], side="left")
        counts[own] = base + np.searchsorted(each.owner, owner[own], side="right") - starts[own]
        base += len(each.owner)
    first = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(starts - first[:-1], counts) + np.arange(first[-1])
    numbers = (Scaled(scaled.values[rows], scaled.decimals) for scaled in (price, quantity))
    return Messages(kind, owner, np.concatenate([ts, ts_trade])[order], first, side[rows], *numbers)


@dataclass(frozen=True)
class Grid:
    """Tick and lot of a venue's instrument, exact."""

    tick: Decimal
    lot: Decimal

    @classmethod
    def find(cls, price: Scaled, quantity: Scaled, tick: Decimal | None, lot: Decimal | None, file: str) -> "Grid":
        """Return the given steps, after a check of every number, or the largest on which all numbers lie."""
        for numbers, step, what in ((price, tick, "price"), (quantity, lot, "quantity")):
            if step is not None:
                count_steps(numbers, step, what, file=file)
        return cls(tick or find_step(price), lot or find_step(quantity))

    def quantities(self, lots: Array) -> Array:
        """Return lots as units of the asset, the nearest float64 of each."""
        return _times(lots, self.lot)

    def prices(self, ticks: Array) -> Array:
        """Return ticks as prices in quote currency, the nearest float64 of each."""
        return _times(ticks, self.tick)


def _times(whole: Array, step: Decimal) -> Array:
    decimals = max(0, -int(step.as_tuple().exponent))
    return whole * int(step.scaleb(decimals)) / 10.0**decimals


@dataclass(frozen=True)
class Rebuilt:
    """A book day: its two tables, the best stated quotes after each message (ticks, lots), what was found out."""

    events: pl.DataFrame
    depth: pl.DataFrame
    best: Array  # (M, 4) ask price, ask size, bid price, bid size; 0 where unknown
    verification: dict[str, Any]
    repairs: dict[str, int]


def load_kernels() -> None:
    """Compile or load the kernels, so that rates measured afterwards are those of the work."""
    nothing = np.zeros(1, np.int64)
    events, depth, _ = Book(1).feed(np.array([SNAPSHOT]), np.array([0, 1]), nothing, nothing + 1, nothing + 1)
    exactness(np.repeat(events, 2, axis=0), np.repeat(depth, 2, axis=0))


def rebuild_book(messages: Messages, symbol: str, grid: Grid, *, levels: int, file: str) -> Rebuilt:
    """Replay messages into the tables of the best `levels` levels a side."""
    ticks = count_steps(messages.price, grid.tick, "price", file=file)
    lots = count_steps(messages.quantity, grid.lot, "quantity", file=file)
    book = Book(levels)
    start = time.perf_counter()
    events, depth, best = book.feed(messages.kind, messages.first, messages.side, ticks, lots)
    seconds = time.perf_counter() - start
    ts = np.maximum.accumulate(messages.ts)
    tables = book_tables(symbol, ts[events[:, 0]], events, depth, grid, file)
    counted = book.counted()
    one_step, resync = exactness(events, depth)
    verification = {
        "one_step_exact": one_step,
        "resync_exact": resync,
        "messages": len(messages.kind),
        "messages_per_second": len(messages.kind) / seconds if seconds else None,
        "updates": counted["updates"],
        "snapshots": int((messages.kind == SNAPSHOT).sum()),
        "gaps": int((messages.kind == GAP).sum()),
        "crossed_states": counted["crossed_states"],
        "prints": counted["prints"],
        "prints_inside_shown": counted["prints_inside_shown"],
        "inferred_events": counted["inferred_events"],
        "traded_then_gone": counted["confirmed"] / counted["traded"] if counted["traded"] else None,
    }
    late = int((messages.ts < ts)[messages.kind != TRADE].sum())
    return Rebuilt(*tables, best, verification, {"time raised to that of the message before": late})


def book_tables(
    symbol: str, ts: Array, events: Array, depth: Array, grid: Grid, file: str, order_id: Array | int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return checked `BookEvents` and `Depth` of event rows (message, kind, side, price, lots) and depth rows."""
    rows = len(events)
    keys = {
        "symbol": pl.repeat(symbol, rows, dtype=pl.String, eager=True),
        "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME),
        "seq": pl.int_range(rows, dtype=pl.Int64, eager=True),
    }
    names = np.array([_KINDS.get(k, "") for k in range(8)])
    table = pl.DataFrame(
        {
            **keys,
            "order_id": pl.Series(np.broadcast_to(order_id, rows).copy(), dtype=pl.Int64),
            "kind": names[events[:, 1]],
            "side": np.where(events[:, 1] == HALT, 0, 2 * events[:, 2] - 1).astype(np.int8),
            "price_ticks": events[:, 3].astype(float),
            "quantity": grid.quantities(events[:, 4]),
        }
    )
    columns: dict[str, Any] = dict(keys)
    levels = depth.shape[1] // 4
    for level in range(1, levels + 1):
        for side, offset in (("bid", 2), ("ask", 0)):
            at = 4 * (level - 1) + offset
            empty = pl.Series(depth[:, at + 1] == 0)
            price, quantity = pl.Series(depth[:, at]), pl.Series(grid.quantities(depth[:, at + 1]))
            columns[f"{side}_price_ticks_{level}"] = pl.select(pl.when(~empty).then(price)).to_series()
            columns[f"{side}_quantity_{level}"] = pl.select(pl.when(~empty).then(quantity)).to_series()
    return BOOK_EVENTS.check(table, file=file), depth_schema(levels).check(pl.DataFrame(columns), file=file)


def exactness(events: Array, depth: Array) -> tuple[float | None, float | None]:
    """Return the two fractions of CONTRACT section 2 over the rows after the first of each stretch without a gap."""
    starts = np.flatnonzero(events[:, 1] == HALT)
    kind, price, size, direction = events[:, 1], events[:, 3], events[:, 4], 2 * events[:, 2] - 1
    one_step = resync = compared = 0
    for low, high in zip(starts, [*starts[1:], len(events)], strict=True):
        stretch = Replay(depth.shape[1] // 4)
        rows = slice(low, high)
        stretch.feed(kind[rows], price[rows], size[rows], direction[rows], depth[rows])
        one_step, resync, compared = one_step + stretch.one_step, resync + stretch.resync, compared + high - low - 1
    if not compared:
        return None, None
    return (float(one_step / compared) if depth.shape[1] > 4 else None), float(resync / compared)


def compare_best(best: Array, after: Array, quote_ids: Array, quotes: Array, last_ids: Array) -> tuple[int, int]:
    """Return how many messages `after` could be held against a stream of best quotes, and how many agree.

    Message `after[k]` states the book at id `last_ids[k]`; row i of `quotes` (as `best`) holds from `quote_ids[i]` on.
    """
    at = np.searchsorted(quote_ids, last_ids, side="right") - 1
    known = (at >= 0) & best[after].any(axis=1)
    equal = (best[after][known] == quotes[at[known]]).all(axis=1)
    return int(known.sum()), int(equal.sum())


def trades_table(
    symbol: str, ts: Array, seq: Array, price: Scaled, quantity: Scaled, side: Array, file: str
) -> tuple[pl.DataFrame, int]:
    """Return checked `Trades` in the order given, and how many times were raised to that of the trade before."""
    raised = np.maximum.accumulate(ts)
    frame = pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(ts), dtype=pl.String, eager=True),
            "ts": pl.Series(raised, dtype=pl.Int64).cast(TIME),
            "seq": pl.Series(seq, dtype=pl.Int64),
            "price": price.as_floats(),
            "quantity": quantity.as_floats(),
            "side": pl.Series(side, dtype=pl.Int8),
        }
    )
    return TRADES.check(frame, file=file), int((raised > ts).sum())


def quotes_table(symbol: str, ts: Array, seq: Array, quotes: Array, grid: Grid, file: str) -> tuple[pl.DataFrame, int]:
    """Return checked `Quotes` from (n, 4) ask price, ask size, bid price, bid size, and how many times were raised."""
    raised = np.maximum.accumulate(ts)
    frame = pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(ts), dtype=pl.String, eager=True),
            "ts": pl.Series(raised, dtype=pl.Int64).cast(TIME),
            "seq": pl.Series(seq, dtype=pl.Int64),
            "bid": grid.prices(quotes[:, 2]),
            "bid_quantity": grid.quantities(quotes[:, 3]),
            "ask": grid.prices(quotes[:, 0]),
            "ask_quantity": grid.quantities(quotes[:, 1]),
        }
    )
    frame = frame.with_columns(quote_state().alias("state"))
    return QUOTES.check(frame, file=file), int((raised > ts).sum())


def quote_state() -> pl.Expr:
    """Tell bid against ask."""
    bid, ask = pl.col("bid"), pl.col("ask")
    return (
        pl.when(bid < ask).then(pl.lit("normal")).when(bid == ask).then(pl.lit("locked")).otherwise(pl.lit("crossed"))
    )
