"""Events of the visible book from a Bitstamp day's orders and fills, in order, and the book that they make."""

import bisect
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from difffinance.data.connectors.bitstamp_orders import WINDOW_MS, Fill, Resting
from difffinance.data.level2 import DELETE, EXECUTION, HALT, NEW, PARTIAL_CANCEL
from difffinance.records import Array

Event = tuple[int, int, int, int, Resting, int]  # row, rank within it, serial, kind, order, volume


class Planner:
    """Puts executions of makers, what is left of takers, and cancellations in order, as they are settled.

    All trades of a taker stand at the first of them: it is known `WINDOW_MS` after the order was born.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._taken: dict[int, list[tuple[int, Fill]]] = {}  # serial and fill of a taker
        self._begun: deque[Resting] = deque()
        self._serial = 0

    def add(self, begun: Iterable[Resting], cancels: Iterable[tuple[int, Resting, int]]) -> None:
        """Take the next orders and cancellations."""
        self._begun.extend(begun)
        self._events += [(row, 3, 0, DELETE, order, volume) for row, order, volume in cancels]

    def settle(self, fills: Iterable[Fill]) -> None:
        """Take the next fills, whose partners are known."""
        for serial, fill in enumerate(fills, start=self._serial):
            self._serial = serial + 1
            if fill.is_taker:
                self._taken.setdefault(fill.order.id, []).append((serial, fill))
            elif fill.partners and not any(f.is_taker for f in fill.partners):
                # Of several partners some were there before and some came after: each loss stands where it was told.
                self._events.append((fill.row, 1, serial, EXECUTION, fill.order, fill.volume))
            elif not fill.partners and fill.volume:
                self._events.append((fill.row, 1, serial, PARTIAL_CANCEL, fill.order, fill.volume))

    def ready(self, settled: int, before: int) -> list[Event]:
        """Return the events of rows before `before`; all fills are settled up to the time `settled` (ms)."""
        while self._begun and self._begun[0].born + WINDOW_MS < settled:
            self._begin(self._begun.popleft())
        self._events.sort(key=lambda event: event[:3])
        count = bisect.bisect_left(self._events, before, key=lambda event: event[0])
        gone, self._events = self._events[:count], self._events[count:]
        return gone

    def _begin(self, order: Resting) -> None:
        """Place what an order took at once, and what of it rests."""
        taken, row = self._taken.pop(order.id, []), order.created
        volume = sum(fill.volume for _, fill in taken)
        if taken:
            row = max(min(f.row for _, fill in taken for f in (fill, *fill.partners)), order.created)
        for serial, fill in taken:
            for maker in fill.partners:
                at = row if maker.order.created < row else maker.row
                self._events.append((at, 1, serial, EXECUTION, maker.order, _share(maker, fill)))
        if order.created >= 0 and order.volume > volume:
            self._events.append((row, 2 if volume else 0, 0, NEW, order, order.volume - volume))


def _share(maker: Fill, taker: Fill) -> int:
    """Return what a maker lost to one of its takers; the last bears what the venue rounded."""
    if taker is not maker.partners[-1]:
        return taker.volume
    return maker.volume - sum(f.volume for f in maker.partners[:-1])


@dataclass
class Shown:
    """The shown book and its record: (row, kind, side, price, lots), order id, and the best levels after each."""

    levels: int
    crossed: int = 0
    removed: int = 0

    def __post_init__(self) -> None:
        self.totals: list[dict[int, int]] = [{}, {}]
        self.keys: list[list[int]] = [[], []]  # sign * price, the best last
        self.alive: dict[int, tuple[Resting, int]] = {}
        self.at: list[dict[int, dict[int, None]]] = [{}, {}]  # ids by price
        self.events: list[tuple[int, int, int, int, int]] = []
        self.ids: list[int] = []
        self.depth: list[list[int]] = []
        self._shown = [0] * (4 * self.levels)

    def records(self) -> tuple[Array, Array, Array]:
        """Return what was written since the last call: events as `level2` has them, depth rows and order ids."""
        rows = np.array(self.events, dtype=np.int64).reshape(-1, 5)
        depth, ids = np.array(self.depth, dtype=np.int64).reshape(-1, 4 * self.levels), np.array(self.ids, np.int64)
        self.events, self.depth, self.ids = [], [], []
        return rows, depth, ids

    def add(self, order: Resting, volume: int) -> None:
        """Let an order rest."""
        side, price = order.side, order.price
        if price not in self.totals[side]:
            bisect.insort(self.keys[side], (2 * side - 1) * price)
        self.totals[side][price] = self.totals[side].get(price, 0) + volume
        self.alive[order.id] = order, volume
        self.at[side].setdefault(price, {})[order.id] = None

    def take(self, order: Resting, volume: int) -> int:
        """Take volume from a resting order; return what it had, at most `volume`."""
        side, price = order.side, order.price
        had = self.alive[order.id][1]
        volume = min(volume, had)
        self.totals[side][price] -= volume
        if not self.totals[side][price]:
            del self.totals[side][price]
            del self.keys[side][bisect.bisect_left(self.keys[side], (2 * side - 1) * price)]
        if had > volume:
            self.alive[order.id] = order, had - volume
        else:
            del self.alive[order.id], self.at[side][price][order.id]
        return volume

    def crossing(self, order: Resting) -> list[Resting]:
        """Return the resting orders that an order would cross, the best level's."""
        other, sign = 1 - order.side, 2 * order.side - 1
        if not self.keys[other]:
            return []
        best = -sign * self.keys[other][-1]
        return [self.alive[i][0] for i in self.at[other][best]] if sign * order.price >= sign * best else []

    def record(self, row: int, kind: int, order: Resting, volume: int) -> None:
        """Write an event and the levels after it."""
        self.events.append((row, kind, order.side, order.price, volume))
        self.ids.append(order.id)
        keys = self.keys[order.side]
        if len(keys) < self.levels or (2 * order.side - 1) * order.price >= keys[-self.levels]:  # else it is not shown
            self._show_side(order.side)
        self.depth.append(self._shown)

    def _show_side(self, side: int) -> None:
        """Write the best levels of a side into a new row; the rows recorded so far stay."""
        depth, totals, sign = self._shown.copy(), self.totals[side], 2 * side - 1
        best = self.keys[side][: -self.levels - 1 : -1]
        prices = [sign * key for key in best]
        missing = [0] * (self.levels - len(best))
        depth[2 * side :: 4] = prices + missing
        depth[2 * side + 1 :: 4] = [totals[price] for price in prices] + missing
        self._shown = depth

    def begin(self, orders: Iterable[Resting]) -> None:
        """Let the orders rest with which the file begins; the first record is their book."""
        for order in orders:
            if order.volume > 0 and not self.crossing(order):
                self.add(order, order.volume)
        self._show_side(1)
        self.record(0, HALT, Resting(0, 0, 1, 0, 0, 0, 0, 0), 0)

    def show(self, events: Iterable[Event]) -> None:
        """Run the next events through the book."""
        for row, _, _, kind, order, volume in events:
            if kind == NEW:
                self._show_new(row, order, volume)
            elif order.id in self.alive:
                had = self.take(order, volume)
                gone = order.id not in self.alive
                self.record(row, DELETE if kind == PARTIAL_CANCEL and gone else kind, order, had)

    def _show_new(self, row: int, order: Resting, volume: int) -> None:
        for stale in [s for s in self.crossing(order) if s.last <= row]:
            while self.crossing(order) and stale.id in self.alive:
                had = self.take(stale, self.alive[stale.id][1])
                self.removed += 1
                self.record(row, DELETE, stale, had)
        if self.crossing(order):
            self.crossed += 1  # its trades were not told: it is not shown
        else:
            self.add(order, volume)
            self.record(row, NEW, order, volume)
