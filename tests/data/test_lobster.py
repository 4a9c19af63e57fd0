"""LOBSTER days: what arrives in the lake, what is refused, and the vendor's own files verified."""

import gzip
import json
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import book_dates, has_book, load_book
from difffinance.data.store import Lake, finite, read_metadata, sha256_of
from difffinance.errors import DataError, InputError, NotInLakeError
from tests.data.tiny_day import BOOK, MESSAGES, STEM

CONFIG = DataConfig()


def fetch(lake: Lake, what: Path | str) -> dict:
    return fetch_tables("lobster", [str(what)], lake=lake, config=CONFIG)


def refused(lake: Lake, path: Path, match: str) -> DataError:
    """The file is refused with this message and the lake is as it was."""
    with pytest.raises(DataError, match=match) as caught:
        fetch(lake, path)
    assert not lake.root.exists()
    return caught.value


def test_small_day_arrives(lake, make_zip):
    path = make_zip()
    answer = fetch(lake, path)
    day = load_book("TINY", lake=lake)

    assert day.events["kind"].to_list() == [
        "new", "new", "execution", "hidden_execution", "execution", "partial_cancel", "delete", "new", "halt",
    ]  # fmt: skip
    assert day.events["side"].to_list() == [1, -1, -1, -1, -1, 1, 1, 1, 0]
    assert day.events["price_ticks"].to_list()[:4] == [10000, 10001, 10001, 10000.5]  # hidden: off the grid
    assert day.events["ts"][0] == pl.Series([1340285400000000001]).cast(pl.Datetime("ns", "UTC"))[0]
    assert day.events["seq"].to_list() == day.depth["seq"].to_list() == list(range(9))
    assert day.depth["bid_price_ticks_2"].to_list()[5:8] == [9999, None, 9998]
    assert day.depth["bid_quantity_2"].to_list()[5:8] == [30, None, 5]
    assert (day.levels, day.date, day.synthetic, day.volume_base) == (2, "2012-06-21", False, "NASDAQ only")
    assert day.instrument.to_price(10001) == 100.01
    assert answer["verification"] | {"messages_per_second": 0} == {
        "one_step_exact": 1.0, "resync_exact": 1.0, "messages": 9, "messages_per_second": 0,
    }  # fmt: skip


def test_answer_is_json_and_tells_the_truth_about_the_files(lake, make_zip):
    answer = fetch(lake, make_zip())
    assert json.loads(json.dumps(finite(answer), allow_nan=False)) == answer
    assert [t["schema"] for t in answer["tables"]] == ["BookEvents", "Depth", "Trades"]
    for table in answer["tables"]:
        assert pl.read_parquet(table["path"]).height == table["rows"]
        assert sha256_of(Path(table["path"])) == table["sha256"]
    assert answer["tables"][0]["start"] == "2012-06-21T13:30:00.000000+00:00"[:19] + "+00:00"
    assert answer["source"] == "lobster" and answer["repairs"] == []


def test_trades_are_signed_by_the_taker_and_hidden_ones_are_told_by_seq(lake, make_zip):
    answer = fetch(lake, make_zip())
    trades = pl.read_parquet(answer["tables"][2]["path"])
    assert trades.select("seq", "price", "quantity", "side").rows() == [
        (2, 100.01, 4.0, 1), (3, 100.005, 7.0, 1), (4, 100.01, 6.0, 1),
    ]  # fmt: skip


def test_metadata_and_raw_copy(lake, make_zip):
    path = make_zip()
    fetch(lake, path)
    metadata = read_metadata(lake.table_path("Depth", "TINY", "2012-06-21"))
    assert metadata["raw_sha256"] == {"day.zip": sha256_of(path)}
    assert metadata["verification"] == {"one_step_exact": 1.0, "resync_exact": 1.0, "messages": 9}
    assert (metadata["schema"], metadata["currency"], metadata["tick_size"]) == ("Depth", "USD", 0.01)
    assert sha256_of(lake.folder("raw") / "lobster" / "day.zip") == sha256_of(path)


