"""Vendors' csv tables of any size, read in blocks: exact decimals, whole numbers, and the row of what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from difffinance.data.decimals import Scaled, join_scaled, read_decimals
from difffinance.data.lines import decode, line_blocks
from difffinance.errors import DataError
from difffinance.records import Array


@dataclass(frozen=True)
class CsvLayout:
    """The columns of a csv in order: which are decimals, which whole numbers; the others stay text.

    The last `optional` columns may be absent. `header` True demands a first row with these names; False takes a first
    row that begins with a letter as a header, whatever it says, and needs none.
    """

    names: tuple[str, ...]
    decimals: tuple[str, ...]
    integers: tuple[str, ...]
    optional: int = 0
    header: bool = False
    blank: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsvTable:
    """A csv in memory: whole numbers and texts (with `row`, the line in the file), and the decimals."""

    frame: pl.DataFrame
    decimals: dict[str, Scaled]

    @property
    def rows(self) -> Array:
        """The line in the file of every row."""
        return self.frame["row"].to_numpy()


def read_csv(path: Path, layout: CsvLayout, *, limit: int, drop: tuple[str, ...] = ()) -> CsvTable:
    """Return a plain, packed or zipped csv; columns in `drop` are not kept. `DataError` names file and row."""
    pieces = list(csv_pieces(path, layout, limit=limit, drop=drop))
    decimals = {name: join_scaled([piece.decimals[name] for piece in pieces]) for name in layout.decimals}
    return CsvTable(pl.concat(piece.frame for piece in pieces), decimals)


def csv_pieces(path: Path, layout: CsvLayout, *, limit: int, drop: tuple[str, ...] = ()) -> Iterator[CsvTable]:
    """Yield what `read_csv` returns, block by block."""
    found = False
    for first, texts in _text_blocks(path, layout, limit):
        found = found or texts.height > 0
        rows = pl.int_range(first, first + texts.height, eager=True).alias("row")
        whole = {c: _whole_numbers(texts[c], first, path.name) for c in layout.integers if c in texts.columns}
        kept = [c for c in layout.names if c in texts.columns and c not in (*layout.decimals, *drop)]
        frame = pl.DataFrame([rows, *(whole.get(c, texts[c]) for c in kept)])
        yield CsvTable(frame, {n: read_decimals(texts[n], n, file=path.name, first_row=first) for n in layout.decimals})
    if not found:
        raise DataError("holds no rows.", file=path.name)


def _text_blocks(path: Path, layout: CsvLayout, limit: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield (line of the first row, all columns as text)."""
    names: tuple[str, ...] = ()
    for first, block in line_blocks(path, limit=limit):
        if not names:
            line = block[: block.find(b"\n")].strip().decode("utf-8-sig", "replace")
            names = _names(line, layout, path.name)
            if not line[:1].isdigit():
                first, block = first + 1, block[block.find(b"\n") + 1 :]
        if block.strip():
            yield first, _split(block, names, layout.blank, first, path.name)


def _names(line: str, layout: CsvLayout, file: str) -> tuple[str, ...]:
    fields = line.split(",")
    if layout.header and tuple(fields[: len(layout.names)]) != layout.names[: len(fields)]:
        raise DataError(f"begins with {line[:120]!r}. Allowed: {','.join(layout.names)[:200]}.", file=file, row=1)
    most, least = len(layout.names), len(layout.names) - layout.optional
    if not least <= len(fields) <= most:
        allowed = f"{least} to {most}" if least < most else f"{most}"
        raise DataError(f"has {len(fields)} columns. Allowed: {allowed}.", file=file, row=1)
    return layout.names[: len(fields)]


def _split(block: bytes, names: tuple[str, ...], blank: tuple[str, ...], first: int, file: str) -> pl.DataFrame:
    try:
        texts = pl.read_csv(block, has_header=False, schema=dict.fromkeys(names, pl.String), quote_char=None)
        texts = texts.with_columns(pl.col(c).fill_null("0") for c in blank)
        lines, commas = block.count(b"\n"), block.count(b",")  # polars takes a line cut short for one with blanks
        whole = texts.height == lines and commas == lines * (len(names) - 1) and not any(texts.null_count().row(0))
    except pl.exceptions.PolarsError:
        whole = False
    if whole:
        return texts
    for number, line in enumerate(block.splitlines(), start=first):
        fields = line.split(b",")
        if len(fields) != len(names) or any(not f and n not in blank for f, n in zip(fields, names, strict=True)):
            raise DataError(
                f"has {sum(f != b'' for f in fields)} values. Allowed: {len(names)}.", file=file, row=number
            )
    decode(block, first, file)
    raise DataError("is not a csv.", file=file, row=first)


def _whole_numbers(texts: pl.Series, first: int, file: str) -> pl.Series:
    bad = (~texts.str.contains(r"^\d{1,18}$")).arg_true()
    if len(bad):
        row = int(bad[0])
        raise DataError(f"{texts.name} must be a whole number; got {texts[row]!r}.", file=file, row=first + row)
    return texts.cast(pl.Int64)


def utc_times(numbers: pl.Series, rows: Array, file: str) -> pl.Series:
    """Return UTC nanoseconds of Unix times in milli-, micro- or nanoseconds (told by their size, one unit a file)."""
    values = numbers.to_numpy()
    for unit, low in ((1_000_000, 10**11), (1_000, 10**14), (1, 10**17)):
        inside = (values >= low) & (values < low * 90)  # 1973 to 2255
        if inside[0]:
            if not inside.all():
                bad = int(np.argmin(inside))
                raise DataError(
                    f"{numbers.name} {values[bad]} is not a time like {values[0]}.", file=file, row=rows[bad]
                )
            return pl.Series("ts", values * unit).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    raise DataError(f"{numbers.name} {values[0]} is not a Unix time in ms, us or ns.", file=file, row=int(rows[0]))
