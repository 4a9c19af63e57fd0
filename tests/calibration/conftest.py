"""Order-book days: tiny hand-made ones, and the official LOBSTER samples."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.records import BookDay, Instrument
from difffinance.schemas import BOOK_EVENTS, depth_schema

sys.path.insert(0, str(Path(__file__).parent))

OPEN = np.datetime64("2012-06-21T13:30:00", "ns")


def make_day(rows, *, symbol="TINY") -> BookDay:
    """Rows of (nanoseconds after the open, kind, resting side, quantity, best bid, best ask) in ticks of a cent."""
    n = len(rows)
    offset, kind, side, quantity, bid, ask = zip(*rows, strict=True)
    common = {
        "symbol": [symbol] * n,
        "ts": pl.Series(OPEN + np.array(offset, "timedelta64[ns]")).dt.replace_time_zone("UTC"),
        "seq": list(range(n)),
    }
    events = {
        **common,
        "order_id": [0] * n,
        "kind": kind,
        "side": side,
        "price_ticks": [100.0] * n,
        "quantity": [float(q) for q in quantity],
    }
    depth = {
        **common,
        "bid_price_ticks_1": bid,
        "bid_quantity_1": [None if b is None else 100 for b in bid],
        "ask_price_ticks_1": ask,
        "ask_quantity_1": [None if a is None else 100 for a in ask],
    }
    types = {"bid_price_ticks_1": pl.Int64, "ask_price_ticks_1": pl.Int64}
    types |= {"bid_quantity_1": pl.Int64, "ask_quantity_1": pl.Int64}
    return BookDay(
        Instrument(symbol),
        BOOK_EVENTS.check(pl.DataFrame(events)),
        depth_schema(1).check(pl.DataFrame(depth, schema_overrides=types)),
        1,
        "2012-06-21",
        True,
        "made up",
    )


@pytest.fixture(scope="session")
def real_lakes(shared_data, tmp_path_factory) -> dict[str, Lake]:
    """A lake for each official LOBSTER sample that the tests use: GOOG_10, GOOG_1, AAPL_1."""
    lakes = {}
    for name in ("GOOG_10", "GOOG_1", "AAPL_1"):
        symbol, levels = name.split("_")
        lakes[name] = Lake(tmp_path_factory.mktemp(name))
        path = shared_data / "lobster" / f"LOBSTER_SampleFile_{symbol}_2012-06-21_{levels}.zip"
        fetch_tables("lobster", [str(path)], lake=lakes[name], config=DataConfig())
    return lakes


@pytest.fixture(scope="session")
def real_days(real_lakes) -> dict[str, BookDay]:
    return {name: load_book(name.split("_")[0], lake=lake) for name, lake in real_lakes.items()}
