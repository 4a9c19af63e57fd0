"""What became of each order of a Bitstamp day, and who traded with whom, as the messages come.

A loss of volume that is no cancellation is a fill. Fills are joined in three rounds: equal volumes as they come, then
one with several of the other side, then those whose volume the file does not tell. What is joined lies within
`WINDOW_MS`; a round therefore follows the one before at twice that distance, and what is further back is settled.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from difffinance.errors import DataError
from difffinance.records import Array

WINDOW_MS = 5_000
ROUNDING = Decimal("2e-8")  # by which the venue's volumes of the two sides may differ
NEVER = 1 << 62  # a row beyond the file, a time beyond all


@dataclass(slots=True, eq=False)
class Resting:
    """An order: its side (1 bid, 0 ask), price in ticks, volume at the start, and the last row that speaks of it."""

    id: int
    side: int
    price: int
    volume: int
    created: int  # row; -1 for orders that the file does not create
    born: int  # ms of the first message
    last: int
    left: int


@dataclass(slots=True, eq=False)
class Fill:
    """A loss of volume that is no cancellation; `volume` is 0 where the file does not tell."""

    row: int
    ms: int
    order: Resting
    volume: int
    price: int  # as told here: that of a market order walks with its trades
    partners: list["Fill"] = field(default_factory=list)

    @property
    def is_taker(self) -> bool:
        """Tell whether this side of a trade came later than the other, and just now."""
        ids = [f.order.id for f in self.partners]
        return bool(ids) and self.order.id > max(ids) and self.ms - self.order.born <= WINDOW_MS


@dataclass
class Told:
    """What some rows tell: orders that begin, fills, and cancellations (row, order, volume)."""

    begun: list[Resting] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    cancels: list[tuple[int, Resting, int]] = field(default_factory=list)


class _Numbers:
    """A set of whole numbers that lie close together, a bit each."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Put a number in; tell whether it was there."""
        page = self._pages.setdefault(number >> 16, bytearray(1 << 13))
        at, bit = (number & 0xFFFF) >> 3, 1 << (number & 7)
        there = bool(page[at] & bit)
        page[at] |= bit
        return there


class OrderReader:
    """Reads messages into orders; in memory are those that live.

    `last` holds, from an earlier reading, the last rows of orders that are never deleted; without it the last row of
    an order is the last one so far.
    """

    def __init__(self, file: str, last: dict[int, int] | None = None) -> None:
        self.file, self.living = file, dict[int, Resting]()
        self.repairs = dict.fromkeys(
            ("order created twice passed over", "change without a loss of volume passed over"), 0
        )
        self._seen, self._last = _Numbers(), last

    def feed(self, first: int, rows: Array, ms: Array, columns: tuple[list, ...], ticks: Array, lots: Array) -> Told:
        """Return what the next messages tell: `columns` are id, action and direction, `first` counts the messages."""
        told = Told()
        given = zip(*columns, ms.tolist(), ticks.tolist(), lots.tolist(), rows.tolist(), strict=True)
        for row, (number, action, direction, at, price, volume, line) in enumerate(given, start=first):
            side, seen = 1 if direction == "bid" else 0, self._seen.add(number)
            order = self.living.get(number)
            if order is not None and order.side != side:
                raise DataError(f"order {number} changes its side.", file=self.file, row=line)
            if action == "created" or (order is None and seen):
                new = Resting(number, side, price, volume, row, at, self._ends(number, row), volume)
                self._begin(told, seen, new, action)
                continue
            if order is None:
                order = Resting(number, side, price, volume, -1, at, self._ends(number, row), volume)
                self.living[number] = order
                told.begun.append(order)
                if action == "changed" or volume == 0:  # it lost something whose size its partner must tell
                    told.fills.append(Fill(row, at, order, 0, price))
            elif self._last is None:
                order.last = row
            self._lose(told, order, row, at, action, price, volume)
        return told

    def _ends(self, number: int, row: int) -> int:
        return row if self._last is None else self._last.get(number, NEVER)

    def _begin(self, told: Told, seen: bool, order: Resting, action: str) -> None:
        if not seen:
            self.living[order.id] = order
            told.begun.append(order)
        elif action == "created":
            self.repairs["order created twice passed over"] += 1
        elif order.volume > 0 or action == "changed":  # of an order that is gone
            self.repairs["change without a loss of volume passed over"] += 1

    def _lose(self, told: Told, order: Resting, row: int, ms: int, action: str, price: int, volume: int) -> None:
        lost = order.left - volume
        if lost > 0:
            told.fills.append(Fill(row, ms, order, lost, price))
        elif (action == "changed" and order.created >= 0) or lost < 0:
            self.repairs["change without a loss of volume passed over"] += 1
        order.left = min(order.left, volume)
        if action == "deleted":
            if order.left > 0:
                told.cancels.append((row, order, order.left))
            order.left, order.last = 0, row
            del self.living[order.id]


