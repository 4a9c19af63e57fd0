"""Schemas refuse by name, row and value; their good twins pass."""

import polars as pl
import pytest

from difffinance.errors import DataError
from difffinance.schemas import BARS, BOOK_EVENTS, QUOTES, TRADES, depth_schema

BAR = {"symbol": "A", "ts": 0, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5, "volume": 10.0}
TRADE = {"symbol": "A", "ts": 0, "seq": 0, "price": 1.0, "quantity": 2.0, "side": 1}
EVENT = {"symbol": "A", "ts": 0, "seq": 0, "order_id": 1, "kind": "new", "side": 1, "price_ticks": 5.0, "quantity": 2.0}
QUOTE = {
    "symbol": "A",
    "ts": 0,
    "seq": 0,
    "bid": 1.0,
    "bid_quantity": 1.0,
    "ask": 2.0,
    "ask_quantity": 1.0,
    "state": "normal",
}
DEPTH = {"symbol": "A", "ts": 0, "seq": 0} | {
    "bid_price_ticks_1": 9, "bid_quantity_1": 1, "ask_price_ticks_1": 10, "ask_quantity_1": 1,
    "bid_price_ticks_2": 8, "bid_quantity_2": 1, "ask_price_ticks_2": 11, "ask_quantity_2": 1,
}  # fmt: skip
GOOD = {"Bars": (BARS, BAR), "Trades": (TRADES, TRADE), "BookEvents": (BOOK_EVENTS, EVENT), "Quotes": (QUOTES, QUOTE),
        "Depth": (depth_schema(2), DEPTH)}  # fmt: skip
ALLOWED = {
    "Bars": [{"volume": 0.0}, {"open": 1.0, "close": 3.0}],
    "Trades": [{"side": 0}],
    "BookEvents": [
        {"kind": "hidden_execution", "price_ticks": 5.5},
        {"kind": "halt", "price_ticks": -1.0, "quantity": 0.0},
    ],
    "Quotes": [{"bid": 2.0, "state": "locked"}, {"bid": 3.0, "state": "crossed"}],
    "Depth": [
        {"bid_price_ticks_2": None, "bid_quantity_2": None},
        {f"bid_{what}_{level}": None for what in ("price_ticks", "quantity") for level in (1, 2)},
    ],
}
REFUSED = {
    "Bars": [{"low": 4.0}, {"close": 3.5}, {"open": 0.5}, {"close": None}, {"close": float("nan")}, {"volume": -1.0},
             {"low": -1.0}, {"high": float("inf")}, {"symbol": None}],
    "Trades": [{"price": 0.0}, {"quantity": 0.0}, {"quantity": float("nan")}, {"side": 2}, {"ts": None}],
    "BookEvents": [{"kind": "maybe"}, {"price_ticks": 5.5}, {"quantity": 0.0}, {"price_ticks": 0.0}, {"side": 5}],
    "Quotes": [{"state": "locked"}, {"bid": 3.0}, {"bid_quantity": 0.0}, {"ask": -1.0}],
    "Depth": [{"bid_price_ticks_1": 10}, {"ask_quantity_2": 0}, {"ask_quantity_1": -1}, {"ask_price_ticks_2": 10},
              {"bid_price_ticks_2": 9}, {"bid_price_ticks_1": None, "bid_quantity_1": None}, {"bid_quantity_2": None}],
}  # fmt: skip
CASES = [(name, change) for name, changes in REFUSED.items() for change in changes]


def table(name: str, *changes: dict) -> pl.DataFrame:
    schema, good = GOOD[name]
    rows = [good | {"ts": i} | change for i, change in enumerate(({}, *changes))]
    types = {n: c.dtype for n, c in schema.columns.items() if n != "ts"} | {"ts": pl.Int64}
    return pl.DataFrame(rows, schema_overrides={n: types[n] for n in good}, orient="row")


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_pass(name):
    checked = GOOD[name][0].check(table(name, *ALLOWED[name]))
    assert checked.height == 1 + len(ALLOWED[name])
    assert checked.columns == list(GOOD[name][0].columns)


@pytest.mark.parametrize(("name", "change"), CASES)
def test_bad_row_is_refused_by_number(name, change):
    with pytest.raises(DataError, match=r"file\.x, row 2: ") as caught:
        GOOD[name][0].check(table(name, change), file="file.x")
    assert caught.value.row == 2


def test_order_and_duplicates():
    bars = table("Bars", {}, {})
    with pytest.raises(DataError, match=r"row 2.*out of order"):
        BARS.check(bars.reverse())
    with pytest.raises(DataError, match=r"row 3.*duplicated"):
        BARS.check(bars.with_columns(ts=pl.Series([0, 1, 1])))


def test_columns_and_types():
    with pytest.raises(DataError, match=r"missing \['volume'\]"):
        BARS.check(table("Bars").drop("volume"))
    with pytest.raises(DataError, match=r"not known \['tip'\]"):
        BARS.check(table("Bars").with_columns(tip=1))
    with pytest.raises(DataError, match=r"row 1: close must be of type Float64.*'high'"):
        BARS.check(table("Bars").with_columns(close=pl.lit("high")))


def test_empty_table_is_allowed():
    assert BARS.check(BARS.empty()).height == 0
