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
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from difffinance.config import DataConfig
from difffinance.data.archives import read_plain, read_zip
from difffinance.data.connectors.base import Fetched, Request, Table, one_word
from difffinance.data.store import check_symbol, sha256_of
from difffinance.errors import DataError, InputError, NotInLakeError
from difffinance.schemas import BOOK_EVENTS, EVENT_KINDS, TIME, TRADES, Column, Rule, Schema, depth_schema

TAKES = ()
USAGE = "difffinance fetch lobster PATH_OR_TICKER"
TICK = 100  # one cent in LOBSTER's units of a hundredth of a cent
EMPTY = 9_999_999_999  # price of a level that does not exist: + for asks, - for bids, with size 0
MOST_LEVELS = 1000
_FILE = re.compile(
    r"(?P<symbol>[A-Za-z0-9.^=-]+)_(?P<date>\d{4}-\d\d-\d\d)_(?P<start>\d+)_(?P<end>\d+)"
    r"_(?P<what>message|orderbook)_(?P<levels>\d+)\.csv(?:\.gz|\.zst)?"
)
_ZIP = re.compile(r"(?:LOBSTER_SampleFile_)?(?P<symbol>[^_]+)_(?P<date>\d{4}-\d\d-\d\d)_(?:\d+_)*(?P<levels>\d+)\.zip")


@dataclass(frozen=True)
class Pair:
    """A day's two files in memory, with what their names say."""

    symbol: str
    date: str
    levels: int
    message_file: str
    message: bytes
    book_file: str
    book: bytes
    raw_files: tuple[Path, ...]


def fetch(request: Request) -> Fetched:
    """Return the tables of one order-book day."""
    word = one_word(request, USAGE)
    path = Path(word)
    if not path.exists():
        path = _in_lake(word, request)
    return import_pair(path, request)


def import_pair(path: Path, request: Request) -> Fetched:
    """Read, check and verify a zip, a pair of csv files or a folder; nothing is written."""
    pair = open_pair(path, request.config)
    request.progress("lobster", 1, 4)
    messages = _read_table(pair.message, _MESSAGES, pair.message_file)
    book = _read_table(pair.book, _book_columns(pair.levels), pair.book_file)
    if messages.height != book.height:
        raise DataError(
            f"has {messages.height} rows, {pair.book_file} has {book.height}. Allowed: one book row per message.",
            file=pair.message_file,
        )
    messages = _MESSAGES.check(messages, file=pair.message_file)
    request.progress("lobster", 2, 4)
    depth = _depth(book, pair, messages)
    verification = _verify(messages, book)
    request.progress("lobster", 3, 4)
    events = _events(messages, pair)
    metadata = {
        "currency": "USD",
        "tick_size": 0.01,
        "lot_size": 1.0,
        "adjustment": "none",
        "date": pair.date,
        "levels": pair.levels,
        "raw_sha256": {p.name: sha256_of(p) for p in pair.raw_files},
        "repairs": {},
        "synthetic": False,
        "is_index": False,
        "verification": {k: v for k, v in verification.items() if k != "messages_per_second"},
        "volume_base": "NASDAQ only",
    }
    tables = (
        Table(BOOK_EVENTS, pair.symbol, events, metadata, pair.date),
        Table(depth_schema(pair.levels), pair.symbol, depth, metadata, pair.date),
        Table(TRADES, pair.symbol, _trades(events), metadata, pair.date),
    )
    request.progress("lobster", 4, 4)
    return Fetched(tables, verification=verification, raw_files=pair.raw_files)


# --- the two files -----------------------------------------------------------------------------------------------


def open_pair(path: Path, config: DataConfig) -> Pair:
    """Find and read the message and book file of one day; raise `DataError` unless there is exactly one pair."""
    limit = config.max_archive_bytes
    if path.is_dir():
        messages = sorted(p for p in path.iterdir() if (m := _FILE.fullmatch(p.name)) and m["what"] == "message")
        if len(messages) != 1:
            names = ", ".join(p.name for p in messages) or "none"
            raise DataError(f"must hold exactly one message csv; found {names}.", file=str(path))
        path = messages[0]
    if path.suffix == ".zip":
        contents = read_zip(path, lambda name: _FILE.fullmatch(name) is not None, limit=limit)
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
    return _pair({p.name: read_plain(p, limit=limit) for p in files}, path.parent.name or ".", tuple(files))


def _beside(path: Path, name: str) -> list[Path]:
    return [p for suffix in ("", ".gz", ".zst") if (p := path.with_name(name + suffix)).is_file()]


def _pair(contents: dict[str, bytes], where: str, raw_files: tuple[Path, ...]) -> Pair:
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


def _read_table(data: bytes, schema: Schema, file: str) -> pl.DataFrame:
    """Parse a csv without header into the columns of `schema`; a bad row is named by its number."""
    if not data or data.isspace():
        raise DataError("is empty. Allowed: one row per message.", file=file)
    types = {name: column.dtype for name, column in schema.columns.items()}
    width = data[: data.find(b"\n") if b"\n" in data else None].count(b",") + 1
    if width != len(types):
        _wrong_width(width, len(types), file, 1)
    try:
        frame = pl.read_csv(data, has_header=False, schema=types, quote_char=None)
        whole = not any(frame.null_count().row(0))
    except pl.exceptions.PolarsError:
        whole = False
    if not whole:
        _refuse_text(data, types, file)
    return frame


def _refuse_text(data: bytes, types: dict[str, Any], file: str) -> NoReturn:
    for number, line in enumerate(data.splitlines(), start=1):
        fields = line.split(b",")
        if len(fields) != len(types):
            _wrong_width(len(fields), len(types), file, number)
        for field, (name, dtype) in zip(fields, types.items(), strict=True):
            if not _is_number(field, whole=dtype == pl.Int64):
                kind = "a whole number" if dtype == pl.Int64 else "a number"
                text = field[:40].decode("utf-8", "replace")
                raise DataError(f"{name} must be {kind}; got {text!r}.", file=file, row=number)
    raise DataError("is not a table of numbers.", file=file)


