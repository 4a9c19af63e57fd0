"""lean: US equities in the folders of QuantConnect's LEAN engine: ticks, minutes, hours, days.

PATH is one zip, or a folder of a symbol's minute or tick zips, inside LEAN's tree `RESOLUTION/symbol/...` (daily and
hour: `RESOLUTION/symbol.zip`). Prices are dollars x 10000, unadjusted, times New York's: milliseconds after midnight,
or `YYYYMMDD HH:MM` in daily and hour files.

    tick trade    ms, price, size, exchange, condition, suspicious            -> Trades (the side is not known: 0)
    tick quote    ms, bid, bid size, ask, ask size, exchange, condition, suspicious, one side a row; a bid and the ask
                  of the same time after it are the best quotes after one event  -> Quotes
    minute trade  ms, open, high, low, close, volume                          -> Bars 1m
    minute quote  ms, bid OHLC, bid size, ask OHLC, ask size                  -> Bars 1m-bid and 1m-ask (volume 0), and
                  Quotes at the closes
    hour, daily   time, open, high, low, close, volume                        -> Bars

Ticks have no ids, and one trade in twenty of a real day repeats another in all columns: an order met several of one
size. Lines that repeat are therefore trades, every one of them.

Where `factor_files/symbol.csv` lies beside the resolutions, daily bars come adjusted for splits, `adjusted` ones for
dividends too, and `raw` ones as traded; `map_files` tell which ticker the company had when.
"""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from difffinance.data.archives import read_zip
from difffinance.data.bars import PRICES, bars_table, clean_bars
from difffinance.data.clock import NEW_YORK, midnight
from difffinance.data.connectors.base import Fetched, Repairs, Request, Table, add_repairs, describe, digests, one_word
from difffinance.data.lean_factors import adjust_bars, read_factors, read_map
from difffinance.data.lines import decode
from difffinance.data.store import check_symbol
from difffinance.errors import DataError, InputError
from difffinance.schemas import QUOTE_STATE, QUOTES, TIME, TRADES

TAKES = ()
USAGE = "difffinance fetch lean PATH (a zip, or a folder of minute or tick zips)"
_SCALE = 10_000
_DAY = re.compile(r"(?P<date>\d{8})_(?P<kind>trade|quote)\.zip")
_OHLC = dict.fromkeys(PRICES, pl.Int64)
_QUOTE_BAR = {f"{side}_{p}": pl.Int64 for side in ("bid", "ask") for p in (*PRICES, "size")}
_CODES = {"exchange": pl.String, "condition": pl.String, "suspicious": pl.Int64}
_LAYOUTS: dict[tuple[str, str], dict[str, Any]] = {
    ("tick", "trade"): {"ms": pl.Int64, "price": pl.Int64, "size": pl.Int64, **_CODES},
    ("tick", "quote"): {
        "ms": pl.Int64, "bid": pl.Int64, "bid_size": pl.Int64, "ask": pl.Int64, "ask_size": pl.Int64, **_CODES,
    },
    ("minute", "trade"): {"ms": pl.Int64, **_OHLC, "volume": pl.Int64},
    ("minute", "quote"): {"ms": pl.Int64, **_QUOTE_BAR},
    ("hour", "trade"): {"time": pl.String, **_OHLC, "volume": pl.Int64},
    ("daily", "trade"): {"time": pl.String, **_OHLC, "volume": pl.Int64},
}  # fmt: skip


def _dollars(price: pl.Expr) -> pl.Expr:
    """Return the nearest number of dollars; polars divides by multiplying with the inverse, which rounding mends."""
    return (price / _SCALE).round(4)


