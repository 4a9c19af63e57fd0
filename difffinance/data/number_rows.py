"""LOBSTER's two text tables to integers: rows of digits and commas, parsed and checked in one pass by compiled code.

A kernel takes whole lines, fills rows, and stops at the first row that is not as it must be; it says where, and the
caller, who has all the time of the world for one row, says why (`connectors.lobster`).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from difffinance.errors import DataError
from difffinance.records import Array

EMPTY = 9_999_999_999  # price of a level that does not exist: + for asks, - for bids, with size 0
TICK = 100  # one cent in LOBSTER's units of a hundredth of a cent
_NEWLINE, _RETURN, _COMMA, _MINUS, _PLUS, _POINT = 10, 13, 44, 45, 43, 46
_LONGEST_LINE = 1 << 20


@intrinsic
def _eight_bytes(typingctx: Any, text: Any, at: Any) -> Any:
    """Return the eight bytes from `at` on as one uint64, the first the lowest."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(text, types.int64), codegen


@intrinsic
def _trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest set bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@njit(cache=True, forceinline=True, _nrt=False)
def _digits(text, at):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the number that the digits from `at` on make, and where they end; more than 18 overflow.

    Eight at a time: bytes that are no digits are found together, and neighbours are put together to numbers of two,
    four and eight digits (Lemire & Mula, 2017). How long a number is then branches nowhere.
    """
    value = np.uint64(0)
    if at + 8 <= len(text):
        word = _eight_bytes(text, at) ^ np.uint64(0x3030303030303030)  # digits are 0 to 9, all else is more
        others = ((word + np.uint64(0x0606060606060606)) | word) & np.uint64(0xF0F0F0F0F0F0F0F0)
        count = np.uint64(8)
        if others != 0:
            count = _trailing_zeros(others) >> np.uint64(3)
            if count == 0:
                return np.int64(0), at
            word <<= np.uint64(64) - np.uint64(8) * count
        word = (word * np.uint64(10 * 2**8 + 1)) >> np.uint64(8)
        word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(100 * 2**16 + 1)) >> np.uint64(16)
        value = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(10_000 * 2**32 + 1)) >> np.uint64(32)
        at += np.int64(count)
        if others != 0:
            return np.int64(value), at
    digit = np.uint64(text[at]) - np.uint64(48)  # what is below 0 is very large
    while digit <= 9:
        value = value * np.uint64(10) + digit
        at += 1
        digit = np.uint64(text[at]) - np.uint64(48)
    return np.int64(value), at


@njit(cache=True, forceinline=True, _nrt=False)
def _integer(text, at):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the whole number at `at` and where it ends; where it is none, an end of -1. Lines end, so this does."""
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += 1
    value, end = _digits(text, at)
    if end == at or end - at > 18:
        return 0, -1
    return -value if negative else value, end


@njit(cache=True, forceinline=True, _nrt=False)
def _line_end(text: Array, at: int) -> int:  # pragma: no cover
    """Return where the next line begins if a line ends at `at`, else -1."""
    if text[at] == _RETURN:
        at += 1
    return at + 1 if text[at] == _NEWLINE else -1


@njit(cache=True, nogil=True, _nrt=False)
def parse_book_rows(text: Array, at: int, end: int, rows: Array) -> tuple[int, int, bool]:  # pragma: no cover
    """Fill `rows` (n, 4 L) with ticks and sizes from the lines of `text[at:end]`; an empty level becomes 0, 0.

    Returns how many rows were filled, where the next line begins, and whether that line is refused: not 4 L whole
    numbers, a price that is not positive or not on the tick grid, a size that is not positive, levels out of order or
    with gaps, a crossed or locked book.
    """
    levels = rows.shape[1] // 4
    for n in range(rows.shape[0]):
        if at >= end:
            return n, at, False
        start = at
        row = rows[n]
        for level in range(levels):
            for side in range(2):  # 0 ask, 1 bid
                price, at = _integer(text, at)
                if at < 0 or text[at] != _COMMA:
                    return n, start, True
                size, at = _integer(text, at + 1)
                if at < 0:
                    return n, start, True
                column = 4 * level + 2 * side
                ticks = price // TICK
                if size <= 0 or price <= 0 or ticks * TICK != price:
                    if size != 0 or price != (EMPTY if side == 0 else -EMPTY):
                        return n, start, True
                    ticks = 0
                elif level > 0:
                    before = row[column - 4]
                    if before == 0 or (ticks <= before if side == 0 else ticks >= before):
                        return n, start, True
                row[column] = ticks
                row[column + 1] = size
                if level < levels - 1 or side == 0:
                    if text[at] != _COMMA:
                        return n, start, True
                    at += 1
        at = _line_end(text, at)
        if at < 0 or (row[0] > 0 and row[2] >= row[0]):
            return n, start, True
    return rows.shape[0], at, False


