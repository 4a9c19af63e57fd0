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
A trade that was sent twice counts once, by its id; ids that are missing are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, describe, digests
from difffinance.data.connectors.binance_chain import Chain
from difffinance.data.connectors.binance_messages import SHAPES, Capture, read_capture
from difffinance.data.decimals import StepFinder, count_steps
from difffinance.data.level2 import SNAPSHOT, UPDATE
from difffinance.data.level2_messages import Merger, Messages, Rising, TradeNumbers, of_levels, of_trades
from difffinance.data.level2_tables import (
    BestQuotes,
    Grid,
    LevelWriter,
    Tables,
    load_kernels,
    quotes_table,
    trades_table,
)
from difffinance.data.store import check_symbol
from difffinance.errors import DataError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, QUOTES, TRADES, depth_schema

_LEAD_TRADES = 100_000  # the clocks are compared over the first trades of a file


@dataclass
class Survey:
    """What must be known of a whole capture before its rows are made; it takes a reading of its own."""

    lines: int = 0
    symbols: set[str] = field(default_factory=set)
    futures: bool = False
    quotes_timed: bool = True
    snapshots: list[tuple[int, int, int]] = field(default_factory=list)  # row, update id, receive time
    heights: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHAPES, 0))
    prices: StepFinder = field(default_factory=StepFinder)
    sizes: StepFinder = field(default_factory=StepFinder)
    _ahead: list[Array] = field(default_factory=list)

    def add(self, piece: Capture) -> None:
        """Look at the next lines."""
        for kind, table in piece.tables.items():
            self.heights[kind] += table.height
            self.lines += table.height
            if "s" in table.columns:
                self.symbols.update(table["s"].unique().to_list())
        for levels in piece.levels.values():
            self.prices.add(levels.price)
            self.sizes.add(levels.quantity)
        self.prices.add(*(piece.prices[k] for k in "pba"))
        self.sizes.add(*(piece.prices[k] for k in "qBA"))
        self.futures = self.futures or bool(piece.tables["depth"]["pu"].is_not_null().any())
        self.quotes_timed = self.quotes_timed and bool(piece.tables["bookTicker"]["T"].is_not_null().all())
        self.snapshots += piece.tables["snapshot"].select("row", "lastUpdateId", "received").rows()
        trade = piece.tables["trade"]
        if sum(map(len, self._ahead)) < _LEAD_TRADES:
            self._ahead.append(trade["T"].to_numpy() * 1_000_000 - trade["received"].to_numpy())

    def lead(self) -> int:
        """Return by how much the venue's clock is ahead of the receiver's, in ns (the median of the trades)."""
        ahead = np.concatenate([*self._ahead, np.zeros(0, np.int64)])[:_LEAD_TRADES]
        return int(np.median(ahead)) if len(ahead) else 0

    def symbol(self, given: str | None, file: str) -> str:
        """Return the name for the tables; refuse captures of several symbols."""
        names = sorted(self.symbols)
        if len(names) != 1:
            raise DataError(
                f"holds {len(names)} symbols ({', '.join(names[:5])}). Allowed: one, so that snapshots have an owner.",
                file=file,
            )
        return check_symbol(given or names[0] + (".UM" if self.futures else ""))


def import_capture(path: Path, request: Request) -> Fetched:
    """Read one capture of one symbol into `BookEvents`, `Depth`, `Trades` and `Quotes` (those that it can fill).

    The capture is read twice, block by block: memory does not grow with its length.
    """
    load_kernels()
    limit = request.config.max_archive_bytes
    survey = Survey()
    for piece in read_capture(path, limit):
        survey.add(piece)
    request.progress("binance", 1, 3)
    if not survey.lines:
        raise DataError("is empty. Allowed: lines of a receive time, a space and a message.", file=path.name)
    symbol = survey.symbol(request.options.get("symbol"), path.name)
    if survey.heights["depth"] and not survey.snapshots:
        raise DataError("has depth updates and no snapshot, so no book can be known.", file=path.name)
    work = _Import(request, path.name, symbol, survey)
    for piece, last in _with_last(read_capture(path, limit)):
        work.feed(piece, last=last)
    request.progress("binance", 2, 3)
    verification = work.verification(survey.lines)
    repairs = work.repairs()
    levels = request.config.book_levels
    metadata = describe(
        digests([path]), currency=quote_currency(symbol), tick_size=work.grid.tick, lot_size=work.grid.lot,
        repairs=repairs, verification=verification, date=work.date, levels=levels,
        volume_base=volume_base(futures=survey.futures),
    )  # fmt: skip
    tables = work.tables.finished((BOOK_EVENTS, depth_schema(levels), TRADES, QUOTES), metadata)
    request.progress("binance", 3, 3)
    return Fetched(tuple(tables), repairs, verification, raw_files=(path,))


