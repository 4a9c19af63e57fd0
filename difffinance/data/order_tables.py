"""From replayed orders to `BookEvents`, `Depth` and `Trades`, spooled in pieces and verified as LOBSTER days are."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Request
from difffinance.data.order_replay import FAULTS, OrderReplay
from difffinance.data.spool import Spool, Writing
from difffinance.data.verification import Replay, load_kernels
from difffinance.errors import DataError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, EVENT_KINDS, TIME, TRADES, depth_schema

HALT = 7
AT_ORDER = -1  # a print at the price of the order that was taken
AGAINST_MAKER = 2  # a print whose taker is on the other side than the order


@dataclass(frozen=True)
class Piece:
    """Messages for `OrderReplay.feed`, and what else is known of each."""

    rows: Array  # (n, 6); prices in the vendor's units
    ts: Array  # (n,) UTC nanoseconds, not falling
    place: Array  # (n,) byte in the file
    paid: Array  # (n,) price of the print in the vendor's units, AT_ORDER, or 0 where nothing was printed
    taker: Array  # (n,) side of the print, or AGAINST_MAKER


@dataclass
class BookWriter:
    """Replays pieces of one instrument's day and writes its three tables; `tick` is in the vendor's units."""

    request: Request
    symbol: str
    date: str
    levels: int
    tick: int
    tick_size: float  # quote currency
    file: str
    whole: bool = False  # the file begins before the first order
    events: Spool = field(init=False)
    depth: Spool = field(init=False)
    trades: Spool = field(init=False)

    def __post_init__(self) -> None:
        spool = self.request.spool
        self.events, self.depth, self.trades = (
            spool(schema, self.symbol, self.date) for schema in (BOOK_EVENTS, depth_schema(self.levels), TRADES)
        )
        self.orders, self._replay = OrderReplay(self.levels, whole=self.whole), Replay(self.levels)
        self._seconds, self._prints = 0.0, 0
        load_kernels(self.levels)
        OrderReplay(self.levels).feed(np.zeros((1, 6), np.int64))

    def feed(self, piece: Piece, writing: Writing) -> None:
        """Replay a piece and hand its rows over; refuse the first message that cannot be, by its byte."""
        start = time.thread_time()
        events, book, done, fault = self.orders.feed(piece.rows)
        if fault:
            raise DataError(f"{FAULTS[fault]} (id {piece.rows[done, 1]}).", file=self.file, byte=int(piece.place[done]))
        self._replay.feed(events[:, 1], events[:, 4], events[:, 5], events[:, 3], book)
        self._seconds += time.thread_time() - start
        seq = np.arange(self._replay.rows - len(events), self._replay.rows)
        writing.append(
            {
                self.events: self._events(events, piece.ts, seq),
                self.depth: self._depth(book, piece.ts[events[:, 0]], seq),
                self.trades: self._trades(piece, events),
            }
        )

    def _keys(self, ts: Array, seq: Array) -> dict[str, Any]:
        symbol = pl.repeat(self.symbol, len(ts), dtype=pl.String, eager=True)
        return {"symbol": symbol, "ts": pl.Series(ts, dtype=pl.Int64).cast(TIME), "seq": seq}

    def _events(self, events: Array, ts: Array, seq: Array) -> pl.DataFrame:
        source, kind, order_id, side, price, quantity = (np.ascontiguousarray(column) for column in events.T)
        frame = pl.DataFrame(
            {
                **self._keys(ts[source], seq),
                "order_id": order_id,
                "kind": pl.Series(EVENT_KINDS).gather(kind - 1),
                "side": side,
                "price_ticks": np.where(kind == HALT, price, price / self.tick),
                "quantity": quantity,
            }
        )
        return BOOK_EVENTS.check(frame, file=self.file)

    def _depth(self, book: Array, ts: Array, seq: Array) -> pl.DataFrame:
        columns: dict[str, Any] = self._keys(ts, seq)
        for level in range(self.levels):
            for side, at in (("bid", 4 * level + 2), ("ask", 4 * level)):
                there = pl.Series(book[:, at + 1] > 0)
                for i, what in enumerate(("price_ticks", "quantity")):
                    values = pl.Series(book[:, at + i] // (1 if i else self.tick))
                    columns[f"{side}_{what}_{level + 1}"] = values.zip_with(there, pl.Series([None], dtype=pl.Int64))
        return depth_schema(self.levels).check(pl.DataFrame(columns), file=self.file)

    def _trades(self, piece: Piece, events: Array) -> pl.DataFrame:
        """Return the prints, numbered apart from the events: a print need not change the visible book."""
        at = np.flatnonzero(piece.paid != 0)
        found = np.minimum(np.searchsorted(events[:, 0], at), max(len(events) - 1, 0))
        if len(events):
            made = events[found, 0] == at
        else:
            made, events = np.zeros(len(at), bool), np.zeros((1, 6), np.int64)
        needs_order = (piece.paid[at] == AT_ORDER) | (piece.taker[at] == AGAINST_MAKER)
        at, found = at[made | ~needs_order], found[made | ~needs_order]
        price = np.where(piece.paid[at] == AT_ORDER, events[found, 4], piece.paid[at])
        side = np.where(piece.taker[at] == AGAINST_MAKER, -events[found, 3], piece.taker[at])
        seq = np.arange(self._prints, self._prints + len(at))
        self._prints += len(at)
        prints = {
            "price": np.round(price / self.tick * self.tick_size, 10),
            "quantity": piece.rows[at, 5],
            "side": side,
        }
        return TRADES.check(pl.DataFrame({**self._keys(piece.ts[at], seq), **prints}), file=self.file)

    def verification(self) -> dict[str, Any]:
        """Return how far the events explain the levels, level by level (CONTRACT 2), and how fast they came."""
        replay, compared = self._replay, self._replay.rows - 1
        return {
            "one_step_exact": replay.one_step / compared if compared > 0 and self.levels > 1 else None,
            "resync_exact": replay.resync / compared if compared > 0 else None,
            "messages": replay.rows,
            "messages_per_second": replay.rows / self._seconds if self._seconds else None,
        }
