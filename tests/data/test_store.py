"""The lake: a reader sees the old file or the new one, whatever stops a write."""

import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.spool import Spool
from difffinance.data.store import (
    Lake,
    NewTable,
    atomic_file,
    atomic_folder,
    check_symbol,
    check_writable,
    finite,
    read_metadata,
)  # fmt: skip
from difffinance.errors import DataError, InputError, NotInLakeError, StoreError
from difffinance.schemas import TRADES
from tests.data.tiny_day import BOOK, MESSAGES, STEM, zip_bytes


def trades(*prices: float) -> pl.DataFrame:
    n = len(prices)
    return TRADES.check(
        pl.DataFrame(
            {
                "symbol": ["A"] * n,
                "ts": range(n),
                "seq": range(n),
                "price": prices,
                "quantity": [1.0] * n,
                "side": [1] * n,
            }
        )
    )


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_table_and_metadata_come_back(lake):
    path = lake.write_table(
        lake.table_path("Trades", "A", "x"), trades(1.0, 2.0), TRADES, {"currency": "USD", "n": [1]}
    )
    frame, metadata = lake.read_table(path)
    assert frame.equals(trades(1.0, 2.0))
    assert metadata == {"schema": "Trades", "schema_version": 1, "currency": "USD", "n": [1]}
    assert path.name == "Trades_A__x.parquet" and lake.tables("Trades", "A") == [path]


@pytest.mark.parametrize("kept", [0, 100])
def test_a_damaged_table_is_named(lake, kept):
    path = lake.write_table(lake.table_path("Trades", "A"), trades(1.0), TRADES, {})
    path.write_bytes(path.read_bytes()[:kept])
    for read in (lake.read_table, read_metadata):
        with pytest.raises(DataError, match=r"Trades_A\.parquet: is not a whole table"):
            read(path)


def test_a_lake_is_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFFINANCE_LAKE", str(tmp_path / "named"))
    lake = Lake(tmp_path)
    assert Lake(lake).root == Lake(str(tmp_path)).root == tmp_path and Lake().root == tmp_path / "named"


def test_symbols_that_begin_alike_are_kept_apart(lake):
    for symbol in ("A", "A_B", "AB"):
        lake.write_table(lake.table_path("Trades", symbol), trades(1.0), TRADES, {})
    assert [p.stem for p in lake.tables("Trades", "A")] == ["Trades_A"]


@pytest.mark.parametrize("symbol", ["BRK.B", "^GSPC", "BTC-USD", "EURUSD=X", "ES_Z4", "600519.SS"])
def test_good_symbols(symbol):
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "symbol", ["", "..", "../x", "a/b", "a\\b", "a b", "a\x00", "-x", ".x", "A__B", "é", "a" * 65, "A\n"]
)
def test_hostile_symbols(lake, symbol):
    with pytest.raises(InputError):
        lake.table_path("Bars", symbol)


def test_missing_table_says_what_to_do(lake):
    with pytest.raises(NotInLakeError, match="Run this"):
        lake.read_table(lake.table_path("Bars", "A"), advice="Run this.")


def test_bad_table_is_not_written(lake):
    bad = trades(1.0).with_columns(price=pl.lit(-1.0))
    with pytest.raises(DataError, match=r"Trades_A\.parquet, row 1"):
        lake.write_table(lake.table_path("Trades", "A"), bad, TRADES, {})
    assert not lake.root.exists()


