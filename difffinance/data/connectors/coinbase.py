"""coinbase: a capture of the Advanced Trade web socket (one JSON record a line, plain or packed), per product.

Records of type `recv` carry a message of the venue; header, http, connect and send records are passed over. Channels
l2_data (snapshots and levels set to a quantity), market_trades and ticker are read. Every connection numbers its
messages of all channels; one that comes twice in a row is dropped, a number that is skipped is a gap, and every book of
the capture is unknown until its next snapshot. It is read twice, block by block: memory does not grow with its length.

Times are those of the matching engine (`event_time` of levels, `time` of trades); a ticker, which has none, takes the
time at which its message was sent. The venue's `side` of a trade is that of the resting order, as its prices against
the book show; the aggressor's is the opposite. Trades are numbered without holes: one whose number is not above those
before was sent again. Tickers are sent apart from the levels and late: a ticker counts as seen where the book showed
its four numbers within a second before it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table, add_repairs, describe, digests, one_word
from difffinance.data.connectors.coinbase_records import Capture, read_capture
from difffinance.data.decimals import Scaled, StepFinder, count_steps, read_decimals
from difffinance.data.level2 import GAP, SNAPSHOT, UPDATE
from difffinance.data.level2_messages import Merger, Messages, Rising, TradeNumbers, nothing, of_levels, of_trades
from difffinance.data.level2_tables import Grid, LevelWriter, Tables, load_kernels, quotes_table, trades_table
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch coinbase CAPTURE.jsonl.zst [--symbol BTC-USD]"
TICKER_WINDOW_NS = 1_000_000_000
_PRICES = {"l2_data": ("price_level",), "market_trades": ("price",), "ticker": ("best_ask", "best_bid")}
_SIZES = {
    "l2_data": ("new_quantity",),
    "market_trades": ("size",),
    "ticker": ("best_ask_quantity", "best_bid_quantity"),
}


@dataclass(frozen=True)
class Items:
    """One product's items of some lines, by channel, and their decimals by column."""

    of: dict[str, pl.DataFrame]
    numbers: dict[str, Scaled]
    file: str

    def rows(self, channel: str) -> Array:
        """Return the line of every item."""
        return self.of[channel]["row"].to_numpy()

    def steps(self, channel: str, column: str, step: Any) -> Array:
        """Return decimals in whole steps."""
        return count_steps(self.numbers[column], step, column, file=self.file, rows=self.rows(channel))


def _items_of(capture: Capture, product: str, file: str) -> Items:
    own = {channel: items.filter(pl.col("product_id") == product) for channel, items in capture.items.items()}
    numbers = {
        column: read_decimals(
            own[channel][column],
            column,
            file=file,
            rows=own[channel]["row"].to_numpy(),
            above_zero=column == "price_level",
        )
        for channel in own
        for column in (*_PRICES[channel], *_SIZES[channel])
    }
    return Items(own, numbers, file)


@dataclass
class Survey:
    """What must be known of one product's whole capture before its rows are made."""

    prices: StepFinder = field(default_factory=StepFinder)
    sizes: StepFinder = field(default_factory=StepFinder)
    _begins: dict[str, int] = field(default_factory=dict)  # time of the first of its kind

    def add(self, items: Items) -> None:
        """Look at the next items."""
        for names, finder in ((_PRICES, self.prices), (_SIZES, self.sizes)):
            finder.add(*(items.numbers[column] for channel in names for column in names[channel]))
        book, trades, tickers = (items.of[channel] for channel in ("l2_data", "market_trades", "ticker"))
        for kind, found, column, at in (
            ("snapshot", book.filter(pl.col("type") == "snapshot"), "event_time", max),
            ("trade", trades, "time", min),
            ("ticker", tickers, "timestamp", min),
            ("level", book, "event_time", max),
        ):
            if kind not in self._begins and found.height:
                one = found.filter(pl.col("event") == found["event"][0])
                self._begins[kind] = at(_nanoseconds(one[column], one["row"], items.file).to_list())

    def day(self) -> str:
        """Return the day of the first snapshot; of the first trade, ticker or level where there is none."""
        ts = next(self._begins[kind] for kind in ("snapshot", "trade", "ticker", "level") if kind in self._begins)
        return str(np.datetime64(ts, "ns").astype("datetime64[D]"))


