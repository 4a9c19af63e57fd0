import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.simulation.synthetic_day import synthetic_pair, write_synthetic_day

SHIPPED = Path(str(resources.files("difffinance"))) / "data/sample/SYNTH_2020-01-02_34200000_57600000.zip"


def read(archive, part):
    with zipfile.ZipFile(archive) as stream:
        return next(stream.read(name) for name in stream.namelist() if part in name)


def test_the_shipped_day_verifies_exactly(lake):
    answer = fetch_tables("lobster", [str(SHIPPED)], lake=lake, config=DataConfig())["verification"]
    assert (answer["one_step_exact"], answer["resync_exact"]) == (1.0, 1.0)
    assert 40_000 <= answer["messages"] <= 60_000
    assert SHIPPED.stat().st_size < 1_000_000


def test_the_shipped_day_looks_like_a_market():
    book = np.loadtxt(read(SHIPPED, "orderbook").decode().splitlines()[::20], delimiter=",")
    spread, mid = (book[:, 0] - book[:, 2]) / 100, (book[:, 0] + book[:, 2]) / 2e4
    assert (spread > 0).all() and 1 <= np.median(spread) <= 6
    assert 90 < mid.min() < mid.max() < 110 and np.ptp(mid) > 0.3


def test_the_first_minutes_are_the_first_rows_of_the_shipped_day():
    messages, books = synthetic_pair(session_seconds=300)
    rows = messages.count(b"\n")
    assert rows > 300 and books.count(b"\n") == rows
    assert read(SHIPPED, "message").splitlines()[:rows] == messages.splitlines()
    assert read(SHIPPED, "orderbook").splitlines()[:rows] == books.splitlines()


@pytest.mark.parametrize("levels", [1, 5, 10])
def test_written_pairs_verify_exactly_at_every_depth(lake, tmp_path, levels):
    messages, books = synthetic_pair(seed=3, session_seconds=600, levels=levels)
    stem = "OWN_2020-01-02_34200000_57600000"
    (tmp_path / f"{stem}_message_{levels}.csv").write_bytes(messages)
    (tmp_path / f"{stem}_orderbook_{levels}.csv").write_bytes(books)
    answer = fetch_tables("lobster", [str(tmp_path)], lake=lake, config=DataConfig())["verification"]
    assert answer["one_step_exact"] == (None if levels == 1 else 1.0) and answer["resync_exact"] == 1.0
    assert answer["messages"] > 300


@pytest.mark.slow
def test_regeneration_gives_the_same_bytes(tmp_path):
    again = write_synthetic_day(tmp_path / "again.zip")
    for part in ("message", "orderbook"):
        assert read(again, part) == read(SHIPPED, part)
