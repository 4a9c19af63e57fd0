"""coinbase: a capture of the Advanced Trade web socket (one JSON record a line, plain or packed), per product.

Records of type `recv` carry a message of the venue; header, http, connect and send records are passed over. Channels
l2_data (snapshots and levels set to a quantity), market_trades and ticker are read. Every connection numbers its
messages of all channels; a number that is skipped is a gap, and every book of that connection is unknown until its
next snapshot.

Times are those of the matching engine (`event_time` of levels, `time` of trades); a ticker, which has none, takes the
time at which its message was sent. The venue's `side` of a trade is that of the resting order, as its prices against
the book show; the aggressor's is the opposite. Tickers are sent apart from the levels and late: a ticker counts as
seen where the book showed its four numbers within a second before it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table, one_word
from difffinance.data.decimals import Scaled, count_steps, join_scaled, read_decimals
from difffinance.data.level2 import GAP, SNAPSHOT, UPDATE
from difffinance.data.level2_messages import Merger, Messages, Rising, of_levels, of_trades
from difffinance.data.level2_tables import Grid, LevelWriter, Tables, load_kernels, quotes_table, trades_table
from difffinance.data.lines import line_blocks
from difffinance.data.store import check_symbol, sha256_of
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch coinbase CAPTURE.jsonl.zst [--symbol BTC-USD]"
TICKER_WINDOW_NS = 1_000_000_000


def _text(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, pl.String)


_RECORD = pl.Struct(_text("t", "conn", "data"))
_MESSAGE = pl.Struct({"channel": pl.String, "sequence_num": pl.Int64, "timestamp": pl.String})
_EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "l2_data": ("updates", _text("side", "event_time", "price_level", "new_quantity")),
    "market_trades": ("trades", _text("product_id", "trade_id", "price", "size", "time", "side")),
    "ticker": ("tickers", _text("product_id", "best_bid", "best_bid_quantity", "best_ask", "best_ask_quantity")),
}


@dataclass(frozen=True)
class Capture:
    """Messages (row, conn, sequence) and the items of each channel (row, event, type, product and its fields)."""

    messages: pl.DataFrame
    items: dict[str, pl.DataFrame]


def fetch(request: Request) -> Fetched:
    """Return the tables of every product of a capture, or of the one named by `--symbol`."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    load_kernels()
    start = time.perf_counter()
    capture = read_capture(path, request.config.max_archive_bytes)
    products = sorted({p for items in capture.items.values() for p in items["product_id"].unique()})
    wanted = [request.options["symbol"]] if "symbol" in request.options else products
    unknown = [p for p in wanted if p not in products]
    if unknown or not wanted:
        raise InputError(f"{path.name} holds nothing of {', '.join(unknown) or 'a product'}; it has {products}.")
    tables: list[Table] = []
    repairs: dict[str, int] = {}
    found: dict[str, dict[str, Any]] = {}
    for done, product in enumerate(wanted):
        request.progress("coinbase", done, len(wanted))
        new, repaired, found[product] = _import_product(capture, check_symbol(product), path, request)
        tables += new
        repairs = {rule: repairs.get(rule, 0) + repaired.get(rule, 0) for rule in {*repairs, *repaired}}
    request.progress("coinbase", len(wanted), len(wanted))
    lines = capture.messages.height
    verification = {
        **{name: _worst(found, name) for name in ("one_step_exact", "resync_exact", "best_quotes_seen")},
        **{name: sum(f[name] for f in found.values()) for name in ("gaps", "crossed_states", "prints")},
        "messages": lines,
        "messages_per_second": lines / (time.perf_counter() - start),
        "products": found,
    }
    return Fetched(tuple(tables), repairs, verification, raw_files=(path,))


def _worst(found: dict[str, dict[str, Any]], name: str) -> float | None:
    return min((f[name] for f in found.values() if f[name] is not None), default=None)


# --- lines to items ----------------------------------------------------------------------------------------------


