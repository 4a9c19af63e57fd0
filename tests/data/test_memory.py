"""The memory of an import does not grow with the file."""

import pytest

from tests.benchmarks.bench_memory import MAKERS, peak


@pytest.mark.slow
@pytest.mark.parametrize("source", list(MAKERS))
def test_peak_is_flat(tmp_path, source):
    """200,000 more messages are 64 MB more as numbers, 46 MB more as text."""
    make, name = MAKERS[source]
    small, large = (peak(source, make(tmp_path / name, rows), tmp_path / "lake") for rows in (100_000, 300_000))
    assert large[0] - small[0] in (200_000, 199_998)  # three lines of a capture a step
    assert large[1] - small[1] < 40
