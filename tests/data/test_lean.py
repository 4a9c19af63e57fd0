"""LEAN's ticks, minutes and days: against plain loops over the same text, published counts, and Yahoo's prices."""

import json
import shutil
import zipfile
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_bars
from difffinance.data.store import read_metadata
from difffinance.errors import DataError, InputError

CONFIG = DataConfig()
QUOTES = """\
34200000,0,0,1010000,5,Q,1,0
34200100,1000000,10,0,0,P,1,0
34200100,0,0,1020000,20,P,1,0
34200100,1005000,30,0,0,P,1,0
34200100,0,0,1005000,7,P,1,0
34200200,999900,1,0,0,P,1,1
34200300,1006000,40,0,0,P,1,0
34200400,1001000,50,0,0,P,1,0
34200400,0,0,1003000,60,P,1,0
"""
TRADES = "34200100,1001000,100,P,0,0\n34200100,1001050,300,Q,0,0\n34300000,1001100,5,Q,0,1\n"
MINUTES = "34200000,1000000,1010000,990000,1005000,500\n34260000,1005000,1006000,1004000,1005500,20\n"
MINUTE_QUOTES = "34200000,1000000,1010000,990000,1005000,500,1001000,1012000,992000,1007000,600\n"
DAYS = "20140106 00:00,400000,410000,390000,400000,100\n20140107 00:00,100000,105000,99000,100000,800\n"
FACTORS = "20140103,0.5,0.125,300\n20140106,0.9,0.25,400\n20501231,1,1,0\n"
MAP = "20140102,old,N\n20140106,old,N\n20501231,abc,Q\n"


def fetch(lake, path: Path) -> dict:
    return fetch_tables("lean", [str(path)], lake=lake, config=CONFIG)


@pytest.fixture
def put(tmp_path):
    """Write a zip of one csv into LEAN's tree: `put("tick/abc/20131007_quote.zip", text)`."""

    def write(place: str, text: str) -> Path:
        path = tmp_path / "usa" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("data.csv", text)
        else:
            path.write_text(text)
        return path

    return write


def test_quote_is_both_sides_after_one_event(lake, put):
    answer = fetch(lake, put("tick/abc/20131007_quote.zip", QUOTES))
    quotes = pl.read_parquet(answer["tables"][0]["path"])
    assert quotes.select("bid", "bid_quantity", "ask", "ask_quantity", "state").rows() == [
        (100.0, 10.0, 102.0, 20.0, "normal"),
        (100.5, 30.0, 100.5, 7.0, "locked"),
        (100.6, 40.0, 100.5, 7.0, "crossed"),
        (100.1, 50.0, 100.3, 60.0, "normal"),
    ]
    assert quotes["ts"][0] == datetime.fromisoformat("2013-10-07T13:30:00.100+00:00")
    assert {r["rule"]: r["rows"] for r in answer["repairs"]} == {
        "quote of one side before the other is known dropped": 1,
        "tick marked suspicious dropped": 1,
    }


def test_trades_and_minutes(lake, put):
    put("tick/abc/20131007_trade.zip", TRADES)
    trades = pl.read_parquet(fetch(lake, put("tick/abc/20131007_trade.zip", TRADES))["tables"][0]["path"])
    assert trades.select("seq", "price", "quantity", "side").rows() == [(0, 100.1, 100.0, 0), (1, 100.105, 300.0, 0)]
    put("minute/abc/20131104_trade.zip", MINUTES)
    put("minute/abc/20131004_quote.zip", MINUTE_QUOTES)
    answer = fetch(lake, put("minute/abc/20131004_trade.zip", MINUTES).parent)
    assert [(t["schema"], t["part"], t["rows"]) for t in answer["tables"]] == [
        ("Quotes", "2013-10-04-1m", 1), ("Bars", "1m", 4), ("Bars", "1m-bid", 1), ("Bars", "1m-ask", 1),
    ]  # fmt: skip
    bars = load_bars("ABC", lake=lake, interval="1m").frame
    assert [t.isoformat() for t in bars["ts"][1:3]] == ["2013-10-04T13:31:00+00:00", "2013-11-04T14:30:00+00:00"]
    quote = pl.read_parquet(answer["tables"][0]["path"]).row(0, named=True)
    assert (quote["bid"], quote["ask_quantity"], quote["ts"].isoformat()) == (100.5, 600.0, "2013-10-04T13:31:00+00:00")


