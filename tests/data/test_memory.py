"""The memory of an import does not grow with the file."""

import pytest

from tests.benchmarks.bench_memory import MAKERS, peak, tardis_csv


@pytest.mark.slow
@pytest.mark.parametrize("source", ["lobster", "itch"])
def test_peak_is_flat(tmp_path, source):
    """200,000 more messages are 64 MB more as numbers, 46 MB more as text."""
    make, name = MAKERS[source]
    small, large = (peak(source, make(tmp_path / name, rows), tmp_path / "lake") for rows in (100_000, 300_000))
    assert (small[0], large[0]) == (100_000, 300_000)
    assert large[1] - small[1] < 40


@pytest.mark.slow
def test_peak_of_a_level_2_import_is_flat(tmp_path):
    """100,000 rows more are 32 MB of depth at ten levels, in blocks of 256 KB."""
    small, large = (
        peak("tardis", tardis_csv(tmp_path / "long.csv", rows), tmp_path / "lake", 1 << 18)
        for rows in (20_000, 120_000)
    )
    assert (small[0], large[0]) == (20_000, 120_000)
    assert large[1] - small[1] < 30
