"""Files of tardis.dev: told apart by their header, read block by block, and looked at before their rows are made."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.csv_blocks import CsvLayout, CsvTable, csv_pieces, utc_times
from difffinance.data.decimals import StepFinder, count_steps
from difffinance.data.lines import line_blocks
from difffinance.errors import DataError
from difffinance.records import Array

_KEY = ("exchange", "symbol", "timestamp", "local_timestamp")
_WHOLE = ("timestamp", "local_timestamp")
NO_ID = "0"  # what a blank is read as
LAYOUTS = {
    "trades": CsvLayout(  # some venues number no trades
        (*_KEY, "id", "side", "price", "amount"), ("price", "amount"), _WHOLE, header=True, blank=("id",)
    ),
    "incremental_book_L2": CsvLayout(
        (*_KEY, "is_snapshot", "side", "price", "amount"), ("price", "amount"), _WHOLE, header=True
    ),
    "quotes": CsvLayout(
        (*_KEY, "ask_amount", "ask_price", "bid_price", "bid_amount"),
        ("ask_amount", "ask_price", "bid_price", "bid_amount"),
        _WHOLE,
        header=True,
        blank=("ask_amount", "ask_price", "bid_price", "bid_amount"),
    ),
}


@dataclass(frozen=True)
class Piece:
    """Some rows of a csv."""

    file: str
    table: CsvTable

    @property
    def ts(self) -> Array:
        """The venue's times, UTC nanoseconds."""
        times = utc_times(self.table.frame["timestamp"], self.table.rows, self.file)
        return times.cast(pl.Int64).to_numpy()

    def steps(self, name: str, step: Any) -> Array:
        """Return a column of decimals in whole steps."""
        return count_steps(self.table.decimals[name], step, name, file=self.file, rows=self.table.rows)

    def only(self, column: str, allowed: tuple[str, ...]) -> pl.Series:
        """Return a column of texts that must be among these."""
        values = self.table.frame[column]
        bad = (~values.is_in(list(allowed))).arg_true()
        if len(bad):
            at = int(bad[0])
            raise DataError(
                f"{column} must be {' or '.join(allowed)}; got {values[at]!r}.",
                file=self.file,
                row=int(self.table.rows[at]),
            )
        return values

    def signs(self) -> Array:
        """Return the aggressor's side of trades."""
        side = self.only("side", ("buy", "sell", "unknown"))
        return (side == "buy").cast(pl.Int64).to_numpy() - (side == "sell").cast(pl.Int64).to_numpy()


class TradesOnce:
    """Trades without those that were sent again, which venues do after a reconnection.

    A repeated trade has id, time, side, price and amount of one among the `WINDOW` before it; tardis.dev's own client
    looks back 500. Where a venue gives no ids, a repeated line may be another trade, and is kept.
    """

    WINDOW = 1000

    def __init__(self) -> None:
        self.again = 0
        self._before: list[pl.DataFrame] = []

    def pieces(self, file: "File") -> Iterator[Piece]:
        """Yield the file's rows without those sent again."""
        for piece in file.pieces():
            new = np.flatnonzero(~self._sent_before(piece.table))
            self.again += len(piece.table.rows) - len(new)
            if len(new):
                decimals = {name: numbers.take(new) for name, numbers in piece.table.decimals.items()}
                yield Piece(piece.file, CsvTable(piece.table.frame[new], decimals))

    def _sent_before(self, table: CsvTable) -> Array:
        numbers = {name: table.decimals[name].as_floats() for name in ("price", "amount")}
        told = table.frame.select("id", "timestamp", "side").with_columns(pl.Series(n, v) for n, v in numbers.items())
        rows = pl.concat([*self._before, told])
        self._before = [rows.tail(self.WINDOW)]
        back = pl.col("row").cast(pl.Int64).diff().over(told.columns)
        near = (pl.col("id") != NO_ID) & (back <= self.WINDOW).fill_null(False)
        again = rows.with_row_index("row").select(near).to_series()
        return again.tail(told.height).to_numpy()


@dataclass(frozen=True)
class File:
    """A csv of one kind, read as often as needed."""

    path: Path
    kind: str
    layout: CsvLayout
    limit: int
    levels: int = 0

    def pieces(self) -> Iterator[Piece]:
        """Yield its rows by blocks."""
        for table in csv_pieces(self.path, self.layout, limit=self.limit):
            if table.frame.height:
                yield Piece(self.path.name, table)


@dataclass
class Survey:
    """What must be known of whole files before their rows are made."""

    rows: int = 0
    named: dict[str, str] = field(default_factory=dict)  # exchange and symbol
    received: dict[str, int] = field(default_factory=dict)  # last local time of each file
    prices: StepFinder = field(default_factory=StepFinder)
    sizes: StepFinder = field(default_factory=StepFinder)

    def add(self, piece: Piece) -> None:
        """Look at the next rows; refuse another instrument, and rows that are not in the order of receipt."""
        self.rows += len(piece.table.rows)
        local = piece.table.frame["local_timestamp"].to_numpy()
        falls = np.flatnonzero(np.diff(local, prepend=self.received.get(piece.file, 0)) < 0)
        if len(falls):
            row = int(piece.table.rows[falls[0]])
            raise DataError("local_timestamp falls. Allowed: the order of receipt.", file=piece.file, row=row)
        self.received[piece.file] = int(local[-1])
        for name in ("exchange", "symbol"):
            column = piece.table.frame[name]
            before = self.named.setdefault(name, column[0])
            other = (column != before).arg_true()
            if len(other):
                raise DataError(
                    f"{name} is {column[other[0]]!r} after {before!r}. Allowed: one instrument.",
                    file=piece.file,
                    row=int(piece.table.rows[other[0]]),
                )
        for name, numbers in piece.table.decimals.items():
            (self.sizes if "amount" in name else self.prices).add(numbers)


def open_file(path: Path, limit: int) -> File:
    """Tell the kind of a csv by its header."""
    _, block = next(iter(line_blocks(path, limit=limit)), (1, b""))
    if not block:
        raise DataError("is empty. Allowed: a header and at least one row.", file=path.name)
    header = block[: block.find(b"\n")].decode("utf-8-sig", "replace").strip().split(",")
    for kind, layout in LAYOUTS.items():
        if tuple(header) == layout.names:
            return File(path, kind, layout, limit)
    levels = (len(header) - len(_KEY)) // 4
    snapshot = _snapshot_layout(levels)
    if levels >= 1 and tuple(header) == snapshot.names:
        return File(path, "book_snapshot", snapshot, limit, levels)
    raise DataError(
        f"begins with {','.join(header)[:120]!r}, the header of no kind that is read. Allowed: {', '.join(LAYOUTS)}, "
        "book_snapshot_N.",
        file=path.name,
        row=1,
    )


def _snapshot_layout(levels: int) -> CsvLayout:
    names = [f"{s}[{k}].{w}" for k in range(levels) for s in ("asks", "bids") for w in ("price", "amount")]
    return CsvLayout((*_KEY, *names), tuple(names), _WHOLE, header=True, blank=tuple(names))
