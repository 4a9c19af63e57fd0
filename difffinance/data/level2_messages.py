"""Messages of a level-2 venue on their way to the book, a piece at a time: in order, with the trades among them.

A trade goes before the first message of its time or later, for a message is the book after what it contains. Venues
tell of a trade within seconds; a message therefore waits until times `WAIT_NS` after its own have been seen, and what
comes later still goes before the next message that is not yet gone.
"""

from dataclasses import dataclass

import numpy as np

from difffinance.data.level2 import TRADE
from difffinance.records import Array

WAIT_NS = 60_000_000_000


@dataclass(frozen=True)
class Messages:
    """Messages in the order in which they apply; message m sets the levels `first[m]:first[m + 1]`."""

    kind: Array  # (M,) of level2
    tag: Array  # (M,) the venue's id, where the caller needs it
    ts: Array  # (M,) UTC nanoseconds
    first: Array  # (M + 1,)
    side: Array  # (n,) 1 bid, 0 ask
    ticks: Array  # (n,)
    lots: Array  # (n,)

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.kind)

    def take(self, order: Array) -> "Messages":
        """Return the messages of these places."""
        counts = np.diff(self.first)[order]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(self.first[:-1][order] - first[:-1], counts) + np.arange(first[-1])
        return Messages(
            self.kind[order], self.tag[order], self.ts[order], first, self.side[rows], self.ticks[rows], self.lots[rows]
        )


def of_levels(kind: Array, tag: Array, ts: Array, owner: Array, side: Array, ticks: Array, lots: Array) -> Messages:
    """Return messages whose levels are sorted by `owner`, the place of their message."""
    return Messages(kind, tag, ts, np.searchsorted(owner, np.arange(len(kind) + 1)), side, ticks, lots)


def of_trades(ts: Array, side: Array, ticks: Array, lots: Array) -> Messages:
    """Return a message for every trade; `side` is that of the resting order."""
    count = len(ts)
    return Messages(np.full(count, TRADE), np.zeros(count, np.int64), ts, np.arange(count + 1), side, ticks, lots)


def nothing() -> Messages:
    """Return no messages."""
    none = np.zeros(0, np.int64)
    return of_trades(none, none, none, none)


def join(parts: list[Messages]) -> Messages:
    """Return messages one after the other."""
    starts = np.cumsum([0, *(part.first[-1] for part in parts)])
    first = np.concatenate([[0], *(part.first[1:] + start for part, start in zip(parts, starts, strict=False))])
    names = ("kind", "tag", "ts", "side", "ticks", "lots")
    kind, tag, ts, side, ticks, lots = (np.concatenate([getattr(part, n) for part in parts]) for n in names)
    return Messages(kind, tag, ts, first, side, ticks, lots)


class Merger:
    """Two streams, of the book and of trades, that become one."""

    def __init__(self) -> None:
        self._book, self._trades = nothing(), nothing()
        self._reached = self._seen = np.iinfo(np.int64).min

    def add(self, book: Messages, trades: Messages) -> None:
        """Take what comes next in both streams."""
        self._book, self._trades = join([self._book, book]), join([self._trades, trades])
        self._seen = max(self._seen, int(book.ts.max(initial=self._seen)), int(trades.ts.max(initial=self._seen)))

    def ready(self) -> Messages:
        """Return the messages that nothing told in time can come before any more."""
        return self._merged(self._seen - WAIT_NS) if len(self._book) and self._seen > 0 else nothing()

    def rest(self) -> Messages:
        """Return everything that is left."""
        return self._merged(None)

    def _merged(self, before: int | None) -> Messages:
        reached = np.maximum.accumulate(np.concatenate([[self._reached], self._book.ts]))[1:]
        at = np.searchsorted(reached, self._trades.ts, side="left")
        count = len(reached) if before is None else int(np.searchsorted(reached, before, side="left"))
        ends = (at < count) | (before is None)
        gone = self._trades.take(np.flatnonzero(ends))
        order = np.argsort(np.concatenate([2 * np.arange(count) + 1, 2 * at[ends]]), kind="stable")
        merged = join([self._book.take(np.arange(count)), gone]).take(order)
        self._book = self._book.take(np.arange(count, len(reached)))
        self._trades = self._trades.take(np.flatnonzero(~ends))
        self._reached = int(reached[count - 1]) if count else self._reached
        return merged


class TradeNumbers:
    """Trades by the venue's rising numbers: each is taken once; those sent again and those never sent are counted."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.again = self.missing = 0

    def __call__(self, numbers: Array) -> Array:
        """Return the places of the trades that are new, in the order of their numbers."""
        new, order = np.unique(numbers, return_index=True)
        if self.last is not None:
            later = new > self.last
            new, order = new[later], order[later]
        self.again += len(numbers) - len(new)
        if len(new):
            before = new[0] - 1 if self.last is None else self.last
            self.missing += int((np.diff(new, prepend=before) - 1).sum())
            self.last = int(new[-1])
        return order


class Rising:
    """Times that may not fall: one that does takes the time before it, and is counted."""

    def __init__(self) -> None:
        self.last, self.raised = int(np.iinfo(np.int64).min), 0

    def __call__(self, ts: Array) -> Array:
        """Return the next times, raised."""
        steady = np.maximum.accumulate(np.concatenate([[self.last], ts]))[1:]
        self.raised += int((steady > ts).sum())
        self.last = int(steady[-1]) if len(ts) else self.last
        return steady
