"""The memory of an import does not grow with the file."""

import pytest

from tests.benchmarks.bench_memory import itch_file, lobster_zip, peak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "make", "name"), [("lobster", lobster_zip, "long.zip"), ("itch", itch_file, "01022020.NASDAQ_ITCH50")]
)
def test_peak_is_flat(tmp_path, source, make, name):
    """200,000 more messages are 64 MB more as numbers, 46 MB more as text."""
    small, large = (peak(source, make(tmp_path / name, rows), tmp_path / "lake") for rows in (100_000, 300_000))
    assert (small[0], large[0]) == (100_000, 300_000)
    assert large[1] - small[1] < 40
