"""The verb's answer, its registry, and the offline samples."""

import shutil
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.connectors import sample
from difffinance.data.connectors.base import Request
from difffinance.data.fetching import SOURCES, fetch_bars, fetch_tables
from difffinance.data.loading import load_bars, load_book
from difffinance.data.store import read_metadata
from difffinance.errors import InputError, NotInLakeError

CONFIG = DataConfig()


@pytest.fixture
def synth_folder(tmp_path, monkeypatch, make_zip):
    """A folder of samples with a small day in the place of the packaged one."""
    folder = tmp_path / "sample"
    folder.mkdir()
    path = make_zip()
    shutil.copy(path, folder / "SYNTH_2012-06-21_34200000_57600000.zip")
    monkeypatch.setattr(sample, "FOLDER", folder)
    return folder


def test_unknown_source_lists_the_known(lake):
    with pytest.raises(InputError, match="sample, lobster, yahoo, csv"):
        fetch_tables("bloomberg", ["SPY"], lake=lake, config=CONFIG)


@pytest.mark.parametrize("source", [s for s in SOURCES if s != "binance"])
def test_option_that_nothing_reads_is_refused(lake, source):
    with pytest.raises(InputError, match=f"fetch {source} does not take --kind"):
        fetch_tables(source, ["SPY"], lake=lake, config=CONFIG, kind="trades")


@pytest.mark.parametrize("interval", ["1m", "1d"])
def test_lobster_takes_no_interval(lake, interval):
    with pytest.raises(InputError, match="--interval"):
        fetch_tables("lobster", ["GOOG"], lake=lake, config=CONFIG, interval=interval)


def test_spx_is_the_history_that_arch_ships(lake):
    answer = fetch_tables("sample", ["SPX"], lake=lake, config=CONFIG)
    assert "verification" not in answer and answer["repairs"] == []
    (table,) = answer["tables"]
    assert (table["symbol"], table["rows"], table["synthetic"]) == ("SPX", 5031, False)
    assert table["start"] == "1999-01-04T00:00:00+00:00" and table["end"] == "2018-12-31T00:00:00+00:00"
    bars = load_bars("SPX", lake=lake)
    assert bars.is_index and bars.instrument.currency == "USD"
    assert read_metadata(Path(table["path"]))["is_index"] is True


@pytest.mark.slow
def test_spx_agrees_with_the_package_that_ships_it(lake):
    from arch.data import sp500

    fetch_tables("sample", ["SPX"], lake=lake, config=CONFIG)
    ours, theirs = load_bars("SPX", lake=lake).frame, sp500.load()
    assert ours["close"].to_list() == theirs["Close"].to_list()
    assert ours["volume"].to_list() == theirs["Volume"].to_list()
    assert ours["ts"].dt.replace_time_zone(None).to_list() == [datetime(d.year, d.month, d.day) for d in theirs.index]


def test_sample_does_not_import_arch(lake, monkeypatch):
    monkeypatch.delitem(sys.modules, "arch", raising=False)
    fetch_tables("sample", ["SPX"], lake=lake, config=CONFIG)
    assert "arch" not in sys.modules


def test_synth_is_marked_wherever_it_shows(lake, synth_folder, tiny_members, tmp_path):
    from tests.data.tiny_day import zip_bytes

    members = {name.replace("TINY", "SYNTH"): text for name, text in tiny_members.items()}
    next(synth_folder.glob("*.zip")).write_bytes(zip_bytes(members))
    answer = fetch_tables("sample", [], lake=lake, config=CONFIG)
    assert [t["symbol"] for t in answer["tables"]] == ["SPX", "SYNTH", "SYNTH", "SYNTH"]
    for table in answer["tables"][1:]:
        assert table["synthetic"] is True and table["source"] == "sample (synthetic)"
        metadata = read_metadata(Path(table["path"]))
        assert metadata["synthetic"] is True and "synthetic" in metadata["volume_base"]
    assert answer["verification"]["resync_exact"] == 1.0
    assert load_book("SYNTH", lake=lake).synthetic


def test_sample_answers_for_wrong_names_and_a_missing_file(lake, synth_folder):
    with pytest.raises(InputError, match="Allowed: SPX, SYNTH"):
        fetch_tables("sample", ["GOLD"], lake=lake, config=CONFIG)
    next(synth_folder.glob("*.zip")).unlink()
    with pytest.raises(NotInLakeError, match="synthetic day is missing"):
        fetch_tables("sample", [], lake=lake, config=CONFIG)
    assert not lake.root.exists()


