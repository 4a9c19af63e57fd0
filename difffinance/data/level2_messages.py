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
    """Trades by the venue's numbers: each is taken once; those sent again and those never sent are counted.

    What was seen is kept as runs of numbers, which grows with what is missing and not with what was sent.
    """

    def __init__(self) -> None:
        self.again = 0
        self._first = self._last = np.zeros(0, np.int64)  # of every run

    @property
    def missing(self) -> int:
        """The numbers between the least and the largest that were not seen so far."""
        return int((self._first[1:] - self._last[:-1] - 1).sum())

    def __call__(self, numbers: Array, rows: Array) -> Array:
        """Return the places of the trades that are new: by rows, which rise, and by numbers within one."""
        order = np.lexsort((numbers, rows))
        once = np.sort(np.unique(numbers[order], return_index=True)[1])
        order = order[once]
        found = numbers[order]
        begun = np.searchsorted(self._first, found, side="right")
        order = order[begun == np.searchsorted(self._last, found, side="left")]  # no run that has begun is open
        self.again += len(numbers) - len(order)
        self._see(numbers[order])
        return order

    def _see(self, new: Array) -> None:
        if len(new):
            first, last = (np.sort(np.concatenate([ends, new])) for ends in (self._first, self._last))
            parted = first[1:] > last[:-1] + 1
            self._first, self._last = first[np.append(True, parted)], last[np.append(parted, True)]


class Rising:
    """Times that may not fall: one that does takes the time before it, and is counted.

    Where numbers come with the times and one falls, its time is a nanosecond after the one before, at least.
    """

    def __init__(self) -> None:
        self.last, self.raised = int(np.iinfo(np.int64).min), 0
        self._number = self.last

    def __call__(self, ts: Array, numbers: Array | None = None) -> Array:
        """Return the next times, raised."""
        if len(ts) == 0:
            return ts
        later = np.zeros(len(ts), np.int64)
        if numbers is not None:
            later = np.cumsum(numbers < np.concatenate([[self._number], numbers[:-1]]))
            self._number = int(numbers[-1])
        steady = np.maximum.accumulate(np.concatenate([[self.last], ts - later]))[1:] + later
        self.raised += int((steady > ts).sum())
        self.last = int(steady[-1])
        return steady