def read_capture(path: Path, limit: int) -> Capture:
    """Parse the records; `DataError` names the row of one that is not understood."""
    messages: list[pl.DataFrame] = []
    items: dict[str, list[pl.DataFrame]] = {channel: [] for channel in _EVENTS}
    for first, block in line_blocks(path, limit=limit):
        found = _decode_block(block, first, path.name)
        messages.append(found.select("row", "conn", "channel", "sequence_num"))
        for channel in _EVENTS:
            own = found.filter(pl.col("channel") == channel)
            if own.height:
                new = _items(own, channel, path.name)
                items[channel].append(new.with_columns(pl.col("event") + (first << 32)))  # no two blocks share one
    if not messages or not sum(frame.height for frame in messages):
        raise DataError("holds no received messages. Allowed: a capture with records of type recv.", file=path.name)
    return Capture(pl.concat(messages), {c: pl.concat(f) if f else _no_items(c) for c, f in items.items()})


def _no_items(channel: str) -> pl.DataFrame:
    own = pl.DataFrame(schema={"row": pl.Int64, "timestamp": pl.String, "data": pl.String})
    return _items(own, channel, "")


def _decode_block(block: bytes, first: int, file: str) -> pl.DataFrame:
    try:
        texts = pl.Series("text", block.decode().split("\n")[:-1])
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text: {error}.", file=file, row=first) from None
    rows = pl.int_range(first, first + len(texts), eager=True).alias("row")
    records = pl.DataFrame([rows, _decode(texts, _RECORD, rows, file).alias("record")]).unnest("record")
    received = records.filter(pl.col("t") == "recv")
    nameless = records.filter(pl.col("t").is_null() | ((pl.col("t") == "recv") & pl.col("data").is_null()))
    if nameless.height:
        _refuse(texts[int(nameless["row"][0]) - first], int(nameless["row"][0]), file)
    message = _decode(received["data"], _MESSAGE, received["row"], file)
    found = received.with_columns(message.alias("message")).unnest("message")
    lost = found.filter(pl.any_horizontal(pl.col(c).is_null() for c in ("channel", "sequence_num", "timestamp")))
    if lost.height:
        _refuse(lost["data"][0], int(lost["row"][0]), file)
    return found


def _decode(texts: pl.Series, shape: pl.Struct, rows: pl.Series, file: str) -> pl.Series:
    try:
        return texts.str.json_decode(shape)
    except pl.exceptions.PolarsError:
        for row, text in zip(rows, texts, strict=True):
            try:
                pl.Series([text]).str.json_decode(shape)
            except pl.exceptions.PolarsError:
                _refuse(text, row, file)
        raise


def _refuse(text: str, row: int, file: str) -> NoReturn:
    raise DataError(
        f"is no record that is understood: {text[:120]!r}. Allowed: cryptofeed's records with t and data, and in data "
        "a message with channel, sequence_num and timestamp.",
        file=file,
        row=row,
    )


def _items(own: pl.DataFrame, channel: str, file: str) -> pl.DataFrame:
    """Return one row per level, trade or ticker."""
    name, fields = _EVENTS[channel]
    event: dict[str, Any] = {**_text("type", "product_id"), name: pl.List(pl.Struct(fields))}
    decoded = _decode(own["data"], pl.Struct({"events": pl.List(pl.Struct(event))}), own["row"], file)
    events = own.select("row", "timestamp").with_columns(decoded.alias("d")).unnest("d").explode("events")
    events = events.unnest("events").with_row_index("event").with_columns(pl.col("event").cast(pl.Int64))
    if channel != "l2_data":
        events = events.drop("product_id")
    items = events.explode(name).unnest(name)
    # A snapshot of a product without levels is a message too; anything else without a field is damaged.
    lost = items.filter(pl.any_horizontal(pl.col(c).is_null() for c in [*fields, "type", "product_id"]))
    if lost.height:
        row = int(lost["row"][0])
        _refuse(own.filter(pl.col("row") == row)["data"][0], row, file)
    return items


# --- one product -------------------------------------------------------------------------------------------------


