"""Fixtures that every test folder shares."""

import os
from pathlib import Path

# One thread: the machines are small and shared, and results must not depend on a race.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from difffinance.data.store import Lake

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market data beside the repository; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real market data (../shared/data) is not here; CI has it")
    return SHARED / "data"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake of its own."""
    return Lake(tmp_path / "lake")