@pytest.fixture
def full_disk(monkeypatch):
    """Every Parquet write from the second on meets a device that is really full."""
    written = []
    original = pl.DataFrame.write_parquet

    def write_parquet(self, file, **options):
        written.append(file)
        return original(self, file if len(written) == 1 else "/dev/full", **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", write_parquet)
    return written


def test_a_folder_that_cannot_be_written_is_found_out_first(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "lake", Path("/proc/nope")):
        with pytest.raises(StoreError, match=r"cannot be written .*Choose another folder with --output"):
            check_writable(folder, "--output")
    check_writable(tmp_path / "new" / "lake")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_leaves_all_tables_as_they_were(lake, full_disk):
    paths = [lake.table_path("Trades", symbol) for symbol in ("A", "B")]
    old = [trades(1.0), trades(2.0)]
    for path, frame in zip(paths, old, strict=True):
        full_disk.clear()
        lake.write_table(path, frame, TRADES, {})
    before = files(lake.root)
    full_disk.clear()
    with pytest.raises(StoreError, match=r"Trades_B\.parquet could not be written: No space left"):
        lake.write_checked([NewTable(path, trades(9.0), TRADES, {}) for path in paths])
    assert len(full_disk) == 2
    assert files(lake.root) == before  # A's new version was complete, and yet was not put in place


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("good", [0, 1, 2])
def test_full_disk_while_fetching(lake, make_zip, monkeypatch, good):
    original, opened = Spool._open, []

    def on_a_full_disk(self, schema):
        opened.append(self)
        if len(opened) > good:
            self._file = Path("/dev/full")
        original(self, schema)

    monkeypatch.setattr(Spool, "_open", on_a_full_disk)
    with pytest.raises(StoreError, match="No space left"):
        fetch_tables("lobster", [str(make_zip())], lake=lake, config=DataConfig())
    assert not list(lake.root.rglob("*.parquet")) and not list(lake.root.rglob("*.tmp"))
    assert len(opened) > good


def test_file_in_the_place_of_the_lake(tmp_path, make_zip):
    (tmp_path / "taken").write_text("not a folder")
    with pytest.raises(StoreError, match="--lake"):
        fetch_tables("lobster", [str(make_zip())], lake=Lake(tmp_path / "taken"), config=DataConfig())


def test_exception_inside_a_write(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files(tmp_path) == {"a.txt": b"old"}
    with atomic_file(path) as temporary:
        temporary.write_text("new")
    assert files(tmp_path) == {"a.txt": b"new"}


def test_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        with atomic_file(path) as temporary:
            temporary.write_text("new")
        assert (reader.read(), path.read_text()) == ("old", "new")


def test_folder_is_swapped_whole(tmp_path):
    folder = tmp_path / "run"
    for text in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / "a.txt").write_text(text)
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "a.txt").write_text("half")
        raise RuntimeError
    assert files(tmp_path) == {"run/a.txt": b"two"}


KILLED = """
import os, signal, sys
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.spool import Spool
from difffinance.data.store import Lake

original, count = Spool.append, 0

def append(self, frame):
    global count
    count += 1
    original(self, frame)
    if count == int(sys.argv[3]):
        with open(self._file, "rb+") as stream:
            stream.truncate(50)
        os.kill(os.getpid(), signal.SIGKILL)

Spool.append = append
fetch_tables("lobster", [sys.argv[1]], lake=Lake(sys.argv[2]), config=DataConfig())
"""


@pytest.mark.slow
@pytest.mark.parametrize("at_table", [1, 3])
def test_killed_in_the_middle_of_a_write(tmp_path, lake, at_table):
    for symbol in ("OLD", "TINY"):
        stem = STEM.replace("TINY", symbol)
        archive = tmp_path / f"{symbol}.zip"
        archive.write_bytes(zip_bytes({f"{stem}_message_2.csv": MESSAGES, f"{stem}_orderbook_2.csv": BOOK}))
    fetch_tables("lobster", [str(tmp_path / "OLD.zip")], lake=lake, config=DataConfig())
    before = {name: data for name, data in files(lake.root).items() if name.endswith(".parquet")}
    assert len(before) == 3
    for symbol in ("OLD", "TINY"):  # over old files, and where there was none
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(KILLED),
            str(tmp_path / f"{symbol}.zip"),
            str(lake.root),
            str(at_table),
        ]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert {name: data for name, data in files(lake.root).items() if name.endswith(".parquet")} == before
    fetch_tables("lobster", [str(tmp_path / "TINY.zip")], lake=lake, config=DataConfig())
    assert read_metadata(lake.table_path("Depth", "TINY", "2012-06-21"))["levels"] == 2


def test_finite_makes_plain_json():
    assert finite({"a": float("nan"), 1: [float("inf"), (2.5,)], "p": Path("x")}) == {
        "a": None,
        "1": [None, [2.5]],
        "p": "x",
    }
