"""binance, captures: which updates apply to which snapshot, and where their chain breaks (see binance_depth)."""

from collections import deque

import numpy as np
import polars as pl

from difffinance.data.level2 import GAP, SNAPSHOT
from difffinance.data.level2_messages import Messages, join

_UPDATE, _GAP = -1, -2


class Chain:
    """Updates and snapshots, piece by piece, in the order in which they apply.

    `snapshots` are row, update id and receive time of all of a capture: an update that came before the snapshot it
    belongs to waits for it.
    """

    def __init__(self, snapshots: list[tuple[int, int, int]], futures: bool) -> None:
        self.dropped = self.duplicates = 0
        self._waiting, self._futures = deque(snapshots), futures
        self._at: int | None = None  # update id of the book, None where it is unknown
        self._fresh = False  # nothing has been applied to the snapshot yet
        self._held: tuple[pl.DataFrame, Messages] | None = None
        self._there: dict[int, Messages] = {}  # snapshots that were read and not used, by row
        self._untimed: Messages | None = None  # the snapshot that was used last, which has no time yet
        self._last_ts: int | None = None
        self._received = snapshots[0][2] if snapshots else 0

    def feed(
        self, depth: pl.DataFrame, updates: Messages, rows: list[int], snapshots: Messages, *, last: bool
    ) -> Messages:
        """Return the snapshots, applied updates and gaps that the next piece settles."""
        for k, row in enumerate(rows):
            self._there[row] = snapshots.take(np.array([k]))
        if self._held is not None:
            depth, updates = pl.concat([self._held[0], depth]), join([self._held[1], updates])
        chain, done = self._follow(depth)
        used = [self._there.pop(row) for row, _ in chain if row >= 0]
        self._held = (depth[done:], updates.take(np.arange(done, depth.height))) if done < depth.height else None
        oldest = self._waiting[0][0] if self._waiting else 0
        self._there = {row: there for row, there in self._there.items() if self._waiting and row >= oldest}
        return self._messages(chain, updates, used, last)

    def _follow(self, depth: pl.DataFrame) -> tuple[list[tuple[int, int]], int]:
        """Return (_UPDATE, _GAP or a snapshot's row; row of `depth`), and how many were looked at."""
        futures = self._futures
        chain: list[tuple[int, int]] = []
        firsts, lasts, received = depth["U"].to_list(), depth["u"].to_list(), depth["row"].to_list()
        befores = depth["pu"].to_list() if futures else [None] * depth.height
        for k in range(depth.height):
            # Updates that came before the snapshot wait for it, by the venue's rules; those it contains are dropped.
            if self._at is None and self._waiting and self._reaches(lasts[k], received[k], self._waiting[0]):
                self._skip_older(lasts[k], received[k])
                row, update, _ = self._waiting[0]
                if row not in self._there:
                    return chain, k
                self._waiting.popleft()
                self._at, self._fresh = update, True
                chain.append((row, k))
            if self._at is None:
                self.dropped += 1
                continue
            if lasts[k] < self._at + (not futures) if self._fresh else lasts[k] <= self._at:
                self.dropped += self._fresh
                self.duplicates += not self._fresh
                continue
            if self._fresh:
                follows = firsts[k] <= self._at + (not futures) <= lasts[k]
            else:
                follows = befores[k] == self._at if futures else firsts[k] == self._at + 1
            chain.append((_UPDATE if follows else _GAP, k))
            self.dropped += not follows
            self._at, self._fresh = (lasts[k] if follows else None), False
        if depth.height and self._at is not None:
            self._skip_older(lasts[-1], received[-1])
        return chain, depth.height

    @staticmethod
    def _reaches(last: int, row: int, snapshot: tuple[int, int, int]) -> bool:
        return last > snapshot[1] or row > snapshot[0]

    def _skip_older(self, last: int, row: int) -> None:
        """Forget a snapshot that is older than another which could be taken now."""
        while len(self._waiting) > 1 and last > self._waiting[1][1] and row > self._waiting[1][0]:
            self._waiting.popleft()

    def _messages(self, chain: list[tuple[int, int]], updates: Messages, used: list[Messages], last: bool) -> Messages:
        """Return the chain; a snapshot takes the time of what follows it: spot snapshots have no time of their own."""
        count, none = len(updates), np.zeros(0, np.int64)
        no_levels = np.zeros(count + 1, np.int64)
        gaps = Messages(np.full(count, GAP), updates.tag, updates.ts, no_levels, none, none, none)
        before = [self._untimed] if self._untimed is not None else []
        places = iter(range(2 * count + len(before), 2 * count + len(before) + len(used)))
        order = [k if what == _UPDATE else count + k if what == _GAP else next(places) for what, k in chain]
        ordered = np.array([*range(2 * count, 2 * count + len(before)), *order], np.int64)
        messages = join([updates, gaps, *before, *used]).take(ordered)
        for k in np.flatnonzero(messages.kind == SNAPSHOT)[::-1]:
            if k + 1 < len(messages):
                messages.ts[k] = messages.ts[k + 1]
            elif last:
                messages.ts[k] = messages.ts[k - 1] if k else self._last_ts or self._received
        self._untimed = None
        if len(messages) and messages.kind[-1] == SNAPSHOT and not last:
            self._untimed = messages.take(np.array([len(messages) - 1]))
            messages = messages.take(np.arange(len(messages) - 1))
        self._last_ts = int(messages.ts[-1]) if len(messages) else self._last_ts
        return messages
