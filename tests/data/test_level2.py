"""The level-2 kernel against a plain twin with dictionaries, and what must always hold."""

import numpy as np
import pytest

from difffinance.data.level2 import (
    DELETE,
    EXECUTION,
    GAP,
    HALT,
    NEW,
    PARTIAL_CANCEL,
    SNAPSHOT,
    TRADE,
    UPDATE,
    Book,
)

BID, ASK = 1, 0
Message = tuple[int, list[tuple[int, int, int]]]


class Twin:
    """The two books as dictionaries of price to lots, one list of recorded rows."""

    def __init__(self, levels: int) -> None:
        self.levels, self.known = levels, False
        self.stated: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
        self.shown: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
        self.touched: list[tuple[int, int]] = []
        self.rows: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def side(self, side: int) -> list[int]:
        return sorted(self.shown[side], reverse=side == BID)

    def record(self, *event: int) -> None:
        row = []
        for level in range(self.levels):
            for side in (ASK, BID):
                prices = self.side(side)
                price = prices[level] if level < len(prices) else 0
                row += [price, self.shown[side].get(price, 0)]
        self.rows.append((event, tuple(row)))

    def change(self, m: int, side: int, price: int, then: int) -> None:
        """Set a level of the shown book and record it if it is, or was, among the best."""
        now = self.shown[side].get(price, 0)
        better = sum(p > price if side == BID else p < price for p in self.shown[side])
        self.shown[side].pop(price, None)
        if then:
            self.shown[side][price] = then
        if better < self.levels:
            kind = NEW if then > now else DELETE if then == 0 else PARTIAL_CANCEL
            self.record(m, kind, side, price, abs(then - now))

    def touch(self, side: int, price: int) -> None:
        if (side, price) not in self.touched:
            self.touched.append((side, price))

    def crosses(self, side: int, price: int) -> bool:
        other = self.side(1 - side)
        return bool(other) and (price >= other[0] if side == BID else price <= other[0])

    def feed(self, m: int, kind: int, levels: list[tuple[int, int, int]]) -> None:
        if kind in (SNAPSHOT, GAP):
            for book in (self.stated, self.shown):
                book[BID], book[ASK] = {}, {}
                for side, price, lots in levels:
                    book[side][price] = lots
            self.known, self.touched = kind == SNAPSHOT, []
            self.record(m, HALT, 0, 1 if self.known else -1, 0)
        elif self.known and kind == TRADE:
            self.trade(m, *levels[0])
        elif self.known:
            for side, price, lots in levels:
                self.stated[side].pop(price, None)
                if lots:
                    self.stated[side][price] = lots
                self.touch(side, price)
            waiting = []
            for grow in (False, True):
                for side, price in self.touched:
                    now, then = self.shown[side].get(price, 0), self.stated[side].get(price, 0)
                    if grow and then > now:
                        if now == 0 and self.crosses(side, price):
                            waiting.append((side, price))
                        else:
                            self.change(m, side, price, then)
                    elif not grow and then < now:
                        self.change(m, side, price, then)
            self.touched = waiting

    def trade(self, m: int, side: int, price: int, lots: int) -> None:
        stale = [(side, p) for p in self.side(side) if (p > price if side == BID else p < price)]
        stale += [(1 - side, p) for p in self.side(1 - side) if (p <= price if side == BID else p >= price)]
        for s, p in stale:
            self.touch(s, p)
            self.record_delete(m, s, p)
        if self.shown[side].get(price, 0) < lots:
            self.change(m, side, price, lots)
        self.touch(side, price)
        left = self.shown[side].pop(price) - lots
        if left:
            self.shown[side][price] = left
        self.record(m, EXECUTION, side, price, lots)

    def record_delete(self, m: int, side: int, price: int) -> None:
        lots = self.shown[side].pop(price)
        self.record(m, DELETE, side, price, lots)