def _is_number(field: bytes, *, whole: bool) -> bool:
    if whole:
        return re.fullmatch(rb"[+-]?\d{1,18}", field) is not None
    return re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", field) is not None


def _wrong_width(got: int, needed: int, file: str, row: int) -> NoReturn:
    raise DataError(f"has {got} columns. Allowed: {needed}.", file=file, row=row)


# --- columns to tables -------------------------------------------------------------------------------------------


def _midnight(date: str, file: str) -> int:
    """Return New York's midnight as UTC nanoseconds, by the clock of noon (clocks change at night)."""
    try:
        noon = datetime.fromisoformat(f"{date}T12:00:00").replace(tzinfo=ZoneInfo("America/New_York"))
    except ValueError:
        raise DataError(f"the file name's date {date} does not exist.", file=file) from None
    return (int(noon.timestamp()) - 43_200) * 1_000_000_000


def _keys(messages: pl.DataFrame, pair: Pair) -> list[pl.Series]:
    # Seconds have up to 9 decimals in front of which a float64 keeps 5 digits: rounding to whole nanoseconds is exact.
    nanoseconds = (messages["time"] * 1e9).round(0).cast(pl.Int64) + _midnight(pair.date, pair.message_file)
    return [
        pl.repeat(pair.symbol, messages.height, dtype=pl.String, eager=True).alias("symbol"),
        nanoseconds.cast(TIME).alias("ts"),
        pl.int_range(messages.height, dtype=pl.Int64, eager=True).alias("seq"),
    ]


def _events(messages: pl.DataFrame, pair: Pair) -> pl.DataFrame:
    frame = messages.select(
        *_keys(messages, pair),
        pl.col("id").alias("order_id"),
        pl.lit(pl.Series(EVENT_KINDS)).gather(pl.col("type") - 1).alias("kind"),
        pl.when(_HALT).then(0).otherwise(pl.col("direction")).cast(pl.Int8).alias("side"),
        pl.when(_HALT).then(pl.col("price")).otherwise(pl.col("price") / TICK).alias("price_ticks"),
        pl.col("size").cast(pl.Float64).alias("quantity"),
    )
    return BOOK_EVENTS.check(frame, file=pair.message_file)


def _depth(book: pl.DataFrame, pair: Pair, messages: pl.DataFrame) -> pl.DataFrame:
    columns, broken = [], []
    for level in range(1, pair.levels + 1):
        for side, dummy in (("bid", -EMPTY), ("ask", EMPTY)):
            price, size = pl.col(f"{side}_price_{level}"), pl.col(f"{side}_size_{level}")
            empty = (price == dummy) & (size == 0)
            broken.append(~(empty | ((size > 0) & (price > 0) & (price % TICK == 0))))
            columns.append(pl.when(~empty).then(price // TICK).alias(f"{side}_price_ticks_{level}"))
            columns.append(pl.when(~empty).then(size).alias(f"{side}_quantity_{level}"))
    bad = book.select(pl.any_horizontal(broken).alias("bad"))["bad"]
    if bad.any():
        row = int(bad.arg_true()[0])
        _refuse_book_row(book.row(row, named=True), pair, row)
    return depth_schema(pair.levels).check(book.select(*_keys(messages, pair), *columns), file=pair.book_file)


def _refuse_book_row(row: dict[str, int], pair: Pair, index: int) -> NoReturn:
    for level in range(1, pair.levels + 1):
        for side, dummy in (("ask", EMPTY), ("bid", -EMPTY)):
            price, size = row[f"{side}_price_{level}"], row[f"{side}_size_{level}"]
            if not ((price == dummy and size == 0) or (size > 0 and price > 0 and price % TICK == 0)):
                raise DataError(
                    f"{side} level {level} has price {price} and size {size}. Allowed: size above 0 and a positive "
                    f"multiple of {TICK} (1 cent); an empty level is {dummy} with size 0.",
                    file=pair.book_file,
                    row=index + 1,
                )
    raise AssertionError("a broken row was announced and none was found")


def _trades(events: pl.DataFrame) -> pl.DataFrame:
    prints = events.filter(pl.col("kind").is_in(["execution", "hidden_execution", "cross"]))
    side = pl.when(pl.col("kind") == "cross").then(0).otherwise(-pl.col("side")).cast(pl.Int8)
    trades = prints.select(
        "symbol", "ts", "seq", (pl.col("price_ticks") / 100).alias("price"), "quantity", side.alias("side")
    )
    return TRADES.check(trades)


def _verify(messages: pl.DataFrame, book: pl.DataFrame) -> dict[str, Any]:
    """Return the two fractions of the rows after the first (null when there are none), and how fast they came."""
    from difffinance.data.verification import count_exact

    arrays = [messages[c].to_numpy() for c in ("type", "price", "size", "direction")]
    arrays = [np.ascontiguousarray(a) for a in arrays]
    table = book.to_numpy()  # (rows, 4 L), column by column in memory
    count_exact(
        *(a[:1] for a in arrays), np.asfortranarray(table[:1])
    )  # compiles or loads the kernel outside the measured time
    start = time.perf_counter()
    one_step, resync = count_exact(*arrays, table)
    seconds = time.perf_counter() - start
    compared = book.height - 1
    levels = book.width // 4
    return {
        "one_step_exact": one_step / compared if compared and levels > 1 else None,
        "resync_exact": resync / compared if compared else None,
        "messages": messages.height,
        "messages_per_second": messages.height / seconds,
    }
