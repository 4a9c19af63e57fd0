"""Daily files: the real ones, and every bad row beside its good twin."""

import csv
import gzip
from pathlib import Path

import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import has_bars, load_bars
from difffinance.data.store import Lake, read_metadata, sha256_of
from difffinance.errors import DataError, InputError, NotInLakeError

HEADER = "Date,Open,High,Low,Close,Adj Close,Volume\n"
ROWS = """\
2020-01-02,10,11,9,10.5,5.25,100
2020-01-03,10.5,12,10,11,5.5,200
2020-01-06,11,11.5,10.5,11.2,11.2,300
"""
LINE_2 = "2020-01-03,10.5,12,10,11,5.5,200"
CONFIG = DataConfig()


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "ABC.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def fetch(lake: Lake, path: Path, **options: str) -> dict:
    return fetch_tables("csv", [str(path)], lake=lake, config=CONFIG, **options)


def test_small_file_arrives_raw_and_adjusted(lake, write):
    answer = fetch(lake, write(HEADER + ROWS))
    raw, adjusted = load_bars("ABC", lake=lake), load_bars("ABC", lake=lake, adjusted=True)
    assert raw.frame["close"].to_list() == [10.5, 11.0, 11.2]
    assert adjusted.frame["close"].to_list() == [5.25, 5.5, 11.2]
    assert adjusted.frame["high"].to_list() == pytest.approx([5.5, 6.0, 11.5])
    assert adjusted.frame["volume"].to_list() == raw.frame["volume"].to_list() == [100, 200, 300]
    assert (raw.adjusted, adjusted.adjusted) == (False, True)
    assert [(t["part"], t["rows"]) for t in answer["tables"]] == [("", 3), ("adjusted", 3)]
    assert answer["tables"][0]["start"] == "2020-01-02T00:00:00+00:00"
    assert read_metadata(lake.table_path("Bars", "ABC"))["adjustment"] == "split"


def test_symbol_option_and_gz(lake, tmp_path):
    path = tmp_path / "600519.SS.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    fetch(lake, path)
    bars = load_bars("600519.SS", lake=lake)
    assert (bars.instrument.currency, bars.instrument.lot_size) == ("CNY", 100.0)
    fetch(lake, path, symbol="^GSPC")
    assert load_bars("^GSPC", lake=lake).is_index


def test_lower_case_columns_with_times(lake, write):
    path = write(
        "ts,open,high,low,close,volume\n2020-01-02T14:30:00Z,1,2,1,2,5\n2020-01-02 09:31:00-05:00,2,2,1,1,6\n"
        "2020-01-02T14:32:00.5,2,2,1,1,6\n"
    )
    answer = fetch(lake, path)
    assert [t["part"] for t in answer["tables"]] == ["1m"]
    bars = load_bars("ABC", lake=lake, interval="1m").frame
    assert bars["ts"].dt.strftime("%H:%M:%S%.3f").to_list() == ["14:30:00.000", "14:31:00.000", "14:32:00.500"]
    with pytest.raises(NotInLakeError):
        load_bars("ABC", lake=lake)


def test_without_adjusted_close_there_is_no_adjusted_table(lake, write):
    fetch(lake, write("date,open,high,low,close,volume\n2020-01-02,1,2,1,2,5\n"))
    with pytest.raises(NotInLakeError, match="adjusted=False"):
        load_bars("ABC", lake=lake, adjusted=True)


def test_null_rows_are_dropped_and_counted(lake, write):
    answer = fetch(lake, write(HEADER + ROWS + "2020-01-07,null,null,null,null,null,null\n2020-01-08,,,,,,\n"))
    assert answer["repairs"] == [{"rule": "row without values dropped", "rows": 2}]
    assert load_bars("ABC", lake=lake).frame.height == 3


def test_open_a_little_outside_widens_the_range(lake, write):
    answer = fetch(lake, write(HEADER + ROWS.replace(LINE_2, "2020-01-03,9.8,11,10,11.2,5.5,200")))
    bars = load_bars("ABC", lake=lake).frame
    assert (bars["low"][1], bars["high"][1]) == (9.8, 11.2)
    assert answer["repairs"] == [{"rule": "range widened to open and close", "rows": 1}]
    assert read_metadata(lake.table_path("Bars", "ABC"))["repairs"]["range widened to open and close"] == 1


