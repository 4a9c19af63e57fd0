"""csv: daily or intraday bars from one file, in Yahoo's columns or in lower-case ones.

Columns, in any order and case: `date` (or `ts`), open, high, low, close, volume, and maybe `adj close`. Dates are
`YYYY-MM-DD`; times are ISO 8601, read as UTC when they name no zone, and are the bar's opening. Times that are all
midnights in their own zone (`2022-01-03 00:00:00-05:00`) are dates. The word `null` or an empty field is a missing
value. The close is taken as adjusted for splits, as Yahoo's is; where the file has an
adjusted close a second table, `adjusted`, holds all prices scaled by it, so that the two never mix.
"""

import csv
import io
from pathlib import Path

import polars as pl

from difffinance.config import DataConfig
from difffinance.data.archives import read_plain
from difffinance.data.bars import VALUES, adjust_for_dividends, bars_table, clean_bars, venue_of
from difffinance.data.connectors.base import Fetched, Repairs, Request, describe, digests, one_word
from difffinance.data.lines import decode
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.schemas import TIME

TAKES = ("symbol",)
_MISSING = ("", "null")
_TIME_RANGE = "1678 and 2261"  # what nanoseconds in 64 bits can say
_TIME_NAMES = ("ts", "date", "datetime")
_ADJUSTED_NAMES = ("adj close", "adj_close", "adjusted_close")


def fetch(request: Request) -> Fetched:
    """Return the bars of one csv file, raw and, where the file has them, adjusted for dividends."""
    path = Path(one_word(request, "difffinance fetch csv PATH --symbol S"))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Allowed: a csv of bars, e.g. SPY.csv.")
    symbol = check_symbol(request.options.get("symbol") or path.name.removesuffix(".gz").removesuffix(".csv"))
    bars, repairs = read_bars(path, symbol, config=request.config)
    request.progress("csv", 1, 1)
    interval = bar_interval(bars["ts"])
    metadata = describe(digests([path]), repairs=repairs, adjustment="split", **venue_of(symbol))
    tables = [bars_table(symbol, bars.drop("adjusted_close", strict=False), interval, "", metadata)]
    if "adjusted_close" in bars.columns:
        adjusted = adjust_for_dividends(bars, "adjusted_close")
        metadata = {**metadata, "adjustment": "split and dividend"}
        tables.append(bars_table(symbol, adjusted, interval, "adjusted", metadata))
    return Fetched(tuple(tables), repairs, raw_files=(path,))


def read_bars(
    path: Path, symbol: str, *, config: DataConfig, date_format: str = "%Y-%m-%d"
) -> tuple[pl.DataFrame, Repairs]:
    """Return clean `Bars` (with `adjusted_close` where the file has it) and the repairs; `DataError` names the row."""
    names, lines, rows = read_text(path, config.max_archive_bytes)
    file = path.name
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    time = next((n for n in _TIME_NAMES if n in names), None)
    missing = [c for c in VALUES if c not in names] + ([] if time else ["date or ts"])
    if time is None or missing:
        raise DataError(f"columns {missing} are missing. Needed: date (or ts), {', '.join(VALUES)}.", file=file, row=1)
    adjusted = [n for n in _ADJUSTED_NAMES if n in names][:1]
    numbers = {c: read_number(frame[c], lines, file) for c in (*VALUES, *adjusted)}
    columns = {"ts": _times(frame[time], date_format, lines, file), **numbers}
    frame = pl.DataFrame(columns).rename(dict.fromkeys(adjusted, "adjusted_close"))
    return clean_bars(frame, symbol, file=file, tolerance=config.range_tolerance, rows=lines)


def read_text(path: Path, limit: int) -> tuple[list[str], list[int], list[list[str | None]]]:
    """Return column names, the line in the file of every row, and the fields, null where one is missing."""
    text = decode(read_plain(path, limit=limit), 1, path.name)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if not names:
            raise DataError("is empty. Allowed: a header and at least one row.", file=path.name)
        if len(set(names)) < len(names):
            raise DataError(f"a column is named twice: {names}.", file=path.name, row=1)
        lines, rows = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"has {len(row)} fields; the header has {len(names)}.", file=path.name, row=reader.line_num
                )
            lines.append(reader.line_num)
            rows.append([None if (value := field.strip()).lower() in _MISSING else value for field in row])
    except csv.Error as error:
        raise DataError(f"is not a csv: {error}.", file=path.name, row=reader.line_num) from None
    return names, lines, rows


def read_number(column: pl.Series, lines: list[int], file: str) -> pl.Series:
    """Return a column of text as numbers, or say which line is none."""
    number = column.cast(pl.Float64, strict=False)
    _refuse_lost(column, number, f"{column.name} must be a number", lines, file)
    return number


def _times(column: pl.Series, date_format: str, lines: list[int], file: str) -> pl.Series:
    dates = column.str.to_date(date_format, strict=False)
    first = column.is_not_null().arg_max()
    if first is None or dates[first] is not None:
        written = date_format.replace("%Y", "YYYY").replace("%m", "MM").replace("%d", "DD")
        _refuse_lost(column, dates, f"{column.name} must be a date, {written}", lines, file)
        times = dates.cast(pl.Datetime("ns"), strict=False)
        _refuse_lost(column, times, f"{column.name} must lie between {_TIME_RANGE}", lines, file)
        return times.dt.replace_time_zone("UTC")
    zoned = column.str.replace(r"Z$", "+00:00").str.replace(" ", "T")
    zoned = pl.select(
        pl.when(zoned.str.contains(r"[+-]\d\d:?\d\d$")).then(zoned).otherwise(zoned + "+00:00").alias("ts")
    )["ts"]
    times = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="ns").dt.convert_time_zone("UTC")
    _refuse_lost(column, times, f"{column.name} must be YYYY-MM-DD or an ISO 8601 time", lines, file)
    # A day that begins at midnight of its own zone is a date: in UTC it would move with the zone and summer time.
    local = zoned.str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="ns")
    if (local == local.dt.truncate("1d")).all():
        return local.dt.replace_time_zone("UTC").cast(TIME)
    return times.cast(TIME)


def _refuse_lost(before: pl.Series, after: pl.Series, what: str, lines: list[int], file: str) -> None:
    lost = (after.is_null() & before.is_not_null()).arg_true()
    if len(lost):
        row = int(lost[0])
        raise DataError(f"{what}; got {before[row]!r} ({len(lost)} rows).", file=file, row=lines[row])


def bar_interval(times: pl.Series) -> str:
    """Return 1d for bars at midnight only, else the smallest step between bars, as 30s, 1m or 1h."""
    if ((times.dt.timestamp("ns") % 86_400_000_000_000) == 0).all():
        return "1d"
    steps = times.diff().drop_nulls()
    seconds = int(steps.min().total_seconds()) if len(steps) else 60  # type: ignore[union-attr]
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