def _import_product(
    capture: Capture, product: str, path: Path, request: Request
) -> tuple[list[Table], dict[str, int], dict[str, Any]]:
    file, levels = path.name, request.config.book_levels
    own = {channel: items.filter(pl.col("product_id") == product) for channel, items in capture.items.items()}
    numbers = {
        channel: {c: read_decimals(own[channel][c], c, file=file, rows=own[channel]["row"].to_numpy()) for c in columns}
        for channel, columns in {
            "l2_data": ("price_level", "new_quantity"),
            "market_trades": ("price", "size"),
            "ticker": ("best_ask", "best_ask_quantity", "best_bid", "best_bid_quantity"),
        }.items()
    }
    book, trade, ticker = numbers["l2_data"], numbers["market_trades"], numbers["ticker"]
    prices = join_scaled([book["price_level"], trade["price"], ticker["best_bid"], ticker["best_ask"]])
    sizes = [book["new_quantity"], trade["size"], ticker["best_bid_quantity"], ticker["best_ask_quantity"]]
    grid = Grid.find(prices, join_scaled(sizes), request.config.tick_size, request.config.lot_size, file)
    ts, order, side = _trade_order(own["market_trades"], file)
    price, size = (Scaled(trade[c].values[order], trade[c].decimals) for c in ("price", "size"))
    ids = own["market_trades"]["trade_id"].cast(pl.Int64).to_numpy()[order]
    ticks = count_steps(price, grid.tick, "price", file=file)
    lots = count_steps(size, grid.lot, "quantity", file=file)
    merger = Merger()
    merger.add(_book_messages(capture, own["l2_data"], book, grid, file), of_trades(ts, (1 - side) // 2, ticks, lots))
    messages = merger.rest()
    quotes, sent = _quotes(own["ticker"], ticker, grid, file)
    begins = messages.ts[messages.kind == SNAPSHOT][:1].tolist()
    tables = Tables(request, product, _day([*begins, *ts[:1], *sent[:1]][0]))
    trade_times, quote_times = Rising(), Rising()
    writer = LevelWriter(tables, grid, file)
    times, best = writer.feed(messages)
    tables.append(TRADES, trades_table(product, trade_times(ts), ids, price, size, side, file))
    seq = np.arange(len(sent))
    tables.append(QUOTES, quotes_table(product, quote_times(sent), seq, quotes, grid, file))
    seen = _seen(best, times, quotes, sent)
    missing = int((np.diff(ids) - 1).sum()) if len(ids) else 0
    verification = {**writer.verification(), "trade_ids_missing": missing, "best_quotes_seen": seen}
    repairs = writer.repairs() | {
        "quote's time raised to that of the quote before": quote_times.raised,
        "trade's time raised to that of the trade before": trade_times.raised,
        "trade sent twice dropped": own["market_trades"].height - len(order),
    }
    metadata = {
        "currency": product.rpartition("-")[2],
        "tick_size": float(grid.tick),
        "lot_size": float(grid.lot),
        "adjustment": "none",
        "date": tables.part,
        "levels": levels,
        "raw_sha256": {file: sha256_of(path)},
        "repairs": {rule: rows for rule, rows in repairs.items() if rows},
        "is_index": False,
        "synthetic": False,
        "verification": {k: v for k, v in verification.items() if not k.endswith("per_second")},
        "volume_base": "Coinbase",
    }
    return tables.finished((BOOK_EVENTS, depth_schema(levels), TRADES, QUOTES), metadata), repairs, verification


def _day(ts: int) -> str:
    return str(np.datetime64(ts, "ns").astype("datetime64[D]"))


def _book_messages(
    capture: Capture, items: pl.DataFrame, numbers: dict[str, Scaled], grid: Grid, file: str
) -> Messages:
    """Return a product's book messages, gaps included."""
    bad = items.filter(~pl.col("side").is_in(["bid", "offer"]) | ~pl.col("type").is_in(["snapshot", "update"]))
    if bad.height:
        given = f"{bad['type'][0]} {bad['side'][0]}"
        raise DataError(
            f"a level must be of a snapshot or update, bid or offer; got {given}.", file=file, row=bad["row"][0]
        )
    items = items.with_columns(ts=_nanoseconds(items["event_time"], items["row"], file))
    events = items.group_by("event", maintain_order=True).agg(
        pl.col("row").first(), pl.col("ts").max(), snapshot=pl.col("type").first() == "snapshot"
    )
    skipped = capture.messages.with_columns(
        lost=pl.col("sequence_num") != pl.col("sequence_num").shift(1).over("conn") + 1
    ).filter(pl.col("lost").fill_null(False))
    kind, ts = np.where(events["snapshot"].to_numpy(), SNAPSHOT, UPDATE), events["ts"].to_numpy()
    at = np.searchsorted(events["row"].to_numpy(), skipped["row"].to_numpy(), side="left")
    place = np.arange(len(kind))
    if len(at) and len(kind):
        gap_ts = ts[np.maximum(at - 1, 0)]
        kind, ts = np.insert(kind, at, GAP), np.insert(ts, at, gap_ts)
        place += np.searchsorted(at, place, side="right")
    owner = place[np.searchsorted(events["event"].to_numpy(), items["event"].to_numpy())]
    side = (items["side"] == "bid").cast(pl.Int64).to_numpy()
    rows = items["row"].to_numpy()
    ticks = count_steps(numbers["price_level"], grid.tick, "price", file=file, rows=rows)
    lots = count_steps(numbers["new_quantity"], grid.lot, "quantity", file=file, rows=rows)
    return of_levels(kind, np.zeros(len(kind), np.int64), ts, owner, side, ticks, lots)


def _trade_order(items: pl.DataFrame, file: str) -> tuple[Array, Array, Array]:
    """Return time, row and aggressor's side of every trade once, by trade id."""
    bad = items.filter(~pl.col("side").is_in(["BUY", "SELL"]) | ~pl.col("trade_id").str.contains(r"^\d{1,18}$"))
    if bad.height:
        given = f"{bad['side'][0]} {bad['trade_id'][0]}"
        raise DataError(
            f"a trade needs side BUY or SELL and a whole trade_id; got {given}.", file=file, row=bad["row"][0]
        )
    ts = _nanoseconds(items["time"], items["row"], file).to_numpy()
    _, order = np.unique(items["trade_id"].cast(pl.Int64).to_numpy(), return_index=True)
    side = np.where((items["side"] == "SELL").to_numpy(), 1, -1)
    return ts[order], order, side[order]


def _quotes(items: pl.DataFrame, numbers: dict[str, Scaled], grid: Grid, file: str) -> tuple[Array, Array]:
    """Return tickers with both sides in ticks and lots, and when they were sent."""
    rows = items["row"].to_numpy()
    steps = {c: grid.lot if c.endswith("quantity") else grid.tick for c in numbers}
    columns = [count_steps(numbers[c], step, c, file=file, rows=rows) for c, step in steps.items()]
    quotes = np.column_stack(columns)
    whole = (quotes > 0).all(axis=1)  # a ticker before the first book has an empty side
    return quotes[whole], _nanoseconds(items["timestamp"], items["row"], file).to_numpy()[whole]


def _seen(best: Array, ts: Array, quotes: Array, sent: Array) -> float | None:
    """Return the fraction of quotes that the stated book showed within the second before they were sent."""
    known = best.all(axis=1)
    best, ts = best[known], ts[known]
    if not len(ts):
        return None
    low, high = np.searchsorted(ts, sent - TICKER_WINDOW_NS), np.searchsorted(ts, sent, side="right")
    inside = sent - TICKER_WINDOW_NS >= ts[0]
    hits = [(best[max(a - 1, 0) : b] == q).all(axis=1).any() for a, b, q in zip(low, high, quotes, strict=True)]
    return float(np.array(hits)[inside].mean()) if inside.any() else None


def _nanoseconds(texts: pl.Series, rows: pl.Series, file: str) -> pl.Series:
    """Return RFC 3339 times in UTC as nanoseconds."""
    times = texts.str.strip_suffix("Z").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ns", strict=False)
    lost = (times.is_null() | ~texts.str.ends_with("Z")).arg_true()
    if len(lost):
        at = int(lost[0])
        raise DataError(f"{texts.name} must be a UTC time; got {texts[at]!r}.", file=file, row=int(rows[at]))
    return times.cast(pl.Int64)