BAD = {
    "far outside the range": ("2020-01-03,9,12,10,11,5.5,200", "row 3.*far outside"),
    "low above high": ("2020-01-03,10.5,10,12,11,5.5,200", "row 3.*low is above high"),
    "negative price": ("2020-01-03,10.5,12,-10,11,5.5,200", "row 3.*not positive"),
    "zero price": ("2020-01-03,10.5,12,0,11,5.5,200", "row 3.*not positive"),
    "a year too far": ("9999-01-03,10.5,12,10,11,5.5,200", "row 3.*between 1678 and 2261"),
    "NaN price": ("2020-01-03,10.5,12,NaN,11,5.5,200", "row 3.*not a finite number"),
    "infinite price": ("2020-01-03,10.5,inf,10,11,5.5,200", "row 3.*not a finite number"),
    "negative volume": ("2020-01-03,10.5,12,10,11,5.5,-200", "row 3.*volume is negative"),
    "partly null": ("2020-01-03,10.5,null,10,11,5.5,200", "row 3.*missing"),
    "text for a number": ("2020-01-03,10.5,12,ten,11,5.5,200", "row 3: low must be a number; got 'ten'"),
    "text for a date": ("yesterday,10.5,12,10,11,5.5,200", "row 3.*'yesterday'"),
    "no such date": ("2020-02-31,10.5,12,10,11,5.5,200", "row 3.*2020-02-31"),
    "missing date": (",10.5,12,10,11,5.5,200", "row 3.*time is missing"),
    "duplicated bar": ("2020-01-02,10.5,12,10,11,5.5,200", "row 3.*duplicated"),
    "time runs backwards": ("2020-01-01,10.5,12,10,11,5.5,200", "row 3.*backwards"),
    "a field less": ("2020-01-03,10.5,12,10,11,200", "row 3: has 6 fields"),
    "a field more": ("2020-01-03,10.5,12,10,11,5.5,200,1", "row 3: has 8 fields"),
    "negative adjusted close": ("2020-01-03,10.5,12,10,11,-5.5,200", "row 3.*adjusted close"),
    "missing adjusted close": ("2020-01-03,10.5,12,10,11,,200", "row 3.*adjusted close"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_refused_by_file_and_row(lake, write, name):
    line, match = BAD[name]
    with pytest.raises(DataError, match=r"ABC\.csv, " + match):
        fetch(lake, write(HEADER + ROWS.replace(LINE_2, line)))
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        (HEADER, "no bars"),
        (HEADER + "2020-01-02,null,null,null,null,null,null\n", "no bars"),
        ("Date,Open,High,Low,Close\n2020-01-02,1,1,1,1\n", r"columns \['volume'\] are missing"),
        ("Open,High,Low,Close,Volume\n1,1,1,1,1\n", "date or ts"),
        ("Date,Date,Open,High,Low,Close,Volume\n", "named twice"),
        ("\x00\x00\x00", "zero bytes"),
    ],
)
def test_bad_file(lake, write, text, match):
    with pytest.raises(DataError, match=match):
        fetch(lake, write(text))
    assert not lake.root.exists()


def test_not_text(lake, tmp_path):
    path = tmp_path / "ABC.csv"
    path.write_bytes(b"Date,Open\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="UTF-8"):
        fetch(lake, path)


@pytest.mark.parametrize("symbol", ["../evil", "a/b", "", "x" * 65, "A__B", "A_", ".hidden", "a b", "A\n"])
def test_hostile_symbol(lake, write, symbol):
    path = write(HEADER + ROWS, "ABC.csv" if symbol else ".csv")
    with pytest.raises(InputError, match="cannot name a table"):
        fetch(lake, path, symbol=symbol)
    assert not lake.root.exists()


def test_missing_file_and_wrong_words(lake, tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        fetch(lake, tmp_path / "none.csv")
    with pytest.raises(InputError, match="one thing at a time"):
        fetch_tables("csv", [], lake=lake, config=CONFIG)


def test_tolerance_is_configured(lake, write):
    path = write(HEADER + ROWS.replace(LINE_2, "2020-01-03,9.8,12,10,11,5.5,200"))
    with pytest.raises(DataError, match="far outside"):
        fetch_tables("csv", [str(path)], lake=lake, config=DataConfig(range_tolerance=0.001))


REAL = {  # rows of prices, wholly null rows, widened rows
    "SPY": (3137, 0, 2), "MSFT": (3137, 0, 0), "JPM": (3137, 0, 0), "KO": (3137, 0, 0), "CSCO": (3137, 0, 0),
    "600519.SS": (3028, 1, 1), "000063.SZ": (3022, 7, 0), "601398.SS": (3021, 8, 1), "600019.SS": (3028, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("symbol", REAL)
def test_real_file(shared_data, lake, symbol):
    rows, nulls, widened = REAL[symbol]
    path = shared_data / "yahoo_csv" / f"{symbol}.csv"
    answer = fetch(lake, path)
    repairs = {r["rule"]: r["rows"] for r in answer["repairs"]}
    assert [t["rows"] for t in answer["tables"]] == [rows, rows]
    assert repairs.get("row without values dropped", 0) == nulls
    assert repairs.get("range widened to open and close", 0) == widened
    with path.open() as stream:  # against the standard library's reader
        expected = [row for row in csv.DictReader(stream) if row["Close"] != "null"]
    bars, adjusted = load_bars(symbol, lake=lake).frame, load_bars(symbol, lake=lake, adjusted=True).frame
    assert bars["close"].to_list() == [float(r["Close"]) for r in expected]
    assert adjusted["close"].to_list() == pytest.approx([float(r["Adj Close"]) for r in expected], rel=1e-14)
    assert bars["ts"].dt.strftime("%Y-%m-%d").to_list() == [r["Date"] for r in expected]
    assert sha256_of(lake.folder("raw") / "csv" / path.name) == sha256_of(path)


@pytest.mark.parametrize("name", ["EWG-1d-no-bad-divs", "JENYX-1d-cg-double-count", "KME-MI-1d-bad-div-fixed"])
def test_local_midnights_are_dates(shared_data, lake, name):
    path = shared_data / "yfinance_repair_csv" / f"{name}.csv"
    answer = fetch(lake, path, symbol="ABC")
    assert [t["part"] for t in answer["tables"]] == ["", "adjusted"]
    bars = load_bars("ABC", lake=lake).frame
    with path.open() as stream:
        dates = [row[0][:10] for row in csv.reader(stream)][1:]
    assert bars["ts"].dt.strftime("%Y-%m-%dT%H:%M").to_list() == [f"{day}T00:00" for day in dates]


def test_has_bars(lake, write):
    assert not has_bars("ABC", lake=lake)
    fetch(lake, write(HEADER + ROWS))
    assert has_bars("ABC", lake=lake) and not has_bars("AB", lake=lake)
    assert pl.read_parquet(lake.table_path("Bars", "ABC")).schema["ts"] == pl.Datetime("ns", "UTC")
