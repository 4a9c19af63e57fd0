"""lobster: one day of NASDAQ order-book data in LOBSTER's format, verified message by message.

Accepted: the official zip, a message csv whose order-book csv lies beside it (plain, gz or zst), a folder with one
such pair, or a ticker whose zip lies in the lake under raw/lobster. Neither csv has a header:

    message:    time (seconds after New York midnight), type, order id, size, price x 10000,
                direction of the RESTING order
    orderbook:  ask price 1, ask size 1, bid price 1, bid size 1, ask price 2, ...; row i is the state after message i

Written: BookEvents (every message), Depth (the book after each), Trades (every print, signed by the side that took).
Hidden executions are prints too; events and trades share `seq`, so the kind in BookEvents tells them apart. Only they
and crosses may be off the tick grid. A halt keeps LOBSTER's code as its price: -1 halted, 0 quoting, 1 trading again.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl

from difffinance.config import DataConfig
from difffinance.data.archives import ahead, plain_pieces, zip_pieces
from difffinance.data.clock import NEW_YORK, midnight
from difffinance.data.connectors.base import Fetched, Request, Table, describe, digests, one_word
from difffinance.data.number_rows import EMPTY, TICK, NumberRows, parse_book_rows, parse_message_rows
from difffinance.data.spool import Writing
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError, NotInLakeError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, EVENT_KINDS, TIME, TRADES, Column, Rule, Schema, depth_schema

if TYPE_CHECKING:
    from difffinance.data.verification import Replay

TAKES = ()
USAGE = "difffinance fetch lobster PATH_OR_TICKER"
MOST_LEVELS = 1000
_PIECE = 2_000_000  # numbers of the book file in memory at a time
_OF_A_LEVEL = ("price_ticks", "quantity")
_KINDS = pl.Enum(EVENT_KINDS)  # written as text
_WHOLE = rb"[+-]?\d{1,18}"
_DECIMAL = rb"[+-]?\d+(\.\d+)?"
_FILE = re.compile(
    r"(?P<symbol>[A-Za-z0-9.^=-]+)_(?P<date>\d{4}-\d\d-\d\d)_(?P<start>\d+)_(?P<end>\d+)"
    r"_(?P<what>message|orderbook)_(?P<levels>\d+)\.csv(?:\.gz|\.zst)?"
)
_ZIP = re.compile(r"(?:LOBSTER_SampleFile_)?(?P<symbol>[^_]+)_(?P<date>\d{4}-\d\d-\d\d)_(?:\d+_)*(?P<levels>\d+)\.zip")


@dataclass(frozen=True)
class Pair:
    """A day's two files, to be read piece by piece, with what their names say."""

    symbol: str
    date: str
    levels: int
    message_file: str
    message: Iterator[bytes]
    book_file: str
    book: Iterator[bytes]
    raw_files: tuple[Path, ...]


def fetch(request: Request) -> Fetched:
    """Return the tables of one order-book day."""
    word = one_word(request, USAGE)
    path = Path(word)
    if not path.exists():
        path = _in_lake(word, request)
    return import_pair(path, request)


