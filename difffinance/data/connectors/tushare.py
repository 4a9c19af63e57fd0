"""tushare: daily bars of Chinese shares and indices as Tushare Pro's `daily` gives them, previous close included.

Two layouts, plain or gz, one symbol or several, each oldest or newest first (rows in another order are sorted, and
counted as repaired):

    ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount    volume in lots of 100 shares
    symbol,dt,open,close,high,low,vol                                            local time of a bar's END

Written: Bars, and beside daily ones ReferencePrices: `pre_close` is the exchange's reference price of the day (the
close before, corrected for rights and dividends), from which price limits are counted. Daily bars lie at midnight UTC
of the trading date, shorter ones at their opening. A row that contradicts itself is refused: change that is not close
less pre_close, money that does not fit volume and price, numbers that no market has. Unadjusted prices lie on the
grid of 0.01; prices off it are taken as front-adjusted, for which limits hold only about.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.bars import PRICES, VALUES, bars_table, clean_bars
from difffinance.data.clock import SHANGHAI
from difffinance.data.connectors.base import Fetched, Repairs, Request, Table, add_repairs, describe, digests, one_word
from difffinance.data.connectors.csv_bars import bar_interval, read_number, read_text
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import REFERENCE_PRICES, TIME

TAKES = ("symbol",)
USAGE = "difffinance fetch tushare PATH [--symbol 600519.SH]"
LOT = 100  # shares
_DAILY = ("ts_code", "trade_date", "open", "high", "low", "close", "pre_close", "vol")
_TOLD = ("change", "amount")  # what daily rows say twice
_OTHER = ("symbol", "dt", "open", "close", "high", "low", "vol")
_CENT = 0.011  # rounding of close, pre_close and change together
_APART = 100  # times, the prices of one row (a first day of trading reached some twenty)
_PAID_APART = (
    1000  # times, the mean price paid from the close (front-adjusted prices of thirty years: under two hundred)
)
_MOST = 1e13  # shares, above the shares of all companies together
_CODE = r"^[A-Za-z0-9]+\.[A-Z]{2,4}$"
_INDEX = re.compile(r"000\d{3}\.(SH|XSHG)|399\d{3}\.(SZ|XSHE)")


def fetch(request: Request) -> Fetched:
    """Return the bars of the symbols in one file, or of the one named by --symbol."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    rows = _read(path, request)
    symbols = rows["symbol"].unique(maintain_order=True).to_list()
    wanted = request.options.get("symbol")
    if wanted is not None and wanted not in symbols:
        raise InputError(f"{wanted} is not in {path.name}. There are: {', '.join(symbols[:20])}.")
    tables: list[Table] = []
    repairs: Repairs = {}
    for symbol in [wanted] if wanted else symbols:
        of_symbol, repaired = _tables(rows.filter(pl.col("symbol") == symbol), check_symbol(symbol), path, request)
        tables += of_symbol
        repairs = add_repairs(repairs, repaired)
        request.progress("tushare", len(tables), len(symbols))
    return Fetched(tuple(tables), repairs, raw_files=(path,))


def _read(path: Path, request: Request) -> pl.DataFrame:
    """Return symbol, ts, line and the numbers of all rows, oldest first."""
    names, lines, rows = read_text(path, request.config.max_archive_bytes)
    daily = "trade_date" in names
    needed = _DAILY if daily else _OTHER
    if missing := [name for name in needed if name not in names]:
        allowed = " or ".join(",".join(layout) for layout in (_DAILY, _OTHER))
        raise DataError(f"the header lacks {', '.join(missing)}. Allowed: {allowed}.", file=path.name, row=1)
    if not rows:
        raise DataError("holds no rows. Allowed: a header and at least one row.", file=path.name)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    times = frame[needed[1]].str.to_datetime("%Y%m%d" if daily else "%Y-%m-%d %H:%M:%S", strict=False, time_unit="ns")
    named = frame[needed[0]].str.contains(_CODE).fill_null(False)
    written = "YYYYMMDD" if daily else "YYYY-MM-DD HH:MM:SS"
    if len(lost := (~named | times.is_null()).arg_true()):
        raise DataError(
            f"{needed[0]} must be like 600519.SH and {needed[1]} like {written}; got {frame[needed[0]][lost[0]]!r} and "
            f"{frame[needed[1]][lost[0]]!r}.", file=path.name, row=lines[int(lost[0])],
        )  # fmt: skip
    told = [name for name in _TOLD if daily and name in names]
    numbers = {name: read_number(frame[name], lines, path.name) for name in (*needed[2:], *told)}
    numbers["volume"] = numbers.pop("vol") * (LOT if daily else 1)
    return pl.DataFrame({"symbol": frame[needed[0]], "ts": times, "line": lines, **numbers}).sort(
        "symbol", "ts", maintain_order=True
    )


