"""From messages of a level-2 venue to `BookEvents` and `Depth`, piece by piece, and how far they explain each other.

Order ids are 0: level-2 venues do not tell which order. Times are the venue's; a message whose time lies before that
of the message it follows takes that one's time and is counted, because the order of updates is the venue's own.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from difffinance.config import DataConfig
from difffinance.data.connectors.base import Request, Table
from difffinance.data.decimals import Scaled, StepFinder, count_steps, find_step
from difffinance.data.level2 import DELETE, EXECUTION, GAP, HALT, NEW, PARTIAL_CANCEL, SNAPSHOT, TRADE, Book
from difffinance.data.level2_messages import Messages, Rising
from difffinance.data.spool import Spool
from difffinance.data.verification import Replay
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTE_STATE, QUOTES, TIME, TRADES, Schema, depth_schema

_KINDS = {
    NEW: "new",
    PARTIAL_CANCEL: "partial_cancel",
    DELETE: "delete",
    EXECUTION: "execution",
    HALT: "halt",
}


@dataclass(frozen=True)
class Grid:
    """Tick and lot of a venue's instrument, exact."""

    tick: Decimal
    lot: Decimal

    @classmethod
    def of(cls, prices: StepFinder, sizes: StepFinder, config: DataConfig) -> "Grid":
        """Return the configured steps, or the ones found."""
        return cls(config.tick_size or prices.step(), config.lot_size or sizes.step())

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


def load_kernels() -> None:
    """Compile or load the kernels, so that rates measured afterwards are those of the work."""
    nothing = np.zeros(1, np.int64)
    events, depth, _ = Book(1).feed(np.array([SNAPSHOT]), np.array([0, 1]), nothing, nothing + 1, nothing + 1)
    exactness(np.repeat(events, 2, axis=0), np.repeat(depth, 2, axis=0))


class Tables:
    """The tables of one symbol's day, each begun with its first row."""

    def __init__(self, request: Request, symbol: str, part: str) -> None:
        self.request, self.symbol, self.part = request, symbol, part
        self._spools: dict[str, Spool] = {}

    def append(self, schema: Schema, frame: pl.DataFrame) -> None:
        """Write the next rows of a table."""
        if frame.height and schema.name not in self._spools:
            self._spools[schema.name] = self.request.spool(schema, self.symbol, self.part)
        if frame.height:
            self._spools[schema.name].append(frame)

    def finished(self, schemas: Sequence[Schema], metadata: Mapping[str, Any]) -> list[Table]:
        """Return the tables that have rows, in this order."""
        begun = [self._spools[schema.name] for schema in schemas if schema.name in self._spools]
        return [Table(spool.schema, self.symbol, spool, metadata, self.part) for spool in begun]


class LevelWriter:
    """Replays messages into `BookEvents` and `Depth`, piece by piece, and verifies them."""

    def __init__(self, tables: Tables, grid: Grid, file: str) -> None:
        self.tables, self.grid, self.file = tables, grid, file
        self.levels = tables.request.config.book_levels
        self.late = self.seconds = 0.0
        self._book, self._exact, self._rising = Book(self.levels), Exactness(self.levels), Rising()
        self._rows = 0
        self._kinds = np.zeros(4, np.int64)

    def feed(self, messages: Messages) -> tuple[Array, Array]:
        """Write what messages do; return their times, raised, and the best stated quotes after each (ticks, lots)."""
        start = time.thread_time()
        events, depth, best = self._book.feed(
            messages.kind, messages.first, messages.side, messages.ticks, messages.lots
        )
        self._exact.feed(events, depth)
        self.seconds += time.thread_time() - start
        ts = self._rising(messages.ts)
        self.late += int((messages.ts < ts)[messages.kind != TRADE].sum())
        self._kinds += np.bincount(messages.kind, minlength=4)
        frames = book_tables(
            self.tables.symbol, ts[events[:, 0]], events, depth, self.grid, self.file, first_seq=self._rows
        )
        self._rows += len(events)
        for schema, frame in zip((BOOK_EVENTS, depth_schema(self.levels)), frames, strict=True):
            self.tables.append(schema, frame)
        return ts, best

    @property
    def messages(self) -> int:
        """Messages replayed so far."""
        return int(self._kinds.sum())

    def verification(self) -> dict[str, Any]:
        """Return what was found out so far."""
        counted, messages = self._book.counted(), self.messages
        one_step, resync = self._exact.fractions()
        return {
            "one_step_exact": one_step,
            "resync_exact": resync,
            "messages": messages,
            "messages_per_second": messages / self.seconds if self.seconds else None,
            "updates": counted["updates"],
            "snapshots": int(self._kinds[SNAPSHOT]),
            "gaps": int(self._kinds[GAP]),
            "crossed_states": counted["crossed_states"],
            "prints": counted["prints"],
            "prints_inside_shown": counted["prints_inside_shown"],
            "inferred_events": counted["inferred_events"],
            "traded_then_gone": counted["confirmed"] / counted["traded"] if counted["traded"] else None,
        }

    def repairs(self) -> dict[str, int]:
        """Return what was repaired so far."""
        return {"time raised to that of the message before": int(self.late)}