def fetch(request: Request) -> Fetched:
    """Return the tables of one zip, or of all zips in a folder."""
    path = Path(one_word(request, USAGE))
    if path.is_dir():
        zips = sorted(p for p in path.iterdir() if _DAY.fullmatch(p.name))
        if not zips:
            raise DataError("holds no zip named like 20131007_trade.zip.", file=str(path))
    elif path.is_file():
        zips = [path]
    else:
        raise InputError(f"{path} does not exist. Use: {USAGE}.")
    resolution, symbol = _place(zips[0])
    if resolution in ("daily", "hour"):
        return _long_bars(zips[0], resolution, symbol, request)
    if resolution == "minute":
        return _minutes(zips, symbol, request)
    return _ticks(zips, symbol, request)


def _place(path: Path) -> tuple[str, str]:
    """Return resolution and symbol, told by the folders of LEAN's tree."""
    day = _DAY.fullmatch(path.name)
    folder = path.resolve().parent
    resolution, symbol = (folder.parent.name, folder.name) if day else (folder.name, path.name.removesuffix(".zip"))
    allowed = ("minute", "tick") if day else ("daily", "hour")
    if path.suffix != ".zip" or resolution not in allowed:
        raise DataError(
            "does not lie in LEAN's tree. Allowed: minute/SYMBOL/DATE_trade.zip (or tick, or quote) and "
            f"daily/SYMBOL.zip (or hour); found {resolution}/{'SYMBOL/' if day else ''}{path.name}.",
            file=path.name,
        )
    return resolution, check_symbol(symbol.upper())


def _read(path: Path, resolution: str, kind: str, request: Request) -> tuple[str, pl.DataFrame]:
    """Return the name of the zip's only csv and its columns as they are written."""
    members = read_zip(path, lambda name: name.endswith(".csv"), limit=request.config.max_archive_bytes)
    if len(members) != 1:
        raise DataError(f"must hold one csv; found {sorted(members) or 'none'}.", file=path.name)
    ((name, data),) = members.items()
    layout = _LAYOUTS[resolution, kind]
    if not data.strip():
        raise DataError("is empty. Allowed: one row of numbers a line.", file=f"{path.name}/{name}")
    widths = pl.Series(data.decode("latin-1").splitlines()).str.count_matches(",") + 1
    if len(wrong := (widths != len(layout)).arg_true()):
        row = int(wrong[0])
        raise DataError(f"has {widths[row]} columns. Allowed: {len(layout)}.", file=f"{path.name}/{name}", row=row + 1)
    decode(data, 1, f"{path.name}/{name}")
    text = pl.read_csv(data, has_header=False, new_columns=list(layout), infer_schema=False, quote_char=None)
    frame = text.with_columns(pl.col(c).cast(t, strict=False) for c, t in layout.items())
    for column, dtype in layout.items():
        if dtype == pl.Int64 and len(lost := frame[column].is_null().arg_true()):
            row = int(lost[0])
            raise DataError(
                f"{column} must be a whole number; got {text[column][row]!r}.", file=f"{path.name}/{name}", row=row + 1
            )
    return f"{path.name}/{name}", frame


def _day_of(path: Path) -> date:
    try:
        return datetime.strptime(path.name[:8], "%Y%m%d").date()
    except ValueError:
        raise DataError(f"the file name's date {path.name[:8]} does not exist.", file=path.name) from None


def _clock(frame: pl.DataFrame, path: Path, file: str) -> pl.Series:
    """Return milliseconds after New York's midnight as times; refuse those that run backwards or beyond the day."""
    ms = frame["ms"]
    bad = ((ms < 0) | (ms >= 86_400_000) | (ms < ms.shift(1).fill_null(0))).arg_true()
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"ms = {ms[row]} after {ms[row - 1] if row else 0}. Allowed: 0 to 86399999, not falling.",
            file=file,
            row=row + 1,
        )
    return (ms * 1_000_000 + midnight(_day_of(path), NEW_YORK)).cast(TIME).alias("ts")


# --- ticks -------------------------------------------------------------------------------------------------------


