"""yahoo: bars from Yahoo Finance through yfinance's `Ticker.history`, never `download`, which hides its failures.

Prices as Yahoo gives them are adjusted for splits; a second table, `adjusted`, is adjusted for dividends too. Every
answer is kept in the lake under raw/yahoo, and a request whose last day had passed when it was fetched is answered
from there. An empty answer is an error. yfinance's own files (time zones, cookies) stay in a temporary folder.
"""

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from difffinance.config import DataConfig
from difffinance.data.bars import adjust_for_dividends, bars_table, clean_bars
from difffinance.data.connectors.base import Fetched, Request, Table, add_repairs, describe
from difffinance.data.store import Lake, check_symbol, read_metadata
from difffinance.errors import DataError, DiffFinanceError, InputError, NetworkError
from difffinance.schemas import TIME, Column, Schema

TAKES = ("start", "end", "interval")
INTERVALS = ("1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h", "1d", "1wk", "1mo", "3mo")
_NUMBER = Column(pl.Float64, "as Yahoo gives it", nullable=True)
_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adjusted_close",
    "Volume": "volume",
    "Dividends": "dividends",
    "Stock Splits": "splits",
}
HISTORY = Schema(
    "YahooHistory", 1, {"ts": Column(TIME, "UTC nanoseconds"), **dict.fromkeys(_COLUMNS.values(), _NUMBER)}, ("ts",)
)


def fetch(request: Request, *, sleep: Callable[[float], None] = time.sleep) -> Fetched:
    """Return the bars of one or more symbols; `sleep` waits between tries."""
    if not request.what:
        raise InputError("fetch yahoo needs a symbol. Use: difffinance fetch yahoo SYMBOL... --start D --end D.")
    start, end, interval = _span(request)
    tables: list[Table] = []
    raw: list[tuple[Path, Table]] = []
    repairs: dict[str, int] = {}
    for done, symbol in enumerate(dict.fromkeys(request.what)):
        request.progress("yahoo", done, len(request.what))
        path = _raw_path(request.lake, symbol, start, end, interval)
        answer = _kept(path, symbol, end)
        if answer is None:
            answer = _ask(symbol, start, end, interval, config=request.config, sleep=sleep)
            raw.append((path, answer))
        new, repaired = _tables(answer, interval, request.config)
        tables += new
        repairs = add_repairs(repairs, repaired)
    request.progress("yahoo", 1, 1)
    return Fetched(tuple(tables), repairs, raw_tables=tuple(raw), cached=not raw)


def _span(request: Request) -> tuple[str | None, str | None, str]:
    interval = request.options.get("interval", "1d")
    if interval not in INTERVALS:
        raise InputError(f"interval '{interval}' is not known. Allowed: {', '.join(INTERVALS)}.")
    days: dict[str, date | None] = {}
    for name in ("start", "end"):
        text = request.options.get(name)
        try:
            days[name] = date.fromisoformat(text) if text else None
        except ValueError:
            raise InputError(f"--{name} '{text}' is not a date. Allowed: YYYY-MM-DD.") from None
    start, end = days["start"], days["end"]
    if start and end and start >= end:
        raise InputError(f"--start {start} must lie before --end {end} (the day after the last).")
    today = datetime.now(UTC).date()
    for name, day, latest in (("start", start, today), ("end", end, today + timedelta(days=366))):
        if day and day > latest:
            raise InputError(f"--{name} {day} lies too far in the future. Allowed: up to {latest}.")
    if end and not start:
        raise InputError("--end needs --start. Without both, Yahoo's whole history is fetched.")
    return (start.isoformat() if start else None), (end.isoformat() if end else None), interval


# --- the lake's copy of answers ----------------------------------------------------------------------------------


def _raw_path(lake: Lake, symbol: str, start: str | None, end: str | None, interval: str) -> Path:
    name = f"{check_symbol(symbol)}__{interval}__{start or 'first'}__{end or 'latest'}.parquet"
    return lake.folder("raw") / "yahoo" / name


def _kept(path: Path, symbol: str, end: str | None) -> Table | None:
    """Return the answer that the lake holds, if the last day asked for had passed when it was fetched."""
    if end is None or not path.is_file():
        return None
    metadata = read_metadata(path)
    if metadata["fetched"][:10] < end:
        return None
    return Table(HISTORY, symbol, HISTORY.check(pl.read_parquet(path), file=path.name), metadata)


def _tables(answer: Table, interval: str, config: DataConfig) -> tuple[list[Table], dict[str, int]]:
    symbol, about = answer.symbol, answer.metadata
    # yfinance fills volume with 0 where Yahoo sent nulls; without a single price it is a row without values.
    nothing = pl.all_horizontal(pl.col(c).is_null() for c in ("open", "high", "low", "close"))
    frame = answer.frame.with_columns(volume=pl.when(~nothing).then(pl.col("volume")))
    frame = frame.drop("dividends", "splits")
    bars, repairs = clean_bars(frame, symbol, file=f"Yahoo {symbol}", tolerance=config.range_tolerance)
    digest = hashlib.sha256(answer.frame.write_csv().encode()).hexdigest()
    metadata = describe(
        {"answer": digest}, lot_size=1.0, repairs=repairs, adjustment="split", source="yahoo",
        **{name: about[name] for name in ("fetched", "currency", "tick_size", "is_index")},
    )  # fmt: skip
    daily = interval in ("1d", "1wk", "1mo", "3mo")
    tables = [bars_table(symbol, bars.drop("adjusted_close"), interval, "", metadata)]
    if daily:  # Yahoo has no adjusted prices inside the day
        metadata = {**metadata, "adjustment": "split and dividend"}
        tables.append(bars_table(symbol, adjust_for_dividends(bars, "adjusted_close"), interval, "adjusted", metadata))
    return tables, repairs