def feed(book: Book, messages: list[Message]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = np.cumsum([0, *(len(levels) for _, levels in messages)])
    rows = np.array([level for _, levels in messages for level in levels], dtype=np.int64).reshape(-1, 3)
    return book.feed(np.array([kind for kind, _ in messages]), first, *rows.T)


def random_messages(rng: np.random.Generator, count: int) -> list[Message]:
    """Messages around a moving price, crossed states and prices outside the spread included."""
    messages: list[Message] = [
        (SNAPSHOT, [(BID, 95 + k, 10) for k in range(5)] + [(ASK, 101 + k, 10) for k in range(5)])
    ]
    for _ in range(count):
        kind = rng.choice([UPDATE, TRADE, SNAPSHOT, GAP], p=[0.6, 0.36, 0.02, 0.02])
        if kind == UPDATE:
            side = rng.integers(0, 2, size=rng.integers(0, 6))
            price = np.where(side == BID, 101, 99) + np.where(side == BID, -1, 1) * rng.integers(0, 12, len(side))
            lots = rng.integers(0, 4, len(side)) * rng.integers(0, 6, len(side))
            messages.append((UPDATE, list(zip(side.tolist(), price.tolist(), lots.tolist(), strict=True))))
        elif kind == TRADE:
            messages.append((TRADE, [(int(rng.integers(0, 2)), int(rng.integers(94, 107)), int(rng.integers(1, 8)))]))
        elif kind == SNAPSHOT:
            messages.append(random_messages(rng, 0)[0])
        else:
            messages.append((GAP, []))
    return messages


@pytest.mark.parametrize("levels", [1, 3, 20])
def test_kernel_is_its_plain_twin(levels):
    messages = random_messages(np.random.default_rng(levels), 1500)
    twin = Twin(levels)
    for m, (kind, rows) in enumerate(messages):
        twin.feed(m, kind, rows)
    book = Book(levels)
    events, depth, _ = feed(book, messages)
    assert events.tolist() == [list(event) for event, _ in twin.rows]
    assert depth.tolist() == [list(row) for _, row in twin.rows]
    assert len(events) > 1000 and book.counted()["crossed_states"] > 0 and book.counted()["inferred_events"] > 0


def test_pieces_give_what_the_whole_gives():
    messages = random_messages(np.random.default_rng(5), 600)
    events, depth, best = feed(Book(5), messages)
    book, pieces = Book(5), []
    for start in range(0, len(messages), 7):
        found = feed(book, messages[start : start + 7])
        found[0][:, 0] += start
        pieces.append(found)
    for whole, part in zip((events, depth, best), zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(part))


def test_shown_book_is_never_crossed_and_ends_as_the_stated_one():
    rng = np.random.default_rng(9)
    events, depth, best = feed(Book(20), random_messages(rng, 3000))
    both = (depth[:, 1] > 0) & (depth[:, 3] > 0)
    assert (depth[both, 2] < depth[both, 0]).all()
    last = np.flatnonzero(np.diff(events[:, 0], append=-1))  # of every message that was recorded
    last = last[np.isin(events[last, 1], (NEW, PARTIAL_CANCEL, DELETE))]
    plain = best[events[last, 0]]
    uncrossed = (plain[:, 2] < plain[:, 0]) & (plain[:, 0] > 0)
    assert uncrossed.sum() > 100
    np.testing.assert_array_equal(depth[last][uncrossed, :4], plain[uncrossed])


def test_sweep_reads_as_one_order_and_stale_levels_are_told_apart():
    book = Book(3)
    asks = [(ASK, 101, 2), (ASK, 102, 3), (ASK, 103, 9), (BID, 99, 5)]
    trades: list[Message] = [(TRADE, [(ASK, 101, 2)]), (TRADE, [(ASK, 102, 1)]), (TRADE, [(ASK, 103, 4)])]
    events, depth, _ = feed(book, [(SNAPSHOT, asks), *trades, (UPDATE, [(ASK, 101, 0), (ASK, 102, 0), (ASK, 103, 5)])])
    assert [tuple(row) for row in events[1:].tolist()] == [
        (1, EXECUTION, ASK, 101, 2),
        (2, EXECUTION, ASK, 102, 1),
        (3, DELETE, ASK, 102, 2),  # a print at 103 tells that 102 was gone
        (3, EXECUTION, ASK, 103, 4),
    ]
    assert depth[-1].tolist()[:4] == [103, 5, 99, 5]
    counted = book.counted()
    assert (counted["prints"], counted["prints_inside_shown"], counted["inferred_events"]) == (3, 2, 1)
    assert counted["traded"] == counted["confirmed"] == 7


def test_nothing_is_bridged_over_a_gap():
    book = Book(2)
    start = [(BID, 99, 5), (ASK, 101, 5)]
    lost: list[Message] = [(GAP, []), (UPDATE, [(BID, 100, 7)]), (TRADE, [(ASK, 101, 1)])]
    events, depth, best = feed(book, [(SNAPSHOT, start), *lost, (SNAPSHOT, start), (UPDATE, [(BID, 98, 1)])])
    assert events[:, 1].tolist() == [HALT, HALT, HALT, NEW]
    assert events[:, 3].tolist()[:3] == [1, -1, 1] and not depth[1].any()
    assert not best[2].any() and best[5].tolist() == [101, 5, 99, 5]