def _ticks(zips: list[Path], symbol: str, request: Request) -> Fetched:
    tables: list[Table] = []
    repairs: Repairs = {}
    for done, path in enumerate(zips, start=1):
        kind, day = path.name[9:14], _day_of(path).isoformat()
        file, frame = _read(path, "tick", kind, request)
        frame = frame.insert_column(0, _clock(frame, path, file)).with_row_index("row", offset=1)
        kept = frame.filter(pl.col("suspicious") == 0)
        table = (_trade_ticks if kind == "trade" else _quote_ticks)(kept, symbol, file)
        repaired = {"tick marked suspicious dropped": frame.height - kept.height}
        if kind == "quote":
            alone = int(kept.select((_one_side() & ~_paired()).sum()).item())
            repaired["quote of one side before the other is known dropped"] = alone
        metadata = _metadata([path], day, repaired)
        tables.append(Table(TRADES if kind == "trade" else QUOTES, symbol, table, metadata, day))
        repairs = add_repairs(repairs, repaired)
        request.progress("lean", done, len(zips))
    return Fetched(tuple(tables), repairs, raw_files=tuple(zips))


def _trade_ticks(frame: pl.DataFrame, symbol: str, file: str) -> pl.DataFrame:
    trades = frame.select(
        pl.lit(symbol).alias("symbol"),
        "ts",
        pl.int_range(pl.len()).alias("seq"),
        _dollars(pl.col("price")).alias("price"),
        pl.col("size").alias("quantity"),
        pl.lit(0).alias("side"),
    )
    return TRADES.check(trades, file=file, rows=frame["row"].to_numpy())


def _one_side() -> pl.Expr:
    """Tell the rows in whose moment only one side is known: those before both sides have been quoted."""
    seen = [(pl.col(side) > 0).cast(pl.Int8).cum_max() for side in ("bid", "ask")]
    return (seen[0] + seen[1]) < 2


def _paired() -> pl.Expr:
    """Tell the bids that the ask of the same event follows: the quote is complete with that ask."""
    after = (pl.col("ask").shift(-1) > 0) & (pl.col("ms").shift(-1) == pl.col("ms"))
    return ((pl.col("bid") > 0) & after).fill_null(False)


def _quote_ticks(frame: pl.DataFrame, symbol: str, file: str) -> pl.DataFrame:
    one = (pl.min_horizontal("bid", "ask") == 0) & (pl.max_horizontal("bid", "ask") > 0)
    if len(bad := frame.filter(~one)):
        row = bad.row(0, named=True)
        raise DataError(
            f"must quote one side; got bid {row['bid']}, ask {row['ask']} ({len(bad)} rows).", file=file, row=row["row"]
        )
    size = pl.when(pl.col("bid") > 0).then(pl.col("bid_size")).otherwise(pl.col("ask_size"))
    if len(bad := frame.filter(size <= 0)):
        raise DataError(f"quotes no size ({len(bad)} rows). Allowed: above 0.", file=file, row=bad["row"][0])
    sides = [
        pl.when(pl.col(side) > 0).then(pl.col(name)).forward_fill().alias(name)
        for side in ("bid", "ask")
        for name in (side, f"{side}_size")
    ]
    quotes = frame.with_columns(*sides, drop=_one_side() | _paired()).filter(~pl.col("drop"))
    return _quotes(quotes, symbol, file)


def _quotes(frame: pl.DataFrame, symbol: str, file: str) -> pl.DataFrame:
    """Return `Quotes` of ts and prices x 10000."""
    quotes = frame.select(
        pl.lit(symbol).alias("symbol"),
        "ts",
        pl.int_range(pl.len()).alias("seq"),
        _dollars(pl.col("bid")).alias("bid"),
        pl.col("bid_size").alias("bid_quantity"),
        _dollars(pl.col("ask")).alias("ask"),
        pl.col("ask_size").alias("ask_quantity"),
        QUOTE_STATE,
    )
    return QUOTES.check(quotes, file=file)


# --- bars --------------------------------------------------------------------------------------------------------


