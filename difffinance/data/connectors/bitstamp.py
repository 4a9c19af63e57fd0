"""bitstamp: order-level events of a day (id, timestamp, exchange.timestamp, price, volume, action, direction).

The venue tells what became of every order - created, changed to a volume, deleted at a volume - and not who traded
with whom. The trades are inferred, as in the R package ob-analytics: a loss of volume that is no cancellation (a
change, or a deletion at volume 0) is a fill, and a bid's fill and an ask's fill of the same volume (to 2e-8, the venue
rounds), at prices that meet, within 5 seconds, are the two sides of one trade. A fill that has no such partner may be
several of the other side, one after the other. The order with the lower id was there first: it is the maker, and its
price is the trade's. An order takes within those 5 seconds of its arrival: what it loses later, even to an older order,
stands where it was told.

An order is shown in the book with what it did not take on arrival, after its last such trade; all trades of a taker
stand at the time of the first, for the venue matches an order at once and tells of it piece by piece. Orders that the
file does not create rest from its beginning with the volume that they are first seen with. Fills without a partner
are `partial_cancel` or `delete` and are counted. An order that would cross the book is not shown while the order that
it crosses is alive; a resting order of which the file says nothing more is taken out when it is crossed. Trades are
inferred as the messages come, about a minute behind them: memory grows with the orders that live, not with the file.

Prices are USD, volumes 1e-8 BTC, times those at which the messages came (ms); the venue's own have whole seconds.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, describe, digests, one_word
from difffinance.data.connectors.bitstamp_book import Planner, Shown
from difffinance.data.connectors.bitstamp_orders import NEVER, WINDOW_MS, Fill, Matcher, OrderReader, Resting
from difffinance.data.csv_blocks import CsvLayout, CsvTable, csv_pieces, utc_times
from difffinance.data.decimals import Scaled, StepFinder, count_steps
from difffinance.data.level2 import EXECUTION
from difffinance.data.level2_tables import Exactness, Grid, Tables, book_tables, load_kernels, trades_table
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch bitstamp orders.csv.xz [--symbol BTCUSD]"
SETTLED_MS = 5 * WINDOW_MS  # `Matcher` has settled what is so far behind, events are complete two windows further
LAYOUT = CsvLayout(
    ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction"),
    ("price",),
    ("id", "timestamp", "exchange.timestamp", "volume"),
    header=True,
)


@dataclass(frozen=True)
class File:
    """One file, read as often as needed."""

    path: Path
    limit: int

    def pieces(self) -> Iterator[tuple[int, CsvTable, Array]]:
        """Yield rows by blocks: how many came before, the rows, and their times in nanoseconds, which may not fall."""
        first, last = 0, 0
        for table in csv_pieces(self.path, LAYOUT, limit=self.limit):
            if table.frame.height:
                ts = _times(table, self.path.name, last)
                yield first, table, ts
                first, last = first + len(ts), int(ts[-1])


def fetch(request: Request) -> Fetched:
    """Return `BookEvents`, `Depth` and `Trades` of one file, which is read three times."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    symbol = check_symbol(request.options.get("symbol", "BTCUSD"))
    load_kernels()
    file = File(path, request.config.max_archive_bytes)
    prices, volumes = StepFinder(), StepFinder()
    for _, table, _ in file.pieces():
        prices.add(table.decimals["price"])
        volumes.add(Scaled(table.frame["volume"].to_numpy(), 8))
    grid = Grid.of(prices, volumes, request.config)
    request.progress("bitstamp", 1, 3)
    before, reader, matcher = list[Resting](), OrderReader(path.name), Matcher(grid.lot)
    for first, table, ts in file.pieces():
        told = _feed(reader, first, table, ts, grid, path.name)
        before += [order for order in told.begun if order.created < 0]
        _drain(matcher.feed(told.fills, int(ts[-1]) // 1_000_000))
    _drain(matcher.feed([], NEVER))
    request.progress("bitstamp", 2, 3)
    work = _Import(request, symbol, grid, path.name, before, {o.id: o.last for o in reader.living.values()})
    for first, table, ts in file.pieces():
        work.feed(first, table, ts)
    work.end()
    verification, repairs = work.verification(), work.reader.repairs
    levels = request.config.book_levels
    metadata = describe(
        digests([path]), currency="USD", tick_size=grid.tick, lot_size=grid.lot, repairs=repairs,
        verification=verification, date=work.tables.part, levels=levels, volume_base="Bitstamp, trades inferred",
    )  # fmt: skip
    tables = work.tables.finished((BOOK_EVENTS, depth_schema(levels), TRADES), metadata)
    request.progress("bitstamp", 3, 3)
    return Fetched(tuple(tables), repairs, verification, raw_files=(path,))


def _drain(settled: Iterator[Fill]) -> None:
    for _ in settled:
        pass


def _feed(reader: OrderReader, first: int, table: CsvTable, ts: Array, grid: Grid, file: str) -> Any:
    """Read a block into orders."""
    ticks = count_steps(table.decimals["price"], grid.tick, "price", file=file, rows=table.rows)
    volume = Scaled(table.frame["volume"].to_numpy(), 8)
    lots = count_steps(volume, grid.lot, "volume", file=file, rows=table.rows)
    columns = tuple(table.frame[name].to_list() for name in ("id", "action", "direction"))
    return reader.feed(first, table.rows, ts // 1_000_000, columns, ticks, lots)


class _Import:
    """One day on its way into the lake: `before` are the orders with which it begins, `last` those never deleted."""

    tables: Tables

    def __init__(
        self, request: Request, symbol: str, grid: Grid, file: str, before: list[Resting], last: dict[int, int]
    ) -> None:
        self.request, self.symbol, self.grid, self.file = request, symbol, grid, file
        self.reader, self.matcher, self.planner = OrderReader(file, last), Matcher(grid.lot), Planner()
        self.book, self.exact = Shown(request.config.book_levels), Exactness(request.config.book_levels)
        self.book.begin(before)
        self.seconds, self.messages, self.prints, self.rows = 0.0, 0, 0, 0
        self.fills, self.joined, self.told, self.explained = 0, 0, 0, 0
        self._first, self._ts = 0, np.zeros(0, np.int64)  # times of the rows that events may still come from

    def feed(self, first: int, table: CsvTable, ts: Array) -> None:
        """Take the next rows."""
        if not self.messages:
            day = np.datetime64(int(ts[0]), "ns").astype("datetime64[D]")
            self.tables = Tables(self.request, self.symbol, str(day))
        start = time.thread_time()
        self._ts, self.messages = np.concatenate([self._ts, ts]), self.messages + len(ts)
        told = _feed(self.reader, first, table, ts, self.grid, self.file)
        self.planner.add(told.begun, told.cancels)
        now = int(ts[-1]) // 1_000_000
        self.planner.settle(self._counted(self.matcher.feed(told.fills, now)))
        settled = now - SETTLED_MS
        reached = np.searchsorted(self._ts, (settled - 2 * WINDOW_MS) * 1_000_000)
        self._show(settled, self._first + int(reached), start)

    def end(self) -> None:
        """Show what is left."""
        start = time.thread_time()
        self.planner.settle(self._counted(self.matcher.feed([], NEVER)))
        self._show(NEVER, NEVER, start)

    def _counted(self, fills: Iterator[Fill]) -> Iterator[Fill]:
        for fill in fills:
            self.fills, self.told = self.fills + 1, self.told + fill.volume
            if fill.partners:
                self.joined, self.explained = self.joined + 1, self.explained + fill.volume
            yield fill

    def _show(self, settled: int, before: int, start: float) -> None:
        self.book.show(self.planner.ready(settled, before))
        rows, depth, ids = self.book.records()
        self.exact.feed(rows, depth)
        self.seconds += time.thread_time() - start
        if len(rows):
            self._write(rows, depth, ids)
        done = min(before - self._first, len(self._ts))
        self._first, self._ts = self._first + done, self._ts[done:]

    def _write(self, rows: Array, depth: Array, ids: Array) -> None:
        ts = self._ts[rows[:, 0] - self._first]
        frames = book_tables(self.symbol, ts, rows, depth, self.grid, self.file, order_id=ids, first_seq=self.rows)
        executed = np.flatnonzero(rows[:, 1] == EXECUTION)
        price = Scaled(rows[executed, 3] * int(self.grid.tick.scaleb(8)), 8)
        quantity = Scaled(rows[executed, 4] * int(self.grid.lot.scaleb(8)), 8)
        side = 1 - 2 * rows[executed, 2]  # the aggressor's
        trades = trades_table(
            self.symbol, ts[executed], self.rows + executed, price, quantity, side, self.file, rows[executed, 0] + 2
        )
        self.rows, self.prints = self.rows + len(rows), self.prints + len(executed)
        schemas = (BOOK_EVENTS, depth_schema(self.book.levels), TRADES)
        for schema, frame in zip(schemas, (*frames, trades), strict=True):
            self.tables.append(schema, frame)

    def verification(self) -> dict[str, Any]:
        """Return what was found out."""
        one_step, resync = self.exact.fractions()
        return {
            "one_step_exact": one_step,
            "resync_exact": resync,
            "messages": self.messages,
            "messages_per_second": self.messages / self.seconds if self.seconds else None,
            "crossed_states": self.book.crossed,
            "stale_orders_removed": self.book.removed,
            "prints": self.prints,
            "fills": self.fills,
            "fills_explained": self.joined,
            "explained": self.explained / self.told if self.told else None,
        }


def _times(table: CsvTable, file: str, last: int) -> Array:
    ts = utc_times(table.frame["timestamp"], table.rows, file).cast(pl.Int64).to_numpy()
    falls = np.flatnonzero(np.diff(ts, prepend=last) < 0)
    if len(falls):
        row = int(table.rows[falls[0]])
        raise DataError(f"timestamp falls ({len(falls)} rows). Allowed: the order of receipt.", file=file, row=row)
    for column, allowed in (("action", ["created", "changed", "deleted"]), ("direction", ["bid", "ask"])):
        bad = (~table.frame[column].is_in(allowed)).arg_true()
        if len(bad):
            at = int(bad[0])
            given = table.frame[column][at]
            raise DataError(f"{column} must be one of {allowed}; got {given!r}.", file=file, row=int(table.rows[at]))
    return ts
