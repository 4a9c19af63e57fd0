"""binance: the public archive (data.binance.vision), its files on disk, and raw captures of the web socket.

    fetch binance BTCUSDT --kind aggTrades --start 2024-01-01 --end 2024-01-03     downloads spot days
    fetch binance BTCUSDT --kind um/klines --interval 1m --start D --end D         USD-M futures: kind with `um/`
    fetch binance ADABTC-1m-2021-11-28.zip                                         a file of the archive (zip or csv)
    fetch binance CAPTURE.gz                                                       lines of the stream (binance_depth)

Kinds: klines (Bars), aggTrades and trades (Trades), bookTicker (Quotes; futures only). Every downloaded day is held
against the SHA-256 of its `.CHECKSUM` file and against the size that the server declares, and stays in the lake under
raw/binance; a day that lies there with its checksum is not asked for again. USD-M names carry `.UM`, so that they and
spot never mix. Archive times are milliseconds, for spot since 2025 microseconds. Ids and bars that are missing inside
are counted: `gaps` places, `trade_ids_missing` or `bars_missing` there. A kline that contradicts itself is refused.
"""

import hashlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.config import DataConfig
from difffinance.data.bars import VALUES, bars_table, clean_bars
from difffinance.data.connectors import binance_depth
from difffinance.data.connectors.base import Fetched, Request, Table, add_repairs, describe, digests, one_word
from difffinance.data.connectors.csv_bars import read_number
from difffinance.data.csv_blocks import CsvLayout, CsvTable, read_csv, utc_times
from difffinance.data.decimals import count_steps, find_step
from difffinance.data.store import atomic_file, check_symbol, sha256_of
from difffinance.errors import DataError, InputError, NetworkError
from difffinance.schemas import QUOTE_STATE, QUOTES, TRADES, Schema

TAKES = ("kind", "start", "end", "interval", "symbol")
USAGE = "difffinance fetch binance SYMBOL --kind aggTrades --start D --end D, or fetch binance PATH"
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
MARKETS = {"": ("spot", ""), "um/": ("futures/um", ".UM")}
_KLINES = "open_time open high low close volume close_time quote_volume count taker_volume taker_quote_volume ignore"
_PAID = ("quote_volume", "taker_volume", "taker_quote_volume")
LAYOUTS = {
    "klines": CsvLayout(tuple(_KLINES.split()), VALUES, ("open_time", "close_time", "count")),
    "aggTrades": CsvLayout(
        ("id", "price", "quantity", "first", "last", "time", "buyer_is_maker", "best_match"),
        ("price", "quantity"),
        ("id", "first", "last", "time"),
        optional=1,
    ),
    "trades": CsvLayout(
        ("id", "price", "quantity", "quote_quantity", "time", "buyer_is_maker", "best_match"),
        ("price", "quantity"),
        ("id", "time"),
        optional=1,
    ),
    "bookTicker": CsvLayout(
        ("id", "bid", "bid_quantity", "ask", "ask_quantity", "time", "event_time"),
        ("bid", "bid_quantity", "ask", "ask_quantity"),
        ("id", "time"),
    ),
}
_UNUSED = ("ignore", "best_match", "event_time", "quote_quantity")
_SIZES = ("quantity", "bid_quantity", "ask_quantity", "volume")
_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9_]+)-(?P<kind>aggTrades|trades|bookTicker|\d+[smhdw])-(?P<date>\d{4}-\d\d(-\d\d)?)\.(zip|csv)"
)


def fetch(request: Request, *, sleep: Callable[[float], None] = time.sleep) -> Fetched:
    """Return the tables of one symbol's days, of one archive file, or of one capture; `sleep` waits between tries."""
    word = one_word(request, USAGE)
    path = Path(word)
    if path.is_file():
        _refuse_options(request, "start", "end")
        if match := _NAME.fullmatch(path.name):
            market, kind = _kind(request.options.get("kind"), match["kind"])
            if request.options.get("interval", match["kind"]) != match["kind"]:
                _refuse_options(request, "interval")
            symbol = request.options.get("symbol") or match["symbol"] + MARKETS[market][1]
            return _import([path], check_symbol(symbol), kind, match["kind"], request)
        _refuse_options(request, "kind", "interval")
        return binance_depth.import_capture(path, request)
    if "/" in word or "." in word:
        raise InputError(f"{word} does not exist. Use: {USAGE}.")
    _refuse_options(request, "symbol")
    if not re.fullmatch(r"[A-Z0-9_]{2,40}", word):
        raise InputError(f"{word} is not a symbol of Binance. Allowed: capital letters and digits, e.g. BTCUSDT.")
    market, kind = _kind(request.options.get("kind"))
    if kind != "klines":
        _refuse_options(request, "interval")
    interval = request.options.get("interval", "1d") if kind == "klines" else ""
    if interval and interval not in INTERVALS:
        raise InputError(f"interval '{interval}' is not known. Allowed: {', '.join(INTERVALS)}.")
    days = _days(request)
    paths, asked = [], 0
    for done, day in enumerate(days):
        request.progress("binance", done, len(days))
        path, downloaded = _bring(word, market, kind, interval, day, request, sleep)
        paths.append(path)
        asked += downloaded
    request.progress("binance", len(days), len(days))
    fetched = _import(paths, check_symbol(word + MARKETS[market][1]), kind, interval or kind, request)
    return replace(fetched, cached=asked == 0)