def _with_last(pieces: Iterator[Capture]) -> Iterator[tuple[Capture, bool]]:
    before = next(pieces)
    for piece in pieces:
        yield before, False
        before = piece
    yield before, True


# --- tables of the lake ------------------------------------------------------------------------------------------


class _Import:
    """One capture on its way into the lake, piece by piece."""

    def __init__(self, request: Request, file: str, symbol: str, survey: Survey) -> None:
        self.request, self.file, self.symbol, self.survey = request, file, symbol, survey
        self.grid = Grid.of(survey.prices, survey.sizes, request.config)
        self.date = ""
        self._chain = Chain(survey.snapshots, survey.futures)
        self._merger, self._best = Merger(), BestQuotes(survey.heights["bookTicker"])
        self._trade_times, self._quote_times, self._quotes_seen, self._ticker_id = Rising(), Rising(), 0, 0
        self._numbers = TradeNumbers()
        self._lead = survey.lead()
        self._waiting: list[tuple[Capture, Messages]] = []  # until the day is known

    def feed(self, piece: Capture, *, last: bool) -> None:
        """Take the next lines. The day is that of the first message of the book, else of the first row."""
        depth, snapshot = piece.tables["depth"], piece.tables["snapshot"]
        updates = self._messages(piece, "depth", depth["T" if self.survey.futures else "E"], depth["u"], UPDATE)
        zero = pl.zeros(snapshot.height, pl.Int64, eager=True)
        snapshots = self._messages(piece, "snapshot", zero, snapshot["lastUpdateId"], SNAPSHOT)
        book = self._chain.feed(depth, updates, snapshot["row"].to_list(), snapshots, last=last)
        self._waiting.append((piece, book))
        if not self.date:
            bookless = last or not self.survey.snapshots or not self.survey.heights["depth"]
            self.date = _day(book.ts) or (self._first_day() if bookless else "")
            if not self.date and not last:
                return
            self.tables = Tables(self.request, self.symbol, self.date)
            self._writer = LevelWriter(self.tables, self.grid, self.file)
        waiting, self._waiting = self._waiting, []
        for each, messages in waiting:
            self._write(each, messages)
        if last:
            self._replay(self._merger.rest())

    def _first_day(self) -> str:
        trades = next((d for p, _ in self._waiting if (d := _day(p.tables["trade"]["T"].to_numpy() * 1_000_000))), "")
        return trades or next((d for p, _ in self._waiting if (d := _day(self._quote_ts(p.tables["bookTicker"])))), "")

    def _messages(self, piece: Capture, stream: str, ms: pl.Series, ids: pl.Series, kind: int) -> Messages:
        levels, rows = piece.levels[stream], piece.tables[stream]["row"].to_numpy()
        ticks = count_steps(levels.price, self.grid.tick, "price", file=self.file, rows=rows[levels.owner])
        lots = count_steps(levels.quantity, self.grid.lot, "quantity", file=self.file, rows=rows[levels.owner])
        ts = ms.to_numpy() * 1_000_000
        return of_levels(np.full(len(ts), kind), ids.to_numpy(), ts, levels.owner, levels.side, ticks, lots)

    def _write(self, piece: Capture, book: Messages) -> None:
        """Write trades and quotes, and what of the book is ready."""
        trade = piece.tables["trade"]
        order = self._numbers(trade["t"].to_numpy(), trade["row"].to_numpy())
        trade = trade[order]
        rows, price, quantity = trade["row"].to_numpy(), piece.prices["p"].take(order), piece.prices["q"].take(order)
        ids = trade["t"].to_numpy()
        ts, maker = trade["T"].to_numpy() * 1_000_000, trade["m"].to_numpy()  # the buyer is the maker: a bid was hit
        frame = trades_table(
            self.symbol,
            self._trade_times(ts, ids),
            ids,
            price,
            quantity,
            np.where(maker, -1, 1),
            self.file,
            rows,
        )
        self.tables.append(TRADES, frame)
        self._write_quotes(piece)
        ticks = count_steps(price, self.grid.tick, "price", file=self.file, rows=rows)
        lots = count_steps(quantity, self.grid.lot, "quantity", file=self.file, rows=rows)
        self._merger.add(book, of_trades(ts, np.where(maker, 1, 0), ticks, lots))
        self._replay(self._merger.ready())

    def _replay(self, messages: Messages) -> None:
        if len(messages):
            _, best = self._writer.feed(messages)
            after = messages.kind == UPDATE
            self._best.hold(messages.tag[after], best[after])

    def _write_quotes(self, piece: Capture) -> None:
        ticker = piece.tables["bookTicker"]
        rows, ids = ticker["row"].to_numpy(), ticker["u"].to_numpy()
        falls = np.flatnonzero(np.diff(ids, prepend=self._ticker_id) < 0)
        if len(falls):
            raise DataError("bookTicker update ids fall. Allowed: rising.", file=self.file, row=int(rows[falls[0]]))
        steps = [("a", self.grid.tick), ("A", self.grid.lot), ("b", self.grid.tick), ("B", self.grid.lot)]
        columns = [
            count_steps(piece.prices[n], step, f"bookTicker {n}", file=self.file, rows=rows) for n, step in steps
        ]
        quotes = np.column_stack(columns)
        seq = np.arange(self._quotes_seen, self._quotes_seen + len(ids))
        ts = self._quote_times(self._quote_ts(ticker))
        self.tables.append(QUOTES, quotes_table(self.symbol, ts, seq, quotes, self.grid, self.file, rows))
        self._best.add(ids, quotes)
        self._quotes_seen += len(ids)
        self._ticker_id = int(ids[-1]) if len(ids) else self._ticker_id

    def _quote_ts(self, ticker: pl.DataFrame) -> Array:
        """Return the venue's times. Spot's quotes carry none: theirs is the receive time, on the venue's clock."""
        if self.survey.quotes_timed:
            return ticker["T"].to_numpy() * 1_000_000
        return ticker["received"].to_numpy() + self._lead

    def verification(self, lines: int) -> dict[str, Any]:
        """Return what was found out."""
        compared, agreed = self._best.counted()
        return {
            **self._writer.verification(),
            "messages": lines,
            "trade_ids_missing": self._numbers.missing,
            "best_quotes_compared": compared,
            "best_quotes_exact": agreed / compared if compared else None,
        }

    def repairs(self) -> dict[str, int]:
        """Return what was repaired."""
        return self._writer.repairs() | {
            "update outside a snapshot's reach dropped": self._chain.dropped,
            "message sent twice dropped": self._chain.duplicates,
            "trade sent twice dropped": self._numbers.again,
            "quote's time raised to that of the quote before": self._quote_times.raised,
            "trade's time raised to that of the trade before": self._trade_times.raised,
        }


def _day(ts: Array) -> str:
    return str(np.datetime64(int(ts[0]), "ns").astype("datetime64[D]")) if len(ts) else ""


def volume_base(*, futures: bool) -> str:
    """Return whose volume the tables count."""
    return "Binance USD-M futures" if futures else "Binance spot"


def quote_currency(symbol: str) -> str:
    """Return the currency that a Binance symbol is priced in, by its ending; empty where it is not known."""
    pair = symbol.removesuffix(".UM").partition("_")[0]
    known = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD")
    return next((currency for currency in known if pair.endswith(currency) and pair != currency), "")