def _minutes(zips: list[Path], symbol: str, request: Request) -> Fetched:
    bars: dict[str, list[pl.DataFrame]] = {"": [], "bid": [], "ask": []}
    repairs: Repairs = {}
    tables = []
    for done, path in enumerate(zips, start=1):
        kind = path.name[9:14]
        file, frame = _read(path, "minute", kind, request)
        frame = frame.insert_column(0, _clock(frame, path, file))
        for part in [""] if kind == "trade" else ["bid", "ask"]:
            prefix = f"{part}_" if part else ""
            volume = pl.col("volume").cast(pl.Float64) if not part else pl.lit(0.0)
            columns = [_dollars(pl.col(prefix + p)).alias(p) for p in PRICES]
            own = frame.select("ts", *columns, volume.alias("volume"))
            clean, repaired = clean_bars(own, symbol, file=file, tolerance=request.config.range_tolerance)
            bars[part].append(clean)
            repairs = add_repairs(repairs, repaired)
        if kind == "quote":
            closes = frame.select(pl.col("ts").dt.offset_by("1m"), *_closing("bid"), *_closing("ask"))
            day = _day_of(path).isoformat()
            tables.append(Table(QUOTES, symbol, _quotes(closes, symbol, file), _metadata([path], day, {}), f"{day}-1m"))
        request.progress("lean", done, len(zips))
    for part, days in bars.items():
        if days:
            metadata = _metadata(zips, None, repairs)
            tables.append(bars_table(symbol, pl.concat(days), "1m", part, metadata))
    return Fetched(tuple(tables), repairs, raw_files=tuple(zips))


def _closing(side: str) -> list[pl.Expr]:
    return [pl.col(f"{side}_close").alias(side), pl.col(f"{side}_size")]


def _long_bars(path: Path, resolution: str, symbol: str, request: Request) -> Fetched:
    file, frame = _read(path, resolution, "trade", request)
    times = frame["time"].str.to_datetime("%Y%m%d %H:%M", strict=False, time_unit="ns")
    if len(lost := times.is_null().arg_true()):
        row = int(lost[0])
        raise DataError(f"time must be YYYYMMDD HH:MM; got {frame['time'][row]!r}.", file=file, row=row + 1)
    zone = "UTC" if resolution == "daily" else NEW_YORK
    prices = [_dollars(pl.col(p)).alias(p) for p in PRICES]
    stamped = frame.select(
        times.dt.replace_time_zone(zone).dt.convert_time_zone("UTC").cast(TIME).alias("ts"),
        *prices,
        pl.col("volume").cast(pl.Float64),
    )
    bars, repairs = clean_bars(stamped, symbol, file=file, tolerance=request.config.range_tolerance)
    interval = "1d" if resolution == "daily" else "1h"
    tree = path.resolve().parent.parent
    factors, names = (tree / folder / f"{symbol.lower()}.csv" for folder in ("factor_files", "map_files"))
    metadata = _metadata([path, *(p for p in (factors, names) if p.is_file())], None, repairs)
    if names.is_file():
        metadata["tickers"] = read_map(names, bars)
    if not factors.is_file():
        return Fetched((bars_table(symbol, bars, interval, "", metadata),), repairs, raw_files=(path,))
    table = read_factors(factors)
    kinds = (("", "split"), ("adjusted", "split and dividend"), ("raw", "none"))
    tables = tuple(
        bars_table(symbol, adjust_bars(bars, table, how), interval, part, {**metadata, "adjustment": how})
        for part, how in kinds
    )
    request.progress("lean", 1, 1)
    return Fetched(tables, repairs, raw_files=(path, factors, *([names] if names.is_file() else [])))


def _metadata(files: list[Path], day: str | None, repairs: Repairs) -> dict[str, Any]:
    dated: dict[str, Any] = {} if day is None else {"date": day}
    return describe(
        digests(files), currency="USD", tick_size=0.01, lot_size=1.0, repairs=repairs, volume_base="consolidated",
        **dated,
    )  # fmt: skip