class Matcher:
    """Joins the two sides of trades; `feed` returns the fills that nothing to come can change, in their order."""

    def __init__(self, lot: Decimal) -> None:
        self._rounding = int(ROUNDING / lot)  # lots
        self._fills: list[Fill] = []
        self._several = self._unknown = self._settled = 0  # how many of them each round has come to
        self._waiting: dict[tuple[int, int], list[Fill]] = defaultdict(list)

    def feed(self, fills: list[Fill], now: int) -> Iterator[Fill]:
        """Take the next fills, all that were told before the time `now` (ms)."""
        for fill in fills:
            self._fills.append(fill)
            if fill.volume:
                self._match_equal(fill)
        self._waiting = defaultdict(list, self._still_waiting(now))
        reached = now - 2 * WINDOW_MS
        while self._several < len(self._fills) and self._fills[self._several].ms < reached:
            self._match_several(self._several)
            self._several += 1
        reached -= 2 * WINDOW_MS
        while self._unknown < len(self._fills) and self._fills[self._unknown].ms < reached:
            self._match_unknown(self._unknown)
            self._unknown += 1
        reached -= WINDOW_MS
        while self._settled < len(self._fills) and self._fills[self._settled].ms < reached:
            yield self._fills[self._settled]
            self._settled += 1
        kept = self._settled
        while kept and reached - self._fills[kept - 1].ms <= 5 * WINDOW_MS:
            kept -= 1
        del self._fills[:kept]
        self._several, self._unknown, self._settled = (
            place - kept for place in (self._several, self._unknown, self._settled)
        )

    def _still_waiting(self, now: int) -> dict[tuple[int, int], list[Fill]]:
        kept = {key: [f for f in own if now - f.ms <= WINDOW_MS] for key, own in self._waiting.items()}
        return {key: own for key, own in kept.items() if own}

    def _match_equal(self, fill: Fill) -> None:
        equal = range(fill.volume - self._rounding, fill.volume + self._rounding + 1)
        near = [self._waiting[1 - fill.order.side, volume] for volume in equal]
        partners = [f for own in near for f in own if _meet(fill, f)]
        if partners:
            partner = max(partners, key=lambda f: f.row)  # the nearest in time
            _join(fill, [partner])
            self._waiting[partner.order.side, partner.volume].remove(partner)
        else:
            self._waiting[fill.order.side, fill.volume].append(fill)

    def _open_beside(self, place: int) -> list[Fill]:
        """Return the fills without partner that could be those of the one at `place`."""
        fills, fill = self._fills, self._fills[place]
        low = high = place
        while low and fill.ms - fills[low - 1].ms <= WINDOW_MS:
            low -= 1
        while high < len(fills) and fills[high].ms - fill.ms <= WINDOW_MS:
            high += 1
        return [f for f in fills[low:high] if not f.partners and _meet(fill, f)]

    def _match_several(self, place: int) -> None:
        fill = self._fills[place]
        if fill.partners or not fill.volume:
            return
        others = [f for f in self._open_beside(place) if f.volume]
        for start in range(len(others)):
            total = 0
            for end in range(start, len(others)):
                total += others[end].volume
                if total >= fill.volume - self._rounding:
                    break
            if abs(total - fill.volume) <= self._rounding:
                _join(fill, others[start : end + 1])
                return

    def _match_unknown(self, place: int) -> None:
        fill = self._fills[place]
        if fill.partners or fill.volume:
            return
        known = [f for f in self._open_beside(place) if f.volume]
        if known:
            nearest = min(known, key=lambda f: abs(f.ms - fill.ms))
            fill.volume = nearest.volume
            fill.order.volume += nearest.volume
            _join(fill, [nearest])


def _meet(one: Fill, other: Fill) -> bool:
    if one.order.side == other.order.side or abs(one.ms - other.ms) > WINDOW_MS:
        return False
    bid, ask = (one, other) if one.order.side == 1 else (other, one)
    return bid.price >= ask.price or bid.order.price >= ask.order.price


def _join(one: Fill, others: list[Fill]) -> None:
    one.partners = list(others)
    for other in others:
        other.partners = [one]
