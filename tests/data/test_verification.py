"""The kernel against its plain twin, on books that a full simulation wrote and on tampered ones."""

import numpy as np
import pytest

from difffinance.data.verification import Replay, count_exact_reference

EMPTY = {-1: 9_999_999_999, 1: -9_999_999_999}


def window(book: dict[int, dict[int, int]], levels: int) -> list[int]:
    """The best levels of a full book as one row of a book file."""
    row = []
    sides = {side: sorted(book[side].items(), key=lambda x: -side * x[0])[:levels] for side in (-1, 1)}
    for level in range(levels):
        for side in (-1, 1):
            row += sides[side][level] if level < len(sides[side]) else (EMPTY[side], 0)
    return row


def simulate(rng: np.random.Generator, levels: int, steps: int, thickness: int) -> tuple[np.ndarray, np.ndarray]:
    """Return messages (kind, price, size, direction) and book rows of a random market that knows its whole book.

    As in the vendor's files, what happens outside the window leaves no message.
    """
    book = {s: {1000 - s * k: int(rng.integers(1, 9)) for k in range(1, thickness)} for s in (-1, 1)}
    messages, rows = [(1, 999, 1, 1)], [window(book, levels)]
    while len(rows) < steps:
        side = int(rng.choice([-1, 1]))
        kind = int(rng.choice([1, 2, 3, 4, 5]))
        price, size = 1000 - side * int(rng.integers(1, thickness + 2)), int(rng.integers(1, 9))
        if kind == 1:
            book[side][price] = book[side].get(price, 0) + size
        elif kind < 5:
            if len(book[side]) < 2:
                continue
            price = max(book[side], key=lambda p: side * p) if kind == 4 else int(rng.choice(list(book[side])))
            size = min(size, book[side][price])
            book[side][price] -= size
            if book[side][price] == 0:
                del book[side][price]
        row = window(book, levels)
        if row != rows[-1] or kind == 5:
            messages.append((kind, price, size, side))
            rows.append(row)
    return np.array(messages, np.int64), np.array(rows, np.int64)


def both(messages: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    columns = [np.ascontiguousarray(messages[:, k]) for k in range(4)]
    replay = Replay(rows.shape[1] // 4)
    replay.feed(*columns, np.ascontiguousarray(rows))
    assert (replay.one_step, replay.resync) == count_exact_reference(*columns, rows)
    return replay.one_step, replay.resync


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
@pytest.mark.parametrize("thickness", [3, 12])
def test_honest_books_are_exact(levels, thickness):
    messages, rows = simulate(np.random.default_rng(levels), levels, 600, thickness)
    assert both(messages, rows) == (599, 599)


@pytest.mark.parametrize("seed", range(6))
def test_kernel_and_twin_agree_on_tampered_books(seed):
    rng = np.random.default_rng(seed)
    messages, rows = simulate(rng, 3, 300, 8)
    for _ in range(10):
        i = int(rng.integers(1, 300))
        if rng.random() < 0.5:
            messages[i, rng.integers(0, 4)] += rng.choice([-1, 1])
        else:
            rows[i, rng.integers(0, 12)] += 1
        both(messages, rows)


def test_one_wrong_row_costs_two_single_steps_and_one_resync():
    messages, rows = simulate(np.random.default_rng(1), 4, 400, 12)
    rows[200, 1] += 5  # the size of the best ask
    assert both(messages, rows) == (399 - 2, 399 - 1)


def test_one_wrong_size_costs_one_single_step_and_stays_in_the_replay():
    messages, rows = simulate(np.random.default_rng(2), 4, 400, 12)
    news = [i for i in range(100, 400) if messages[i, 0] == 1 and rows[i, 0] == messages[i, 1]]
    messages[news[0], 2] += 1  # of an order that joined or made the best ask
    one_step, resync = both(messages, rows)
    assert one_step == 399 - 1
    assert resync < 399 - 1


def test_more_taken_than_there_was_is_not_exact():
    messages, rows = simulate(np.random.default_rng(3), 2, 300, 8)
    gone = [i for i in range(1, 300) if messages[i, 0] == 3 and rows[i - 1, 3] == messages[i, 2]]
    i = next(i for i in gone if rows[i - 1, 2] == messages[i, 1])  # the whole best bid goes
    messages[i, 2] += 1
    assert both(messages, rows) == (298, 298)


def test_hidden_executions_change_nothing():
    messages, rows = simulate(np.random.default_rng(4), 2, 100, 8)
    shown = np.where(messages[1:, 0] == 5)[0] + 1
    assert len(shown)
    messages[shown, 1:3] = 123
    assert both(messages, rows) == (99, 99)


@pytest.mark.parametrize("size", [1, 7, 150, 299])
def test_pieces_count_what_the_whole_counts(size):
    rng = np.random.default_rng(5)
    messages, rows = simulate(rng, 3, 300, 8)
    for _ in range(12):
        rows[int(rng.integers(1, 300)), int(rng.integers(0, 12))] += 1
    replay = Replay(3)
    for at in range(0, 300, size):
        replay.feed(*messages[at : at + size].T, np.ascontiguousarray(rows[at : at + size]))
    assert (replay.one_step, replay.resync) == both(messages, rows)
    assert replay.rows == 300
