"""Hostile and damaged archives are refused, and nothing of them is written."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest

from difffinance.config import DataConfig
from difffinance.data.archives import read_plain, read_zip
from difffinance.data.fetching import fetch_tables
from difffinance.errors import DataError
from tests.data.tiny_day import BOOK, MESSAGES, STEM, zip_bytes

LIMIT = 100_000


def read(path: Path, limit: int = LIMIT) -> dict[str, bytes]:
    return read_zip(path, lambda name: name.endswith(".csv"), limit=limit)


def archive(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_whole_archive(tmp_path):
    path = archive(tmp_path / "a.zip", {"folder/a.csv": "1,2\n", "b.txt": "no"})
    assert read(path) == {"a.csv": b"1,2\n"}


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated(tmp_path, make_zip, lake, kept):
    path = make_zip()
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(DataError, match=r"day\.zip: is not a whole zip"):
        fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
    assert not lake.root.exists()


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:\\evil.csv"])
def test_names_that_lead_out(tmp_path, name):
    path = archive(tmp_path / "a.zip", {"good.csv": "1\n", name: "2\n"})
    with pytest.raises(DataError, match="leads out"):
        read(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_name_twice(tmp_path):
    path = archive(tmp_path / "a.zip", {"x/a.csv": "1\n", "y/a.csv": "2\n"})
    with pytest.raises(DataError, match="two members"):
        read(path)


def test_encrypted(tmp_path):
    path = archive(tmp_path / "a.zip", {"a.csv": "1,2\n"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag bit in both headers
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        read(path)


def test_declared_bomb(tmp_path):
    path = archive(tmp_path / "a.zip", {"a.csv": "7" * (LIMIT + 1)})
    with pytest.raises(DataError, match=f"{LIMIT + 1} bytes"):
        read(path)
    assert len(read(path, LIMIT + 1)["a.csv"]) == LIMIT + 1


@pytest.mark.parametrize("declared", [100, 2 * LIMIT // 3])
def test_bomb_that_declares_less(tmp_path, declared):
    path = archive(tmp_path / "a.zip", {"a.csv": "7" * LIMIT})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        assert struct.unpack_from("<I", data, at)[0] == LIMIT
        struct.pack_into("<I", data, at, declared)
    path.write_bytes(data)
    with pytest.raises(DataError):
        read(path)


def test_stream_of_zeros_is_not_unfolded(tmp_path):
    path = archive(tmp_path / "a.zip", {"a.csv": bytes(3_000_000)})
    with pytest.raises(DataError, match="zero bytes"):
        read(path, 4_000_000)


def test_damaged_content(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("a.csv", "1,2,3,4\n")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1,2,3,4\n", b"1,2,3,5\n"))
    with pytest.raises(DataError, match="whole zip"):
        read(path)


def test_many_members(tmp_path):
    path = archive(tmp_path / "a.zip", {f"{i}.csv": "1" for i in range(1001)})
    with pytest.raises(DataError, match="1001 members"):
        read(path)


def test_limit_is_configured(make_zip, lake):
    with pytest.raises(DataError, match="max_archive_bytes"):
        fetch_tables("lobster", [str(make_zip())], lake=lake, config=DataConfig(max_archive_bytes=50))


def test_zip_in_zip_is_no_pair(tmp_path, lake):
    inner = zip_bytes({f"{STEM}_message_2.csv": MESSAGES, f"{STEM}_orderbook_2.csv": BOOK})
    path = archive(tmp_path / "outer.zip", {"inner.zip": inner})
    with pytest.raises(DataError, match="neither"):
        fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())


@pytest.mark.parametrize("kept", [10, 30])
def test_truncated_gz_and_zst(tmp_path, kept):
    import pyarrow as pa

    text = "".join(f"{i},{i * i}\n" for i in range(500)).encode()
    for suffix, data in ((".gz", gzip.compress(text)), (".zst", pa.Codec("zstd").compress(text, asbytes=True))):
        path = tmp_path / f"a.csv{suffix}"
        path.write_bytes(data)
        assert read_plain(path, limit=LIMIT) == text
        path.write_bytes(data[: len(data) * kept // 100])
        with pytest.raises(DataError, match="cannot be unpacked"):
            read_plain(path, limit=LIMIT)
        path.write_bytes(data)
        with pytest.raises(DataError, match="more than 100 bytes"):
            read_plain(path, limit=100)


def test_gz_of_two_streams_is_one_file(tmp_path):
    path = tmp_path / "a.csv.gz"
    buffer = io.BytesIO()
    for part in (b"1,2\n", b"3,4\n"):
        buffer.write(gzip.compress(part))
    path.write_bytes(buffer.getvalue())
    assert read_plain(path, limit=LIMIT) == b"1,2\n3,4\n"
