"""tardis: csv files of tardis.dev, told apart by their header, plain or packed.

    fetch tardis trades.csv.gz                                    Trades
    fetch tardis deribit_incremental_book_L2_BTC-PERPETUAL.csv    BookEvents and Depth (and Trades with a trades file)
    fetch tardis binance-futures_book_snapshot_25_BTCUSDT.csv     Depth of all its levels and Quotes
    fetch tardis quotes.csv.gz                                    Quotes

A trades file may be named after an incremental file of the same instrument: its trades then go into the book. Rows of
an incremental file that share a local time and are all of a snapshot, or all not, are one message; a snapshot begins
the book anew, levels before the first one are dropped and counted. Times are the venue's (`timestamp`, microseconds);
rows stay in the order in which they were received. The `side` of a trade is the aggressor's.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table
from difffinance.data.csv_blocks import CsvLayout, CsvTable, read_csv, utc_times
from difffinance.data.decimals import Scaled, count_steps, join_scaled
from difffinance.data.level2 import SNAPSHOT, TRADE, UPDATE
from difffinance.data.level2_tables import (
    Grid,
    Levels,
    load_kernels,
    merge_trades,
    quotes_table,
    rebuild_book,
    trades_table,
)
from difffinance.data.lines import line_blocks
from difffinance.data.store import check_symbol, sha256_of
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TIME, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch tardis PATH [TRADES_PATH] [--symbol S]"
_KEY = ("exchange", "symbol", "timestamp", "local_timestamp")
_WHOLE = ("timestamp", "local_timestamp")
LAYOUTS = {
    "trades": CsvLayout((*_KEY, "id", "side", "price", "amount"), ("price", "amount"), _WHOLE, header=True),
    "incremental_book_L2": CsvLayout(
        (*_KEY, "is_snapshot", "side", "price", "amount"), ("price", "amount"), _WHOLE, header=True
    ),
    "quotes": CsvLayout(
        (*_KEY, "ask_amount", "ask_price", "bid_price", "bid_amount"),
        ("ask_amount", "ask_price", "bid_price", "bid_amount"),
        _WHOLE,
        header=True,
        blank=("ask_amount", "ask_price", "bid_price", "bid_amount"),
    ),
}


@dataclass(frozen=True)
class File:
    """One csv in memory."""

    path: Path
    kind: str
    table: CsvTable
    levels: int = 0

    @property
    def ts(self) -> Array:
        """The venue's times, UTC nanoseconds."""
        times = utc_times(self.table.frame["timestamp"], self.table.rows, self.path.name)
        return times.cast(pl.Int64).to_numpy()

    def numbers(self, name: str) -> Scaled:
        """Return a column of decimals."""
        return self.table.decimals[name]


def fetch(request: Request) -> Fetched:
    """Return the tables of one file, or of an incremental book with its trades."""
    if not 1 <= len(request.what) <= 2:
        raise InputError(f"one file, or a book and its trades; got {len(request.what)} names. Use: {USAGE}.")
    paths = [Path(word) for word in request.what]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} is not a file. Use: {USAGE}.")
    load_kernels()
    start = time.perf_counter()
    files = [open_file(path, request.config.max_archive_bytes) for path in paths]
    request.progress("tardis", 1, 2)
    if len(files) == 2 and [f.kind for f in files] != ["incremental_book_L2", "trades"]:
        raise InputError(f"two files must be an incremental book and trades; got {', '.join(f.kind for f in files)}.")
    symbol = _symbol(files, request.options.get("symbol"))
    names = {name for file in files for name in file.table.decimals}
    sizes = [f.numbers(n) for f in files for n in sorted(names) if n in f.table.decimals and "amount" in n]
    prices = [f.numbers(n) for f in files for n in sorted(names) if n in f.table.decimals and "price" in n]
    config = request.config
    grid = Grid.find(join_scaled(prices), join_scaled(sizes), config.tick_size, config.lot_size, paths[0].name)
    made, repairs, verification = _MAKERS[files[0].kind](files, symbol, grid, request)
    rows = sum(len(file.table.rows) for file in files)
    verification = {
        "one_step_exact": None,
        "resync_exact": None,
        **verification,
        "messages": rows,
        "messages_per_second": rows / (time.perf_counter() - start),
    }
    date = next(str(frame["ts"][0].date()) for _, frame in made if frame.height)
    metadata = {
        "currency": "",
        "tick_size": float(grid.tick),
        "lot_size": float(grid.lot),
        "adjustment": "none",
        "date": date,
        "levels": files[0].levels or config.book_levels,
        "raw_sha256": {path.name: sha256_of(path) for path in paths},
        "repairs": {rule: count for rule, count in repairs.items() if count},
        "is_index": False,
        "synthetic": False,
        "verification": {k: v for k, v in verification.items() if not k.endswith("per_second")},
        "volume_base": str(files[0].table.frame["exchange"][0]),
    }
    tables = tuple(Table(schema, symbol, frame, metadata, date) for schema, frame in made if frame.height)
    request.progress("tardis", 2, 2)
    return Fetched(tables, repairs, verification, raw_files=tuple(paths))


