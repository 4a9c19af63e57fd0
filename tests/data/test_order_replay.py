"""The order-level kernel against a plain twin with dictionaries, on random orders fed in pieces of every length."""

import numpy as np
import pytest

from difffinance.data.order_replay import (
    ADD,
    CLEAR,
    CROSSED,
    DELETE,
    EXECUTE,
    FILL,
    GOOD,
    ID_TAKEN,
    PASS,
    REDUCE,
    REPLACE,
    SET,
    TOO_MUCH,
    OrderReplay,
)  # fmt: skip

LEVELS = 3


def replay_reference(rows: list[tuple[int, ...]], levels: int) -> tuple[list, list, int]:
    """Replay good rows with one dictionary of orders; the levels are summed anew after every event."""
    orders: dict[int, list[int]] = {}  # side, price, left, pending
    events, depth, unknown = [], [], 0

    def emit(*event: int) -> None:
        row = [0] * (4 * levels)
        for column, side in ((0, -1), (2, 1)):
            sizes: dict[int, int] = {}
            for own, price, left, _ in orders.values():
                if own == side and left:
                    sizes[price] = sizes.get(price, 0) + left
            for level, price in enumerate(sorted(sizes, key=lambda p: -side * p)[:levels]):
                row[4 * level + column], row[4 * level + column + 1] = price, sizes[price]
        events.append(event)
        depth.append(row)

    for i, (operation, key, new_key, side, price, quantity) in enumerate(rows):
        if operation == PASS:
            emit(i, new_key, key, side, price, quantity)
        elif operation == CLEAR:
            raise NotImplementedError("the order of deletions is free: tested apart")
        elif operation == ADD or (operation == SET and key not in orders):
            orders[key] = [side, price, quantity, 0]
            emit(i, 1, key, side, price, quantity)
        elif key not in orders:
            unknown += 1
        elif operation == REPLACE or (operation == SET and (price != orders[key][1] or quantity > orders[key][2])):
            own, old, left, _ = orders.pop(key)
            if left:
                emit(i, 3, key, own, old, left)
            fresh = new_key if operation == REPLACE else key
            orders[fresh] = [own, price, quantity, 0]
            emit(i, 1, fresh, own, price, quantity)
        else:
            order = orders[key]
            if operation == SET:
                order[3], quantity = 0, order[2] - quantity
            elif operation == DELETE:
                quantity = order[2]
            elif operation == REDUCE:
                told = min(order[3], quantity)
                order[3] -= told
                quantity -= told
            kind = 4 if operation in (EXECUTE, FILL) else 3 if quantity == order[2] else 2
            order[2] -= quantity
            order[3] += quantity if operation == FILL else 0
            if quantity:
                emit(i, kind, key, *order[:2], quantity)
            if order[2] == order[3] == 0:
                del orders[key]
    return events, depth, unknown


def random_rows(rng: np.random.Generator, count: int) -> list[tuple[int, ...]]:
    """Messages of a venue whose book never crosses: bids below 1000, asks above it."""
    rows, living, fresh = [], {}, 1
    while len(rows) < count:
        side = int(rng.choice([-1, 1]))
        price, quantity = 1000 - side * int(rng.integers(1, 9)), int(rng.integers(1, 50))
        operation = int(rng.choice([ADD, ADD, ADD, REDUCE, DELETE, EXECUTE, REPLACE, SET, FILL, PASS]))
        if operation == ADD:
            rows.append((ADD, fresh, 0, side, price, quantity))
            living[fresh] = [side, quantity]
            fresh += int(rng.choice([1, 7, 1 << 33]))
        elif operation == PASS:
            rows.append((PASS, 0, int(rng.choice([5, 6, 7])), 0, price, quantity))
        elif rng.random() < 0.05:
            rows.append((operation if operation != SET else REDUCE, -5, fresh + 1, side, price, 1))
        elif living:
            key = int(rng.choice(list(living)))
            side, left = living[key]
            price, taken = 1000 - side * int(rng.integers(1, 9)), int(rng.integers(1, left + 1))
            if operation == REPLACE:
                rows.append((REPLACE, key, fresh, side, price, quantity))
                del living[key]
                living[fresh] = [side, quantity]
                fresh += 1
            elif operation == SET:
                rows.append((SET, key, 0, side, price, quantity))
                living[key][1] = quantity
            else:
                rows.append((operation, key, 0, side, price, taken))
                if operation == FILL:
                    rows.append((REDUCE, key, 0, side, price, taken))  # as venues do, the fill's cancel comes after
                living[key][1] -= left if operation == DELETE else taken
                if not living[key][1]:
                    del living[key]
    return rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [1, 37, 10_000])
def test_kernel_does_what_the_plain_twin_does(seed, size):
    rows = random_rows(np.random.default_rng(seed), 1500)
    events, depth, unknown = replay_reference(rows, LEVELS)
    replay, ours, books = OrderReplay(LEVELS), [], []
    for start in range(0, len(rows), size):
        got, book, done, fault = replay.feed(np.array(rows[start : start + size], np.int64))
        assert fault == GOOD and done == len(rows[start : start + size])
        ours += [(source + start, *rest) for source, *rest in got.tolist()]
        books += book.tolist()
    assert ours == events and books == depth and replay.unknown == unknown > 0


def test_thousands_of_orders_at_thousands_of_prices():
    rows = [(ADD, 1 + i, 0, 1 if i % 2 else -1, 10_000 + (-i if i % 2 else i + 1), 5) for i in range(5000)]
    rows += [(DELETE, 1 + i, 0, 0, 0, 0) for i in range(0, 5000, 3)]
    replay = OrderReplay(1)
    for start in range(0, len(rows), 999):
        _, book, _, fault = replay.feed(np.array(rows[start : start + 999], np.int64))
        assert fault == GOOD
    assert book[-1].tolist() == [10_003, 5, 9_999, 5]


def test_clear_deletes_every_order():
    replay = OrderReplay(2)
    rows = [
        (ADD, 1, 0, 1, 99, 5),
        (ADD, 2, 0, -1, 101, 5),
        (ADD, 3, 0, 1, 98, 2),
        (CLEAR, 0, 0, 0, 0, 0),
        (ADD, 1, 0, 1, 90, 1),
    ]
    events, book, _, fault = replay.feed(np.array(rows, np.int64))
    assert fault == GOOD and events[:, 1].tolist() == [1, 1, 1, 3, 3, 3, 1]
    assert sorted(events[3:6, 2].tolist()) == [1, 2, 3] and not book[5].any()
    assert book[-1].tolist() == [0, 0, 90, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((ADD, 1, 0, 1, 98, 5), ID_TAKEN),
        ((REPLACE, 1, 2, 1, 98, 5), ID_TAKEN),
        ((EXECUTE, 1, 0, 1, 99, 6), TOO_MUCH),
        ((REDUCE, 2, 0, 1, 99, 6), TOO_MUCH),
        ((ADD, 3, 0, 1, 101, 5), CROSSED),
        ((ADD, 3, 0, -1, 99, 5), CROSSED),
    ],
)
def test_impossible_message_stops_the_replay_there(row, fault):
    rows = [(ADD, 1, 0, 1, 99, 5), (ADD, 2, 0, -1, 101, 5), row, (DELETE, 1, 0, 0, 0, 0)]
    assert OrderReplay(1).feed(np.array(rows, np.int64))[2:] == (2, fault)
