"""Record a running market as the tables of an order-book day: the form in which every loader and calibrator reads."""

import numpy as np
import polars as pl

from difffinance.errors import InputError
from difffinance.market.publication import Ladder, Rows, publish
from difffinance.market.settlement import PHASE_CHANGE
from difffinance.market.supervision import CLOSING_AUCTION, REOPENING, SPECIAL_QUOTE
from difffinance.records import Array, BookDay, Instrument
from difffinance.schemas import BOOK_EVENTS, depth_schema

OPENING_S = 34_200  # 09:30, as LOBSTER counts
_SPARE = 2048  # ticks beyond the prices seen


class DayRecorder:
    """Take a market's log step by step; `levels` of the book are published after each message.

    `orders` is the array of the book's orders at the start: what rests there is the opening book.
    """

    def __init__(self, instrument: Instrument, orders: Array, *, levels: int = 10) -> None:
        self.instrument, self.levels, self._open = instrument, levels, True
        alive = np.flatnonzero(orders["quantity"])
        prices = orders["price"][alive]
        low, high = (int(prices.min()), int(prices.max())) if len(alive) else (1, 1)
        base = max(low - _SPARE, 0)
        self._ladder = Ladder(
            np.zeros((2, high + _SPARE - base), np.int64), np.array([-1, high + _SPARE - base, base]),
            np.zeros((len(orders), 3), np.int64),
        )  # fmt: skip
        for order in alive.tolist():
            side, price, lots = (int(orders[order][name]) for name in ("side", "price", "quantity"))
            self._ladder.resting[order] = side, price, lots
            self._ladder.lots[0 if side > 0 else 1, price - base] += lots
        for column, ends in ((0, -1), (1, 0)):
            filled = np.flatnonzero(self._ladder.lots[column])
            if len(filled):
                self._ladder.best[column] = filled[ends]
        self._rows = self._new_rows(4096)

    def _new_rows(self, length: int) -> Rows:
        return Rows(
            np.zeros((length, 6), np.int64), np.zeros((length, 2, self.levels, 2), np.int64), np.zeros(1, np.int64)
        )

    def record(self, events: Array, fills: Array) -> None:
        """Append one step's log: `EVENT` and `FILL` rows. What comes after the closing call is left out.

        Refused where orders gather during the day: messages of a continuous book cannot tell of an auction.
        """
        phases = events["code"] * (events["kind"] == PHASE_CHANGE)
        gathers = np.flatnonzero((phases == REOPENING) | (phases == SPECIAL_QUOTE))
        if len(gathers):
            raise InputError(
                f"orders gathered for an auction {events['ts'][gathers[0]] / 1e9:g} s after the opening; messages "
                "of a continuous book cannot tell of it. Allowed: days without halts, special quotes, opening call."
            )
        if (phases == CLOSING_AUCTION).any():
            last = int(np.argmax(phases == CLOSING_AUCTION))
            events, fills, self._open = events[:last], fills[: events["first_fill"][last]], False
        elif not self._open:
            return
        if len(events) == 0:
            return
        self._make_room(events)
        at = 0
        while True:
            at = publish(events, fills, self._ladder, self._rows, at)
            if at == len(events):
                return
            longer = self._new_rows(2 * len(self._rows.messages) + len(fills))
            count = int(self._rows.count[0])
            longer.messages[:count], longer.depth[:count] = self._rows.messages[:count], self._rows.depth[:count]
            longer.count[0] = count
            self._rows = longer

    def _make_room(self, events: Array) -> None:
        ladder, base = self._ladder, int(self._ladder.best[2])
        most = int(events["order_id"].max()) + 1
        if most > len(ladder.resting):
            longer = np.zeros((2 * most, 3), np.int64)
            longer[: len(ladder.resting)] = ladder.resting
            ladder = ladder._replace(resting=longer)
        prices = events["price"][(events["price"] > 0) & (events["code"] == 0)]
        width = ladder.lots.shape[1]
        if len(prices) and (prices.min() < base or prices.max() >= base + width):
            low = min(base, max(int(prices.min()) - _SPARE, 0))
            high = max(base + width, int(prices.max()) + _SPARE)
            lots = np.zeros((2, high - low), np.int64)
            lots[:, base - low : base - low + width] = ladder.lots
            bid, ask = ladder.best[:2]
            best = np.array(
                [bid + base - low if bid >= 0 else -1, ask + base - low if ask < width else high - low, low]
            )
            ladder = ladder._replace(lots=lots, best=best)
        self._ladder = ladder

    def book_day(self, date: str, *, opening_s: float = OPENING_S) -> BookDay:
        """Return the day so far. Times are nanoseconds of the log after `opening_s` on the date, read as UTC."""
        count, symbol = int(self._rows.count[0]), self.instrument.symbol
        messages, depth = self._rows.messages[:count], self._rows.depth[:count]
        midnight = int(np.datetime64(date, "ns").astype(np.int64))
        kinds = np.array(["", "new", "partial_cancel", "delete", "execution"])
        ts = midnight + round(opening_s * 1e9) + np.maximum.accumulate(messages[:, 0])
        key = {"symbol": [symbol] * count, "ts": ts, "seq": np.arange(count)}
        events = pl.DataFrame(
            {**key, "order_id": messages[:, 2] + 1, "kind": kinds[messages[:, 1]], "side": messages[:, 5],
             "price_ticks": messages[:, 4].astype(float), "quantity": messages[:, 3] * self.instrument.lot_size}
        )  # fmt: skip
        book = dict(key)
        for k in range(self.levels):
            for column, side in enumerate(("bid", "ask")):
                price, lots = depth[:, column, k, 0], depth[:, column, k, 1]
                book[f"{side}_price_ticks_{k + 1}"] = pl.Series(price).set(pl.Series(lots == 0), None)
                book[f"{side}_quantity_{k + 1}"] = pl.Series(lots * self.instrument.lot_size).set(
                    pl.Series(lots == 0), None
                )
        return BookDay(
            self.instrument, _in_schema(events, BOOK_EVENTS), _in_schema(pl.DataFrame(book), depth_schema(self.levels)),
            self.levels, date, True, "simulated market",
        )  # fmt: skip


def _in_schema(frame: pl.DataFrame, schema) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    return frame.select(pl.col(name).cast(column.dtype) for name, column in schema.columns.items())