def open_file(path: Path, limit: int) -> File:
    """Read a csv whose header names one of the kinds."""
    _, block = next(iter(line_blocks(path, limit=limit)), (1, b""))
    header = block[: block.find(b"\n")].decode("utf-8-sig", "replace").strip().split(",")
    for kind, layout in LAYOUTS.items():
        if tuple(header) == layout.names:
            return File(path, kind, read_csv(path, layout, limit=limit))
    levels = (len(header) - len(_KEY)) // 4
    snapshot = _snapshot_layout(levels)
    if levels >= 1 and tuple(header) == snapshot.names:
        return File(path, "book_snapshot", read_csv(path, snapshot, limit=limit), levels)
    raise DataError(
        f"begins with {','.join(header)[:120]!r}, the header of no kind that is read. Allowed: {', '.join(LAYOUTS)}, "
        "book_snapshot_N.",
        file=path.name,
        row=1,
    )


def _snapshot_layout(levels: int) -> CsvLayout:
    names = [f"{s}[{k}].{w}" for k in range(levels) for s in ("asks", "bids") for w in ("price", "amount")]
    return CsvLayout((*_KEY, *names), tuple(names), _WHOLE, header=True, blank=tuple(names))


def _symbol(files: list[File], given: str | None) -> str:
    for file in files:
        for name in ("exchange", "symbol"):
            column = file.table.frame[name]
            other = (column != files[0].table.frame[name][0]).arg_true()
            if len(other):
                row = int(other[0])
                raise DataError(
                    f"{name} is {column[row]!r} after {files[0].table.frame[name][0]!r}. Allowed: one instrument.",
                    file=file.path.name,
                    row=int(file.table.rows[row]),
                )
    return check_symbol(given or files[0].table.frame["symbol"][0])


Made = tuple[list[tuple[Any, pl.DataFrame]], dict[str, int], dict[str, Any]]


def _only(file: File, column: str, allowed: tuple[str, ...]) -> pl.Series:
    values = file.table.frame[column]
    bad = (~values.is_in(list(allowed))).arg_true()
    if len(bad):
        at = int(bad[0])
        raise DataError(
            f"{column} must be {' or '.join(allowed)}; got {values[at]!r}.",
            file=file.path.name,
            row=int(file.table.rows[at]),
        )
    return values


def _signs(file: File) -> Array:
    side = _only(file, "side", ("buy", "sell", "unknown"))
    return (side == "buy").cast(pl.Int64).to_numpy() - (side == "sell").cast(pl.Int64).to_numpy()


def _trades(files: list[File], symbol: str, grid: Grid, request: Request) -> Made:
    (file,) = files
    price, amount = file.numbers("price"), file.numbers("amount")
    seq = np.arange(len(file.ts))
    frame, raised = trades_table(symbol, file.ts, seq, price, amount, _signs(file), file.path.name)
    return [(TRADES, frame)], {"trade's time raised to that of the trade before": raised}, {}


def _quotes(files: list[File], symbol: str, grid: Grid, request: Request) -> Made:
    (file,) = files
    columns = ("ask_price", "ask_amount", "bid_price", "bid_amount")
    return _quotes_of([file.numbers(c) for c in columns], file, symbol, grid)


def _quotes_of(numbers: list[Scaled], file: File, symbol: str, grid: Grid) -> Made:
    """Return `Quotes` of ask price, ask size, bid price, bid size; rows with an empty side are dropped and counted."""
    steps = (grid.tick, grid.lot, grid.tick, grid.lot)
    columns = [count_steps(n, step, "quote", file=file.path.name) for n, step in zip(numbers, steps, strict=True)]
    quotes = np.column_stack(columns)
    whole = (quotes > 0).all(axis=1)
    seq = np.flatnonzero(whole)
    frame, raised = quotes_table(symbol, file.ts[whole], seq, quotes[whole], grid, file.path.name)
    repairs = {
        "quote with an empty side dropped": int((~whole).sum()),
        "quote's time raised to that of the quote before": raised,
    }
    return [(QUOTES, frame)], repairs, {}