@njit(cache=True, forceinline=True, _nrt=False)
def _nanoseconds(text: Array, at: int) -> tuple[int, int]:  # pragma: no cover
    """Return seconds with decimals as whole nanoseconds, rounded at the tenth decimal, and where they end or -1."""
    start = at
    whole, at = _integer(text, at)
    if at < 0 or text[start] == _MINUS or at - start > 6:
        return 0, -1
    value = whole * 1_000_000_000
    if text[at] == _POINT:
        at += 1
        digit = np.int64(text[at]) - 48
        if not 0 <= digit <= 9:
            return 0, -1
        fraction, places = np.int64(0), 0
        while 0 <= digit <= 9 and places < 9:
            fraction = fraction * 10 + digit
            places += 1
            at += 1
            digit = np.int64(text[at]) - 48
        for _ in range(9 - places):
            fraction *= 10
        value += fraction + (5 <= digit <= 9)
        while 0 <= np.int64(text[at]) - 48 <= 9:
            at += 1
    return value, at


@njit(cache=True, nogil=True, _nrt=False)
def parse_message_rows(
    text: Array, at: int, end: int, rows: Array, last: int
) -> tuple[int, int, bool]:  # pragma: no cover
    """Fill `rows` (n, 6) with nanoseconds since midnight, type, id, size, price x 10000 and direction.

    Returns what `parse_book_rows` returns; `last` is the time of the row before. Refused: not six numbers, a time
    beyond the day or before the row before, an unknown type, and, halts excepted, a size or price that is not positive,
    a direction that is no sign, a visible price off the tick grid.
    """
    for n in range(rows.shape[0]):
        if at >= end:
            return n, at, False
        start = at
        row = rows[n]
        row[0], at = _nanoseconds(text, at)
        for column in range(1, 6):
            if at < 0 or text[at] != _COMMA:
                return n, start, True
            row[column], at = _integer(text, at + 1)
        if at < 0:
            return n, start, True
        at = _line_end(text, at)
        kind = row[1]
        good = at >= 0 and last <= row[0] < 86_400_000_000_000 and 1 <= kind <= 7
        if kind != 7:
            good = good and row[3] > 0 and row[4] > 0 and (row[5] == 1 or row[5] == -1)
            good = good and (kind > 4 or row[4] % TICK == 0)
        if not good:
            return n, start, True
        last = row[0]
    return rows.shape[0], at, False


class NumberRows:
    """The rows of one text file, taken in numbers that suit the caller; only a piece of the file is in memory.

    `parse(text, at, end, rows)` is one of the kernels above, `refuse(line, row)` must raise for a line it refused.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        parse: Callable[[Array, int, int, Array], tuple[int, int, bool]],
        refuse: Callable[[bytes, int], None],
        *,
        width: int,
        file: str,
    ) -> None:
        self._pieces, self._parse, self._refuse = pieces, parse, refuse
        self._width, self._file = width, file
        self._text, self._at, self._end = b"", 0, 0  # lines up to _end are whole
        self.taken = 0

    def take(self, most: int) -> Array:
        """Return the next rows (n, width): `most`, or fewer at the end of the file."""
        rows = np.empty((most, self._width), np.int64)
        count = 0
        while count < most and (self._at < self._end or self._refill()):
            text = np.frombuffer(self._text, np.uint8)
            filled, self._at, refused = self._parse(text, self._at, self._end, rows[count:])
            count += filled
            if refused:
                line = self._text[self._at : self._text.index(b"\n", self._at)]
                self._refuse(line, self.taken + count + 1)
                raise AssertionError(f"{self._file}, row {self.taken + count + 1} was refused without a reason")
        self.taken += count
        return rows[:count]

    def count(self) -> int:
        """Return how many lines the file has; what was not taken yet is counted without a look at it."""
        rest = self._text.count(b"\n", self._at, self._end)
        while self._refill():
            rest += self._text.count(b"\n", 0, self._end)
        return self.taken + rest

    def _refill(self) -> bool:
        """Get more whole lines; tell whether there are any."""
        rest = self._text[self._end :]
        self._text, self._at, self._end = b"", 0, 0
        for piece in self._pieces:
            end = piece.rfind(b"\n") + 1
            if end:
                self._text, self._end = rest + piece, len(rest) + end
                return True
            rest += piece
            if len(rest) > _LONGEST_LINE:
                self._refuse(rest[:_LONGEST_LINE], self.taken + 1)
                raise DataError("holds a line of over 1 MB. Allowed: one row of numbers a line.", file=self._file)
        self._text = rest + b"\n" if rest else b""  # a last line may go without its end
        self._end = len(self._text)
        return bool(rest)
