"""From a vendor's rows to clean `Bars`: which rows are repaired, which are refused, in which currency.

The rules are those of the project's data model: a row that is wholly null is dropped and counted; an open or close a
little outside low..high widens the range and is counted; a partly null row, a duplicate, a falling time, low above
high, or a price at or below zero is refused with file and row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from difffinance.data.connectors.base import Repairs, Table
from difffinance.errors import DataError
from difffinance.schemas import BARS

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
_MOST_PRICE, _MOST_VOLUME = 1e12, 1e18  # coins of millionths of a cent trade some 1e15 a day
TS_MEANS = "opening of the bar; daily bars: midnight UTC of the trading date"

# Quote currency, tick and board lot by the suffix that Yahoo gives a venue; no suffix is a US listing.
_VENUES: Mapping[str, tuple[str, float, float]] = {
    "": ("USD", 0.01, 1.0),
    "SS": ("CNY", 0.01, 100.0),
    "SZ": ("CNY", 0.01, 100.0),
    "BJ": ("CNY", 0.01, 100.0),
    "HK": ("HKD", 0.01, 100.0),
    "T": ("JPY", 1.0, 100.0),
    "L": ("GBp", 0.01, 1.0),
    "DE": ("EUR", 0.01, 1.0),
    "PA": ("EUR", 0.01, 1.0),
    "AS": ("EUR", 0.01, 1.0),
    "MI": ("EUR", 0.01, 1.0),
}


def venue_of(symbol: str) -> dict[str, Any]:
    """Return currency, tick and lot of a symbol, told from its suffix (600519.SS is Shanghai)."""
    suffix = symbol.rpartition(".")[2] if "." in symbol else ""
    currency, tick, lot = _VENUES.get(suffix, ("", 0.01, 1.0))
    return {"currency": currency, "tick_size": tick, "lot_size": lot, "is_index": symbol.startswith("^")}


def clean_bars(
    frame: pl.DataFrame, symbol: str, *, file: str, tolerance: float, rows: Sequence[int] | None = None
) -> tuple[pl.DataFrame, Repairs]:
    """Return `Bars` of `symbol` and what was repaired.

    `frame` has ts, open, high, low, close, volume, null where the vendor has nothing, and maybe `adjusted_close`, which
    is kept row by row. `tolerance` is the largest distance of open or close from low..high that is repaired, as a
    fraction of the close. `rows` names each row in messages (its line in a file); default 1, 2, ... Raises `DataError`.
    """
    numbers = pl.Series("_row", range(1, frame.height + 1) if rows is None else rows, dtype=pl.Int64)
    frame = frame.with_columns(pl.lit(symbol).alias("symbol"), numbers)
    empty = pl.all_horizontal(pl.col(c).is_null() for c in VALUES)
    kept = frame.filter(~empty)
    if not kept.height:
        raise DataError("holds no bars. Allowed: at least one row with prices.", file=file)
    _refuse_rows(
        kept, pl.any_horizontal(pl.col(c).is_null() for c in VALUES), "a value is missing", "all or none", file
    )
    widened, count = _widen(kept, tolerance, file)
    _refuse_times(frame, file)
    if "adjusted_close" in frame.columns:
        adjusted = pl.col("adjusted_close")
        good = (adjusted.is_finite() & (adjusted > 0)).fill_null(False)
        _refuse_rows(kept, ~good, "the adjusted close is missing or not positive", "prices above 0", file)
    further = [c for c in frame.columns if c not in BARS.columns and c != "_row"]
    checked = BARS.check(widened.select(*BARS.columns), file=file)
    repairs = {"row without values dropped": frame.height - kept.height, "range widened to open and close": count}
    return checked.hstack(widened.select(further)), repairs


def _widen(frame: pl.DataFrame, tolerance: float, file: str) -> tuple[pl.DataFrame, int]:
    finite = pl.all_horizontal(pl.col(c).is_finite() for c in VALUES)
    _refuse_rows(frame, ~finite, "a value is not a finite number", "finite numbers", file)
    beyond = (pl.max_horizontal(PRICES) >= _MOST_PRICE) | (pl.col("volume") >= _MOST_VOLUME)
    _refuse_rows(
        frame, beyond, "no market has such a number", f"prices < {_MOST_PRICE:g}, volume < {_MOST_VOLUME:g}", file
    )
    _refuse_rows(frame, pl.min_horizontal(PRICES) <= 0, "a price is not positive", "prices above 0", file)
    _refuse_rows(frame, pl.col("volume") < 0, "volume is negative", "volume at or above 0", file)
    _refuse_rows(frame, pl.col("low") > pl.col("high"), "low is above high", "low <= high", file)
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    outside = pl.max_horizontal(top - pl.col("high"), pl.col("low") - bottom) / pl.col("close")
    _refuse_rows(
        frame,
        outside > tolerance,
        "open or close lies far outside low..high",
        f"at most {tolerance:g} of the close outside, which is repaired by widening the range (data.range_tolerance)",
        file,
    )
    count = frame.select((outside > 0).sum()).item()
    widened = frame.with_columns(high=pl.max_horizontal("high", top), low=pl.min_horizontal("low", bottom))
    return widened, int(count)


def _refuse_times(frame: pl.DataFrame, file: str) -> None:
    _refuse_rows(frame, pl.col("ts").is_null(), "the time is missing", "a date in every row", file)
    falls = pl.col("ts") < pl.col("ts").shift(1)
    _refuse_rows(frame, falls.fill_null(False), "time runs backwards", "rows in the order of time", file)
    twice = pl.col("ts") == pl.col("ts").shift(1)
    _refuse_rows(frame, twice.fill_null(False), "the bar is duplicated", "each time once", file)


def _refuse_rows(frame: pl.DataFrame, bad: pl.Expr, what: str, allowed: str, file: str) -> None:
    found = frame.filter(bad)
    if found.height:
        row = found.row(0, named=True)
        given = ", ".join(f"{k}={row[k]}" for k in ("ts", *VALUES))
        raise DataError(
            f"{what} ({found.height} rows). Allowed: {allowed}. Given: {given}.", file=file, row=row["_row"]
        )


def adjust_for_dividends(bars: pl.DataFrame, adjusted_close: str) -> pl.DataFrame:
    """Return the bars with all prices scaled by adjusted close over close; volume stays as it was traded."""
    factor = pl.col(adjusted_close) / pl.col("close")
    return bars.with_columns([(pl.col(c) * factor).alias(c) for c in PRICES]).select(*BARS.columns)


def bars_table(symbol: str, frame: pl.DataFrame, interval: str, part: str, metadata: Mapping[str, Any]) -> Table:
    """Return bars as a table for the lake; bars that are not daily carry their interval in the table's name."""
    parts = "-".join(p for p in ("" if interval == "1d" else interval, part) if p)
    return Table(BARS, symbol, frame, {"interval": interval, "ts_means": TS_MEANS, **metadata}, parts)
