"""Prices and quantities as vendors write them, read as whole numbers of their own grid: no float rounds on the way.

`61837.63000000` is 6183763 at two decimals. The tick (or lot) of a table is the largest step on which all its values
lie, found from the data or given; a given one that a value misses is refused with the row.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl

from difffinance.errors import DataError
from difffinance.records import Array

_PLAIN = r"^\d{1,18}(\.\d*)?$"
_MOST_DIGITS = 18  # of a 64-bit integer
_DIGITS_ALLOWED = f", all of them within {_MOST_DIGITS} digits"


@dataclass(frozen=True)
class Scaled:
    """Numbers as `values * 10 ** -decimals`, exactly."""

    values: Array  # int64
    decimals: int

    def at(self, decimals: int) -> Array:
        """Return the whole numbers at more decimals; `DataError` where 64 bits cannot hold them."""
        factor = 10 ** (decimals - self.decimals)
        if len(self.values) and int(self.values.max()) > (2**63 - 1) // factor:
            raise DataError(f"numbers up to {self.values.max()} at {decimals} decimals are beyond 18 digits.")
        return self.values * factor

    def take(self, places: Array) -> "Scaled":
        """Return the numbers of these places."""
        return Scaled(self.values[places], self.decimals)

    def as_floats(self) -> Array:
        """Return the nearest float64 of every number (a quotient of two exact floats is rounded once)."""
        floats = self.values / 10.0**self.decimals
        long = np.flatnonzero(self.values > 2**53)  # these are no floats themselves
        floats[long] = [float(Decimal(int(value)).scaleb(-self.decimals)) for value in self.values[long]]
        return floats


def read_decimals(
    texts: pl.Series, what: str, *, file: str, rows: Array | None = None, first_row: int = 1, above_zero: bool = False
) -> Scaled:
    """Return decimal texts as scaled integers; `DataError` names the row of what is no number at or above 0.

    `rows` are the rows in the file of each text; without it they are counted from `first_row`. With `above_zero` 0 is
    refused too.
    """

    def refuse(index: int, also: str = "") -> DataError:
        row = int(rows[index]) if rows is not None else index + first_row
        allowed = ("above 0" if above_zero else "at or above 0") + also
        return DataError(f"{what} must be a decimal number {allowed}; got {texts[index]!r}.", file=file, row=row)

    if not len(texts):
        return Scaled(np.zeros(0, np.int64), 0)
    plain = texts.str.contains(_PLAIN).fill_null(False)
    if not plain.all():
        texts = _write_out(texts, plain, refuse)
    parts = pl.DataFrame({"text": texts}).select(
        whole=pl.col("text").str.extract(r"^(\d+)", 1),
        fraction=pl.col("text").str.extract(r"\.(\d*)$", 1).fill_null("").str.strip_chars_end("0"),
    )
    decimals = int(parts["fraction"].str.len_bytes().to_numpy().max())
    joined = parts.select(pl.col("whole") + pl.col("fraction").str.pad_end(decimals, "0")).to_series()
    numbers = joined.str.strip_chars_start("0").replace("", "0")
    if (numbers.str.len_bytes() > _MOST_DIGITS).any():
        own = parts.select(pl.col("whole").str.strip_chars_start("0") + pl.col("fraction")).to_series()
        long = own.str.len_bytes() > _MOST_DIGITS  # or the one whose decimals the others had to take
        raise refuse(int((long if long.any() else parts["fraction"].str.len_bytes()).arg_max() or 0), _DIGITS_ALLOWED)
    values = numbers.cast(pl.Int64).to_numpy()
    if above_zero and not values.all():
        raise refuse(int(np.argmin(values)))
    return Scaled(values, decimals)


def _write_out(texts: pl.Series, plain: pl.Series, refuse: object) -> pl.Series:
    """Replace exponents (`1e-7`) by what they stand for."""
    written = texts.to_list()
    for index in (~plain).arg_true().to_list():
        if not re.fullmatch(r"\d{1,17}(\.\d{0,17})?[eE][+-]?\d{1,2}", written[index] or ""):
            raise refuse(index)  # type: ignore[operator]
        written[index] = format(Decimal(written[index]), "f")
        if not re.fullmatch(_PLAIN, written[index]):
            raise refuse(index)  # type: ignore[operator]
    return pl.Series(written, dtype=pl.String)


def join_scaled(pieces: list[Scaled]) -> Scaled:
    """Return pieces one after the other, at the decimals of the finest."""
    decimals = max((piece.decimals for piece in pieces), default=0)
    values = [piece.at(decimals) for piece in pieces] or [np.zeros(0, np.int64)]
    return Scaled(np.concatenate(values), decimals)


def find_step(*pieces: Scaled) -> Decimal:
    """Return the largest step on which every number lies (1 when there is none above 0)."""
    decimals = max((piece.decimals for piece in pieces), default=0)
    step = 0
    for piece in pieces:
        if len(piece.values):
            step = int(np.gcd(step, np.gcd.reduce(piece.at(decimals))))
    return Decimal(step or 10**decimals).scaleb(-decimals)


class StepFinder:
    """The largest step on which all numbers lie that were shown so far."""

    def __init__(self) -> None:
        self._found = Scaled(np.zeros(1, np.int64), 0)

    def add(self, *pieces: Scaled) -> None:
        """Show more numbers."""
        for piece in pieces:
            decimals = max(self._found.decimals, piece.decimals)
            step = np.gcd.reduce(piece.at(decimals), initial=self._found.at(decimals)[0])
            self._found = Scaled(np.array([step], np.int64), decimals)

    def step(self) -> Decimal:
        """Return the step (1 when no number is above 0)."""
        return find_step(self._found)


def count_steps(numbers: Scaled, step: Decimal, what: str, *, file: str, rows: Array | None = None) -> Array:
    """Return every number in whole steps; `DataError` names the row of one between two steps."""
    decimals = max(numbers.decimals, -int(step.normalize().as_tuple().exponent))
    unit, values = int(step.scaleb(decimals)), numbers.at(decimals)
    off = np.flatnonzero(values % unit)
    if len(off):
        first = int(off[0])
        given = Decimal(int(values[first])).scaleb(-decimals)
        raise DataError(
            f"{what} {given} is off the grid of {step} ({len(off)} rows). Give the finer step, or none.",
            file=file,
            row=None if rows is None else int(rows[first]),
        )
    return values // unit