def test_factors_and_map(lake, put):
    put("factor_files/abc.csv", FACTORS)
    put("map_files/abc.csv", MAP)
    fetch(lake, put("daily/abc.zip", DAYS))
    split, adjusted = (load_bars("ABC", lake=lake, adjusted=how).frame for how in (False, True))
    assert split["close"].to_list() == [10.0, 10.0] and split["volume"].to_list() == [400.0, 800.0]
    assert adjusted["close"].to_list() == [9.0, 10.0]
    raw = lake.table_path("Bars", "ABC", "raw")
    assert pl.read_parquet(raw)["close"].to_list() == [40.0, 10.0]
    assert read_metadata(raw)["adjustment"] == "none"
    assert read_metadata(raw)["tickers"] == [
        {"until": "2014-01-06", "ticker": "OLD", "exchange": "N"},
        {"until": "2050-12-31", "ticker": "ABC", "exchange": "Q"},
    ]


@pytest.mark.parametrize(
    ("place", "text", "match"),
    [
        ("tick/abc/20131007_quote.zip", QUOTES.replace("34200300", "34200050"), "row 7: ms = 34200050 after 34200200"),
        (
            "tick/abc/20131007_quote.zip",
            QUOTES.replace("1006000,40,0,0", "1006000,40,1,1"),
            "row 7: must quote one side",
        ),
        ("tick/abc/20131007_quote.zip", QUOTES.replace("1006000,40", "1006000,-40"), "row 7: quotes no size"),
        ("tick/abc/20131007_quote.zip", QUOTES.replace("0,0,1020000", "-5,0,1020000"), "row 3: must quote one side"),
        ("tick/abc/20131007_trade.zip", TRADES.replace(",P", ",\u00e9").encode("latin-1"), "row 1.*not UTF-8"),
        (
            "tick/abc/20131007_trade.zip",
            TRADES.replace("100,P", "100.5,P"),
            "row 1: size must be a whole number.*100.5",
        ),
        ("tick/abc/20131007_trade.zip", TRADES.replace("100,P,", "100,P,,"), "row 1: has 7 columns"),
        ("tick/abc/20131007_trade.zip", TRADES.replace("34300000", "86400000"), "row 3: ms"),
        ("tick/abc/20131007_trade.zip", "\n", "is empty"),
        ("tick/abc/20131332_trade.zip", TRADES, "does not exist"),
        ("minute/abc/20131004_trade.zip", MINUTES.replace("990000", "1990000"), "row 1.*low is above high"),
        ("minute/abc/20131004_trade.zip", MINUTES.replace("34260000", "34200000"), "duplicated"),
        ("daily/abc.zip", DAYS.replace("20140107 00:00", "2014-01-07"), "row 2: time must be"),
        ("second/abc/20131004_trade.zip", MINUTES, "LEAN's tree"),
    ],
)
def test_bad_rows_are_refused(lake, put, place, text, match):
    with pytest.raises(DataError, match=match):
        fetch(lake, put(place, text))
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("place", "text", "match"),
    [
        ("factor_files/abc.csv", FACTORS.replace("0.25", "-1"), "abc.csv, row 2: factors must be positive"),
        ("factor_files/abc.csv", FACTORS.replace("0.25", "x"), "row 2: factors"),
        ("factor_files/abc.csv", FACTORS.replace("20140106", "20140103"), "row 2: dates"),
        ("map_files/abc.csv", MAP.replace("20140102", "20140108"), "row 2: dates"),
        ("map_files/abc.csv", MAP.splitlines()[0], "spans"),
    ],
)
def test_bad_factors_and_maps_are_refused(lake, put, place, text, match):
    put("factor_files/abc.csv", FACTORS)
    put(place, text)
    with pytest.raises(DataError, match=match):
        fetch(lake, put("daily/abc.zip", DAYS))


