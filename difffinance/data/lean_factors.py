"""LEAN's factor and map files: what makes prices of different days comparable, and which ticker a company had when.

A factor file has `date, price factor (dividends), split factor, reference price`, a map file `date, ticker, exchange`,
both without header, dates YYYYMMDD rising. A row holds for the days up to and including its date.
"""

from pathlib import Path
from typing import Any

import polars as pl

from difffinance.data.bars import PRICES
from difffinance.data.lines import decode
from difffinance.errors import DataError
from difffinance.schemas import BARS, TIME


def read_factors(path: Path) -> pl.DataFrame:
    """Return until (a time), price_factor and split_factor, oldest first."""
    rows = _rows(path, 3)
    numbers = []
    for number, row in enumerate(rows, start=1):
        try:
            price, split = float(row[1]), float(row[2])
        except ValueError:
            price = split = 0.0
        if not (0 < price < 1e6 and 0 < split < 1e6):
            raise DataError(f"factors must be positive numbers; got {row[1:3]}.", file=path.name, row=number)
        numbers.append((price, split))
    frame = pl.DataFrame(numbers, schema=["price_factor", "split_factor"], orient="row")
    return frame.insert_column(0, _dates(rows, path).alias("until"))


def adjust_bars(bars: pl.DataFrame, factors: pl.DataFrame, how: str) -> pl.DataFrame:
    """Return bars adjusted for `split`, `split and dividend`, or `none`; volumes count today's shares after splits."""
    if how == "none":
        return bars
    days = bars.with_columns(day=pl.col("ts").dt.truncate("1d"))
    joined = days.join_asof(factors, left_on="day", right_on="until", strategy="forward")
    factor = pl.col("split_factor") if how == "split" else pl.col("split_factor") * pl.col("price_factor")
    prices = [(pl.col(p) * factor.fill_null(1.0)).alias(p) for p in PRICES]
    volume = pl.col("volume") / pl.col("split_factor").fill_null(1.0)
    return joined.with_columns(*prices, volume.alias("volume")).select(*BARS.columns)


def read_map(path: Path, bars: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the tickers with the last day and exchange of each; refuse a map that does not span the bars."""
    rows = _rows(path, 2)
    dates = _dates(rows, path).dt.date().to_list()
    first, last = bars["ts"][0].date(), bars["ts"][-1].date()
    if not dates[0] <= first <= last <= dates[-1]:
        raise DataError(
            f"spans {dates[0]} to {dates[-1]}, the bars {first} to {last}. Allowed: a map that spans them.",
            file=path.name,
        )
    return [
        {"until": day.isoformat(), "ticker": row[1].upper(), "exchange": row[2] if len(row) > 2 else ""}
        for day, row in zip(dates[1:], rows[1:], strict=True)
    ]


def _rows(path: Path, fewest: int) -> list[list[str]]:
    rows = [line.split(",") for line in decode(path.read_bytes(), 1, path.name).splitlines() if line.strip()]
    if not rows:
        raise DataError("is empty.", file=path.name)
    for number, row in enumerate(rows, start=1):
        if len(row) < fewest:
            raise DataError(f"has {len(row)} columns. Allowed: at least {fewest}.", file=path.name, row=number)
    return rows


def _dates(rows: list[list[str]], path: Path) -> pl.Series:
    dates = pl.Series([row[0] for row in rows]).str.to_datetime("%Y%m%d", strict=False, time_unit="ns")
    wrong = (dates.is_null() | (dates <= dates.shift(1)).fill_null(False)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"dates must be YYYYMMDD and rise; got {rows[row][0]!r}.", file=path.name, row=row + 1)
    return dates.dt.replace_time_zone("UTC").cast(TIME)