# --- the network -------------------------------------------------------------------------------------------------


def _ask(
    symbol: str,
    start: str | None,
    end: str | None,
    interval: str,
    *,
    config: DataConfig,
    sleep: Callable[[float], None],
) -> Table:
    """Ask Yahoo, with a pause that doubles after each rate limit or lost line."""
    for attempt in range(config.network_retries + 1):
        try:
            with _errors(symbol), _client() as yfinance:
                ticker = yfinance.Ticker(symbol)
                span = {"start": start, "end": end} if start else {"period": "max"}
                history = ticker.history(
                    interval=interval,
                    auto_adjust=False,
                    actions=True,
                    keepna=True,
                    timeout=config.network_timeout_s,
                    **span,
                )
                return _answer(symbol, history, ticker.get_history_metadata(), interval)
        except _TryAgain as again:
            if attempt == config.network_retries:
                raise NetworkError(
                    f"Yahoo {again} for {symbol}, {attempt + 1} times. Wait some minutes, or use fetch csv PATH."
                ) from None
            sleep(config.network_backoff_s * 2**attempt)
    raise AssertionError("the loop above returns or raises")


class _TryAgain(Exception):
    """A failure that may pass."""


@contextmanager
def _errors(symbol: str) -> Iterator[None]:
    """Say in the project's words what went wrong."""
    from yfinance import exceptions as theirs

    try:
        yield
    except DiffFinanceError:
        raise
    except theirs.YFRateLimitError:
        raise _TryAgain("limits the rate of requests (HTTP 429)") from None
    except theirs.YFTzMissingError:
        raise _unknown(symbol) from None
    except theirs.YFTickerMissingError as error:
        raise DataError(
            f"Yahoo has no bars for '{symbol}': {error.rationale}. "
            "Check the symbol (as SPY, 600519.SS, ^GSPC) and the dates."
        ) from None
    except theirs.YFException as error:
        raise NetworkError(f"Yahoo does not serve {symbol}: {error}. Try again later, or use fetch csv PATH.") from None
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (400, 404):
            raise _unknown(symbol) from None
        if any(kind in {c.__name__ for c in type(error).__mro__} for kind in ("Timeout", "IncompleteRead")):
            raise _TryAgain("does not answer in time") from None
        raise NetworkError(
            f"Yahoo could not be reached for {symbol} ({type(error).__name__}). Check the network; "
            "offline work: fetch sample, or fetch csv PATH."
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NetworkError(
            f"Yahoo's answer for {symbol} is not a price history ({type(error).__name__}: {str(error)[:120]}). "
            "Try again later, or use fetch csv PATH."
        ) from error


def _unknown(symbol: str) -> DataError:
    return DataError(
        f"Yahoo does not know the symbol '{symbol}'. Allowed: symbols as on its pages: SPY, 600519.SS, ^GSPC."
    )


@contextmanager
def _client() -> Iterator[Any]:
    """Yield yfinance, set to raise its errors and to keep its files out of the user's home."""
    import yfinance

    yfinance.set_tz_cache_location(_client_folder().name)
    hidden = yfinance.config.debug.hide_exceptions
    yfinance.config.debug.hide_exceptions = False
    # What it would log is raised as well, and the person at the terminal shall read one message.
    logger = logging.getLogger("yfinance")
    silent, logger.disabled = logger.disabled, True
    # A symbol without a time zone is unknown; yfinance would ask two more services that know no more.
    yfinance.base._tz_info_fetch_ctr = 2
    try:
        yield yfinance
    finally:
        yfinance.config.debug.hide_exceptions = hidden
        logger.disabled = silent


@cache
def _client_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="difffinance-yahoo-", ignore_cleanup_errors=True)


def _answer(symbol: str, history: Any, about: Mapping[str, Any], interval: str) -> Table:
    """Return Yahoo's frame as a table: daily bars at midnight UTC of the trading date, others at their opening."""
    if history is None or not len(history):
        raise NetworkError(f"Yahoo answered with nothing for {symbol}. Check symbol and dates, or try again later.")
    index = history.index.as_unit("ns")
    inside_the_day = interval[-1] in "mh"
    stamps = (index.tz_convert("UTC") if inside_the_day else index.tz_localize(None).normalize()).asi8
    columns: dict[str, Any] = {"ts": pl.Series(stamps.copy(), dtype=pl.Int64).cast(TIME)}
    for theirs, ours in _COLUMNS.items():
        columns[ours] = pl.Series(history[theirs].to_numpy(dtype=float, copy=True)).fill_nan(None)
    hint = int(about.get("priceHint") or 2)
    metadata = {
        "currency": about.get("currency") or "",
        "tick_size": 10.0**-hint,
        "is_index": about.get("instrumentType") == "INDEX",
        "time_zone": about.get("exchangeTimezoneName") or "",
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Table(HISTORY, symbol, HISTORY.check(pl.DataFrame(columns), file=f"Yahoo {symbol}"), metadata)