def book_tables(
    symbol: str,
    ts: Array,
    events: Array,
    depth: Array,
    grid: Grid,
    file: str,
    *,
    order_id: Array | int = 0,
    first_seq: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return checked `BookEvents` and `Depth` of event rows (message, kind, side, price, lots) and depth rows."""
    rows = len(events)
    keys = {
        "symbol": pl.repeat(symbol, rows, dtype=pl.String, eager=True),
        "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME),
        "seq": pl.int_range(first_seq, first_seq + rows, dtype=pl.Int64, eager=True),
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


class Exactness:
    """The two fractions of CONTRACT section 2 over the rows after the first of each stretch without a gap."""

    def __init__(self, levels: int) -> None:
        self.levels, self._stretch = levels, Replay(levels)
        self._one_step = self._resync = self._compared = 0

    def feed(self, events: Array, depth: Array) -> None:
        """Replay the next rows; a halt begins a stretch."""
        kind, price, size, direction = events[:, 1], events[:, 3], events[:, 4], 2 * events[:, 2] - 1
        bounds = [0, *np.flatnonzero(kind == HALT).tolist(), len(events)]
        for k, (low, high) in enumerate(pairwise(bounds)):
            if k:
                self._end_stretch()
            rows = slice(low, high)
            self._stretch.feed(kind[rows], price[rows], size[rows], direction[rows], depth[rows])

    def _end_stretch(self) -> None:
        ended, self._stretch = self._stretch, Replay(self.levels)
        self._one_step, self._resync = self._one_step + ended.one_step, self._resync + ended.resync
        self._compared += max(ended.rows - 1, 0)

    def fractions(self) -> tuple[float | None, float | None]:
        """Return one-step and resync; None where there was nothing to compare."""
        self._end_stretch()
        if not self._compared:
            return None, None
        return self._one_step / self._compared if self.levels > 1 else None, self._resync / self._compared


def exactness(events: Array, depth: Array) -> tuple[float | None, float | None]:
    """Return the two fractions of a whole day."""
    exact = Exactness(depth.shape[1] // 4)
    exact.feed(events, depth)
    return exact.fractions()


class BestQuotes:
    """Holds what the book states against a stream of best quotes, by the venue's update ids, piece by piece.

    A quote holds from its id on; a message that states the book at an id waits until a quote of a later id is there.
    """

    _MOST = 1 << 20  # quotes kept while no message of the book comes

    def __init__(self, total: int) -> None:
        self._left, self._compared, self._agreed = total, 0, 0
        none = np.zeros(0, np.int64)
        self._quotes, self._held = (none, np.zeros((0, 4), np.int64)), (none, np.zeros((0, 4), np.int64))

    def add(self, ids: Array, quotes: Array) -> None:
        """Take the next quotes (n, 4), as `Book.feed` has the best."""
        self._left -= len(ids)
        both = np.concatenate([self._quotes[0], ids]), np.concatenate([self._quotes[1], quotes])
        self._quotes = both[0][-self._MOST :], both[1][-self._MOST :]

    def hold(self, ids: Array, best: Array) -> None:
        """Take what the book states after the next updates, and compare what can be."""
        ids, best = np.concatenate([self._held[0], ids]), np.concatenate([self._held[1], best])
        quote_ids, quotes = self._quotes
        ready = len(ids)
        if self._left:
            ready = int(np.searchsorted(ids, quote_ids[-1], side="left")) if len(quote_ids) else 0
        at = np.searchsorted(quote_ids, ids[:ready], side="right") - 1
        known = (at >= 0) & best[:ready].any(axis=1)
        self._compared += int(known.sum())
        self._agreed += int((best[:ready][known] == quotes[at[known]]).all(axis=1).sum())
        self._held = ids[ready:], best[ready:]
        if ready:
            self._quotes = quote_ids[max(at[-1], 0) :], quotes[max(at[-1], 0) :]

    def counted(self) -> tuple[int, int]:
        """Return how many messages could be compared, and how many agree."""
        return self._compared, self._agreed


def trades_table(
    symbol: str, ts: Array, seq: Array, price: Scaled, quantity: Scaled, side: Array, file: str, rows: Array
) -> pl.DataFrame:
    """Return checked `Trades` in the order given; `rows` are theirs in the file."""
    frame = pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(ts), dtype=pl.String, eager=True),
            "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME),
            "seq": pl.Series(seq, dtype=pl.Int64),
            "price": price.as_floats(),
            "quantity": quantity.as_floats(),
            "side": pl.Series(side, dtype=pl.Int8),
        }
    )
    return TRADES.check(frame, file=file, rows=rows)


def quotes_table(symbol: str, ts: Array, seq: Array, quotes: Array, grid: Grid, file: str, rows: Array) -> pl.DataFrame:
    """Return checked `Quotes` from (n, 4) ask price, ask size, bid price, bid size; `rows` are theirs in the file."""
    frame = pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(ts), dtype=pl.String, eager=True),
            "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME),
            "seq": pl.Series(seq, dtype=pl.Int64),
            "bid": grid.prices(quotes[:, 2]),
            "bid_quantity": grid.quantities(quotes[:, 3]),
            "ask": grid.prices(quotes[:, 0]),
            "ask_quantity": grid.quantities(quotes[:, 1]),
        }
    )
    return QUOTES.check(frame.with_columns(QUOTE_STATE), file=file, rows=rows)
