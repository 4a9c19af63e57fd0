"""databento: one instrument from a DBN file (.dbn or .dbn.zst) of schema mbo, mbp-1 or mbp-10.

    mbo            every order: replayed into BookEvents, Depth (data.book_levels levels) and Trades. A fill takes from
                   its order at once, and the cancel by which the venue confirms it changes nothing more. The snapshot
                   at a file's start becomes new orders at its time; messages of orders from before the file are
                   dropped and counted
    mbp-1, mbp-10  the best levels after every update: Quotes, Depth, Trades

A second path, a file of schema `definition`, tells the tick; without one it is data.tick_size, or else the largest
step that all prices of the file are multiples of. Times are the venue's (`ts_event`; a snapshot's `ts_recv`); one that
lies before the message ahead of it is moved to that one and counted. The day of the tables is the first record's, UTC.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table, describe, digests
from difffinance.data.dbn_records import (
    LAYOUTS,
    SNAPSHOT,
    UNDEFINED_PRICE,
    header_error,
    read_definitions,
    read_header,
    record_blocks,
)
from difffinance.data.order_replay import ADD, CLEAR, FILL, NOTHING, REDUCE, SET
from difffinance.data.order_tables import BookWriter, Piece
from difffinance.data.spool import Writing
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import QUOTE_STATE, QUOTES, TIME, TRADES, Schema, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch databento PATH [DEFINITIONS] [--symbol S]"
_UNIT = 1_000_000_000  # prices are x 1e-9
_OPERATIONS = {b"A": ADD, b"C": REDUCE, b"M": SET, b"R": CLEAR, b"F": FILL, b"T": NOTHING, b"N": NOTHING}
_SIDES = {b"B": 1, b"A": -1, b"N": 0}


def fetch(request: Request) -> Fetched:
    """Return one instrument's tables."""
    if not 1 <= len(request.what) <= 2:
        given = " ".join(request.what) or "nothing"
        raise InputError(f"one file, and maybe one of definitions; got {given}. Use: {USAGE}.")
    paths = [Path(word) for word in request.what]
    if missing := [str(p) for p in paths if not p.is_file()]:
        raise InputError(f"{', '.join(missing)} is not a file. Use: {USAGE}.")
    limit = request.config.max_archive_bytes
    header = read_header(paths[0], limit=limit)
    if str(header.schema) not in LAYOUTS:
        raise DataError(f"is of schema {header.schema}. Allowed: {', '.join(LAYOUTS)}.", file=paths[0].name)
    symbol, ids, named = _instrument(header, request, paths[0])
    definition = _definition(paths[1], symbol, limit) if len(paths) == 2 else None
    tick, day = _survey(paths[0], ids, named, definition, request)
    source = _Source(paths[0], symbol, ids, tick, day, request)
    if str(header.schema) == "mbo":
        levels, (tables, repairs, verification) = request.config.book_levels, _orders(source)
    else:
        levels = int(str(header.schema).removeprefix("mbp-"))
        tables, repairs, verification = (*_levels(source, levels), None)
    currency = (definition.currency if definition is not None else "") or "USD"
    metadata = describe(
        digests(paths), currency=currency, tick_size=tick / _UNIT, lot_size=1.0, repairs=repairs,
        verification=verification, date=day.isoformat(), levels=levels, dataset=header.dataset,
        volume_base=f"{header.dataset} only",
    )  # fmt: skip
    finished = tuple(Table(s.schema, symbol, s, metadata, day.isoformat()) for s in tables)
    return Fetched(finished, repairs, verification, raw_files=tuple(paths))


def _instrument(header: Any, request: Request, path: Path) -> tuple[str, Array, Array]:
    """Return the chosen symbol, the numbers under which it goes in the file, and those of all symbols."""
    limit = request.config.max_archive_bytes
    spans = {name: [str(i["symbol"]) for i in own] for name, own in header.mappings.items() if own}
    for name, words in spans.items():
        for word in words:
            if not (word.isascii() and word.isdigit() and int(word) < 1 << 32):
                reason = f"the header gives {name!r} the number {word!r}. Allowed: whole numbers below 2^32."
                raise header_error(path, reason, word, limit=limit)
    wanted = request.options.get("symbol") or (next(iter(spans)) if len(spans) == 1 else None)
    if wanted is None or wanted not in spans:
        given = "name one with --symbol" if wanted is None else f"there is no {wanted}"
        raise InputError(f"{path.name} holds {', '.join(list(spans)[:20]) or 'no instrument'}; {given}. Use: {USAGE}.")
    try:
        check_symbol(wanted)
    except InputError as error:
        raise header_error(path, str(error), wanted, limit=limit) from None
    return wanted, _numbers(spans[wanted]), _numbers([word for words in spans.values() for word in words])


def _numbers(words: list[str]) -> Array:
    return np.unique(np.array([int(word) for word in words], np.uint32))