def test_what_is_not_there(lake, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        fetch(lake, tmp_path / "no.zip")
    with pytest.raises(DataError, match="no zip"):
        fetch(lake, tmp_path)


# --- real files ----------------------------------------------------------------------------------------------------


def test_ticks_of_a_real_day(lake, shared_data):
    folder = shared_data / "lean_us_equity" / "tick" / "ibm"
    answer = fetch(lake, folder / "20131008_trade.zip")
    assert answer["tables"][0]["rows"] == 33_381
    quotes = pl.read_parquet(fetch(lake, folder / "20131008_quote.zip")["tables"][0]["path"])
    opening, closing = (datetime.fromisoformat(f"2013-10-08T{t}:00+00:00") for t in ("13:30", "20:00"))
    clipped = quotes.with_columns(pl.col("ts").clip(opening, closing))
    session = clipped.with_columns(
        seconds=(pl.col("ts").shift(-1) - pl.col("ts")).dt.total_milliseconds() / 1000,
        ticks=((pl.col("ask") - pl.col("bid")) * 100).round(0),
    )
    share = dict(session.group_by("ticks").agg(100 * pl.col("seconds").sum() / 23_400).iter_rows())
    assert [round(share[t], 1) for t in (1.0, 2.0, 3.0, 4.0, 5.0)] == pytest.approx(
        [10.0, 19.8, 23.5, 17.2, 12.3], abs=0.11
    )


def test_quotes_are_those_of_a_plain_loop(lake, shared_data):
    path = shared_data / "lean_us_equity" / "tick" / "ibm" / "20131007_quote.zip"
    quotes = pl.read_parquet(fetch(lake, path)["tables"][0]["path"])
    with zipfile.ZipFile(path) as archive:
        rows = [line.split(",") for line in archive.read(archive.namelist()[0]).decode().split()]
    rows, bid, ask, plain = [r for r in rows if r[7] == "0"], None, None, []
    for now, after in zip(rows, [*rows[1:], None], strict=True):
        bid = (int(now[1]) / 1e4, float(now[2])) if now[1] != "0" else bid
        ask = (int(now[3]) / 1e4, float(now[4])) if now[3] != "0" else ask
        complete = not (now[1] != "0" and after and after[3] != "0" and after[0] == now[0])
        if bid and ask and complete:
            plain.append((*bid, *ask))
    assert quotes.select("bid", "bid_quantity", "ask", "ask_quantity").rows() == plain


def test_split_adjusted_days_are_those_of_yahoo(lake, shared_data):
    fetch(lake, shared_data / "lean_us_equity" / "daily" / "aapl.zip")
    ours = load_bars("AAPL", lake=lake).frame.with_columns(day=pl.col("ts").dt.date())
    (path,) = (shared_data / "yahoo_v8_json").glob("*AAPL-2020-01-01-to-2021-01-04*")
    body = json.loads(path.read_text())["response"]["bodyJson"]
    chart = (json.loads(body) if isinstance(body, str) else body)["chart"]["result"][0]
    yahoo = pl.DataFrame(
        {
            "day": [datetime.fromtimestamp(t).date() for t in chart["timestamp"]],
            "yahoo": chart["indicators"]["quote"][0]["close"],
            "total": chart["indicators"]["adjclose"][0]["adjclose"],
        }
    )
    both = ours.join(yahoo, on="day")
    assert both.height > 240 and both["day"].min() < date(2020, 8, 28) < both["day"].max()  # the split of four for one
    assert (both["close"] / both["yahoo"] - 1).abs().max() < 2e-3
    adjusted = load_bars("AAPL", lake=lake, adjusted=True).frame.with_columns(day=pl.col("ts").dt.date())
    ratio = adjusted.join(yahoo, on="day").select(pl.col("close") / pl.col("total")).to_series()
    assert ratio.std() / ratio.mean() < 1e-3  # dividends alike; later ones scale all days by one number


def test_every_real_file_arrives(lake, shared_data, tmp_path):
    tree = shared_data / "lean_us_equity"
    minutes = fetch(lake, tree / "minute" / "aapl")["tables"]
    assert [t["rows"] for t in minutes] == [830, 835, 847, 686 + 783 + 834, 830 + 835 + 847, 830 + 835 + 847]
    shutil.copytree(tree / "daily", tmp_path / "daily")  # without factor files beside it: prices as traded
    fetch(lake, tmp_path / "daily" / "ibm.zip")
    assert read_metadata(lake.table_path("Bars", "IBM"))["adjustment"] == "none"
    assert load_bars("IBM", lake=lake).frame.height == 5849
    assert [t["rows"] for t in fetch(lake, tree / "hour" / "spy.zip")["tables"]] == [40_832] * 3
