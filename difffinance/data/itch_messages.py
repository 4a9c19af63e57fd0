"""NASDAQ TotalView-ITCH 5.0: from the bytes of a day's file to the order messages of one stock.

Layout: "NASDAQ TotalView-ITCH 5.0" specification. A file is a row of messages, each behind its length as two bytes;
numbers are big-endian; time is nanoseconds since New York's midnight; prices are dollars x 10000. A message begins
with type (1 byte), stock locate (2), tracking number (2), time (6). A length of 0 ends the file.
"""

import numpy as np
from numba import njit

from difffinance.data.order_replay import ADD, DELETE, EXECUTE, PASS, REDUCE, REPLACE
from difffinance.records import Array

LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip
LENGTH_OF = np.zeros(256, np.int64)
for _kind, _length in LENGTHS.items():
    LENGTH_OF[ord(_kind)] = _length
COLUMNS = 9  # operation, id, new id or kind, side, price, quantity, time, byte in the piece, price of the print or 0
HIDDEN, CROSS, HALT = 5, 6, 7
OK, UNKNOWN_TYPE, WRONG_LENGTH, BAD_FIELD, ENDED = range(5)
_SYSTEM, _DIRECTORY, _BROKEN = ord("S"), ord("R"), ord("B")
_A, _F, _E, _C, _X, _D, _U, _P, _Q, _H = (ord(c) for c in "AFECXDUPQH")
_BUY, _SELL, _YES, _NO = ord("B"), ord("S"), ord("Y"), ord("N")
_HALTED, _PAUSED, _QUOTING, _TRADING = ord("H"), ord("P"), ord("Q"), ord("T")


@njit(cache=True, inline="always")
def _number(text, at, size):  # type: ignore[no-untyped-def]  # pragma: no cover
    value = np.int64(0)
    for k in range(size):
        value = (value << 8) | np.int64(text[at + k])
    return value


@njit(cache=True, nogil=True)
def parse_itch(
    text: Array, at: int, name: Array, about: Array, lengths: Array, signed_hidden: bool, rows: Array
) -> tuple[int, int, int]:  # pragma: no cover
    """Fill `rows` (n, 9) with the messages of the stock called `name` (8 bytes) in the whole messages of `text`.

    `about` keeps between calls: 0 stock locate or -1, 1 round lot, 2 last time, 3 messages of all stocks, 4 broken
    trades of this one, 5 last system event and 6 its time. Returns rows filled, where to go on, and why it stopped.
    """
    n, end = 0, len(text)
    while n < len(rows) and at + 2 <= end:
        length = _number(text, at, 2)
        if length == 0:
            return n, at + 2, ENDED
        if at + 3 > end:
            break
        kind = np.int64(text[at + 2])
        if lengths[kind] == 0:
            return n, at, UNKNOWN_TYPE
        if lengths[kind] != length:
            return n, at, WRONG_LENGTH
        if at + 2 + length > end:
            break
        m = at + 2  # the message
        locate, ts = _number(text, m + 1, 2), _number(text, m + 5, 6)
        if ts < about[2] or ts >= 86_400_000_000_000:
            return n, at, BAD_FIELD
        about[2] = ts
        about[3] += 1
        if kind == _SYSTEM:
            about[5], about[6] = np.int64(text[m + 11]), ts
        elif kind == _DIRECTORY and about[0] < 0:
            same = True
            for k in range(8):
                same = same and text[m + 11 + k] == name[k]
            if same:
                about[0], about[1] = locate, _number(text, m + 21, 4)
        if locate == about[0]:
            row = rows[n]
            operation, key, other, side, price, quantity, paid = 0, 0, 0, 0, 0, 0, 0
            if kind in (_A, _F):
                operation, key, quantity, price = (
                    ADD,
                    _number(text, m + 11, 8),
                    _number(text, m + 20, 4),
                    _number(text, m + 32, 4),
                )
                side = 1 if text[m + 19] == _BUY else -1
                if (text[m + 19] != _BUY and text[m + 19] != _SELL) or quantity == 0 or price == 0:
                    return n, at, BAD_FIELD
            elif kind in (_E, _C):
                operation, key, quantity = EXECUTE, _number(text, m + 11, 8), _number(text, m + 19, 4)
                paid = -1  # the price of the order
                if kind == _C:
                    paid = _number(text, m + 32, 4) if text[m + 31] == _YES else 0
                if quantity == 0 or (kind == _C and text[m + 31] != _YES and text[m + 31] != _NO):
                    return n, at, BAD_FIELD
            elif kind == _X:
                operation, key, quantity = REDUCE, _number(text, m + 11, 8), _number(text, m + 19, 4)
                if quantity == 0:
                    return n, at, BAD_FIELD
            elif kind == _D:
                operation, key = DELETE, _number(text, m + 11, 8)
            elif kind == _U:
                operation, key, other = REPLACE, _number(text, m + 11, 8), _number(text, m + 19, 8)
                quantity, price = _number(text, m + 27, 4), _number(text, m + 31, 4)
                if quantity == 0 or price == 0:
                    return n, at, BAD_FIELD
            elif kind == _P:
                operation, other, quantity, price = PASS, HIDDEN, _number(text, m + 20, 4), _number(text, m + 32, 4)
                paid = price
                if signed_hidden:
                    side = 1 if text[m + 19] == _BUY else -1
                if quantity == 0 or price == 0:
                    return n, at, BAD_FIELD
            elif kind == _Q:
                operation, other, quantity, price = PASS, CROSS, _number(text, m + 11, 8), _number(text, m + 27, 4)
                paid = price
            elif kind == _H:
                operation, other, price = PASS, HALT, -1
                state = text[m + 19]
                price = 1 if state == _TRADING else 0 if state == _QUOTING else -1
                if state != _TRADING and state != _QUOTING and state != _HALTED and state != _PAUSED:
                    return n, at, BAD_FIELD
            elif kind == _BROKEN:
                about[4] += 1
            if operation > 0 and not (other == CROSS and quantity == 0):  # a cross in which nothing traded
                row[0], row[1], row[2], row[3], row[4] = operation, key, other, side, price
                row[5], row[6], row[7], row[8] = quantity, ts, at, paid
                n += 1
        at += 2 + length
    return n, at, OK
