"""The compiled parsers against a plain split of the same lines, in pieces of every length."""

import numpy as np
import pytest

from difffinance.data.number_rows import EMPTY, TICK, NumberRows, parse_book_rows, parse_message_rows
from difffinance.errors import DataError


def pieces(text: bytes, size: int):
    return (text[at : at + size] for at in range(0, len(text), size))


def refuse(line: bytes, row: int) -> None:
    raise DataError(line.decode(errors="replace")[:50], row=row)


def book_rows(text: bytes, levels: int, size: int = 1 << 20) -> NumberRows:
    return NumberRows(pieces(text, size), parse_book_rows, refuse, width=4 * levels, file="book")


def message_rows(text: bytes, size: int = 1 << 20) -> NumberRows:
    def parse(text, at, end, rows):
        return parse_message_rows(text, at, end, rows, 0)

    return NumberRows(pieces(text, size), parse, refuse, width=6, file="messages")


def random_book(rng: np.random.Generator, levels: int, rows: int) -> tuple[bytes, np.ndarray]:
    steps = rng.integers(1, 5, (rows, levels, 2)).cumsum(axis=1)
    table = np.empty((rows, levels, 4), np.int64)
    table[:, :, 0], table[:, :, 2] = (5000 + steps[:, :, 0]) * TICK, (5000 - steps[:, :, 1]) * TICK
    table[:, :, 1::2] = rng.integers(1, 10 ** rng.integers(1, 7), (rows, levels, 2))
    empty = rng.random(rows) < 0.2
    table[empty, -1] = (EMPTY, 0, -EMPTY, 0)
    table = table.reshape(rows, -1)
    ticks = table.copy()
    ticks[:, ::2] //= TICK
    ticks[empty, -4:] = 0
    return "".join(",".join(map(str, row)) + "\n" for row in table.tolist()).encode(), ticks


@pytest.mark.parametrize("size", [1, 13, 400, 1 << 20])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_book_rows_are_those_of_the_text(size, ending):
    text, ticks = random_book(np.random.default_rng(1), 3, 50)
    text = text.replace(b"\n", ending) if ending else text[:-1]
    rows = book_rows(text, 3, size)
    assert np.array_equal(np.vstack([rows.take(20), rows.take(20), rows.take(20)]), ticks)
    assert len(rows.take(5)) == 0 and rows.taken == 50


def test_lines_that_nobody_took_are_counted():
    text, _ = random_book(np.random.default_rng(2), 2, 50)
    for piece in (1, 100, 1 << 20):
        rows = book_rows(text, 2, piece)
        rows.take(7)
        assert rows.count() == 50


@pytest.mark.parametrize(
    ("time", "nanoseconds"),
    [
        ("34200", 34_200_000_000_000),
        ("0.5", 500_000_000),
        ("34200.123456789", 34_200_123_456_789),
        ("35821.088778456049", 35_821_088_778_456),
        ("35821.0887784565", 35_821_088_778_457),
        ("86399.999999999", 86_399_999_999_999),
    ],
)
def test_times_are_exact_nanoseconds(time, nanoseconds):
    (row,) = message_rows(f"{time},1,11,100,1000000,-1\n".encode()).take(5)
    assert row.tolist() == [nanoseconds, 1, 11, 100, 1_000_000, -1]


GOOD = b"1,1,11,100,1000000,1"
BAD = [
    b"", b"\x00", b"1", b"1,1,11,100,1000000", b"1,1,11,100,1000000,1,1", b"-1,1,11,100,1000000,1",
    b"1.,1,11,100,1000000,1", b".5,1,11,100,1000000,1", b"1e3,1,11,100,1000000,1",
    b"86400,1,11,100,1000000,1", b"9999999,1,11,100,1000000,1",
    b"1,0,11,100,1000000,1", b"1,8,11,100,1000000,1", b"1,1,11,0,1000000,1", b"1,1,11,-1,1000000,1", b"1,1,11,100,0,1",
    b"1,1,11,100,1000050,1", b"1,1,11,100,1000000,2", b"1,1,,100,1000000,1", b"1,1,1234567890123456789,100,1000000,1",
    b"1,1,11,100,1000000,1 ", b"1,1,1-1,100,1000000,1", b"1,1,11,100,1000000,\xff",
]  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_bad_message_is_refused_at_its_row(line):
    rows = message_rows(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    with pytest.raises(DataError, match="row 2"):
        rows.take(3)


@pytest.mark.parametrize(
    "line",
    [
        b"100,1,200,1",
        b"100,1,100,1",
        b"150,1,100,1",
        b"300,0,100,1",
        b"300,1,100,-1",
        b"9999999999,1,100,1",
        b"-9999999999,0,100,1",
        b"300,1,100,1,",
        b"300,1,100",
        b"300;1,100,1",
        b"-300,1,-400,1",
    ],
)
def test_bad_book_row_is_refused_at_its_row(line):
    rows = book_rows(b"300,1,100,1\n" + line + b"\n", 1)
    with pytest.raises(DataError, match="row 2"):
        rows.take(3)


def test_line_without_end_is_refused_before_it_fills_the_memory():
    def zeros():
        while True:
            yield bytes(1 << 16)

    rows = NumberRows(zeros(), parse_book_rows, refuse, width=4, file="book")
    with pytest.raises(DataError, match="row 1"):
        rows.take(1)


@pytest.mark.parametrize("sign", ["", "+", "-"])
def test_numbers_of_every_length_are_read_wherever_the_text_ends(sign):
    ids = [int("9123456780123456789"[:length]) for length in range(1, 19)] + [0, 10, 100_000_000]
    for count in range(1, len(ids) + 1):
        text = "".join(f"34200.5,1,{sign}{number},7,5853300,1\n" for number in ids[:count]).encode()
        found = message_rows(text).take(100)
        assert found[:, 2].tolist() == [(-1 if sign == "-" else 1) * number for number in ids[:count]]
        assert (found[:, [3, 4]] == [7, 5_853_300]).all()
    for wrong in (f"{sign}9123456780123456789", f"{sign}12:4", f"{sign}123456789/", f"{sign}", f"{sign}1 2"):
        with pytest.raises(DataError):
            message_rows(f"34200.5,1,{wrong},7,5853300,1\n".encode()).take(1)