def _snapshots(files: list[File], symbol: str, grid: Grid, request: Request) -> Made:
    """Return `Depth` and `Quotes`: a row is the whole book to its depth, and no events can be held against it."""
    (file,) = files
    ts = np.maximum.accumulate(file.ts)
    columns: dict[str, Any] = {
        "symbol": pl.repeat(symbol, len(ts), dtype=pl.String, eager=True),
        "ts": pl.Series(ts).cast(TIME),
        "seq": np.arange(len(ts)),
    }
    rows = file.table.rows
    for level in range(file.levels):
        for side, theirs in (("bid", "bids"), ("ask", "asks")):
            pair = [file.numbers(f"{theirs}[{level}].{what}") for what in ("price", "amount")]
            price = count_steps(pair[0], grid.tick, f"{theirs}[{level}].price", file=file.path.name, rows=rows)
            lots = count_steps(pair[1], grid.lot, f"{theirs}[{level}].amount", file=file.path.name, rows=rows)
            there = pl.Series((price > 0) | (lots > 0))
            for name, values in (("price_ticks", price), ("quantity", grid.quantities(lots))):
                kept = pl.select(pl.when(there).then(pl.Series(values))).to_series()
                columns[f"{side}_{name}_{level + 1}"] = kept
    depth = depth_schema(file.levels).check(pl.DataFrame(columns), file=file.path.name, first_row=2)
    names = ("asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount")
    quotes, repairs, _ = _quotes_of([file.numbers(n) for n in names], file, symbol, grid)
    return [(depth_schema(file.levels), depth), *quotes], repairs, {}


def _incremental(files: list[File], symbol: str, grid: Grid, request: Request) -> Made:
    book, trades = files[0], files[1] if len(files) == 2 else None
    side = (_only(book, "side", ("bid", "ask")) == "bid").cast(pl.Int64).to_numpy()
    snapshot = (_only(book, "is_snapshot", ("true", "false")) == "true").to_numpy()
    local = book.table.frame["local_timestamp"].to_numpy()
    falls = np.flatnonzero(np.diff(local) < 0)
    if len(falls):
        row = int(book.table.rows[falls[0] + 1])
        raise DataError("local_timestamp falls. Allowed: the order of receipt.", file=book.path.name, row=row)
    begins = np.concatenate([[True], (np.diff(local) != 0) | (snapshot[1:] != snapshot[:-1])])
    # A snapshot may be received in parts: only its first part begins the book anew.
    begins &= ~(snapshot & np.concatenate([[False], snapshot[:-1]]))
    owner = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    kind = np.where(snapshot[first], SNAPSHOT, UPDATE)
    levels = Levels(owner, side, book.numbers("price"), book.numbers("amount"))
    last = np.append(first[1:], len(owner)) - 1
    none = Scaled(np.zeros(0, np.int64), 0)
    hits, ts_trade = Levels(np.zeros(0, np.int64), np.zeros(0, np.int64), none, none), np.zeros(0, np.int64)
    made: list[tuple[Any, pl.DataFrame]] = []
    repairs: dict[str, int] = {}
    if trades is not None:
        (made, repairs, _), signs = _trades([trades], symbol, grid, request), _signs(trades)
        signed = np.flatnonzero(signs)
        numbers = [Scaled(trades.numbers(n).values[signed], trades.numbers(n).decimals) for n in ("price", "amount")]
        hits, ts_trade = Levels(np.arange(len(signed)), (1 - signs[signed]) // 2, *numbers), trades.ts[signed]
    sources = {UPDATE: levels, SNAPSHOT: levels, TRADE: hits}
    messages = merge_trades(kind, book.ts[last], np.arange(len(first)), sources, ts_trade)
    rebuilt = rebuild_book(messages, symbol, grid, levels=request.config.book_levels, file=book.path.name)
    known = int(np.argmax(kind == SNAPSHOT)) if (kind == SNAPSHOT).any() else len(kind)
    repairs = {**repairs, **rebuilt.repairs, "update before the first snapshot dropped": known}
    tables = [(BOOK_EVENTS, rebuilt.events), (depth_schema(request.config.book_levels), rebuilt.depth), *made]
    return tables, repairs, rebuilt.verification


_MAKERS = {"trades": _trades, "quotes": _quotes, "book_snapshot": _snapshots, "incremental_book_L2": _incremental}