def fetch(request: Request) -> Fetched:
    """Return the tables of every product of a capture, or of the one named by `--symbol`."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    load_kernels()
    limit, lines, surveys = request.config.max_archive_bytes, 0, dict[str, Survey]()
    for capture in read_capture(path, limit):
        lines += capture.messages.height
        for product in sorted({p for items in capture.items.values() for p in items["product_id"].unique()}):
            surveys.setdefault(product, Survey()).add(_items_of(capture, product, path.name))
    request.progress("coinbase", 1, 2)
    wanted = [request.options["symbol"]] if "symbol" in request.options else sorted(surveys)
    unknown = [p for p in wanted if p not in surveys]
    if unknown or not wanted:
        raise InputError(f"{path.name} holds nothing of {', '.join(unknown) or 'a product'}; it has {sorted(surveys)}.")
    works = {product: _Import(product, surveys[product], path.name, request) for product in wanted}
    gaps = _Gaps()
    for capture in read_capture(path, limit):
        skipped, again = gaps.find(capture.messages)
        for product, work in works.items():
            work.feed(_items_of(capture.without(again), product, path.name), skipped)
    raw_sha256 = digests([path])
    found = {product: work.verification() for product, work in works.items()}
    tables = [table for work in works.values() for table in work.finished(raw_sha256)]
    request.progress("coinbase", 2, 2)
    replayed, seconds = (sum(getattr(work.writer, n) for work in works.values()) for n in ("messages", "seconds"))
    verification = {
        **{name: _worst(found, name) for name in ("one_step_exact", "resync_exact", "best_quotes_seen")},
        **{name: sum(f[name] for f in found.values()) for name in ("gaps", "crossed_states", "prints")},
        "messages": lines,
        "messages_per_second": replayed / seconds if seconds else None,
        "products": found,
    }
    return Fetched(
        tuple(tables),
        add_repairs({"message sent twice dropped": gaps.again}, *(work.repairs() for work in works.values())),
        verification,
        raw_files=(path,),
    )


def _worst(found: dict[str, dict[str, Any]], name: str) -> float | None:
    return min((f[name] for f in found.values() if f[name] is not None), default=None)


class _Gaps:
    """Where the numbers of a connection's messages do not follow each other, block by block."""

    def __init__(self) -> None:
        self._last: dict[str | None, int] = {}
        self.again = 0

    def find(self, messages: pl.DataFrame) -> tuple[Array, list[int]]:
        """Return the rows of the messages before which some are missing, rising; and of those told twice in a row."""
        rows, again = [np.zeros(0, np.int64)], list[int]()
        for conn in messages["conn"].unique().to_list():
            own = messages.filter(pl.col("conn").eq_missing(pl.lit(conn, pl.String)))
            numbers = own["sequence_num"].to_numpy()
            steps = np.diff(numbers, prepend=self._last.get(conn, numbers[0] - 1))
            rows.append(own["row"].to_numpy()[(steps != 1) & (steps != 0)])
            again += own["row"].to_numpy()[steps == 0].tolist()
            self._last[conn] = int(numbers[-1])
        self.again += len(again)
        return np.sort(np.concatenate(rows)), again