def _definition(path: Path, symbol: str, limit: int) -> Any:
    own = [record for record in read_definitions(path, limit=limit) if record.raw_symbol == symbol]
    if not own:
        raise DataError(f"defines no instrument {symbol}.", file=path.name)
    return own[-1]


class _Source:
    """The records of the chosen instrument, block by block, with their times."""

    def __init__(self, path: Path, symbol: str, ids: Array, tick: int, day: date, request: Request) -> None:
        self.path, self.symbol, self.ids, self.tick, self.day, self.request = path, symbol, ids, tick, day, request
        self.moved = 0

    def blocks(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield records, their UTC nanoseconds (never falling) and their bytes; count the times that were moved."""
        last = 0
        for records, base in record_blocks(self.path, limit=self.request.config.max_archive_bytes):
            own = np.flatnonzero(np.isin(records["instrument_id"], self.ids))
            chosen = records[own]
            if not len(chosen):
                continue
            snapshot = (chosen["flags"] & SNAPSHOT) > 0
            ts = np.where(snapshot, chosen["ts_recv"], chosen["ts_event"]).astype(np.int64)
            steady = np.maximum.accumulate(np.concatenate([[last], ts]))[1:]
            self.moved += int((steady != ts).sum())
            last = int(steady[-1])
            place = base + own * records.dtype.itemsize
            self._check(chosen, place)
            yield chosen, steady, place
            self.request.progress("databento", int(place[-1]), int(place[-1]) + 1)

    def _check(self, records: Array, place: Array) -> None:
        """Refuse actions and sides that are not known, sizes of 0 and prices off the grid, by byte."""
        action, price = records["action"], records["price"]
        orders = np.isin(action, [b"A", b"M"]) & ("order_id" in (records.dtype.names or ()))
        priced = orders | np.isin(action, [b"F", b"T"])
        for bad, what in (
            (~np.isin(action, list(_OPERATIONS)), "action must be one of A C M R F T N"),
            (~np.isin(records["side"], list(_SIDES)), "side must be B, A or N"),
            (orders & (records["side"] == b"N"), "an order has a side, B or A"),
            (priced & (records["size"] == 0), "size must be above 0"),
            (priced & ((price <= 0) | (price == UNDEFINED_PRICE)), "price must be above 0"),
            (orders & (price % self.tick != 0), f"price must lie on the grid of {self.tick / _UNIT}"),
        ):
            if len(at := np.flatnonzero(bad)):
                record = records[at[0]]
                given = ", ".join(f"{name} {record[name]!r}" for name in ("action", "side", "price", "size"))
                raise DataError(f"{what}; got {given}.", file=self.path.name, byte=int(place[at[0]]))


def _survey(path: Path, ids: Array, named: Array, definition: Any, request: Request) -> tuple[int, date]:
    """Return the tick in units of 1e-9 and the day of the first record; this reads the file once.

    A record of an instrument that the header does not name is damage, not a stranger's: it is refused.
    """
    step, first = 0, None
    for records, base in record_blocks(path, limit=request.config.max_archive_bytes):
        if len(strange := np.flatnonzero(~np.isin(records["instrument_id"], named))):
            raise DataError(
                f"the record is of instrument {records['instrument_id'][strange[0]]}, which the header does not name. "
                f"Allowed: {', '.join(str(i) for i in named[:10])}.",
                file=path.name,
                byte=base + int(strange[0]) * records.dtype.itemsize,
            )
        own = records[np.isin(records["instrument_id"], ids)]
        if len(own):
            first = first or int(own["ts_recv"][0])
            prices = own["price"][np.isin(own["action"], [b"A", b"M"]) & (own["price"] != UNDEFINED_PRICE)]
            step = int(np.gcd.reduce(prices, initial=step))
            for side in ("bid_px", "ask_px") if "levels" in (own.dtype.names or ()) else ():
                prices = own["levels"][side]
                step = int(np.gcd.reduce(prices[prices != UNDEFINED_PRICE], initial=step))
    if first is None:
        raise DataError("holds no records of the instrument.", file=path.name)
    if definition is not None and definition.min_price_increment != UNDEFINED_PRICE:
        step = int(definition.min_price_increment)
    elif request.config.tick_size is not None:
        step = int(Decimal(request.config.tick_size) * _UNIT)
    if step <= 0:
        step = _UNIT // 100  # nothing is priced: a cent, which no row will use
    return step, datetime.fromtimestamp(first // _UNIT, UTC).date()


# --- orders --------------------------------------------------------------------------------------------------------


def _orders(source: _Source) -> tuple[list[Any], dict[str, int], dict[str, Any]]:
    levels, tick = source.request.config.book_levels, source.tick
    writer = BookWriter(
        source.request, source.symbol, source.day.isoformat(), levels, tick, tick / _UNIT, source.path.name
    )
    with Writing() as writing:
        for records, ts, place in source.blocks():
            writer.feed(_piece(records, ts, place), writing)
    repairs = {
        "message of an order from before the file dropped": writer.orders.unknown,
        "time before the message ahead moved to it": source.moved,
    }
    return [writer.events, writer.depth, writer.trades], repairs, writer.verification()


def _piece(records: Array, ts: Array, place: Array) -> Piece:
    side = _translated(records["side"], _SIDES)
    rows = np.zeros((len(records), 6), np.int64)
    rows[:, 0] = _translated(records["action"], _OPERATIONS)
    rows[:, 1], rows[:, 3], rows[:, 4], rows[:, 5] = records["order_id"], side, records["price"], records["size"]
    paid = np.where(records["action"] == b"T", records["price"], 0)
    return Piece(rows, ts, place, paid, side)


def _translated(letters: Array, numbers: dict[bytes, int]) -> Array:
    table = np.zeros(256, np.int64)
    for letter, number in numbers.items():
        table[letter[0]] = number
    return table[np.ascontiguousarray(letters).view(np.uint8)]


# --- levels --------------------------------------------------------------------------------------------------------


def _levels(source: _Source, levels: int) -> tuple[list[Any], dict[str, int]]:
    schemas = (QUOTES, depth_schema(levels), TRADES)
    spools = [source.request.spool(schema, source.symbol, source.day.isoformat()) for schema in schemas]
    seen = crossed = prints = 0
    with Writing() as writing:
        for records, ts, place in source.blocks():
            traded = records["action"] == b"T"
            book, times, at = records["levels"][~traded], ts[~traded], place[~traded]
            seq = np.arange(seen, seen + len(book))
            depth = _depth(source, book, times, seq, levels)
            kept = (depth["bid_price_ticks_1"] < depth["ask_price_ticks_1"]).fill_null(True)
            fine = depth.filter(kept)
            frames = (
                _quotes(source, book[:, 0], times, seq, at),
                _checked(source, schemas[1], fine, at[kept.to_numpy()]),
                _prints(source, records[traded], ts[traded], prints, place[traded]),
            )
            seen, crossed, prints = seen + len(book), crossed + depth.height - fine.height, prints + int(traded.sum())
            writing.append(dict(zip(spools, frames, strict=True)))
    repairs = {
        "locked or crossed state left out of Depth": crossed,
        "time before the message ahead moved to it": source.moved,
    }
    return list(spools), repairs


def _keys(source: _Source, ts: Array, seq: Array) -> dict[str, Any]:
    symbol = pl.repeat(source.symbol, len(ts), dtype=pl.String, eager=True)
    return {"symbol": symbol, "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME), "seq": seq}


def _depth(source: _Source, book: Array, ts: Array, seq: Array, levels: int) -> pl.DataFrame:
    columns = _keys(source, ts, seq)
    for level in range(levels):
        for side in ("bid", "ask"):
            price, size = book[f"{side}_px"][:, level].astype(np.int64), book[f"{side}_sz"][:, level].astype(np.int64)
            there = pl.Series((price != UNDEFINED_PRICE) & (size > 0))
            for what, values in (("price_ticks", price // source.tick), ("quantity", size)):
                column = pl.Series(np.ascontiguousarray(values)).zip_with(there, pl.Series([None], dtype=pl.Int64))
                columns[f"{side}_{what}_{level + 1}"] = column
    return pl.DataFrame(columns)


def _checked(source: _Source, schema: Schema, frame: pl.DataFrame, place: Array) -> pl.DataFrame:
    """Return a checked table whose rows came from these bytes."""
    try:
        return schema.check(frame, file=source.path.name, rows=place)
    except DataError as error:
        raise DataError(error.reason, file=error.file, byte=error.row) from None


def _quotes(source: _Source, best: Array, ts: Array, seq: Array, place: Array) -> pl.DataFrame:
    both = (best["bid_px"] != UNDEFINED_PRICE) & (best["ask_px"] != UNDEFINED_PRICE)
    best = best[both]
    frame = pl.DataFrame(
        {
            **_keys(source, ts[both], seq[both]),
            "bid": best["bid_px"] / _UNIT,
            "bid_quantity": best["bid_sz"].astype(np.float64),
            "ask": best["ask_px"] / _UNIT,
            "ask_quantity": best["ask_sz"].astype(np.float64),
        }
    )
    return _checked(source, QUOTES, frame.with_columns(QUOTE_STATE), place[both])


def _prints(source: _Source, records: Array, ts: Array, start: int, place: Array) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            **_keys(source, ts, np.arange(start, start + len(ts))),
            "price": records["price"] / _UNIT,
            "quantity": records["size"].astype(np.float64),
            "side": _translated(records["side"], _SIDES),
        }
    )
    return _checked(source, TRADES, frame, place)
