import gzip

import pytest

from difffinance.data import lines
from difffinance.data.lines import decode, line_blocks
from difffinance.errors import DataError


def test_blocks_are_whole_lines_with_the_number_of_the_first(tmp_path, monkeypatch):
    text = "".join(f"line {k}\n" for k in range(1, 200)) + "line 200"
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr("difffinance.data.archives._PIECE", 50)
    for block in (1, 120, 1 << 22):
        monkeypatch.setattr(lines, "BLOCK", block)
        found = list(line_blocks(path, limit=10_000))
        assert b"".join(b for _, b in found).decode() == text + "\n"
        assert all(b.startswith(b"line %d\n" % first) for first, b in found)


def test_the_row_of_what_is_no_text_is_named():
    assert decode("\ufeffa\nä\n".encode(), 1, "a.csv") == "a\nä\n"
    with pytest.raises(DataError, match=r"a.csv, row 12: is not UTF-8 text"):
        decode("eins\nzwei\nf\xfcnf\n".encode("latin-1"), 10, "a.csv")
