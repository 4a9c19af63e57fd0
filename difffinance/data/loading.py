"""Read tables back from the lake as records, with the instrument that their metadata describes."""

from pathlib import Path
from typing import Any

import polars as pl

from difffinance.data.store import AnyLake, Lake, read_metadata
from difffinance.errors import DataError, NotInLakeError
from difffinance.records import BarsTable, BookDay, Instrument


def load_bars(symbol: str, *, lake: AnyLake | None = None, adjusted: bool = False, interval: str = "1d") -> BarsTable:
    """Return the bars of a symbol: as traded (adjusted for splits), or adjusted for dividends too.

    Raises `NotInLakeError`, which names the verb that brings them.
    """
    lake = Lake(lake)
    part = "-".join(p for p in ("" if interval == "1d" else interval, "adjusted" if adjusted else "") if p)
    advice = f"Bring it with: difffinance fetch {'sample' if symbol == 'SPX' else f'yahoo {symbol}'}"
    advice += "." if symbol == "SPX" else f", or fetch csv PATH --symbol {symbol}."
    if adjusted and has_bars(symbol, lake=lake, interval=interval):
        advice = f"The bars of {symbol} came without dividend-adjusted prices; use adjusted=False."
    frame, metadata = lake.read_table(lake.table_path("Bars", symbol, part), advice=advice)
    return BarsTable(
        instrument=_instrument(symbol, metadata),
        frame=frame,
        source=str(metadata["source"]),
        is_index=bool(metadata.get("is_index", False)),
        adjusted=adjusted,
    )


def load_references(symbol: str, *, lake: AnyLake | None = None) -> pl.DataFrame:
    """Return `ReferencePrices`: symbol, ts (that of the daily bar) and the price from which its limits are counted."""
    lake = Lake(lake)
    advice = "Bring them with: difffinance fetch tushare PATH."
    return lake.read_table(lake.table_path("ReferencePrices", symbol), advice=advice)[0]


def load_book(symbol: str, date: str | None = None, *, lake: AnyLake | None = None) -> BookDay:
    """Return one day of order-book data, the newest when no date (YYYY-MM-DD) is given.

    Raises `NotInLakeError`, which names the verb that brings it, and `DataError` when events and depth are not of
    one import.
    """
    lake = Lake(lake)
    days = book_dates(symbol, lake=lake)
    where = "sample" if symbol == "SYNTH" else "SOURCE PATH (lobster, binance, bitstamp, ...)"
    if not days or (date is not None and date not in days):
        known = f" There are: {', '.join(days)}." if days else ""
        raise NotInLakeError(
            f"no order-book day of {symbol}{f' on {date}' if date else ''} is in the lake {lake.root}.{known} "
            f"Bring one with: difffinance fetch {where}."
        )
    date = date or days[-1]
    events, about_events = lake.read_table(lake.table_path("BookEvents", symbol, date))
    depth, about_depth = lake.read_table(lake.table_path("Depth", symbol, date))
    if about_events["raw_sha256"] != about_depth["raw_sha256"] or events.height != depth.height:
        raise DataError(
            f"events and depth of {symbol} on {date} are not of one import. Fetch the day again: "
            f"difffinance fetch {where}."
        )
    return BookDay(
        instrument=_instrument(symbol, about_depth),
        events=events,
        depth=depth,
        levels=int(about_depth["levels"]),
        date=date,
        synthetic=bool(about_depth["synthetic"]),
        volume_base=str(about_depth["volume_base"]),
    )


def load_trades(symbol: str, part: str | None = None, *, lake: AnyLake | None = None) -> pl.DataFrame:
    """Return a table of `Trades` of a symbol: `part` is its day (or days, FIRST_LAST), by default the newest."""
    return _load_part("Trades", symbol, part, Lake(lake))


def load_quotes(symbol: str, part: str | None = None, *, lake: AnyLake | None = None) -> pl.DataFrame:
    """Return a table of `Quotes` of a symbol: `part` is its day (or days, FIRST_LAST), by default the newest."""
    return _load_part("Quotes", symbol, part, Lake(lake))


def _load_part(schema: str, symbol: str, part: str | None, lake: Lake) -> pl.DataFrame:
    parts = sorted(_part(path) for path in lake.tables(schema, symbol))
    if not parts or (part is not None and part not in parts):
        known = f" There are: {', '.join(parts)}." if parts else ""
        raise NotInLakeError(
            f"no {schema} of {symbol}{f' on {part}' if part else ''} are in the lake {lake.root}.{known} "
            "Bring some with: difffinance fetch SOURCE PATH."
        )
    return lake.read_table(lake.table_path(schema, symbol, part or parts[-1]))[0]


def has_bars(symbol: str, *, lake: AnyLake | None = None, interval: str = "1d") -> bool:
    """Tell whether the lake holds bars of a symbol."""
    return Lake(lake).table_path("Bars", symbol, "" if interval == "1d" else interval).is_file()


def has_book(symbol: str, *, lake: AnyLake | None = None) -> bool:
    """Tell whether the lake holds an order-book day of a symbol."""
    return bool(book_dates(symbol, lake=lake))


def book_dates(symbol: str, *, lake: AnyLake | None = None) -> list[str]:
    """Return the dates of a symbol's order-book days, oldest first."""
    lake = Lake(lake)
    depth = {_part(path) for path in lake.tables("Depth", symbol)}
    return sorted(depth & {_part(path) for path in lake.tables("BookEvents", symbol)})


def book_volume_base(symbol: str, *, lake: AnyLake | None = None) -> str:
    """Return whose volume the newest order-book day of a symbol counts, without reading the day."""
    lake = Lake(lake)
    return str(read_metadata(lake.table_path("Depth", symbol, book_dates(symbol, lake=lake)[-1]))["volume_base"])


def _part(path: Path) -> str:
    return str(read_metadata(path)["part"])


def _instrument(symbol: str, metadata: dict[str, Any]) -> Instrument:
    return Instrument(
        symbol,
        tick_size=float(metadata["tick_size"]),
        lot_size=float(metadata["lot_size"]),
        currency=str(metadata["currency"]),
    )