class _Import:
    """One product on its way into the lake, block by block."""

    def __init__(self, product: str, survey: Survey, file: str, request: Request) -> None:
        self.product, self.file, self.request = product, file, request
        self.grid = Grid.of(survey.prices, survey.sizes, request.config)
        self.tables = Tables(request, check_symbol(product), survey.day())
        self.writer = LevelWriter(self.tables, self.grid, file)
        self._merger, self._seen = Merger(), TickersSeen()
        self._trade_times, self._quote_times = Rising(), Rising()
        self._quotes, self._numbers = 0, TradeNumbers()
        self._last_ts: int | None = None  # of the last message of the book
        self._early = 0  # gaps before the first message of the book

    def feed(self, items: Items, skipped: Array) -> None:
        """Take the next lines; before the rows `skipped` messages are missing."""
        hits = self._write_trades(items)
        self._write_tickers(items)
        self._merger.add(self._book(items, skipped), hits)
        self._replay(self._merger.ready())

    def _replay(self, messages: Messages) -> None:
        if len(messages):
            ts, best = self.writer.feed(messages)
            self._seen.hold(ts, best)

    def _book(self, items: Items, skipped: Array) -> Messages:
        """Return the book messages, gaps included; a gap has the time of the message before it."""
        levels = items.of["l2_data"]
        bad = levels.filter(~pl.col("side").is_in(["bid", "offer"]) | ~pl.col("type").is_in(["snapshot", "update"]))
        if bad.height:
            given = f"{bad['type'][0]} {bad['side'][0]}"
            raise DataError(
                f"a level must be of a snapshot or update, bid or offer; got {given}.",
                file=self.file,
                row=bad["row"][0],
            )
        levels = levels.with_columns(ts=_nanoseconds(levels["event_time"], levels["row"], self.file))
        events = levels.group_by("event", maintain_order=True).agg(
            pl.col("row").first(), pl.col("ts").max(), snapshot=pl.col("type").first() == "snapshot"
        )
        kind, ts = np.where(events["snapshot"].to_numpy(), SNAPSHOT, UPDATE), events["ts"].to_numpy()
        at = np.searchsorted(events["row"].to_numpy(), skipped, side="left")
        if self._last_ts is None and not len(kind):
            self._early += len(skipped)
            return nothing()
        at = np.concatenate([np.zeros(self._early, np.int64), at])
        self._early = 0
        before = ts[0] if self._last_ts is None else self._last_ts
        gap_ts = np.concatenate([[before], ts])[at]
        place = np.arange(len(kind))
        place += np.searchsorted(at, place, side="right")
        kind, ts = np.insert(kind, at, GAP), np.insert(ts, at, gap_ts)
        self._last_ts = int(ts[-1]) if len(ts) else self._last_ts
        owner = place[np.searchsorted(events["event"].to_numpy(), levels["event"].to_numpy())]
        side = (levels["side"] == "bid").cast(pl.Int64).to_numpy()
        ticks = items.steps("l2_data", "price_level", self.grid.tick)
        lots = items.steps("l2_data", "new_quantity", self.grid.lot)
        return of_levels(kind, np.zeros(len(kind), np.int64), ts, owner, side, ticks, lots)

    def _write_trades(self, items: Items) -> Messages:
        """Write each trade once, by its number; return them as messages."""
        trades = items.of["market_trades"]
        bad = trades.filter(~pl.col("side").is_in(["BUY", "SELL"]) | ~pl.col("trade_id").str.contains(r"^\d{1,18}$"))
        if bad.height:
            given = f"{bad['side'][0]} {bad['trade_id'][0]}"
            raise DataError(
                f"a trade needs side BUY or SELL and a whole trade_id; got {given}.", file=self.file, row=bad["row"][0]
            )
        ids = trades["trade_id"].cast(pl.Int64).to_numpy()
        order = self._numbers(ids, trades["row"].to_numpy())
        if not len(order):
            return nothing()
        ts = _nanoseconds(trades["time"], trades["row"], self.file).to_numpy()[order]
        side = np.where((trades["side"] == "SELL").to_numpy(), 1, -1)[order]
        price, size = (items.numbers[c].take(order) for c in ("price", "size"))
        rows = trades["row"].to_numpy()[order]
        frame = trades_table(
            self.product, self._trade_times(ts, ids[order]), ids[order], price, size, side, self.file, rows
        )
        self.tables.append(TRADES, frame)
        ticks = items.steps("market_trades", "price", self.grid.tick)[order]
        lots = items.steps("market_trades", "size", self.grid.lot)[order]
        return of_trades(ts, (1 - side) // 2, ticks, lots)

    def _write_tickers(self, items: Items) -> None:
        """Write tickers with both sides; one before the first book has an empty side."""
        columns = [
            items.steps("ticker", c, self.grid.lot if c.endswith("quantity") else self.grid.tick)
            for c in ("best_ask", "best_ask_quantity", "best_bid", "best_bid_quantity")
        ]
        quotes = np.column_stack(columns)
        whole = (quotes > 0).all(axis=1)
        sent = _nanoseconds(items.of["ticker"]["timestamp"], items.of["ticker"]["row"], self.file).to_numpy()
        quotes, sent, rows = quotes[whole], sent[whole], items.of["ticker"]["row"].to_numpy()[whole]
        seq = np.arange(self._quotes, self._quotes + len(sent))
        self._quotes += len(sent)
        frame = quotes_table(self.product, self._quote_times(sent), seq, quotes, self.grid, self.file, rows)
        self.tables.append(QUOTES, frame)
        self._seen.add(sent, quotes)

    def verification(self) -> dict[str, Any]:
        """Replay what is left, and return what was found out."""
        self._replay(self._merger.rest())
        return {
            **self.writer.verification(),
            "trade_ids_missing": self._numbers.missing,
            "best_quotes_seen": self._seen.fraction(),
        }

    def repairs(self) -> dict[str, int]:
        """Return what was repaired."""
        return self.writer.repairs() | {
            "quote's time raised to that of the quote before": self._quote_times.raised,
            "trade's time raised to that of the trade before": self._trade_times.raised,
            "trade sent twice dropped": self._numbers.again,
        }

    def finished(self, raw_sha256: dict[str, str]) -> list[Table]:
        """Return the tables; `raw_sha256` is that of the file, by its name."""
        levels = self.request.config.book_levels
        metadata = describe(
            raw_sha256, currency=self.product.rpartition("-")[2], tick_size=self.grid.tick, lot_size=self.grid.lot,
            repairs=self.repairs(), verification=self.verification(), date=self.tables.part, levels=levels,
            volume_base="Coinbase",
        )  # fmt: skip
        return self.tables.finished((BOOK_EVENTS, depth_schema(levels), TRADES, QUOTES), metadata)


class TickersSeen:
    """The fraction of tickers that the stated book showed within the second before they were sent, block by block.

    A ticker waits until the book has come to a time after it; the book is kept for a second before the oldest waiting
    ticker and before its own end.
    """

    _MOST = 1 << 20  # tickers kept while no message of the book comes

    def __init__(self) -> None:
        none, row = np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
        self._sent, self._tickers, self._ts, self._best = none, row, none, row
        self._began: int | None = None
        self._inside = self._hits = 0

    def add(self, sent: Array, tickers: Array) -> None:
        """Take the next tickers (n, 4), as `Book.feed` has the best."""
        self._sent = np.concatenate([self._sent, sent])[-self._MOST :]
        self._tickers = np.concatenate([self._tickers, tickers])[-self._MOST :]

    def hold(self, ts: Array, best: Array) -> None:
        """Take the best after the next messages (0 where a side is empty), at rising times; judge what can be."""
        known = best.all(axis=1)
        self._ts, self._best = np.concatenate([self._ts, ts[known]]), np.concatenate([self._best, best[known]])
        if len(self._ts):
            self._began = int(self._ts[0]) if self._began is None else self._began
            self._judge(self._sent < self._ts[-1])
            oldest = min(int(self._sent.min(initial=self._ts[-1])), int(self._ts[-1]))
            first = max(int(np.searchsorted(self._ts, oldest - TICKER_WINDOW_NS)) - 1, 0)
            self._ts, self._best = self._ts[first:], self._best[first:]

    def _judge(self, ready: Array) -> None:
        for at, ticker in zip(self._sent[ready].tolist(), self._tickers[ready], strict=True):
            if self._began is None or at - TICKER_WINDOW_NS < self._began:
                continue
            low = max(int(np.searchsorted(self._ts, at - TICKER_WINDOW_NS)) - 1, 0)
            high = int(np.searchsorted(self._ts, at, side="right"))
            self._inside += 1
            self._hits += bool((self._best[low:high] == ticker).all(axis=1).any())
        self._sent, self._tickers = self._sent[~ready], self._tickers[~ready]

    def fraction(self) -> float | None:
        """Judge the tickers that are left, and return the fraction; None where nothing could be compared."""
        self._judge(np.ones(len(self._sent), np.bool_))
        return self._hits / self._inside if self._inside else None


def _nanoseconds(texts: pl.Series, rows: pl.Series, file: str) -> pl.Series:
    """Return RFC 3339 times in UTC as nanoseconds."""
    times = texts.str.strip_suffix("Z").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ns", strict=False)
    lost = (times.is_null() | ~texts.str.ends_with("Z")).arg_true()
    if len(lost):
        at = int(lost[0])
        raise DataError(f"{texts.name} must be a UTC time; got {texts[at]!r}.", file=file, row=int(rows[at]))
    return times.cast(pl.Int64)