def test_winter_time(lake, tmp_path):
    for what, text in (("message", MESSAGES), ("orderbook", BOOK)):
        (tmp_path / f"COLD_2020-01-02_34200000_57600000_{what}_2.csv").write_text(text)
    fetch(lake, tmp_path / "COLD_2020-01-02_34200000_57600000_message_2.csv")
    assert load_book("COLD", lake=lake).events["ts"][1].isoformat() == "2020-01-02T14:30:00.500000+00:00"


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_pair_and_folder_in_every_packing(lake, tmp_path, suffix):
    folder = tmp_path / "pair"
    folder.mkdir()
    pack = {"": bytes, ".gz": gzip.compress, ".zst": lambda b: bytes(pa.Codec("zstd").compress(b, asbytes=True))}
    for what, text in (("message", MESSAGES), ("orderbook", BOOK)):
        (folder / f"{STEM}_{what}_2.csv{suffix}").write_bytes(pack[suffix](text.encode()))
    by_file = fetch(Lake(tmp_path / "one"), folder / f"{STEM}_message_2.csv{suffix}")
    by_folder = fetch(lake, folder)
    assert [t["rows"] for t in by_file["tables"]] == [t["rows"] for t in by_folder["tables"]] == [9, 9, 3]


def test_one_level_has_no_single_step(lake, tmp_path):
    book = "".join(",".join(line.split(",")[:4]) + "\n" for line in BOOK.splitlines())
    for what, text in (("message", MESSAGES), ("orderbook", book)):
        (tmp_path / f"{STEM}_{what}_1.csv").write_text(text)
    verification = fetch(lake, tmp_path / f"{STEM}_message_1.csv")["verification"]
    assert verification["one_step_exact"] is None
    assert verification["resync_exact"] == 1.0


def test_tampered_size_is_reported_and_stored(lake, make_zip):
    path = make_zip(("34200.5,1,12,10,", "34200.5,1,12,11,"))
    verification = fetch(lake, path)["verification"]
    assert verification["one_step_exact"] == 7 / 8
    assert verification["resync_exact"] < 7 / 8
    stored = read_metadata(lake.table_path("Depth", "TINY", "2012-06-21"))["verification"]
    assert stored["one_step_exact"] == 7 / 8


