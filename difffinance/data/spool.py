"""A table on its way into the lake whose rows come in pieces, so that a file of any size needs the memory of a piece.

The rows go to a temporary file beside the table's place. What a reader needs to know about the whole (metadata, a
verification) is known at the end and written last; only then does the caller let the file take its place.
"""

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.store import Lake, atomic_file
from difffinance.errors import DataError
from difffinance.schemas import Schema

_RISING = ("ts", "seq", "order_id")  # columns of ever new values: a dictionary of them is only in the way
_WALKING = ("price", "bid", "ask")  # prices, whose values come back too seldom for one; differences of ticks are small
_SOUGHT = ("ts", "seq")  # what readers look for by its range; the range of the others costs more than it saves


class Spool:
    """Rows of one table, appended piece by piece; each piece becomes a row group. Made by `spooled`."""

    def __init__(self, temporary: Path, schema: Schema) -> None:
        self.schema = schema
        self.height = 0
        self.start: datetime | None = None
        self.end: datetime | None = None
        self._file = temporary
        self._last: tuple[Any, ...] | None = None
        self._writer: Any = None

    def append(self, frame: pl.DataFrame) -> None:
        """Write rows that have passed `schema.check`; refuse a piece whose first key is not after the last one."""
        if not frame.height:
            return
        keys = frame.select(pl.col(self.schema.key).to_physical())  # Python's times have no nanoseconds
        first, last = keys.row(0), keys.row(-1)
        if self._last is not None and not first > self._last:
            raise DataError(
                f"{self.schema.name} key {list(self.schema.key)} is out of order: {first} after {self._last}."
            )
        self._last = last
        if "ts" in keys.columns:
            self.start, self.end = self.start or frame["ts"][0], frame["ts"][-1]
        self.height += frame.height
        table = _packed(frame)
        if self._writer is None:
            self._open(table.schema)
        self._writer.write_table(table)

    def _open(self, schema: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rising = [name for name in _RISING if name in schema.names]
        walking = [name for name in schema.names if name in _WALKING or "price" in name]
        ticks = [name for name in walking if schema.field(name).type == pa.int64()]
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            # Differences of ever new values are packed to the bit: zstd finds a tenth in them and takes as long again.
            compression={name: "none" if name in rising else "zstd" for name in schema.names},
            use_dictionary=[name for name in schema.names if name not in (*rising, *walking)],
            column_encoding=dict.fromkeys([*rising, *ticks], "DELTA_BINARY_PACKED"),
            write_statistics=[name for name in _SOUGHT if name in schema.names],
            store_schema=False,
        )

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write what is to be known about the table as a whole, and end the file."""
        if self._writer is None:
            self._open(_packed(self.schema.empty()).schema)
        self._writer.add_key_value_metadata(dict(metadata))
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        writer, self._writer = self._writer, None  # a close that failed is not tried again
        if writer is not None:
            writer.close()


def _packed(frame: pl.DataFrame) -> Any:
    """Return a piece as an arrow table; its symbol, the same in all rows, as a dictionary of one word."""
    import pyarrow as pa

    table = frame.select(pl.exclude("symbol")).to_arrow(compat_level=pl.CompatLevel.oldest())
    if "symbol" not in frame.columns:
        return table
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(frame.height, np.int8)), frame["symbol"][:1].to_list())
    return table.add_column(frame.get_column_index("symbol"), "symbol", words)


@contextlib.contextmanager
def spooled(lake: Lake, schema: Schema, symbol: str, part: str) -> Iterator[Spool]:
    """Yield a spool for a table of the lake; the table takes its place when the block ends well, else nothing stays."""
    with atomic_file(lake.table_path(schema.name, symbol, part)) as temporary:
        spool = Spool(temporary, schema)
        try:
            yield spool
        finally:
            spool.close()


class Writing:
    """One thread that writes pieces while the next ones are read; at most one set of pieces waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: Future[None] | None = None

    def append(self, pieces: Mapping[Spool, pl.DataFrame]) -> None:
        """Hand over one piece per table; raise what went wrong with those before."""
        self.wait()
        self._waiting = self._pool.submit(_append, pieces)

    def wait(self) -> None:
        """Return when everything handed over is written, or raise what went wrong."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.result()

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()


def _append(pieces: Mapping[Spool, pl.DataFrame]) -> None:
    for spool, frame in pieces.items():
        spool.append(frame)
