"""Fixtures of the data tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.tiny_day import BOOK, MESSAGES, STEM, zip_bytes

BlockSetter = Callable[[int], None]
ZipMaker = Callable[..., Path]


@pytest.fixture
def blocks_of(monkeypatch: pytest.MonkeyPatch) -> BlockSetter:
    """Return a function that has text files read in blocks of so many bytes (whole lines, a hundred bytes at least)."""

    def set_size(size: int) -> None:
        monkeypatch.setattr("difffinance.data.lines.BLOCK", size)
        monkeypatch.setattr("difffinance.data.archives._PIECE", max(size, 100))  # a block is whole pieces

    return set_size


@pytest.fixture
def tiny_members() -> dict[str, str]:
    return {f"{STEM}_message_2.csv": MESSAGES, f"{STEM}_orderbook_2.csv": BOOK, "ReadMe.txt": "hello"}


@pytest.fixture
def make_zip(tmp_path: Path, tiny_members: dict[str, str]) -> ZipMaker:
    """Return a function that writes the small day as a zip, with replaced texts: `make_zip(("old", "new"))`."""

    def make(*replaced: tuple[str, str], extra: dict[str, str] | None = None) -> Path:
        members = dict(tiny_members) | (extra or {})
        for old, new in replaced:
            assert any(old in text for text in members.values()), old
            members = {name: text.replace(old, new, 1) for name, text in members.items()}
        path = tmp_path / "day.zip"
        path.write_bytes(zip_bytes(members))
        return path

    return make