def _refuse_options(request: Request, *names: str) -> None:
    for name in names:
        if name in request.options:
            given = f"{name} {request.options[name]}" if name == "interval" else name
            raise InputError(f"--{given} does not go with {request.what[0]}. Use: {USAGE}.")


def _kind(option: str | None, named: str | None = None) -> tuple[str, str]:
    """Return market prefix and kind; `named` is what a file's own name says (kind or interval)."""
    given = option or ("klines" if named is None else named)
    prefix = "um/" if given.startswith("um/") else ""
    kind = given.removeprefix(prefix)
    kind = "klines" if kind in INTERVALS else kind
    if kind == "bookDepth":
        raise InputError(
            "kind bookDepth holds quantities within 1 to 5 percent of a mid that it does not name, no price levels; no "
            "order book can be made of it. Use bookTicker, or a capture of the depth stream."
        )
    of_file = "klines" if named in INTERVALS else named
    if kind not in LAYOUTS or (of_file is not None and kind != of_file):
        allowed = ", ".join(LAYOUTS) if of_file is None else of_file
        raise InputError(f"kind '{given}' is not known here. Allowed: {allowed}, with um/ in front for USD-M futures.")
    return prefix, kind


def _days(request: Request) -> list[date]:
    days: dict[str, date] = {}
    for name in ("start", "end"):
        text = request.options.get(name)
        if text is None:
            raise InputError(f"fetch binance SYMBOL needs --{name}. Use: {USAGE}.")
        try:
            days[name] = date.fromisoformat(text)
        except ValueError:
            raise InputError(f"--{name} '{text}' is not a date. Allowed: YYYY-MM-DD.") from None
    start, end = days["start"], days["end"]
    if start >= end or (end - start).days > 3660:
        raise InputError(f"--start {start} must lie before --end {end} (the day after the last), ten years at most.")
    return [start + timedelta(days=k) for k in range((end - start).days)]


# --- the archive -------------------------------------------------------------------------------------------------


def _bring(
    symbol: str, market: str, kind: str, interval: str, day: date, request: Request, sleep: Callable[[float], None]
) -> tuple[Path, bool]:
    """Return the lake's copy of one day, downloaded and checked if it is not there, and whether it was asked for."""
    name = f"{symbol}-{interval or kind}-{day}.zip"
    where = "/".join(["data", MARKETS[market][0], "daily", kind, symbol, *([interval] if interval else []), name])
    folder = request.lake.folder("raw") / "binance" / (MARKETS[market][0].replace("/", "-"))
    path, checksum = folder / name, folder / f"{name}.CHECKSUM"
    if path.is_file() and checksum.is_file() and _stated(checksum.read_bytes(), name) == sha256_of(path):
        return path, False
    url = f"{request.config.binance_url.rstrip('/')}/{where}"
    stated_bytes = _download(f"{url}.CHECKSUM", request.config, sleep, limit=10_000)
    stated = _stated(stated_bytes, name)
    data = _download(url, request.config, sleep, limit=request.config.max_archive_bytes)
    got = hashlib.sha256(data).hexdigest()
    if got != stated:
        raise DataError(
            f"the archive states the SHA-256 {stated[:16]}..., the {len(data)} bytes received have {got[:16]}.... "
            "Nothing was kept; try again later.",
            file=name,
        )
    for target, content in ((path, data), (checksum, stated_bytes)):
        with atomic_file(target) as temporary:
            temporary.write_bytes(content)
    return path, True


