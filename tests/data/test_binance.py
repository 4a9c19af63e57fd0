"""Binance's archive, served on loopback: downloads, checksums, files of every kind, bad rows."""

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from werkzeug import Request as HttpRequest
from werkzeug import Response

from difffinance import summaries
from difffinance.config import DataConfig
from difffinance.data.connectors import binance
from difffinance.data.connectors.base import Request
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_bars
from difffinance.data.store import read_metadata
from difffinance.errors import DataError, InputError, NetworkError

CONFIG = DataConfig()
AGG = "{id},{price},{q},{id},{id},{t},{maker},True\n"
DAY = {"2024-01-01": 1_704_067_200_000, "2024-01-02": 1_704_153_600_000}


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def agg_trades(day: str, first: int, *, header: str = "") -> str:
    rows = [("42.50", "0.00150000", "True"), ("42.51", "2.00000000", "False"), ("42.49", "0.10000000", "true")]
    lines = [AGG.format(id=first + k, price=p, q=q, t=DAY[day] + k // 2, maker=m) for k, (p, q, m) in enumerate(rows)]
    return header + "".join(lines)


class Archive:
    """Files by path with their checksums; `broken` answers come first."""

    def __init__(self, httpserver: Any) -> None:
        self.files: dict[str, bytes] = {}
        self.broken: list[Response] = []
        self.asked: list[str] = []
        httpserver.expect_request(re.compile("^/data/.*")).respond_with_handler(self.answer)
        self.config = DataConfig(binance_url=httpserver.url_for("").rstrip("/"), network_backoff_s=0.0)

    def add(self, folder: str, name: str, text: str) -> None:
        data = zipped(name.replace(".zip", ".csv"), text)
        self.files[f"/data/{folder}/{name}"] = data
        self.files[f"/data/{folder}/{name}.CHECKSUM"] = f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()

    def answer(self, request: HttpRequest) -> Response:
        self.asked.append(request.path)
        if self.broken:
            return self.broken.pop(0)
        data = self.files.get(request.path)
        return Response("no such key", status=404) if data is None else Response(data)


@pytest.fixture
def archive(httpserver: Any) -> Archive:
    archive = Archive(httpserver)
    for day, first in (("2024-01-01", 7), ("2024-01-02", 10)):
        archive.add("spot/daily/aggTrades/BTCUSDT", f"BTCUSDT-aggTrades-{day}.zip", agg_trades(day, first))
    return archive


def fetch(lake, archive: Archive, *what: str, **options: str) -> dict[str, Any]:
    span = {"start": "2024-01-01", "end": "2024-01-03"} if what in ((), ("BTCUSDT",)) else {}
    options = {"kind": "aggTrades", **span, **options} if span else options
    return fetch_tables("binance", list(what) or ["BTCUSDT"], lake=lake, config=archive.config, **options)


def test_days_become_one_table(lake, archive):
    answer = fetch(lake, archive)
    (table,) = answer["tables"]
    assert (table["schema"], table["symbol"], table["rows"]) == ("Trades", "BTCUSDT", 6) and answer["cached"] is False
    assert table["start"] == "2024-01-01T00:00:00+00:00" and answer["verification"]["gaps"] == 0
    trades = pl.read_parquet(table["path"])
    assert trades["side"].to_list() == [-1, 1, -1] * 2 and trades["seq"].to_list() == list(range(7, 13))
    assert trades["price"].to_list()[:3] == [42.5, 42.51, 42.49] and trades["quantity"][0] == 0.0015
    metadata = read_metadata(Path(table["path"]))
    assert (metadata["tick_size"], metadata["lot_size"], metadata["currency"]) == (0.01, 0.0005, "USDT")
    assert set(metadata["raw_sha256"]) == {"BTCUSDT-aggTrades-2024-01-01.zip", "BTCUSDT-aggTrades-2024-01-02.zip"}


def test_days_that_lie_in_the_lake_are_not_asked_for_again(lake, archive):
    fetch(lake, archive)
    asked = len(archive.asked)
    assert asked == 4
    assert fetch(lake, archive)["cached"] is True and len(archive.asked) == asked
    kept = lake.folder("raw") / "binance" / "spot" / "BTCUSDT-aggTrades-2024-01-01.zip"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert fetch(lake, archive)["cached"] is False and len(archive.asked) == asked + 2


def test_checksum_that_does_not_hold(lake, archive):
    name = "/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-01-02.zip"
    archive.files[name] = zipped("BTCUSDT-aggTrades-2024-01-02.csv", agg_trades("2024-01-02", 11))
    with pytest.raises(DataError, match=r"2024-01-02\.zip: the archive states the SHA-256"):
        fetch(lake, archive)
    assert not lake.folder("tables").exists()
    assert not list(lake.folder("raw").rglob("*2024-01-02*"))
    archive.files[name + ".CHECKSUM"] = b"<html>"
    with pytest.raises(DataError, match="is not a checksum of"):
        fetch(lake, archive)


def test_day_that_is_not_there(lake, archive):
    with pytest.raises(DataError, match="is not in the archive"):
        fetch(lake, archive, end="2024-01-04")


def test_answers_that_may_pass_are_asked_again(lake, archive):
    archive.broken = [Response("", status=429), Response("", status=503)]
    assert fetch(lake, archive)["tables"][0]["rows"] == 6
    archive.broken = [Response("", status=500)] * 99
    with pytest.raises(NetworkError, match="HTTP 500, 5 times"):
        fetch(lake, archive, kind="trades")
    archive.broken = [Response("", status=400)]
    with pytest.raises(NetworkError, match="HTTP 400, 1 times"):
        fetch(lake, archive, kind="trades")


def test_short_answer_is_not_taken(lake, archive, monkeypatch):
    class Short:
        headers: ClassVar = {"Content-Length": "100"}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self, _):
            return b"x" * 60

    monkeypatch.setattr(binance.urllib.request, "urlopen", lambda *_, **__: Short())
    waits: list[float] = []
    request = Request(("BTCUSDT",), lake, CONFIG, {"kind": "trades", "start": "2024-01-01", "end": "2024-01-02"})
    with pytest.raises(NetworkError, match="sent 60 of 100 bytes, 5 times"):
        binance.fetch(request, sleep=waits.append)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_offline(lake, archive):
    archive.config = DataConfig(binance_url="http://127.0.0.1:9", network_backoff_s=0.0)
    with pytest.raises(NetworkError, match="could not be reached"):
        fetch(lake, archive)


def test_usdm_has_names_of_its_own(lake, archive):
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
    text = header + "".join(line.rpartition(",")[0] + "\n" for line in agg_trades("2024-01-01", 7).splitlines())
    archive.add("futures/um/daily/aggTrades/BTCUSDT", "BTCUSDT-aggTrades-2024-01-01.zip", text)
    (table,) = fetch(lake, archive, kind="um/aggTrades", end="2024-01-02")["tables"]
    assert (table["symbol"], table["rows"]) == ("BTCUSDT.UM", 3)
    assert read_metadata(Path(table["path"]))["volume_base"] == "Binance USD-M futures"


def test_book_ticker_becomes_quotes(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-bookTicker-2024-01-01.csv"
    path.write_text(
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        "5,42.4,1.5,42.5,2,1704067200000,1704067200004\n9,42.5,1,42.5,2,1704067200000,1704067200004\n"
        "11,42.6,1,42.5,2,1704067200001,1704067200004\n"
    )
    (table,) = fetch(lake, archive, str(path))["tables"]
    quotes = pl.read_parquet(table["path"])
    assert quotes["state"].to_list() == ["normal", "locked", "crossed"] and quotes["bid"].to_list() == [
        42.4,
        42.5,
        42.6,
    ]


def test_microseconds_of_2025(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-trades-2025-01-01.csv"
    path.write_text("1,42.5,1,42.5,1735689600000123,True,True\n2,42.5,1,42.5,1735689600000124,False,True\n")
    (table,) = fetch(lake, archive, str(path))["tables"]
    assert table["start"] == "2025-01-01T00:00:00.000123+00:00"


def test_missing_ids_are_counted(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-trades-2024-01-01.csv"
    path.write_text("1,42.5,1,42.5,1704067200000,True,True\n5,42.5,1,42.5,1704067200000,False,True\n")
    answer = fetch(lake, archive, str(path))
    assert (answer["verification"]["gaps"], answer["verification"]["trade_ids_missing"]) == (1, 3)
    kept = read_metadata(Path(answer["tables"][0]["path"]))["verification"]  # the lake knows it too
    assert (kept["gaps"], kept["trade_ids_missing"]) == (1, 3)
    assert "gaps 1, trade ids missing 3" in summaries.fetched(answer)


KLINES = [
    "1704067200000,42.5,42.6,42.4,42.5,10,1704067259999,425.0,3,4,170.0,0",
    "1704067260000,42.5,42.7,42.4,42.6,20,1704067319999,851.0,5,20,851.0,0",
    "1704067500000,42.6,42.6,42.6,42.6,0,1704067559999,0,0,0,0,0",
]


def test_missing_bars_are_counted_by_the_interval(lake, tmp_path, archive):
    """An outage cut bars of 2018 short and let others open off the minute: their distance says nothing."""
    path = tmp_path / "BTCUSDT-1m-2024-01-01.csv"
    cut = KLINES[0].replace("1704067259999", "1704067214838")
    path.write_text(
        "\n".join([cut, KLINES[1].replace("1704067260000", "1704067255000").replace("7319999", "7314999"), KLINES[2]])
        + "\n"
    )
    verification = fetch(lake, archive, str(path))["verification"]
    assert (verification["gaps"], verification["bars_missing"]) == (1, 3)


def test_widened_bars_are_told_in_the_table_too(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-1m-2024-01-01.csv"
    path.write_text("\n".join([KLINES[0].replace("42.6", "42.45"), *KLINES[1:]]) + "\n")
    (table,) = (answer := fetch(lake, archive, str(path)))["tables"]
    assert answer["repairs"] == [{"rule": "range widened to open and close", "rows": 1}]
    metadata = read_metadata(Path(table["path"]))
    assert metadata["repairs"] == {"range widened to open and close": 1}
    assert set(metadata["verification"]) == {"one_step_exact", "resync_exact", "messages", "gaps", "bars_missing"}


def test_money_of_a_great_day_is_no_matter_of_digits(lake, tmp_path, archive):
    """Eight decimals of eleven figures are more than 64 bits hold: what bars are held against is read as floats."""
    path = tmp_path / "BTCUSDT-1d-2021-05-19.csv"
    path.write_text(
        "1621382400000,42849.78,43584.9,30000.0,36690.09,354347.243161,1621468799999,13478078953.72538413,4642,"
        "171000.5,6500000000.12345678,0\n"
    )
    assert fetch(lake, archive, str(path))["tables"][0]["rows"] == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1704067319999", "1704067320000", "row 2: close_time is not within 1m of open_time"),
        ("1704067319999", "1704067260000", "row 2: close_time"),
        ("1704067319999", "x", "row 2: close_time must be a whole number; got 'x'"),
        (",851.0,5", ",8510,5", "row 2: quote_volume over volume is no price from low to high"),
        (",851.0,5", ",-851.0,5", "row 2: quote_volume over volume"),
        (",20,1704", ",200,1704", "row 2: quote_volume over volume"),
        (",851.0,5", ",nan,5", "row 2: quote_volume over volume"),
        (",851.0,5", ",x,5", "row 2: quote_volume must be a number; got 'x'"),
        (",5,20,", ",0,20,", "row 2: count is 0 and volume is not, or the other way"),
        (",5,20,", ",5,20.1,", "row 2: takers bought more than was traded"),
        ("20,851.0,0", "20,851.1,0", "row 2: takers bought more than was traded"),
        (",5,20,", ",5,-20,", "row 2: takers bought less than nothing"),
        ("20,851.0,0", "20,-851.0,0", "row 2: takers bought less than nothing"),
        (",42.4,", ",50.0,", "row 2: low is above high"),
    ],
)
def test_what_klines_tell_twice_must_agree(lake, tmp_path, archive, old, new, message):
    path = tmp_path / "BTCUSDT-1m-2024-01-01.csv"
    assert KLINES[1].count(old) == 1
    path.write_text("\n".join([KLINES[0], KLINES[1].replace(old, new), KLINES[2]]) + "\n")
    with pytest.raises(DataError, match=message):
        fetch(lake, archive, str(path))
    assert not lake.root.exists()


def test_an_aggregate_of_trades_that_end_before_they_begin_is_refused(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-aggTrades-2024-01-01.csv"
    path.write_text(agg_trades("2024-01-01", 7).replace("8,42.51,2.00000000,8,8,", "8,42.51,2.00000000,8,7,"))
    with pytest.raises(DataError, match="row 2: the first trade comes after the last"):
        fetch(lake, archive, str(path))


GOOD = ["1,42.5,1,42.5,1704067200000,True,True", "2,42.6,1,42.6,1704067200000,False,True"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("42.6", "x", "row 2: price must be a decimal number at or above 0; got 'x'"),
        ("42.6", "-1", "row 2: price must be"),
        ("42.6", "0", "'price is positive'"),
        ("False", "maybe", "row 2: buyer_is_maker must be true or false; got 'maybe'"),
        ("2,42.6", "1,42.6", "row 2: seq 1 does not follow 1"),
        ("1704067200000,False", "1704067100000,False", "row 2: ts .* does not follow"),
        ("1704067200000,False", "17040,False", "row 2: time 17040 is not a time like"),
        ("2,42.6", "two,42.6", "row 2: id must be a whole number; got 'two'"),
        (",False,True", ",False", "row 2: has 6 values. Allowed: 7"),
        (",False,True", ",False,True,1", "row 2: has 8 values. Allowed: 7"),
        (",1,42.6,", ",,42.6,", "row 2: has 6 values"),
    ],
)
def test_bad_row_is_named(lake, tmp_path, archive, old, new, message):
    path = tmp_path / "BTCUSDT-trades-2024-01-01.csv"
    assert old in GOOD[1]
    path.write_text(f"{GOOD[0]}\n{GOOD[1].replace(old, new)}\n")
    with pytest.raises(DataError, match=message):
        fetch(lake, archive, str(path))
    assert not lake.root.exists()


def test_hostile_archives(lake, tmp_path, archive):
    path = tmp_path / "BTCUSDT-trades-2024-01-01.zip"
    for members, message in (
        ({"../a.csv": "1"}, "leads out"),
        ({"a.csv": "1", "b.csv": "2"}, "exactly one csv"),
        ({"a.txt": "1"}, "exactly one csv"),
        ({"a.csv": ""}, "holds no rows"),
        ({"a.csv": "\x00" * 99}, "zero bytes"),
    ):
        with zipfile.ZipFile(path, "w") as file:
            for name, text in members.items():
                file.writestr(name, text)
        with pytest.raises(DataError, match=message):
            fetch(lake, archive, str(path))
    path.write_bytes(zipped("a.csv", "\n".join(GOOD))[:-9])
    with pytest.raises(DataError, match="is not a whole zip"):
        fetch(lake, archive, str(path))
    tight = DataConfig(max_archive_bytes=20)
    path.write_bytes(zipped("a.csv", "\n".join(GOOD)))
    with pytest.raises(DataError, match="max_archive_bytes"):
        fetch_tables("binance", [str(path)], lake=lake, config=tight)


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ([], {}, "one thing at a time"),
        (["nowhere/BTCUSDT-trades-2024-01-01.zip"], {}, "does not exist"),
        (["btcusdt"], {}, "is not a symbol of Binance"),
        (["BTCUSDT"], {"kind": "trades"}, "needs --start"),
        (["BTCUSDT"], {"kind": "trades", "start": "2024-01-02", "end": "2024-01-02"}, "must lie before"),
        (["BTCUSDT"], {"kind": "trades", "start": "yesterday", "end": "2024-01-02"}, "is not a date"),
        (["BTCUSDT"], {"kind": "depth", "start": "2024-01-01", "end": "2024-01-02"}, "kind 'depth' is not known"),
        (["BTCUSDT"], {"kind": "um/bookDepth", "start": "2024-01-01", "end": "2024-01-02"}, "no price levels"),
        (["BTCUSDT"], {"interval": "7m", "start": "2024-01-01", "end": "2024-01-02"}, "interval '7m'"),
        (
            ["BTCUSDT"],
            {"kind": "trades", "interval": "1d", "start": "2024-01-01", "end": "2024-01-02"},
            "--interval 1d does not go with BTCUSDT",
        ),
        (["BTCUSDT"], {"symbol": "X", "start": "2024-01-01", "end": "2024-01-02"}, "--symbol does not go with"),
    ],
)
def test_wrong_requests(lake, archive, what, options, message):
    with pytest.raises(InputError, match=message):
        fetch_tables("binance", what, lake=lake, config=archive.config, **options)


def test_interval_of_a_file_is_in_its_name(lake, tmp_path):
    path = tmp_path / "BTCUSDT-1m-2024-01-01.csv"
    path.write_text("\n".join(KLINES))
    assert fetch_tables("binance", [str(path)], lake=lake, config=CONFIG, interval="1m")["tables"][0]["rows"] == 3
    for other in ("5m", "1d"):
        with pytest.raises(InputError, match=f"--interval {other} does not go with"):
            fetch_tables("binance", [str(path)], lake=lake, config=CONFIG, interval=other)


def test_tick_that_is_given_must_hold(lake, tmp_path):
    path = tmp_path / "BTCUSDT-trades-2024-01-01.csv"
    path.write_text("\n".join(GOOD))
    coarse = DataConfig.model_validate({"tick_size": 0.5})
    with pytest.raises(DataError, match=r"row 2: price 42\.6 is off the grid of 0\.5"):
        fetch_tables("binance", [str(path)], lake=lake, config=coarse)
    fine = DataConfig.model_validate({"tick_size": 0.01, "lot_size": 0.00001})
    (table,) = fetch_tables("binance", [str(path)], lake=lake, config=fine)["tables"]
    metadata = read_metadata(Path(table["path"]))
    assert (metadata["tick_size"], metadata["lot_size"]) == (0.01, 0.00001)


def test_real_klines_against_the_file(lake, shared_data):
    path = shared_data / "binance_vision" / "ADABTC-1m-2021-11-28.zip"
    answer = fetch_tables("binance", [str(path)], lake=lake, config=CONFIG)
    (table,) = answer["tables"]
    assert (table["schema"], table["symbol"], table["part"], table["rows"]) == ("Bars", "ADABTC", "1m", 1440)
    assert answer["verification"]["gaps"] == answer["verification"]["bars_missing"] == 0 and answer["repairs"] == []
    bars = load_bars("ADABTC", lake=lake, interval="1m")
    assert (bars.instrument.tick_size, bars.instrument.lot_size, bars.instrument.currency) == (1e-8, 0.1, "BTC")
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).decode().split()
    plain = [[float(v) for v in line.split(",")] for line in lines]
    assert bars.frame.select("open", "high", "low", "close", "volume").rows() == [tuple(row[1:6]) for row in plain]
    assert (bars.frame["ts"].dt.timestamp("ms")).to_list() == [row[0] for row in plain]