BAD_ROWS = {
    "wrong column count": (("34200.5,1,12,10,1000100,-1", "34200.5,1,12,10,1000100"), "message_2.csv, row 2.*columns"),
    "one column more": (("34200.5,1,12,10,1000100,-1", "34200.5,1,12,10,1000100,-1,9"), "row 2.*7 columns"),
    "wrong width of all rows": ((BOOK, BOOK.replace(",999", ",1,999")), "orderbook_2.csv, row 1: has 9 columns"),
    "text for a number": (("34201.000000002,4,12,4,", "34201.000000002,4,12,four,"), "row 3: size must be.*four"),
    "text for a time": (("34202.25,", "noon,"), "row 5: time must be a number.*noon"),
    "missing field": (("34202.25,4,12,6,", "34202.25,4,12,,"), "row 5: size must be a whole number"),
    "NaN time": (("34202.25,", "NaN,"), "row 5"),
    "infinite time": (("34202.25,", "inf,"), "row 5"),
    "time runs backwards": (("34202.25,", "34200.75,"), "row 5.*backwards"),
    "time beyond the day": (("34206,7", "86401,7"), "row 9.*of the day"),
    "unknown event": (("34203,2,", "34203,8,"), "row 6.*event type"),
    "zero size": (("34203,2,11,40,", "34203,2,11,0,"), "row 6.*size is positive"),
    "negative size": (("34203,2,11,40,", "34203,2,11,-40,"), "row 6.*size is positive"),
    "fraction of a share": (("34203,2,11,40,", "34203,2,11,40.5,"), "row 6.*whole number"),
    "negative price": (("34203,2,11,40,1000000", "34203,2,11,40,-1000000"), "row 6.*price is positive"),
    "visible price off the grid": (("34203,2,11,40,1000000", "34203,2,11,40,1000050"), "row 6.*tick grid"),
    "direction is no sign": (("34203,2,11,40,1000000,1", "34203,2,11,40,1000000,0"), "row 6.*sign"),
    "crossed book": (("1000100,6,1000000,100", "999800,6,1000000,100"), "orderbook_2.csv, row 3.*crossed"),
    "locked book": (("1000100,6,1000000,100", "1000000,6,1000000,100"), "orderbook_2.csv, row 3.*crossed"),
    "negative book size": (("1000100,6,1000000,100", "1000100,-6,1000000,100"), "row 3: ask level 1.*size -6"),
    "zero book size": (("1000100,6,1000000,100", "1000100,0,1000000,100"), "row 3: ask level 1.*size 0"),
    "book price off the grid": (("1000100,6,1000000,100", "1000101,6,1000000,100"), "row 3: ask level 1.*1000101"),
    "empty price with a size": (("-9999999999,0", "-9999999999,5"), "row 7: bid level 2"),
    "gap in the levels": (("999900,30,1000300,20,-9999999999,0", "-9999999999,0,1000300,20,999900,30"), "row 7.*gaps"),
    "levels out of order": (("1000200,50,1000000,60,1000300,20", "1000300,20,1000000,60,1000200,50"), "row 6.*worse"),
    "a row less in the book": (("1000200,50,1000000,60,1000300,20,999900,30\n", ""), "9 rows.*has 8"),
    "empty messages": ((MESSAGES, ""), "message_2.csv: is empty"),
    "empty book": ((BOOK, "\n"), "orderbook_2.csv: is empty"),
    "binary": (("34203,2", "34203\x00,2"), "zero bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_refused_by_file_and_row(lake, make_zip, name):
    replaced, match = BAD_ROWS[name]
    error = refused(lake, make_zip(replaced), match)
    assert error.file and ("TINY" in error.file or "day.zip" in error.file)


def test_refusal_leaves_an_earlier_import_untouched(lake, make_zip):
    fetch(lake, make_zip())
    before = {p: sha256_of(p) for p in lake.root.rglob("*") if p.is_file()}
    with pytest.raises(DataError):
        fetch(lake, make_zip(("34203,2,11,40,", "34203,2,11,-40,")))
    assert {p: sha256_of(p) for p in lake.root.rglob("*") if p.is_file()} == before


def test_wrong_names_and_missing_partners(lake, tmp_path, make_zip):
    refused(lake, make_zip(extra={f"OTHER{STEM[4:]}_message_2.csv": MESSAGES}), "one message and one orderbook")
    (tmp_path / f"{STEM}_message_2.csv").write_text(MESSAGES)
    refused(lake, tmp_path / f"{STEM}_message_2.csv", "partner beside it")
    (tmp_path / f"{STEM}_orderbook_5.csv").write_text(BOOK)
    refused(lake, tmp_path / f"{STEM}_message_2.csv", "partner beside it")
    (tmp_path / "notes.csv").write_text("1,2\n")
    refused(lake, tmp_path / "notes.csv", "not named like a LOBSTER file")
    (tmp_path / "none").mkdir()
    refused(lake, tmp_path / "none", "exactly one message csv")
    for what, text in (("message", MESSAGES), ("orderbook", BOOK)):
        (tmp_path / f"TINY_2012-02-31_34200000_57600000_{what}_2.csv").write_text(text)
    refused(lake, tmp_path / "TINY_2012-02-31_34200000_57600000_message_2.csv", "does not exist")


def test_ticker_is_looked_up_in_the_raw_folder(lake, make_zip):
    with pytest.raises(NotInLakeError, match=r"free sample.*path"):
        fetch(lake, "TINY")
    with pytest.raises(InputError, match="does not exist"):
        fetch(lake, "nowhere/TINY.zip")
    raw = lake.folder("raw") / "lobster"
    raw.mkdir(parents=True)
    shutil.copy(make_zip(), raw / "LOBSTER_SampleFile_TINY_2012-06-21_2.zip")
    assert fetch(lake, "TINY")["verification"]["resync_exact"] == 1.0
    assert len(list(raw.iterdir())) == 1


def test_loading_says_what_to_run(lake, make_zip):
    assert not has_book("TINY", lake=lake)
    with pytest.raises(NotInLakeError, match="difffinance fetch SOURCE PATH"):
        load_book("TINY", lake=lake)
    fetch(lake, make_zip())
    assert has_book("TINY", lake=lake) and book_dates("TINY", lake=lake) == ["2012-06-21"]
    with pytest.raises(NotInLakeError, match="There are: 2012-06-21"):
        load_book("TINY", "2012-06-22", lake=lake)


def test_tables_of_two_imports_are_not_mixed(lake, make_zip):
    fetch(lake, make_zip())
    depth = lake.table_path("Depth", "TINY", "2012-06-21")
    old = depth.read_bytes()
    fetch(lake, make_zip(("34206,7", "34207,7")))
    depth.write_bytes(old)
    with pytest.raises(DataError, match="not of one import"):
        load_book("TINY", lake=lake)


# --- the vendor's files ------------------------------------------------------------------------------------------

OFFICIAL = {
    "GOOG_2012-06-21_1": 49_482,
    "GOOG_2012-06-21_5": 112_673,
    "GOOG_2012-06-21_10": 147_916,
    "AAPL_2012-06-21_1": 118_497,
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_zip_is_exact(shared_data, lake, name):
    answer = fetch(lake, shared_data / "lobster" / f"LOBSTER_SampleFile_{name}.zip")
    verification = answer["verification"]
    assert verification["messages"] == answer["tables"][0]["rows"] == OFFICIAL[name]
    assert verification["one_step_exact"] == (None if name.endswith("_1") else 1.0)
    assert verification["resync_exact"] == 1.0


def test_kinds_of_the_deepest_official_file(shared_data, lake):
    fetch(lake, shared_data / "lobster" / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
    counts = dict(load_book("GOOG", lake=lake).events["kind"].value_counts().rows())
    assert counts == {
        "new": 71_258,
        "partial_cancel": 19,
        "delete": 64_961,
        "execution": 7_765,
        "hidden_execution": 3_913,
    }


def first_rows(path: Path, rows: int) -> bytes:
    return b"".join(gzip.decompress(path.read_bytes()).splitlines(keepends=True)[:rows])


def test_fifty_levels(shared_data, lake, tmp_path):
    stem = "AAPL_2012-06-21_34200000_37800000"
    source = shared_data / "lobster"
    (tmp_path / f"{stem}_message_50.csv").write_bytes(first_rows(source / f"{stem}_message_50.csv.gz", 672))
    shutil.copy(source / f"{stem}_orderbook_50_first672rows.csv.gz", tmp_path / f"{stem}_orderbook_50.csv.gz")
    verification = fetch(lake, tmp_path)["verification"]
    assert (verification["one_step_exact"], verification["resync_exact"]) == (1.0, 1.0)


def test_best_level_under_messages_of_fifty(shared_data, lake, tmp_path):
    """Messages from below the window change nothing in it; 12 decimals of a second round to a nanosecond."""
    stem = "AAPL_2012-06-21_34200000_37800000"
    source = shared_data / "lobster"
    shutil.copy(source / f"{stem}_message_50.csv.gz", tmp_path / f"{stem}_message_1.csv.gz")
    shutil.copy(source / f"{stem}_orderbook_50_top1.csv.gz", tmp_path / f"{stem}_orderbook_1.csv.gz")
    assert fetch(lake, tmp_path)["verification"]["resync_exact"] == 1.0
    stamps = load_book("AAPL", lake=lake).events["ts"].dt.timestamp("ns")
    assert stamps[39_482] - 1_340_251_200_000_000_000 == 35_821_088_778_456


@pytest.mark.parametrize("levels", [1, 10])
def test_official_zip_with_one_size_changed_is_not_exact(shared_data, lake, tmp_path, levels):
    import zipfile

    source = zipfile.ZipFile(shared_data / "lobster" / f"LOBSTER_SampleFile_GOOG_2012-06-21_{levels}.zip")
    for name in source.namelist():
        lines = source.read(name).decode().splitlines(keepends=True)
        if "message" in name:
            row = next(i for i in range(20_000, len(lines)) if lines[i].split(",")[1] == "1")
            fields = lines[row].split(",")
            lines[row] = ",".join([*fields[:3], str(int(fields[3]) + 1), *fields[4:]])
        (tmp_path / name).write_text("".join(lines))
    verification = fetch(lake, tmp_path)["verification"]
    assert verification["resync_exact"] < 1.0
    if levels > 1:
        assert verification["one_step_exact"] == 1.0 - 1 / (verification["messages"] - 1)
