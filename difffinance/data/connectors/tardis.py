"""tardis: csv files of tardis.dev, told apart by their header, plain or packed.

    fetch tardis trades.csv.gz                                    Trades
    fetch tardis deribit_incremental_book_L2_BTC-PERPETUAL.csv    BookEvents and Depth (and Trades with a trades file)
    fetch tardis binance-futures_book_snapshot_25_BTCUSDT.csv     Depth of all its levels and Quotes
    fetch tardis quotes.csv.gz                                    Quotes

A trades file may be named after an incremental file of the same instrument: its trades then go into the book. Rows of
an incremental file that share a local time and are all of a snapshot, or all not, are one message; a snapshot begins
the book anew, levels before the first one are dropped and counted. Times are the venue's (`timestamp`, microseconds);
rows stay in the order in which they were received (`local_timestamp`), and a file in another order is refused. Files
are read twice, block by block: memory does not grow with their length. The `side` of a trade is the aggressor's. Trades
that were sent again are dropped and counted, by their ids; trades without ids are all kept.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, describe, digests
from difffinance.data.connectors.tardis_files import File, Piece, Survey, TradesOnce, open_file
from difffinance.data.level2 import SNAPSHOT, UPDATE
from difffinance.data.level2_messages import Merger, Messages, Rising, nothing, of_levels, of_trades
from difffinance.data.level2_tables import (
    Grid,
    LevelWriter,
    Tables,
    load_kernels,
    quotes_table,
    trades_table,
)
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TIME, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch tardis PATH [TRADES_PATH] [--symbol S]"


def fetch(request: Request) -> Fetched:
    """Return the tables of one file, or of an incremental book with its trades."""
    if not 1 <= len(request.what) <= 2:
        raise InputError(f"one file, or a book and its trades; got {len(request.what)} names. Use: {USAGE}.")
    paths = [Path(word) for word in request.what]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} is not a file. Use: {USAGE}.")
    load_kernels()
    files = [open_file(path, request.config.max_archive_bytes) for path in paths]
    if len(files) == 2 and [f.kind for f in files] != ["incremental_book_L2", "trades"]:
        raise InputError(f"two files must be an incremental book and trades; got {', '.join(f.kind for f in files)}.")
    survey = Survey()
    for file in files:
        for piece in file.pieces():
            survey.add(piece)
    request.progress("tardis", 1, 2)
    symbol = check_symbol(request.options.get("symbol") or survey.named["symbol"])
    grid, levels = Grid.of(survey.prices, survey.sizes, request.config), files[0].levels or request.config.book_levels
    rows = _Rows(symbol, grid, levels, request)
    kind = files[0].kind
    work = _ByPiece(files[0], rows, _WRITERS[kind]) if kind in _WRITERS else _Incremental(files, rows)
    work.run()
    verification = {
        "one_step_exact": None,
        "resync_exact": None,
        "messages_per_second": None,
        **work.verification(),
        "messages": survey.rows,
    }
    repairs = work.repairs()
    metadata = describe(
        digests(paths), currency="", tick_size=grid.tick, lot_size=grid.lot, repairs=repairs,
        verification=verification, date=rows.tables.part, levels=levels, volume_base=survey.named["exchange"],
    )  # fmt: skip
    schemas = (BOOK_EVENTS, depth_schema(levels), TRADES, QUOTES)
    tables = tuple(rows.tables.finished(schemas, metadata))
    request.progress("tardis", 2, 2)
    return Fetched(tables, repairs, verification, raw_files=tuple(paths))


class _Rows:
    """Where the rows of one instrument's files go: its tables of a day, begun with the first time."""

    tables: Tables

    def __init__(self, symbol: str, grid: Grid, levels: int, request: Request) -> None:
        self.symbol, self.grid, self.levels, self.request = symbol, grid, levels, request
        self._trade_times, self._quote_times, self._depth_times = Rising(), Rising(), Rising()
        self._empty_quotes = self._rows = 0
        self._once = TradesOnce()

    def begin(self, ts: int) -> None:
        """Open the tables of the day of this time."""
        self.tables = Tables(self.request, self.symbol, str(np.datetime64(ts, "ns").astype("datetime64[D]")))

    def pieces(self, file: File) -> Iterator[Piece]:
        """Yield the rows of a file that count."""
        return self._once.pieces(file) if file.kind == "trades" else file.pieces()

    def repairs(self) -> dict[str, int]:
        """Return what was repaired."""
        return {
            "trade sent twice dropped": self._once.again,
            "quote with an empty side dropped": self._empty_quotes,
            "quote's time raised to that of the quote before": self._quote_times.raised,
            "trade's time raised to that of the trade before": self._trade_times.raised,
        }

    def write_trades(self, piece: Piece) -> Messages:
        """Write `Trades`; return those whose side is known as messages of the book."""
        numbers, signs = piece.table.decimals, piece.signs()
        ticks, lots = piece.steps("price", self.grid.tick), piece.steps("amount", self.grid.lot)
        ts, seq = self._trade_times(piece.ts), self._seq(len(signs))
        frame = trades_table(
            self.symbol, ts, seq, numbers["price"], numbers["amount"], signs, piece.file,
            piece.table.rows,
        )  # fmt: skip
        self.tables.append(TRADES, frame)
        signed = np.flatnonzero(signs)
        return of_trades(piece.ts[signed], (1 - signs[signed]) // 2, ticks[signed], lots[signed])

    def write_quotes(self, piece: Piece) -> None:
        """Write `Quotes`."""
        self._write_quotes(piece, ("ask_price", "ask_amount", "bid_price", "bid_amount"))

    def _write_quotes(self, piece: Piece, names: tuple[str, str, str, str]) -> None:
        """Write ask price and size, bid price and size; rows with an empty side are dropped and counted."""
        steps = (self.grid.tick, self.grid.lot, self.grid.tick, self.grid.lot)
        quotes = np.column_stack([piece.steps(n, step) for n, step in zip(names, steps, strict=True)])
        whole = (quotes > 0).all(axis=1)
        self._empty_quotes += int((~whole).sum())
        seq, ts = self._seq(len(quotes))[whole], self._quote_times(piece.ts[whole])
        rows = piece.table.rows[whole]
        self.tables.append(QUOTES, quotes_table(self.symbol, ts, seq, quotes[whole], self.grid, piece.file, rows))

    def write_snapshots(self, piece: Piece) -> None:
        """Write `Depth` and `Quotes`: a row is the whole book to its depth, and no events can be held against it."""
        count, first = len(piece.table.rows), self._rows
        columns: dict[str, Any] = {
            "symbol": pl.repeat(self.symbol, count, dtype=pl.String, eager=True),
            "ts": pl.Series(self._depth_times(piece.ts)).cast(TIME),
            "seq": np.arange(first, first + count),
        }
        for level in range(self.levels):
            for side, theirs in (("bid", "bids"), ("ask", "asks")):
                price = piece.steps(f"{theirs}[{level}].price", self.grid.tick)
                lots = piece.steps(f"{theirs}[{level}].amount", self.grid.lot)
                there = pl.Series((price > 0) | (lots > 0))
                for name, values in (("price_ticks", price), ("quantity", self.grid.quantities(lots))):
                    kept = pl.select(pl.when(there).then(pl.Series(values))).to_series()
                    columns[f"{side}_{name}_{level + 1}"] = kept
        schema = depth_schema(self.levels)
        frame = schema.check(pl.DataFrame(columns), file=piece.file, first_row=int(piece.table.rows[0]))
        self.tables.append(schema, frame)
        self._write_quotes(piece, ("asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount"))

    def _seq(self, count: int) -> Array:
        self._rows += count
        return np.arange(self._rows - count, self._rows)


class _ByPiece:
    """A file whose rows go into the lake as they are read."""

    def __init__(self, file: File, rows: _Rows, write: Callable[[_Rows, Piece], Any]) -> None:
        self.file, self.rows, self.write = file, rows, write

    def run(self) -> None:
        """Read the file once more and write its rows."""
        for number, piece in enumerate(self.rows.pieces(self.file)):
            if number == 0:
                self.rows.begin(int(piece.ts[0]))
            self.write(self.rows, piece)

    def verification(self) -> dict[str, Any]:
        """Return nothing: there is nothing to hold the rows against."""
        return {}

    def repairs(self) -> dict[str, int]:
        """Return what was repaired."""
        return self.rows.repairs()


class _Incremental:
    """A book of levels, `BookEvents` and `Depth`, and the `Trades` of a second file where there is one."""

    def __init__(self, files: list[File], rows: _Rows) -> None:
        self.files, self.rows, self.grid = files, rows, rows.grid

    def run(self) -> None:
        """Merge the book with its trades, which are read as far as the book has come."""
        self.grouping, self.known, self.merger = _Grouping(self.grid), 0, Merger()
        self._day()
        self.writer = LevelWriter(self.rows.tables, self.grid, self.files[0].path.name)
        trades = self._trades()
        reached = traded = int(np.iinfo(np.int64).min)
        for messages in self._book():
            reached = max(reached, int(messages.ts.max(initial=reached)))
            self.merger.add(messages, nothing())
            while traded <= reached and (hits := next(trades, None)) is not None:
                traded = max(traded, int(hits.ts.max(initial=traded)))
                self.merger.add(nothing(), hits)
            self._replay(self.merger.ready())
        for hits in trades:
            self.merger.add(nothing(), hits)
        self._replay(self.merger.rest())

    def _day(self) -> None:
        """Begin on the day of the first snapshot; of the first trade, or row, where there is none."""
        last = int(np.iinfo(np.int64).min)
        for messages in _Grouping(self.grid).read(self.files[0]):
            at = np.flatnonzero(messages.kind == SNAPSHOT)
            last = max(last, int(messages.ts[: at[0] + 1 if len(at) else None].max(initial=last)))
            if len(at):
                self.rows.begin(last)
                return
        self.rows.begin(int(next(iter(self.files[-1].pieces())).ts[0]))

    def _book(self) -> Iterator[Messages]:
        found = False
        for messages in self.grouping.read(self.files[0]):
            snapshots = np.flatnonzero(messages.kind == SNAPSHOT)
            if not found:
                self.known += int(snapshots[0]) if len(snapshots) else len(messages)
                found = len(snapshots) > 0
            yield messages

    def _trades(self) -> Iterator[Messages]:
        for piece in self.rows.pieces(self.files[1]) if len(self.files) == 2 else ():
            yield self.rows.write_trades(piece)

    def _replay(self, messages: Messages) -> None:
        if len(messages):
            self.writer.feed(messages)

    def verification(self) -> dict[str, Any]:
        """Return how far book and trades explain each other."""
        return self.writer.verification()

    def repairs(self) -> dict[str, int]:
        """Return what was repaired."""
        return self.rows.repairs() | self.writer.repairs() | {"update before the first snapshot dropped": self.known}


class _Grouping:
    """Rows of an incremental file as messages; the last one of a piece may go on in the next."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self._held = grid, np.zeros((0, 6), np.int64)

    def read(self, file: File) -> Iterator[Messages]:
        """Yield the file's messages."""
        for piece in file.pieces():
            yield self._messages(self._rows(piece), last=False)
        yield self._messages(self._held[:0], last=True)

    def _rows(self, piece: Piece) -> Array:
        """Return local time, snapshot or not, time, side, ticks and lots."""
        side = (piece.only("side", ("bid", "ask")) == "bid").cast(pl.Int64).to_numpy()
        snapshot = (piece.only("is_snapshot", ("true", "false")) == "true").cast(pl.Int64).to_numpy()
        local = piece.table.frame["local_timestamp"].to_numpy()
        ticks, lots = self._levels(piece)
        return np.column_stack([local, snapshot, piece.ts, side, ticks, lots])

    def _levels(self, piece: Piece) -> tuple[Array, Array]:
        ticks, lots = piece.steps("price", self.grid.tick), piece.steps("amount", self.grid.lot)
        if not ticks.all():
            row = int(piece.table.rows[np.argmin(ticks)])
            raise DataError("price must be above 0 (a level goes with an amount of 0).", file=piece.file, row=row)
        return ticks, lots

    def _messages(self, rows: Array, *, last: bool) -> Messages:
        rows = np.concatenate([self._held, rows])
        if not len(rows):
            return nothing()
        local, snapshot = rows[:, 0], rows[:, 1] > 0
        begins = np.concatenate([[True], (np.diff(local) != 0) | (snapshot[1:] != snapshot[:-1])])
        # A snapshot may be received in parts: only its first part begins the book anew.
        begins &= ~(snapshot & np.concatenate([[False], snapshot[:-1]]))
        first = np.flatnonzero(begins)
        end = len(rows) if last else int(first[-1])
        self._held, rows = rows[end:], rows[:end]
        first = first if last else first[:-1]
        owner = np.cumsum(begins[:end]) - 1
        ends = np.append(first[1:], end)[: len(first)] - 1
        kind = np.where(rows[first, 1] > 0, SNAPSHOT, UPDATE)
        return of_levels(kind, np.zeros(len(first), np.int64), rows[ends, 2], owner, *rows[:, 3:].T)


_WRITERS = {"trades": _Rows.write_trades, "quotes": _Rows.write_quotes, "book_snapshot": _Rows.write_snapshots}
