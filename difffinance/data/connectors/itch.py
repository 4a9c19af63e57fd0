"""itch: one stock's day from a NASDAQ TotalView-ITCH 5.0 file, plain, gz or zst, read piece by piece.

Every order message of the stock becomes an event: adds, executions (at the order's price, or at another one),
cancels, deletes, replacements (a deletion and a new order), hidden executions, crosses, and trading actions as halts
(price -1 halted or paused, 0 quoting, 1 trading, as in LOBSTER). Written: BookEvents, Depth (data.book_levels levels
after each event) and Trades (prints; executions that the venue marks as not printable are in no trade). Since
2014-07-14 the venue does not tell the side of hidden executions: theirs is 0.

The day is told by the file's name (01302019.NASDAQ_ITCH50.gz, S013019-v50.txt.gz) or by --start YYYY-MM-DD.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from difffinance.data.archives import plain_pieces
from difffinance.data.clock import NEW_YORK, midnight
from difffinance.data.connectors.base import Fetched, Request, Table, describe, digests, one_word
from difffinance.data.itch_messages import (
    BAD_FIELD,
    COLUMNS,
    ENDED,
    LENGTH_OF,
    OK,
    UNKNOWN_TYPE,
    WRONG_LENGTH,
    parse_itch,
)  # fmt: skip
from difffinance.data.order_replay import ADD, REPLACE
from difffinance.data.order_tables import AGAINST_MAKER, BookWriter, Piece
from difffinance.data.spool import Writing
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array

TAKES = ("symbol", "start")
USAGE = "difffinance fetch itch PATH --symbol AAPL [--start YYYY-MM-DD]"
_UNIT = 10_000  # prices are dollars x 10000
_ROWS = 50_000  # messages of the stock in memory at a time
_NAMES = ((re.compile(r"(\d{8})\.NASDAQ_ITCH50"), "%m%d%Y"), (re.compile(r"S(\d{6})-v50"), "%m%d%y"))
_SIDES_END = date(2014, 7, 14)  # from this day on the venue hides the side of hidden executions
_WHY = {
    UNKNOWN_TYPE: "no message of ITCH 5.0 has this type",
    WRONG_LENGTH: "the message is not as long as its type is",
    BAD_FIELD: "a field is not as it must be: time of the day and not falling, side B or S, size and price above 0",
}


def fetch(request: Request) -> Fetched:
    """Return one stock's day."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    if "symbol" not in request.options:
        raise InputError(f"an ITCH file holds all stocks; name one. Use: {USAGE}.")
    symbol = check_symbol(request.options["symbol"])
    if len(symbol) > 8:
        raise InputError(f"symbol {symbol} is too long. Allowed: at most 8 letters, as NASDAQ writes it.")
    day = _day(path, request.options.get("start"))
    tick, levels = _tick(request), request.config.book_levels
    writer = BookWriter(request, symbol, day.isoformat(), levels, tick, tick / _UNIT, path.name, whole=True)
    about = np.array([-1, 0, 0, 0, 0, 0, 0], np.int64)
    with Writing() as writing:
        for rows, base in _rows(path, symbol, day, about, request):
            writer.feed(_piece(rows, base, day, tick, path.name), writing)
    if about[0] < 0:
        raise DataError(f"lists no stock {symbol} in its directory messages.", file=path.name)
    verification = writer.verification()
    metadata = describe(
        digests([path]), currency="USD", tick_size=tick / _UNIT, lot_size=1.0, repairs={}, verification=verification,
        date=day.isoformat(), levels=levels, round_lot=int(about[1]), broken_trades_kept=int(about[4]),
        file_messages=int(about[3]), volume_base="NASDAQ only",
    )  # fmt: skip
    spools = (writer.events, writer.depth, writer.trades)
    tables = tuple(Table(s.schema, symbol, s, metadata, day.isoformat()) for s in spools)
    repairs = {"trade broken later by the venue, kept": int(about[4])}
    return Fetched(tables, repairs, verification, raw_files=(path,))


def _tick(request: Request) -> int:
    """Return the tick in ITCH's units: one cent unless data.tick_size says otherwise."""
    tick = (request.config.tick_size or Decimal("0.01")) * _UNIT
    if tick != int(tick):
        raise InputError(f"data.tick_size={request.config.tick_size} is not allowed. Allowed: multiples of 0.0001.")
    return int(tick)


def _day(path: Path, start: str | None) -> date:
    try:
        if start is not None:
            return date.fromisoformat(start)
        for pattern, written in _NAMES:
            if match := pattern.search(path.name):
                return datetime.strptime(match[1], written).date()
    except ValueError:
        raise InputError(f"the day of {path.name} (--start {start}) does not exist. Allowed: YYYY-MM-DD.") from None
    raise InputError(f"the name {path.name} does not tell the day. Use: {USAGE}.")


def _rows(path: Path, symbol: str, day: date, about: Array, request: Request) -> Iterator[tuple[Array, int]]:
    """Yield the stock's messages and the byte offset from which theirs are counted; raise at the first bad byte."""
    name = np.frombuffer(symbol.encode().ljust(8), np.uint8)
    text, base, size, ended = b"", 0, max(path.stat().st_size, 1), False
    for piece in plain_pieces(path, limit=request.config.max_archive_bytes):
        if ended:
            raise DataError("goes on after the message of length 0 that ends it.", file=path.name, byte=base)
        text += piece
        data, at, full = np.frombuffer(text, np.uint8), 0, True
        while full and not ended:
            rows = np.empty((_ROWS, COLUMNS), np.int64)
            count, at, why = parse_itch(data, at, name, about, LENGTH_OF, day < _SIDES_END, rows)
            if why not in (OK, ENDED):
                raise DataError(f"{_WHY[why]}; got {text[at : at + 16]!r}.", file=path.name, byte=base + at)
            full, ended = count == _ROWS, why == ENDED
            if count:
                yield rows[:count], base
        text, base = text[at:], base + at
        request.progress("itch", min(base, size - 1), size)
    if text:
        what = "goes on after the message of length 0 that ends it" if ended else "is cut inside a message"
        raise DataError(f"{what}. Download it again.", file=path.name, byte=base)
    if about[3] == 0:
        raise DataError("holds no messages.", file=path.name, byte=0)
    request.progress("itch", size, size)


def _piece(rows: Array, base: int, day: date, tick: int, file: str) -> Piece:
    """Return rows for the replay; refuse visible prices off the grid."""
    visible = np.isin(rows[:, 0], (ADD, REPLACE))
    off = np.flatnonzero(visible & (rows[:, 4] % tick != 0))
    if len(off):
        price, byte = rows[off[0], 4], base + int(rows[off[0], 7])
        raise DataError(
            f"price {price / _UNIT} is off the grid of {tick / _UNIT}. Below 1 dollar: data.tick_size=0.0001.",
            file=file,
            byte=byte,
        )
    taker = np.full(len(rows), AGAINST_MAKER)
    return Piece(rows[:, :6], rows[:, 6] + midnight(day, NEW_YORK), base + rows[:, 7], rows[:, 8], taker)
