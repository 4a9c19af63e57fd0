"""binance, captures: lines of the web socket's combined stream, spot or USD-M, into a book, trades and quotes.

A line is the local receive time in nanoseconds, a space, and the JSON of one message: `@depth...`, `@bookTicker`,
`@trade`, or a REST snapshot (`lastUpdateId`, `bids`, `asks`). Binance's published rules join them: updates older than
the snapshot are dropped; the first one applied must contain it (spot U <= lastUpdateId + 1 <= u, USD-M
U <= lastUpdateId <= u); every further one must follow the one before (spot U = u before + 1, USD-M pu = u before). One
that does not is a gap: the book is unknown from there to the next snapshot, and the updates between are dropped and
counted. Nothing is bridged.

Times are the venue's: transaction time T where the message has one, else event time E. Updates are batched (every
100 ms on spot), trades are not: a trade goes before the first update of its time or later. `bookTicker` is a stream of
its own; it becomes `Quotes`, and the book after every update is held against the quote at the same update id.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table
from difffinance.data.decimals import Scaled, count_steps, join_scaled, read_decimals
from difffinance.data.level2 import GAP, SNAPSHOT, TRADE, UPDATE
from difffinance.data.level2_tables import (
    Grid,
    Levels,
    Messages,
    compare_best,
    load_kernels,
    merge_trades,
    quotes_table,
    rebuild_book,
    trades_table,
)
from difffinance.data.lines import line_blocks
from difffinance.data.store import check_symbol, sha256_of
from difffinance.errors import DataError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TRADES, depth_schema

_LEVELS = pl.List(pl.List(pl.String))
_WHOLE = dict.fromkeys(("E", "T", "U", "u", "pu"), pl.Int64)
_SHAPES: dict[str, pl.Struct] = {
    "depth": pl.Struct({"data": pl.Struct({"s": pl.String, **_WHOLE, "b": _LEVELS, "a": _LEVELS})}),
    "bookTicker": pl.Struct(
        {"data": pl.Struct({"s": pl.String, "u": pl.Int64, "T": pl.Int64} | dict.fromkeys("bBaA", pl.String))}
    ),
    "trade": pl.Struct(
        {
            "data": pl.Struct(
                {"s": pl.String, "T": pl.Int64, "t": pl.Int64, "p": pl.String, "q": pl.String, "m": pl.Boolean}
            )
        }
    ),
    "snapshot": pl.Struct({"lastUpdateId": pl.Int64, "E": pl.Int64, "T": pl.Int64, "bids": _LEVELS, "asks": _LEVELS}),
}
_NEEDED = {
    "depth": ("s", "E", "U", "u", "b", "a"),
    "bookTicker": ("s", "u", "b", "B", "a", "A"),
    "trade": ("s", "T", "t", "p", "q", "m"),
    "snapshot": ("lastUpdateId", "bids", "asks"),
}  # fmt: skip


@dataclass(frozen=True)
class Capture:
    """What the lines say: one table per stream with `row` and `received`, and the levels of updates and snapshots."""

    tables: dict[str, pl.DataFrame]
    levels: dict[str, Levels]
    prices: dict[str, Scaled]  # of trades and best quotes
    futures: bool


def import_capture(path: Path, request: Request) -> Fetched:
    """Read one capture of one symbol into `BookEvents`, `Depth`, `Trades` and `Quotes` (those that it can fill)."""
    load_kernels()
    start = time.perf_counter()
    capture = read_capture(path, request.config.max_archive_bytes)
    request.progress("binance", 1, 3)
    symbol = _symbol(capture, request.options.get("symbol"), path.name)
    every = [capture.levels["depth"], capture.levels["snapshot"]]
    price = join_scaled([*(each.price for each in every), *(capture.prices[k] for k in ("p", "b", "a"))])
    quantity = join_scaled([*(each.quantity for each in every), *(capture.prices[k] for k in ("q", "B", "A"))])
    grid = Grid.find(price, quantity, request.config.tick_size, request.config.lot_size, path.name)
    messages, ids, dropped, duplicates = _in_order(capture, path.name)
    levels = request.config.book_levels
    rebuilt = rebuild_book(messages, symbol, grid, levels=levels, file=path.name)
    request.progress("binance", 2, 3)
    trades, late = _trades(capture, symbol, path.name)
    quotes, ticker, raised = _quotes(capture, symbol, grid, path.name)
    after = np.flatnonzero(messages.kind == UPDATE)
    compared, agreed = compare_best(
        rebuilt.best, after, capture.tables["bookTicker"]["u"].to_numpy(), ticker, ids[after]
    )
    lines = sum(table.height for table in capture.tables.values())
    verification = {
        **rebuilt.verification,
        "messages": lines,
        "messages_per_second": lines / (time.perf_counter() - start),
        "replayed_per_second": rebuilt.verification["messages_per_second"],
        "best_quotes_compared": compared,
        "best_quotes_exact": agreed / compared if compared else None,
    }
    repairs = rebuilt.repairs | {
        "update outside a snapshot's reach dropped": dropped,
        "message sent twice dropped": duplicates,
        "quote's time raised to that of the quote before": raised,
        "trade's time raised to that of the trade before": late,
    }
    date = str(rebuilt.events["ts"][0].date()) if rebuilt.events.height else str(trades["ts"][0].date())
    metadata = {
        "currency": quote_currency(symbol),
        "tick_size": float(grid.tick),
        "lot_size": float(grid.lot),
        "adjustment": "none",
        "date": date,
        "levels": levels,
        "raw_sha256": {path.name: sha256_of(path)},
        "repairs": {rule: rows for rule, rows in repairs.items() if rows},
        "is_index": False,
        "synthetic": False,
        "verification": {k: v for k, v in verification.items() if not k.endswith("per_second")},
        "volume_base": "Binance USD-M futures" if capture.futures else "Binance spot",
    }
    made = ((BOOK_EVENTS, rebuilt.events), (depth_schema(levels), rebuilt.depth), (TRADES, trades), (QUOTES, quotes))
    tables = tuple(Table(schema, symbol, frame, metadata, date) for schema, frame in made if frame.height)
    request.progress("binance", 3, 3)
    return Fetched(tables, repairs, verification, raw_files=(path,))


# --- lines to tables ---------------------------------------------------------------------------------------------


def read_capture(path: Path, limit: int) -> Capture:
    """Parse the lines of a capture; `DataError` names the row of one that is no message of these streams."""
    frames: dict[str, list[pl.DataFrame]] = {kind: [] for kind in _SHAPES}
    for first, block in line_blocks(path, limit=limit):
        for kind, frame in _parse(block, first, path.name).items():
            frames[kind].append(frame)
    if not sum(len(found) for found in frames.values()):
        raise DataError("is empty. Allowed: lines of a receive time, a space and a message.", file=path.name)
    tables = {kind: pl.concat(found) if found else _empty(kind) for kind, found in frames.items()}
    levels = {
        "depth": _levels(tables["depth"], "b", "a", path.name),
        "snapshot": _levels(tables["snapshot"], "bids", "asks", path.name),
    }
    numbers = {}
    for kind, names in (("trade", "pq"), ("bookTicker", "bBaA")):
        rows = tables[kind]["row"].to_numpy()
        for name in names:
            numbers[name] = read_decimals(tables[kind][name], f"{kind} {name}", file=path.name, rows=rows)
    futures = bool(tables["depth"]["pu"].is_not_null().any()) if tables["depth"].height else False
    tables["depth"], tables["snapshot"] = tables["depth"].drop("b", "a"), tables["snapshot"].drop("bids", "asks")
    return Capture(tables, levels, numbers, futures)


def _empty(kind: str) -> pl.DataFrame:
    shape = _SHAPES[kind]
    fields = shape.fields if kind == "snapshot" else shape.fields[0].dtype.fields  # type: ignore[union-attr]
    return pl.DataFrame(schema={"row": pl.Int64, "received": pl.Int64, **{f.name: f.dtype for f in fields}})


def _parse(block: bytes, first: int, file: str) -> dict[str, pl.DataFrame]:
    """Return one table per stream of a block of lines."""
    try:
        texts = block.decode().split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text: {error}.", file=file, row=first) from None
    lines = pl.DataFrame({"line": texts}).with_row_index("row", offset=first).with_columns(pl.col("row").cast(pl.Int64))
    lines = lines.select(
        "row",
        received=pl.col("line").str.extract(r"^(\d{1,19}) \{", 1).cast(pl.Int64, strict=False),
        json=pl.col("line").str.extract(r"^\d+ (\{.*\})\s*$", 1),
        stream=pl.col("line").str.extract(r'^\d+ \{\s*"stream"\s*:\s*"[^"@]+@(depth|bookTicker|trade)[@"]', 1),
    ).with_columns(
        stream=pl.when(pl.col("stream").is_null() & pl.col("json").str.contains('"lastUpdateId"', literal=True))
        .then(pl.lit("snapshot"))
        .otherwise("stream")
    )
    lost = lines.filter(pl.any_horizontal(pl.col("received", "json", "stream").is_null()))
    if lost.height:
        _refuse(int(lost["row"][0]), first, texts, file)
    tables = {}
    for kind, shape in _SHAPES.items():
        own = lines.filter(pl.col("stream") == kind)
        if not own.height:
            continue
        try:
            decoded = own.select("row", "received", message=pl.col("json").str.json_decode(shape))
        except pl.exceptions.PolarsError:
            raise _bad_line(own, shape, file) from None
        table = decoded.unnest("message") if kind == "snapshot" else decoded.unnest("message").unnest("data")
        missing = table.filter(pl.any_horizontal(pl.col(c).is_null() for c in _NEEDED[kind]))
        if missing.height:
            _refuse(int(missing["row"][0]), first, texts, file)
        tables[kind] = table
    return tables


def _refuse(row: int, first: int, texts: list[str], file: str) -> None:
    raise DataError(
        f"is no message that is understood: {texts[row - first][:120]!r}. Allowed: a receive time in ns, a space, and "
        "the JSON of @depth, @bookTicker, @trade or of a snapshot.",
        file=file,
        row=row,
    )


def _bad_line(own: pl.DataFrame, shape: pl.Struct, file: str) -> DataError:
    """Find the line that the reader of the whole block stumbled over."""
    for row, text in own.select("row", "json").iter_rows():
        try:
            pl.Series([text]).str.json_decode(shape)
        except pl.exceptions.PolarsError:
            return DataError(f"is not a whole message of its stream: {text[:120]!r}.", file=file, row=row)
    return DataError("holds lines that are not messages.", file=file)


def _levels(table: pl.DataFrame, bids: str, asks: str, file: str) -> Levels:
    sides = []
    for side, name in ((1, bids), (0, asks)):
        long = table.with_row_index("owner").select(pl.col("owner").cast(pl.Int64), "row", level=name).explode("level")
        sides.append(long.filter(pl.col("level").is_not_null()).with_columns(side=pl.lit(side, pl.Int64)))
    long = pl.concat(sides).sort("owner", maintain_order=True)
    bad = long.filter(pl.col("level").list.len() < 2)
    if bad.height:
        raise DataError(f"a level must be [price, quantity]; got {bad['level'][0]}.", file=file, row=int(bad["row"][0]))
    rows = long["row"].to_numpy()
    price = read_decimals(long["level"].list.get(0), "a level's price", file=file, rows=rows)
    quantity = read_decimals(long["level"].list.get(1), "a level's quantity", file=file, rows=rows)
    return Levels(long["owner"].to_numpy(), long["side"].to_numpy(), price, quantity)


def _symbol(capture: Capture, given: str | None, file: str) -> str:
    names = sorted({name for table in capture.tables.values() if "s" in table.columns for name in table["s"].unique()})
    if len(names) != 1:
        raise DataError(
            f"holds {len(names)} symbols ({', '.join(names[:5])}). Allowed: one, so that snapshots have an owner.",
            file=file,
        )
    return check_symbol(given or names[0] + (".UM" if capture.futures else ""))


# --- order and gaps ----------------------------------------------------------------------------------------------


def _in_order(capture: Capture, file: str) -> tuple[Messages, Array, int, int]:
    """Return the messages in the order in which they apply, the update id of each, and what was dropped and why."""
    depth, snapshot, trade = (capture.tables[k] for k in ("depth", "snapshot", "trade"))
    if depth.height and not snapshot.height:
        raise DataError("has depth updates and no snapshot, so no book can be known.", file=file)
    rows, dropped, duplicates = _chain(depth, snapshot, capture.futures)
    kinds = np.array([kind for kind, _ in rows], dtype=np.int64)
    owners = np.array([owner for _, owner in rows], dtype=np.int64)
    ts_depth = depth["T" if capture.futures else "E"].to_numpy() * 1_000_000
    ts = np.where(kinds == SNAPSHOT, 0, ts_depth[np.maximum(owners, 0)] if depth.height else 0)
    # A snapshot takes the time of the update that follows it: spot snapshots have no time of their own.
    for k in range(len(ts) - 1, -1, -1):
        if kinds[k] == SNAPSHOT:
            ts[k] = ts[k + 1] if k + 1 < len(ts) else ts[k - 1] if k else snapshot["received"][0]
    sides = np.where(trade["m"].to_numpy(), 1, 0)  # the buyer is the maker: a bid was hit
    levels = {
        UPDATE: capture.levels["depth"],
        SNAPSHOT: capture.levels["snapshot"],
        TRADE: Levels(np.arange(trade.height), sides, capture.prices["p"], capture.prices["q"]),
    }
    messages = merge_trades(kinds, ts, owners, levels, trade["T"].to_numpy() * 1_000_000)
    last = depth["u"].to_numpy() if depth.height else np.zeros(1, np.int64)
    return messages, last[np.where(messages.kind == UPDATE, messages.owner, 0)], dropped, duplicates


def _chain(depth: pl.DataFrame, snapshot: pl.DataFrame, futures: bool) -> tuple[list[tuple[int, int]], int, int]:
    """Return (kind, row of its table) of snapshots, applied updates and gaps; the numbers dropped and sent twice."""
    first, last = depth["U"].to_list(), depth["u"].to_list()
    before = depth["pu"].to_list() if futures else [None] * depth.height
    received = depth["row"].to_list()
    chain: list[tuple[int, int]] = []
    waiting = list(
        zip(snapshot["row"].to_list(), snapshot["lastUpdateId"].to_list(), range(snapshot.height), strict=True)
    )
    at: int | None = None  # update id of the book, None where it is unknown
    joined = dropped = duplicates = 0
    fresh = False  # nothing has been applied to the snapshot yet
    for k in range(depth.height):
        # Updates that came before the snapshot wait for it, as the venue's rules say; those it contains are dropped.
        if at is None and waiting and (last[k] > waiting[0][1] or received[k] > waiting[0][0]):
            while len(waiting) > 1 and last[k] > waiting[1][1] and received[k] > waiting[1][0]:
                waiting.pop(0)  # an older snapshot than another that is there already
            _, at, owner = waiting.pop(0)
            fresh = True
            chain.append((SNAPSHOT, owner))
            joined += 1
        if at is None:
            dropped += 1
            continue
        if last[k] < at + (not futures) if fresh else last[k] <= at:
            dropped, duplicates = dropped + fresh, duplicates + (not fresh)
            continue
        follows = (first[k] <= at + (not futures) <= last[k]) if fresh else (
            before[k] == at if futures else first[k] == at + 1
        )  # fmt: skip
        if not follows:
            chain.append((GAP, k))
            at, dropped = None, dropped + 1
            continue
        chain.append((UPDATE, k))
        at, fresh = last[k], False
    return chain, dropped, duplicates


# --- trades and quotes -------------------------------------------------------------------------------------------


def _trades(capture: Capture, symbol: str, file: str) -> tuple[pl.DataFrame, int]:
    trade = capture.tables["trade"]
    side = np.where(trade["m"].to_numpy(), -1, 1)
    price, quantity = capture.prices["p"], capture.prices["q"]
    return trades_table(symbol, trade["T"].to_numpy() * 1_000_000, trade["t"].to_numpy(), price, quantity, side, file)


def _quotes(capture: Capture, symbol: str, grid: Grid, file: str) -> tuple[pl.DataFrame, Array, int]:
    """Return `Quotes`, the same in ticks and lots, and how many times were raised.

    Spot's quotes carry no time: they take the receive time, brought to the venue's clock by the median difference of
    the trades.
    """
    ticker, trade = capture.tables["bookTicker"], capture.tables["trade"]
    falls = (ticker["u"].diff() < 0).arg_true()
    if len(falls):
        raise DataError(
            "bookTicker update ids fall. Allowed: rising.", file=file, row=int(ticker["row"][int(falls[0])])
        )
    rows = ticker["row"].to_numpy()
    steps = [("a", grid.tick), ("A", grid.lot), ("b", grid.tick), ("B", grid.lot)]
    numbers = [count_steps(capture.prices[n], step, f"bookTicker {n}", file=file, rows=rows) for n, step in steps]
    quotes = np.column_stack(numbers)
    if ticker["T"].is_not_null().all():
        ts = ticker["T"].to_numpy() * 1_000_000
    else:
        lead = int(np.median(trade["T"].to_numpy() * 1_000_000 - trade["received"].to_numpy())) if trade.height else 0
        ts = ticker["received"].to_numpy() + lead
    frame, raised = quotes_table(symbol, ts, np.arange(len(ts)), quotes, grid, file)
    return frame, quotes, raised


def quote_currency(symbol: str) -> str:
    """Return the currency that a Binance symbol is priced in, by its ending; empty where it is not known."""
    pair = symbol.removesuffix(".UM").partition("_")[0]
    known = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD")
    return next((currency for currency in known if pair.endswith(currency) and pair != currency), "")