def import_pair(path: Path, request: Request) -> Fetched:
    """Read, check, verify and spool a zip, a pair of csv files or a folder; memory does not grow with their size."""
    from difffinance.data.verification import Replay, load_kernels

    pair = open_pair(path, request.config)
    load_kernels(pair.levels)
    schemas = (BOOK_EVENTS, depth_schema(pair.levels), TRADES)
    spools = [request.spool(schema, pair.symbol, pair.date) for schema in schemas]
    replay, seconds, size = Replay(pair.levels), 0.0, sum(p.stat().st_size for p in pair.raw_files)
    with Writing() as writing:
        for start, messages, book in _pieces(pair):
            columns = np.ascontiguousarray(messages.T)
            clock = time.thread_time()
            replay.feed(columns[1], columns[4] // TICK, columns[3], columns[5], book)
            seconds += time.thread_time() - clock
            events = _events(columns, pair, start)
            frames = (events, _depth(book, events), _trades(columns, events))
            writing.append(dict(zip(spools, frames, strict=True)))
            request.progress("lobster", min(start + len(book), size), size)
    verification = _verified(replay, pair.levels, seconds)
    metadata = describe(
        digests(pair.raw_files), currency="USD", tick_size=0.01, lot_size=1.0, repairs={}, verification=verification,
        date=pair.date, levels=pair.levels, volume_base="NASDAQ only",
    )  # fmt: skip
    request.progress("lobster", size, size)
    tables = tuple(Table(s.schema, pair.symbol, s, metadata, pair.date) for s in spools)
    return Fetched(tables, verification=verification, raw_files=pair.raw_files)


# --- the two files -----------------------------------------------------------------------------------------------


def open_pair(path: Path, config: DataConfig) -> Pair:
    """Find the message and book file of one day; raise `DataError` unless there is exactly one pair."""
    limit = config.max_archive_bytes
    if path.is_dir():
        messages = sorted(p for p in path.iterdir() if (m := _FILE.fullmatch(p.name)) and m["what"] == "message")
        if len(messages) != 1:
            names = ", ".join(p.name for p in messages) or "none"
            raise DataError(f"must hold exactly one message csv; found {names}.", file=str(path))
        path = messages[0]
    if path.suffix == ".zip":
        contents = zip_pieces(path, lambda name: _FILE.fullmatch(name) is not None, limit=limit)
        return _pair(contents, path.name, (path,))
    match = _FILE.fullmatch(path.name)
    if not match:
        raise DataError(
            "is not named like a LOBSTER file. Allowed: a zip, a folder, or "
            "TICKER_YYYY-MM-DD_start_end_message_LEVELS.csv (or .gz, .zst).",
            file=path.name,
        )
    stem = path.name.removesuffix(".gz").removesuffix(".zst")
    partners = {re.sub(r"_(message|orderbook)_(\d+\.csv)$", rf"_{what}_\2", stem) for what in ("message", "orderbook")}
    files = [p for name in sorted(partners) for p in _beside(path, name)]
    if len(files) != 2:
        raise DataError(
            f"needs its partner beside it: {' and '.join(sorted(partners))} (or .gz, .zst), each once; "
            f"found {', '.join(p.name for p in files)}.",
            file=path.name,
        )
    return _pair({p.name: plain_pieces(p, limit=limit) for p in files}, path.parent.name or ".", tuple(files))


def _beside(path: Path, name: str) -> list[Path]:
    return [p for suffix in ("", ".gz", ".zst") if (p := path.with_name(name + suffix)).is_file()]


def _pair(contents: dict[str, Iterator[bytes]], where: str, raw_files: tuple[Path, ...]) -> Pair:
    found = {name: match for name in sorted(contents) if (match := _FILE.fullmatch(name))}
    messages = [name for name, match in found.items() if match["what"] == "message"]
    books = [name for name, match in found.items() if match["what"] == "orderbook"]
    if len(messages) != 1 or len(books) != 1:
        raise DataError(f"must hold one message and one orderbook csv; found {sorted(found) or 'neither'}.", file=where)
    first, second = found[messages[0]], found[books[0]]
    if first.group("symbol", "date", "start", "end", "levels") != second.group(
        "symbol", "date", "start", "end", "levels"
    ):
        raise DataError(f"{messages[0]} and {books[0]} are not of one symbol, day and depth.", file=where)
    levels = int(first["levels"])
    if not 1 <= levels <= MOST_LEVELS:
        raise DataError(f"the file name says {levels} levels. Allowed: 1 to {MOST_LEVELS}.", file=messages[0])
    _midnight(first["date"], messages[0])
    symbol = check_symbol(first["symbol"])
    files = (messages[0], contents[messages[0]], books[0], contents[books[0]])
    return Pair(symbol, first["date"], levels, *files, raw_files)


def _in_lake(word: str, request: Request) -> Path:
    if "/" in word or "\\" in word or word.endswith((".zip", ".csv", ".gz", ".zst")):
        raise InputError(f"{word} does not exist. Use: {USAGE}.")
    folder = request.lake.folder("raw") / "lobster"
    zips = [(m["date"], int(m["levels"]), p) for p in folder.glob("*.zip") if (m := _ZIP.fullmatch(p.name))]
    own = sorted(z for z in zips if _ZIP.fullmatch(z[2].name)["symbol"] == check_symbol(word))  # type: ignore[index]
    if not own:
        raise NotInLakeError(
            f"{word} is neither a file nor a ticker whose zip lies in {folder}. LOBSTER has no download for programs: "
            "fetch the free sample from its web page by hand and give its path."
        )
    return own[-1][2]


# --- text to columns ---------------------------------------------------------------------------------------------

_CHANGES = pl.col("type").is_in([1, 2, 3, 4])
_HALT = pl.col("type") == 7


def _schema(name: str, columns: dict[str, Any], rules: tuple[Rule, ...] = ()) -> Schema:
    return Schema(name, 1, {n: Column(dtype, "as in the file") for n, dtype in columns.items()}, (), rules)


_MESSAGES = _schema(
    "LOBSTER messages",
    {"time": pl.Float64, "type": pl.Int64, "id": pl.Int64, "size": pl.Int64, "price": pl.Int64, "direction": pl.Int64},
    (
        Rule("time is of the day", (pl.col("time") >= 0) & (pl.col("time") < 86_400), "0 to 86400 seconds"),
        Rule(
            "time does not run backwards",
            pl.col("time") >= pl.col("time").shift(1).fill_null(0.0),
            "times at or after the row before",
        ),
        Rule("event type is known", pl.col("type").is_between(1, 7), "1 to 7"),
        Rule("size is positive", (pl.col("size") > 0) | _HALT, "sizes above 0 (halts excepted)"),
        Rule("price is positive", (pl.col("price") > 0) | _HALT, "prices above 0 (halts excepted)"),
        Rule("direction is a sign", pl.col("direction").is_in([-1, 1]) | _HALT, "1 or -1"),
        Rule(
            "visible price is on the tick grid",
            (pl.col("price") % TICK == 0) | ~_CHANGES,
            f"multiples of {TICK} (1 cent)",
        ),
    ),
)


def _book_columns(levels: int) -> Schema:
    names = [
        f"{side}_{what}_{i}" for i in range(1, levels + 1) for side in ("ask", "bid") for what in ("price", "size")
    ]
    return _schema("LOBSTER order book", dict.fromkeys(names, pl.Int64))


def _pieces(pair: Pair) -> Iterator[tuple[int, Array, Array]]:
    """Yield (rows before, messages (n, 6), book rows in ticks (n, 4 L)); raise for the first row that is refused."""
    last = 0  # nanoseconds of the last message

    def parse_messages(text: Array, at: int, end: int, rows: Array) -> tuple[int, int, bool]:
        nonlocal last
        count, at, refused = parse_message_rows(text, at, end, rows, last)
        last = int(rows[count - 1, 0]) if count else last
        return count, at, refused

    def refuse_message(line: bytes, row: int) -> None:
        before = pl.DataFrame({n: [v] for n, v in zip(_MESSAGES.columns, (last / 1e9, 1, 0, 1, TICK, 1), strict=True)})
        one = _one_row(line, _MESSAGES, pair.message_file, row)
        _MESSAGES.check(before.vstack(one), file=pair.message_file, first_row=row - 1)

    def refuse_book(line: bytes, row: int) -> None:
        one = _one_row(line, _book_columns(pair.levels), pair.book_file, row)
        _refuse_book_row(one.row(0, named=True), pair, row)

    messages = NumberRows(pair.message, parse_messages, refuse_message, width=6, file=pair.message_file)
    books = NumberRows(ahead(pair.book), parse_book_rows, refuse_book, width=4 * pair.levels, file=pair.book_file)
    step = max(_PIECE // (4 * pair.levels), 1000)
    while True:
        start, message, book = messages.taken, messages.take(step), books.take(step)
        if len(message) != len(book):
            _refuse_lengths(pair, messages.count(), books.count())
        if not len(book):
            break
        yield start, message, book
    if not messages.taken:
        raise DataError("is empty. Allowed: one row per message.", file=pair.message_file)


def _refuse_lengths(pair: Pair, messages: int, books: int) -> NoReturn:
    for rows, file in ((messages, pair.message_file), (books, pair.book_file)):
        if rows == 0:
            raise DataError("is empty. Allowed: one row per message.", file=file)
    raise DataError(
        f"has {messages} rows, {pair.book_file} has {books}. Allowed: one book row per message.", file=pair.message_file
    )


def _one_row(line: bytes, schema: Schema, file: str, row: int) -> pl.DataFrame:
    """Return the line as a table of one row, or say which field of it is no number."""
    if b"\x00" in line:
        raise DataError("holds zero bytes, so it is not a text table.", file=file, row=row)
    types = {name: column.dtype for name, column in schema.columns.items()}
    fields = line.rstrip(b"\r").split(b",")
    if len(fields) != len(types):
        if not line.strip():
            raise DataError("is empty. Allowed: one row of numbers a line.", file=file, row=row if row > 1 else None)
        raise DataError(f"has {len(fields)} columns. Allowed: {len(types)}.", file=file, row=row)
    for field, (name, dtype) in zip(fields, types.items(), strict=True):
        if not re.fullmatch(_WHOLE if dtype == pl.Int64 else _DECIMAL, field):
            kind = "a whole number" if dtype == pl.Int64 else "a number without exponent"
            text = field[:40].decode("utf-8", "replace")
            raise DataError(f"{name} must be {kind}; got {text!r}.", file=file, row=row)
    values = [int(f) if dtype == pl.Int64 else float(f) for f, dtype in zip(fields, types.values(), strict=True)]
    return pl.DataFrame({name: pl.Series([v], dtype=t) for (name, t), v in zip(types.items(), values, strict=True)})


# --- columns to tables -------------------------------------------------------------------------------------------


def _midnight(date: str, file: str) -> int:
    try:
        return midnight(datetime.fromisoformat(date).date(), NEW_YORK)
    except ValueError:
        raise DataError(f"the file name's date {date} does not exist.", file=file) from None


def _events(columns: Array, pair: Pair, start: int) -> pl.DataFrame:
    """Return the messages as `BookEvents`; the parser has held every row against the schema's rules."""
    ns, kind, order_id, size, price, direction = columns
    halt = kind == 7
    return pl.DataFrame(
        {
            "symbol": pl.Series([pair.symbol]).new_from_index(0, len(ns)),
            "ts": pl.Series(ns + _midnight(pair.date, pair.message_file)).cast(TIME),
            "seq": np.arange(start, start + len(ns)),
            "order_id": order_id,
            "kind": pl.Series((kind - 1).astype(np.uint8)).cat.to(_KINDS),
            "side": np.where(halt, 0, direction).astype(np.int8),
            "price_ticks": np.where(halt, price, price / TICK),
            "quantity": size.astype(np.float64),
        }
    )


def _depth(book: Array, events: pl.DataFrame) -> pl.DataFrame:
    """Return the book rows as `Depth`; the parser has held every row against the schema's rules."""
    columns = np.ascontiguousarray(book.T)
    frame = events.select("symbol", "ts", "seq")
    types = {name: column.dtype for name, column in depth_schema(book.shape[1] // 4).columns.items()}
    for level in range(book.shape[1] // 4):
        for side, at in (("bid", 4 * level + 2), ("ask", 4 * level)):
            pair = [pl.Series(f"{side}_{what}_{level + 1}", columns[at + i]) for i, what in enumerate(_OF_A_LEVEL)]
            if not columns[at + 1].all():
                there = pair[1] > 0
                pair = [series.zip_with(there, pl.Series([None], dtype=pl.Int64)) for series in pair]
            frame = frame.hstack([series.cast(types[series.name]) for series in pair])
    return frame


def _refuse_book_row(row: dict[str, int], pair: Pair, number: int) -> NoReturn:
    """Say what is wrong with a book row of whole numbers."""
    depth: dict[str, Any] = {"symbol": pair.symbol, "ts": 0, "seq": 0}
    for level in range(1, pair.levels + 1):
        for side, dummy in (("bid", -EMPTY), ("ask", EMPTY)):
            price, size = row[f"{side}_price_{level}"], row[f"{side}_size_{level}"]
            empty = price == dummy and size == 0
            if not (empty or (size > 0 and price > 0 and price % TICK == 0)):
                raise DataError(
                    f"{side} level {level} has price {price} and size {size}. Allowed: size above 0 and a positive "
                    f"multiple of {TICK} (1 cent); an empty level is {dummy} with size 0.",
                    file=pair.book_file,
                    row=number,
                )
            depth[f"{side}_price_ticks_{level}"] = None if empty else price // TICK
            depth[f"{side}_quantity_{level}"] = None if empty else size
    schema = depth_schema(pair.levels)
    frame = pl.DataFrame({name: [value] for name, value in depth.items()})
    schema.check(frame, file=pair.book_file, first_row=number)
    raise AssertionError("a broken row was announced and none was found")


def _trades(columns: Array, events: pl.DataFrame) -> pl.DataFrame:
    """Return the prints as `Trades`; the parser has held every row against the schema's rules."""
    kind, price = columns[1], columns[4]
    at = np.flatnonzero((kind >= 4) & (kind <= 6))  # execution, hidden execution, cross
    return events[at].select(
        "symbol",
        "ts",
        "seq",
        pl.Series("price", price[at] / (100 * TICK)),
        "quantity",
        pl.Series("side", np.where(kind[at] == 6, 0, -columns[5][at]).astype(np.int8)),
    )


def _verified(replay: "Replay", levels: int, seconds: float) -> dict[str, Any]:
    """Return the two fractions of the rows after the first (null when there are none), and how fast they came."""
    compared = replay.rows - 1
    return {
        "one_step_exact": replay.one_step / compared if compared and levels > 1 else None,
        "resync_exact": replay.resync / compared if compared else None,
        "messages": replay.rows,
        "messages_per_second": replay.rows / max(seconds, 1e-9),
    }
