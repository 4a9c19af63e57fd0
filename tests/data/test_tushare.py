"""Chinese daily bars with the exchange's reference price; published counts of limit days are the independent answer."""

import csv
import gzip
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_bars, load_references
from difffinance.data.store import read_metadata
from difffinance.errors import DataError, InputError, NotInLakeError

CONFIG = DataConfig()
HEAD = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n"
ROWS = [
    "600000.SH,20240104,10.1,10.3,10.0,10.2,10.05,0.15,1.49,2000,2030\n",
    "600000.SH,20240103,10.0,10.2,9.9,10.05,10.0,0.05,0.5,1000.5,1005\n",
]


def fetch(lake, path, **options):
    return fetch_tables("tushare", [str(path)], lake=lake, config=CONFIG, **options)


@pytest.fixture
def make_file(tmp_path):
    def make(text, name="600000.SH.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return make


def test_small_file_arrives_oldest_first(lake, make_file):
    answer = fetch(lake, make_file(HEAD + "".join(ROWS)))
    assert [t["schema"] for t in answer["tables"]] == ["Bars", "ReferencePrices"]
    bars = load_bars("600000.SH", lake=lake)
    assert bars.frame["ts"].dt.date().to_list() == [date(2024, 1, 3), date(2024, 1, 4)]
    assert bars.frame["volume"].to_list() == [100_050.0, 200_000.0]  # lots of 100 shares
    assert (bars.instrument.currency, bars.instrument.lot_size, bars.is_index) == ("CNY", 100.0, False)
    assert load_references("600000.SH", lake=lake)["previous_close"].to_list() == [10.0, 10.05]
    with pytest.raises(NotInLakeError, match="fetch tushare"):
        load_references("600001.SH", lake=lake)


def test_rows_in_no_order_are_sorted_and_counted(lake, make_file):
    between = "600000.SH,20240105,10.1,10.3,10.0,10.2,10.2,0.0,0.0,2000,2030\n"
    answer = fetch(lake, make_file(HEAD + ROWS[0] + between + ROWS[1]))
    assert {"rule": "row out of order sorted", "rows": 1} in answer["repairs"]
    assert load_bars("600000.SH", lake=lake).frame["ts"].dt.day().to_list() == [3, 4, 5]
    answer = fetch(lake, make_file(HEAD + "".join(reversed(ROWS))))
    assert not [r for r in answer["repairs"] if r["rows"]]


def test_file_of_several_symbols(lake, make_file):
    other = [row.replace("600000.SH", "000002.SZ") for row in ROWS]
    path = make_file(HEAD + ROWS[0] + other[0] + ROWS[1] + other[1])
    assert {t["symbol"] for t in fetch(lake, path)["tables"]} == {"600000.SH", "000002.SZ"}
    assert {t["symbol"] for t in fetch(lake, path, symbol="000002.SZ")["tables"]} == {"000002.SZ"}
    with pytest.raises(InputError, match="There are: "):
        fetch(lake, path, symbol="000003.SZ")


BAD = {
    "no such column": (("pre_close", "prior"), "row 1: the header lacks pre_close. Allowed: ts_code"),
    "not a date": (("20240103", "20240230"), "row 3.*YYYYMMDD"),
    "date missing": (("20240103", ""), "row 3"),
    "text for a price": (("9.9,", "cheap,"), "row 3: low must be a number.*cheap"),
    "reference missing": ((",10.0,0.05,", ",,0.05,"), "row 3: pre_close must be above 0"),
    "reference not positive": ((",10.0,0.05,", ",0,0.05,"), "row 3: pre_close must be above 0"),
    "day twice": (("20240103", "20240104"), "row 3.*duplicated"),
    "low above high": ((",9.9,", ",10.21,"), "row 3.*low is above high"),
    "impossible high": ((",10.2,9.9,", ",1e30,9.9,"), "row 3: prices of one row"),
    "impossible reference": ((",10.0,0.05,", ",1e30,0.05,"), "row 3: prices of one row"),
    "reference of another day": ((",10.0,0.05,", ",10.1,0.05,"), "row 3: change is not close less pre_close"),
    "impossible volume": ((",1000.5,", ",1e30,"), "row 3: volume is no number below"),
    "volume a million times too large": ((",1000.5,", ",1000500000,"), "row 3: amount .* is no price near the close"),
    "no code": (("600000.SH,20240103", "600000,20240103"), "row 3: ts_code must be like 600519.SH"),
    "no rows": (("".join(ROWS), ""), "holds no rows"),
    "a field less": ((",1005\n", "\n"), "row 3: has 10 fields"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_refused(lake, make_file, name):
    (old, new), match = BAD[name]
    text = HEAD + "".join(ROWS)
    assert old in text
    with pytest.raises(DataError, match=match):
        fetch(lake, make_file(text.replace(old, new)))
    assert not lake.root.exists()


def limits(reference: str) -> tuple[Decimal, Decimal]:
    cent = Decimal("0.01")
    return tuple((Decimal(reference) * Decimal(f)).quantize(cent, ROUND_HALF_UP) for f in ("0.9", "1.1"))


def test_real_days_lie_in_their_band_as_often_at_its_edge_as_published(lake, shared_data):
    at_lower = at_upper = rows = 0
    for path in sorted((shared_data / "ashare_daily_raw").glob("[0-9]*.csv")):
        fetch(lake, path)
        symbol = path.name.removesuffix(".csv")
        frame = load_bars(symbol, lake=lake).frame.join(load_references(symbol, lake=lake), on=["symbol", "ts"])
        rows += frame.height
        for low, high, close, reference in frame.select("low", "high", "close", "previous_close").iter_rows():
            lower, upper = limits(repr(reference))
            assert lower <= Decimal(repr(low)) and Decimal(repr(high)) <= upper
            at_lower += Decimal(repr(close)) == lower
            at_upper += Decimal(repr(close)) == upper
        assert read_metadata(lake.table_path("Bars", symbol))["adjustment"] == "none"
        with path.open() as stream:
            last = list(csv.DictReader(stream))[::-1]
        assert frame["close"].to_list() == [float(row["close"]) for row in last]
    assert (rows, at_upper, at_lower) == (5 * 1212, 10, 3)


def test_adjusted_files_say_so(lake, shared_data):
    for path in sorted((shared_data / "ashare_daily_qfq").glob("*.csv.gz")):
        answer = fetch(lake, path)
        bars = answer["tables"][0]
        adjustment = read_metadata(lake.table_path("Bars", bars["symbol"]))["adjustment"]
        assert adjustment.startswith("none" if bars["symbol"] == "688981.SH" else "front")  # it never paid a dividend
        with gzip.open(path, "rt") as stream:
            assert bars["rows"] == sum(1 for _ in stream) - 1


def test_index_by_day_and_by_minute(lake, shared_data):
    fetch(lake, shared_data / "ashare_daily_raw" / "index_000001.SH_daily.csv")
    daily = load_bars("000001.SH", lake=lake)
    assert daily.is_index and daily.frame.height == 3332
    assert daily.frame["ts"][0].isoformat() == "2006-11-06T00:00:00+00:00"
    fetch(lake, shared_data / "ashare_minute" / "000001.XSHG_1MIN.csv.gz")
    minutes = load_bars("000001.XSHG", lake=lake, interval="1m").frame
    assert minutes.height == 2640
    assert minutes["ts"][0].isoformat() == "2020-07-01T01:30:00+00:00"  # the bar that ends at 09:31 in Shanghai
    day = minutes.filter(pl.col("ts").dt.date() == date(2020, 7, 1))
    same = daily.frame.filter(pl.col("ts").dt.date() == date(2020, 7, 1))
    if same.height:
        assert day["close"][-1] == pytest.approx(same["close"][0], abs=0.01)
