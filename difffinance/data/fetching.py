"""fetch: ask a connector, then write all its tables into the lake, or none.

Adding a source is one file in `connectors` and one line in `SOURCES`.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from difffinance.config import DataConfig
from difffinance.data.connectors.base import Fetched, Request, Table
from difffinance.data.loading import load_bars
from difffinance.data.store import (
    AnyLake,
    Lake,
    NewTable,
    Progress,
    atomic_file,
    check_writable,
    no_progress,
    sha256_of,
)
from difffinance.errors import InputError
from difffinance.records import BarsTable
from difffinance.schemas import BARS

SOURCES = {
    "sample": "difffinance.data.connectors.sample",
    "lobster": "difffinance.data.connectors.lobster",
    "yahoo": "difffinance.data.connectors.yahoo",
    "csv": "difffinance.data.connectors.csv_bars",
    "tushare": "difffinance.data.connectors.tushare",
    "lean": "difffinance.data.connectors.lean",
    "binance": "difffinance.data.connectors.binance",
    "itch": "difffinance.data.connectors.itch",
    "databento": "difffinance.data.connectors.databento",
    "coinbase": "difffinance.data.connectors.coinbase",
    "bitstamp": "difffinance.data.connectors.bitstamp",
    "tardis": "difffinance.data.connectors.tardis",
}


def fetch_tables(
    source: str,
    what: Sequence[str],
    *,
    lake: AnyLake,
    config: DataConfig,
    symbol: str | None = None,
    kind: str | None = None,
    start: str | None = None,
    end: str | None = None,
    interval: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Bring `what` from `source` into the lake and return what was written, repaired and verified (CONTRACT 2).

    Everything is read and checked before the first byte is written. Raises `InputError` for an unknown source or an
    option that the source does not take, `DataError` for bad data, `NetworkError`, and `StoreError` when the lake
    cannot be written; the lake is then as it was.
    """
    connector, lake = _connector(source), Lake(lake)
    given = {"symbol": symbol, "kind": kind, "start": start, "end": end, "interval": interval}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options.keys() - set(connector.TAKES):
        known = ", ".join(f"--{option}" for option in connector.TAKES) or "no options"
        raise InputError(f"fetch {source} does not take --{name}. It takes: {known}.")
    options = {name: options[name] for name in connector.TAKES if name in options}
    check_writable(lake.root)
    with ExitStack() as spools:
        fetched: Fetched = connector.fetch(Request(tuple(what), lake, config, options, progress, spools))
        written = _write(fetched, source, lake)
    answer: dict[str, Any] = {
        "source": source,
        "tables": [_described(table, new) for table, new in zip(fetched.tables, written, strict=True)],
        "repairs": [{"rule": rule, "rows": rows} for rule, rows in sorted(fetched.repairs.items()) if rows],
    }
    if fetched.verification is not None:
        answer["verification"] = dict(fetched.verification)
    if fetched.cached is not None:
        answer["cached"] = fetched.cached
    return answer


def _connector(source: str) -> Any:
    if source not in SOURCES:
        raise InputError(f"source '{source}' is not known. Allowed: {', '.join(SOURCES)}. Try: fetch sample.")
    return import_module(SOURCES[source])


def fetch_bars(
    symbol: str,
    start: str | None = None,
    end: str | None = None,
    *,
    source: str | None = None,
    path: str | os.PathLike[str] | None = None,
    interval: str | None = None,
    adjusted: bool = False,
    lake: AnyLake | None = None,
    config: DataConfig | None = None,
) -> BarsTable:
    """Bring the bars of one symbol into the lake and return them.

    `source` defaults to `csv` where a `path` is given, to `sample` for SPX, and to `yahoo` otherwise (days are
    YYYY-MM-DD, `end` is the day after the last). Without an `interval` the bars are the source's: days where it offers
    several. Raises what `fetch_tables` raises, and `InputError` where the bars are of another symbol or interval.
    """
    lake = Lake(lake)
    source = source or ("csv" if path is not None else "sample" if symbol == "SPX" else "yahoo")
    takes = _connector(source).TAKES
    answer = fetch_tables(
        source,
        [symbol if path is None else str(path)],
        lake=lake,
        config=config or DataConfig(),
        symbol=symbol if path is not None and "symbol" in takes else None,
        start=start,
        end=end,
        interval=interval if "interval" in takes else None,
    )
    brought = [(table["symbol"], table["interval"]) for table in answer["tables"] if table["schema"] == "Bars"]
    wanted = interval or next((length for name, length in brought if name == symbol), "1d")
    if (symbol, wanted) not in brought:
        found = ", ".join(f"{name} {length}" for name, length in dict.fromkeys(brought)) or "no bars"
        raise InputError(f"{source} brought {found}; asked for: {symbol} {wanted}. Ask for what there is.")
    return load_bars(symbol, lake=lake, adjusted=adjusted, interval=wanted)


def _write(fetched: Fetched, source: str, lake: Lake) -> list[NewTable]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    stamp = {"source": source, "fetched": now}
    new = [_stamped(lake.table_path(t.schema.name, t.symbol, t.part), t, stamp) for t in fetched.tables]
    raw = [_stamped(path, table, stamp) for path, table in fetched.raw_tables]
    for path in fetched.raw_files:
        _keep_raw(path, lake.folder("raw") / source)
    lake.write_checked([*raw, *new])
    return new


def _described(table: Table, written: NewTable) -> dict[str, Any]:
    rows = table.frame
    whole = isinstance(rows, pl.DataFrame)
    start, end = (rows["ts"].min(), rows["ts"].max()) if whole else (rows.start, rows.end)
    return {
        "schema": table.schema.name,
        "symbol": table.symbol,
        "part": table.part,
        "rows": rows.height,
        "path": str(written.path),
        "start": None if start is None else start.isoformat(),
        "end": None if end is None else end.isoformat(),
        "sha256": sha256_of(written.path),
        "source": written.metadata["source"],
        "synthetic": bool(written.metadata.get("synthetic", False)),
    } | ({"interval": written.metadata["interval"]} if table.schema is BARS else {})


def _stamped(path: Path, table: Table, defaults: dict[str, Any]) -> NewTable:
    metadata = {**defaults, "symbol": table.symbol, "part": table.part, **table.metadata}
    return NewTable(path, table.frame, table.schema, metadata)


def _keep_raw(path: Path, folder: Path) -> None:
    """Copy a raw file into the lake, so that every table can be rebuilt from it.

    Another file of the same name moves aside, into a folder named by its hash: what was fetched is never lost.
    """
    copy = folder / path.name
    if copy.exists():
        before = sha256_of(copy)
        if copy.samefile(path) or before == sha256_of(path):
            return
        (folder / before[:12]).mkdir(exist_ok=True)
        copy.replace(folder / before[:12] / path.name)
    with atomic_file(copy) as temporary:
        shutil.copyfile(path, temporary)