def _stated(text: bytes, name: str) -> str:
    match = re.fullmatch(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*", text)
    if not match or match[2].decode("utf-8", "replace") != name:
        raise DataError(f"is not a checksum of {name}: {text[:80]!r}.", file=f"{name}.CHECKSUM")
    return match[1].decode().lower()


def _download(url: str, config: DataConfig, sleep: Callable[[float], None], *, limit: int) -> bytes:
    """Return what lies at `url`; waits and tries again after a rate limit, a server's failure or a lost line."""
    name = url.rpartition("/")[2]
    problem = ""
    for attempt in range(config.network_retries + 1):
        if attempt:
            sleep(config.network_backoff_s * 2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(url, timeout=config.network_timeout_s) as answer:
                size = int(answer.headers.get("Content-Length") or -1)
                if size > limit:
                    raise DataError(f"has {size} bytes. Allowed: {limit} (data.max_archive_bytes).", file=name)
                data: bytes = answer.read(limit + 1)
            if len(data) > limit:
                raise DataError(f"has more than {limit} bytes (data.max_archive_bytes).", file=name)
            if size in (-1, len(data)):
                return data
            problem = f"sent {len(data)} of {size} bytes"
        except urllib.error.HTTPError as error:
            if error.code in (403, 404):
                raise DataError(
                    f"{url} is not in the archive (HTTP {error.code}). Check symbol, kind and day; days appear about "
                    "a day later, and not every kind exists for every market.",
                    file=name,
                ) from None
            problem = f"answered HTTP {error.code}"
            if error.code not in (418, 429) and error.code < 500:
                break
        except urllib.error.URLError as error:
            if not isinstance(error.reason, TimeoutError):
                raise NetworkError(
                    f"{url} could not be reached ({error.reason}). Check the network; offline work: fetch binance "
                    "PATH, or fetch sample."
                ) from None
            problem = "did not answer in time"
        except (OSError, EOFError, ValueError) as error:  # a line that broke, or no URL
            problem = f"broke off ({type(error).__name__})"
        except Exception as error:
            if type(error).__module__ != "http.client":
                raise
            problem = f"broke off ({type(error).__name__})"
    raise NetworkError(f"{url} {problem}, {attempt + 1} times. Wait some minutes and try again.")


# --- files to tables ---------------------------------------------------------------------------------------------


def _import(paths: list[Path], symbol: str, kind: str, name: str, request: Request) -> Fetched:
    """Return the table of one or more files of the same kind, in order of time."""
    layout, limit = LAYOUTS[kind], request.config.max_archive_bytes
    files = [read_csv(path, layout, limit=limit, drop=_UNUSED) for path in paths]
    sizes = [c for c in layout.decimals if c in _SIZES]
    prices = [c for c in layout.decimals if c not in _SIZES]
    steps = {
        "tick_size": _step(prices, files, paths, request.config.tick_size),
        "lot_size": _step(sizes, files, paths, request.config.lot_size),
    }
    frames = [_typed(table, kind, path.name) for table, path in zip(files, paths, strict=True)]
    tolerance, repairs = request.config.range_tolerance, dict[str, int]()
    frame = pl.concat(frames)
    _check_order(frame, kind, paths, [own.height for own in frames])
    verification = {
        "one_step_exact": None,  # no order book
        "resync_exact": None,
        "messages": frame.height,
        "messages_per_second": None,
        **_missing(frame, kind, name),
    }
    about: dict[str, Any] = {
        **steps,
        "currency": binance_depth.quote_currency(symbol),
        "verification": verification,
        "volume_base": binance_depth.volume_base(futures=symbol.endswith(".UM")),
    }
    if kind == "klines":
        cleaned = [
            clean_bars(
                own.select("ts", *VALUES), symbol, file=path.name, tolerance=tolerance, rows=own["row"].to_list()
            )
            for own, path in zip(frames, paths, strict=True)
        ]
        repairs = add_repairs(*(repaired for _, repaired in cleaned))
        bars = pl.concat(bars for bars, _ in cleaned)
        table = bars_table(symbol, bars, name, "", describe(digests(paths), repairs=repairs, **about))
    else:
        schema = QUOTES if kind == "bookTicker" else TRADES
        checked = [_checked(own, schema, symbol, path.name) for own, path in zip(frames, paths, strict=True)]
        first, last = (str(day) for day in frame["ts"].dt.date().gather([0, -1]))
        part = first if first == last else f"{first}_{last}"
        table = Table(schema, symbol, pl.concat(checked), describe(digests(paths), repairs={}, **about), part)
    for own, path in zip(frames, paths, strict=True):
        _refuse_contradictions(own, kind, name, tolerance, path.name)
    return Fetched((table,), repairs, verification, raw_files=tuple(paths))


def _checked(frame: pl.DataFrame, schema: Schema, symbol: str, file: str) -> pl.DataFrame:
    """Return the `Trades` or `Quotes` of one file's rows."""
    frame = frame.with_columns(pl.lit(symbol).alias("symbol"))
    frame = frame.with_columns(QUOTE_STATE) if schema is QUOTES else frame
    return schema.check(frame.select(list(schema.columns)), file=file, rows=frame["row"].to_numpy())


def _step(columns: list[str], files: list[CsvTable], paths: list[Path], given: Decimal | None) -> Decimal:
    """Return the step given, or the largest that all values of these columns lie on."""
    if given is None:
        return find_step(*(table.decimals[c] for table in files for c in columns))
    for table, path in zip(files, paths, strict=True):
        for column in columns:
            count_steps(table.decimals[column], given, column, file=path.name, rows=table.rows)
    return given


def _typed(table: CsvTable, kind: str, file: str) -> pl.DataFrame:
    """Return a file's rows as floats and times, with `seq` (the venue's id) and `side` where there are any.

    What is only held against it comes too: a kline's `end` and `count`, an aggregate's `first` and `last`.
    """
    frame = table.frame
    numbers = [pl.Series(name, scaled.as_floats()) for name, scaled in table.decimals.items()]
    columns = [frame["row"], utc_times(frame["open_time" if kind == "klines" else "time"], table.rows, file), *numbers]
    if kind == "klines":
        columns += [utc_times(frame["close_time"], table.rows, file).alias("end"), frame["count"]]
        columns += [read_number(frame[c], frame["row"].to_list(), file) for c in _PAID]
    else:
        columns.append(frame["id"].alias("seq"))
    if kind == "aggTrades":
        columns += [frame["first"], frame["last"]]
    if kind in ("aggTrades", "trades"):
        maker = frame["buyer_is_maker"].str.to_lowercase()
        bad = (~maker.is_in(["true", "false"])).arg_true()
        if len(bad):
            given, row = frame["buyer_is_maker"][int(bad[0])], int(frame["row"][int(bad[0])])
            raise DataError(f"buyer_is_maker must be true or false; got {given!r}.", file=file, row=row)
        sides = pl.select(pl.when(maker == "true").then(-1).otherwise(1).cast(pl.Int8)).to_series()
        columns.append(sides.alias("side"))  # the buyer is the maker: the seller took
    return pl.DataFrame(columns)


def _refuse_contradictions(frame: pl.DataFrame, kind: str, name: str, tolerance: float, file: str) -> None:
    """Refuse the first row that contradicts itself in columns that make no table.

    Known in the archive and taken: bars that an outage cut short, and numbers of futures' trades that are in no
    aggregate. A bar's mean price may lie as far outside low..high as its open and close may.
    """
    bad: dict[str, pl.Expr] = {}
    if kind == "aggTrades":
        bad["the first trade comes after the last"] = pl.col("first") > pl.col("last")
    if kind == "klines":
        ts, end, volume, paid, count = (pl.col(c) for c in ("ts", "end", "volume", "quote_volume", "count"))
        rounding = count * 1e-8  # of every trade's value
        least, most = pl.col("low") * volume * (1 - tolerance), pl.col("high") * volume * (1 + tolerance)
        bad[f"close_time is not within {name} of open_time"] = (end <= ts) | (end >= ts.dt.offset_by(name))
        bad["quote_volume over volume is no price from low to high"] = ~paid.is_between(
            least - rounding, most + rounding
        )
        bad["count is 0 and volume is not, or the other way round"] = (count == 0) != (volume == 0)
        bad["takers bought less than nothing"] = pl.min_horizontal("taker_volume", "taker_quote_volume") < 0
        bad["takers bought more than was traded"] = (pl.col("taker_volume") > volume) | (
            pl.col("taker_quote_volume") > paid
        )
    for what, expression in bad.items():
        found = frame.filter(expression)
        if found.height:
            row = found.row(0, named=True)
            given = ", ".join(f"{key}={value}" for key, value in row.items() if key != "row")
            raise DataError(f"{what}. Given: {given}. Download the file again.", file=file, row=row["row"])


def _check_order(frame: pl.DataFrame, kind: str, paths: list[Path], heights: list[int]) -> None:
    """Refuse times and ids that do not rise."""
    keys = ["ts"] if kind == "klines" else ["ts", "seq"]
    for key in keys:
        step = frame[key].cast(pl.Int64).diff()
        falls = (step < (0 if key == "ts" and kind != "klines" else 1)).arg_true()
        if len(falls):
            row = int(falls[0])
            raise DataError(
                f"{key} {frame[key][row]} does not follow {frame[key][row - 1]} ({len(falls)} rows). Allowed: rising.",
                file=paths[int(np.searchsorted(np.cumsum(heights), row, side="right"))].name,
                row=int(frame["row"][row]),
            )


def _missing(frame: pl.DataFrame, kind: str, name: str) -> dict[str, int]:
    """Return in how many places ids or bars are missing, and how many; quotes' ids count every change of the book."""
    if kind == "bookTicker":
        return {}
    key = "ts" if kind == "klines" else "seq"
    steps = frame[key].cast(pl.Int64).diff().drop_nulls().to_numpy()
    if kind == "klines":
        first = frame["ts"].head(1)
        steps //= int((first.dt.offset_by(name) - first).cast(pl.Int64)[0])
    skipped = np.maximum(steps - 1, 0)
    return {
        "gaps": int((skipped > 0).sum()),
        "bars_missing" if kind == "klines" else "trade_ids_missing": int(skipped.sum()),
    }