def test_packaged_synthetic_day_verifies(lake):
    answer = fetch_tables("sample", ["SYNTH"], lake=lake, config=CONFIG)
    assert answer["verification"]["one_step_exact"] == answer["verification"]["resync_exact"] == 1.0
    day = load_book("SYNTH", lake=lake)
    assert day.synthetic and day.events.height == answer["verification"]["messages"] > 1000


def test_progress_is_told(lake, make_zip):
    seen = []
    fetch_tables("lobster", [str(make_zip())], lake=lake, config=CONFIG, progress=lambda *step: seen.append(step))
    assert seen[-1][0] == "lobster" and seen[-1][1] == seen[-1][2] > 0


def test_connector_alone_leaves_nothing(lake, make_zip):
    from difffinance.data.connectors import lobster

    with pytest.raises(KeyboardInterrupt), ExitStack() as spools:
        fetched = lobster.fetch(Request((str(make_zip()),), lake, CONFIG, spools=spools))
        assert fetched.tables[0].frame.height == 9
        assert not lake.tables("BookEvents", "TINY")
        raise KeyboardInterrupt
    assert not lake.root.exists()


def test_second_fetch_gives_the_same_data(lake, make_zip):
    path = str(make_zip())
    first = fetch_tables("lobster", [path], lake=lake, config=CONFIG)
    frames = [pl.read_parquet(t["path"]) for t in first["tables"]]
    second = fetch_tables("lobster", [path], lake=lake, config=CONFIG)
    assert all(pl.read_parquet(t["path"]).equals(f) for t, f in zip(second["tables"], frames, strict=True))


def test_bars_are_fetched_and_returned_in_one_call(lake, tmp_path):
    spx = fetch_bars("SPX", lake=lake)
    assert spx.is_index and spx.frame.height == 5031
    path = tmp_path / "history.csv"
    path.write_text(
        "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,10,11,9,10,5,100\n2020-01-03,10,11,9,10,5,100\n"
    )
    assert fetch_bars("MINE", path=path, lake=lake).frame["close"].to_list() == [10.0, 10.0]
    assert fetch_bars("MINE", path=path, lake=lake, adjusted=True).frame["close"].to_list() == [5.0, 5.0]


def test_bars_of_another_interval_or_symbol_are_not_those_of_before(lake, tmp_path):
    days, minutes = tmp_path / "days.csv", tmp_path / "minutes.csv"
    days.write_text("Date,Open,High,Low,Close,Volume\n2020-01-02,10,11,9,10,100\n")
    minutes.write_text(
        "ts,open,high,low,close,volume\n2020-01-02T14:30:00Z,8,8,8,8,1\n2020-01-02T14:31:00Z,8,8,8,8,1\n"
    )
    for interval in (None, "1d"):
        assert fetch_bars("MINE", path=days, lake=lake, interval=interval).frame["close"].to_list() == [10.0]
    assert fetch_bars("MINE", path=minutes, lake=lake).frame["close"].to_list() == [8.0, 8.0]
    assert fetch_bars("MINE", path=minutes, lake=lake, interval="1m").frame.height == 2
    with pytest.raises(InputError, match="csv brought MINE 1m; asked for: MINE 1d"):
        fetch_bars("MINE", path=minutes, lake=lake, interval="1d")
    with pytest.raises(InputError, match="sample brought SPX 1d; asked for: SPX 1h"):
        fetch_bars("SPX", lake=lake, interval="1h")


def test_another_raw_file_of_the_same_name_moves_aside(lake, tmp_path):
    head, row = "Date,Open,High,Low,Close,Volume\n", "2020-01-0{},10,11,9,10,100\n"
    path = tmp_path / "MINE.csv"
    texts = [head + row.format(2), head + row.format(2) + row.format(3)]
    for text in texts:
        path.write_text(text)
        fetch_tables("csv", [str(path)], lake=lake, config=CONFIG)
    raw = lake.folder("raw") / "csv"
    (old,) = raw.glob("*/MINE.csv")
    assert [old.read_text(), (raw / "MINE.csv").read_text()] == texts