def _tables(rows: pl.DataFrame, symbol: str, path: Path, request: Request) -> tuple[list[Table], Repairs]:
    daily = "pre_close" in rows.columns
    interval = "1d" if daily else bar_interval(rows["ts"].dt.truncate("1d") if _once_a_day(rows["ts"]) else rows["ts"])
    if interval == "1d":
        times = rows["ts"].dt.truncate("1d").dt.replace_time_zone("UTC")
    else:
        opening = rows["ts"].dt.offset_by("-" + interval)
        times = opening.dt.replace_time_zone(SHANGHAI).dt.convert_time_zone("UTC")
    _refuse_impossible(rows, symbol, path.name)
    further = ["pre_close"] if daily else []
    frame = rows.select(times.cast(TIME).alias("ts"), *VALUES, *further)
    tolerance = request.config.range_tolerance
    bars, repairs = clean_bars(frame, symbol, file=path.name, tolerance=tolerance, rows=rows["line"].to_list())
    repairs = add_repairs(repairs, {"row out of order sorted": _out_of_order(rows["line"].to_numpy())})
    metadata = _metadata(symbol, bars, path, repairs)
    tables = [bars_table(symbol, bars.drop(further), interval, "", metadata)]
    if daily:
        references = bars.select("symbol", "ts", pl.col("pre_close").alias("previous_close"))
        checked = REFERENCE_PRICES.check(references, file=f"{path.name} ({symbol}, oldest first)")
        tables.append(Table(REFERENCE_PRICES, symbol, checked, metadata))
    return tables, repairs


def _refuse_impossible(rows: pl.DataFrame, symbol: str, file: str) -> None:
    """Refuse by its line the first row whose numbers contradict each other or are of no market."""
    close, prices = pl.col("close"), [c for c in (*PRICES, "pre_close") if c in rows.columns]
    apart = pl.max_horizontal(prices) / pl.min_horizontal(prices)
    bad = {
        f"prices of one row are more than {_APART} times apart": (pl.min_horizontal(prices) > 0) & (apart > _APART),
        f"volume is no number below {_MOST:g} shares": (pl.col("volume") >= _MOST) | pl.col("volume").is_nan(),
    }
    if "pre_close" in rows.columns:
        bad["pre_close must be above 0"] = close.is_not_null() & ~(pl.col("pre_close") > 0).fill_null(False)
    if "change" in rows.columns:
        gap = (close - pl.col("pre_close") - pl.col("change")).abs()
        bad["change is not close less pre_close"] = (pl.col("pre_close") > 0) & ~(gap <= _CENT)
    if "amount" in rows.columns and not _INDEX.fullmatch(symbol):
        paid = pl.col("amount") * 1000 / pl.col("volume") / close
        bad["amount (thousands) over volume is no price near the close"] = (pl.col("volume") > 0) & ~(
            (paid < _PAID_APART) & (paid > 1 / _PAID_APART)
        )
    for what, expression in bad.items():
        found = rows.filter(expression.fill_null(False))
        if found.height:
            row = found.row(0, named=True)
            given = ", ".join(f"{name}={row[name]}" for name in rows.columns if name not in ("symbol", "line"))
            raise DataError(f"{what}. Given: {given}. Correct the row or leave it out.", file=file, row=row["line"])


def _out_of_order(lines: Array) -> int:
    """Return how many rows, oldest first, stood on the wrong side of the one before, in the file's own direction."""
    steps = np.diff(lines)
    return int(min((steps > 0).sum(), (steps < 0).sum()))


def _once_a_day(times: pl.Series) -> bool:
    return bool(times.dt.date().n_unique() == len(times) and len(times) > 1)


def _metadata(symbol: str, bars: pl.DataFrame, path: Path, repairs: Repairs) -> dict[str, Any]:
    prices = bars.select("open", "high", "low", "close")
    is_index = _INDEX.fullmatch(symbol) is not None
    on_grid = prices.select(pl.all_horizontal((pl.all() * 100 - (pl.all() * 100).round(0)).abs() < 1e-6).all()).item()
    adjustment = "none" if on_grid or is_index else "front (split and dividend)"
    return describe(
        digests([path]), currency="CNY", tick_size=0.01, lot_size=LOT, repairs=repairs, is_index=is_index,
        adjustment=adjustment,
    )  # fmt: skip
