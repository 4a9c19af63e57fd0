"""Files from outside, read without trusting them: zip members by name, plain, gz, xz and zst files, whole or in pieces.

Nothing is ever unpacked to disk. Sizes are held against a limit both as declared and as they turn out.
"""

import contextlib
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from difffinance.errors import DataError

_PIECE = 1 << 20


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""


_MOST_MEMBERS = 1000


def read_zip(path: Path, wanted: Callable[[str], bool], *, limit: int) -> dict[str, bytes]:
    """Return the members of a zip whose base name is `wanted`, by base name.

    Raises `DataError` for a file that is not a whole zip, encrypted or damaged members (CRC), names that lead out of
    a folder, names that occur twice, and members larger than `limit` bytes.
    """
    with _whole_zip(path) as archive:
        chosen = _choose(archive, path, wanted, limit)
        with ThreadPoolExecutor() as pool:  # unpacking leaves Python's lock
            contents = pool.map(lambda member: _read_member(archive, member, path.name, limit), chosen)
            return {PurePosixPath(m.filename).name: data for m, data in zip(chosen, contents, strict=True)}


def zip_pieces(path: Path, wanted: Callable[[str], bool], *, limit: int) -> dict[str, Iterator[bytes]]:
    """Return the members of a zip whose base name is `wanted` piece by piece; zero bytes are the caller's to refuse."""
    with _whole_zip(path) as archive:
        chosen = _choose(archive, path, wanted, limit)
    return {PurePosixPath(m.filename).name: _member_pieces(path, m, limit) for m in chosen}


def _member_pieces(path: Path, member: zipfile.ZipInfo, limit: int) -> Iterator[bytes]:
    with _whole_zip(path) as archive, archive.open(member) as stream:
        size = 0
        for piece in _pieces(stream, limit, f"{path.name}/{member.filename}"):
            size += len(piece)
            yield piece
        if size != member.file_size:
            raise DataError(f"{member.filename} is cut short. Download the archive again.", file=path.name)


@contextlib.contextmanager
def _whole_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"is not a whole zip archive: {error or type(error).__name__}. Download it again.", file=path.name
        ) from None


def _choose(archive: zipfile.ZipFile, path: Path, wanted: Callable[[str], bool], limit: int) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    _check_names(members, path.name)
    chosen = [m for m in members if not m.is_dir() and wanted(PurePosixPath(m.filename).name)]
    for member in chosen:
        _check_member(member, path.name, limit)
    return chosen


def _check_names(members: list[zipfile.ZipInfo], file: str) -> None:
    if len(members) > _MOST_MEMBERS:
        raise DataError(f"holds {len(members)} members. Allowed: at most {_MOST_MEMBERS}.", file=file)
    seen = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\x00" in name:
            raise DataError(f"the member name {name[:80]!r} leads out of the archive. Nothing was read.", file=file)
        base = parts[-1] if parts else ""
        if base in seen and not member.is_dir():
            raise DataError(f"two members are named {base[:80]!r}. Allowed: each name once.", file=file)
        seen.add(base)


def _check_member(member: zipfile.ZipInfo, file: str, limit: int) -> None:
    if member.flag_bits & 0x1:
        raise DataError(f"{member.filename} is encrypted. Allowed: archives without a password.", file=file)
    if member.file_size > limit:
        raise DataError(
            f"{member.filename} would unpack to {member.file_size} bytes. Allowed: {limit} (data.max_archive_bytes).",
            file=file,
        )


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: str, limit: int) -> bytes:
    with archive.open(member) as stream:
        data = read_limited(stream, min(limit, member.file_size), f"{file}/{member.filename}")
    if len(data) != member.file_size:
        raise DataError(f"{member.filename} is cut short. Download the archive again.", file=file)
    return data


def read_limited(stream: Readable, limit: int, file: str) -> bytes:
    """Return what is left of a stream; raise `DataError` beyond `limit` bytes.

    The first piece is looked at alone: a stream of zeros, the usual bomb, is refused before it unfolds.
    """
    first = stream.read(_PIECE)
    if (at := first.find(b"\x00")) >= 0:
        row = first.count(b"\n", 0, at) + 1
        raise DataError("holds zero bytes, so it is not a text table.", file=file, row=row)
    rest = stream.read(limit + 1 - len(first)) if len(first) == _PIECE and limit >= len(first) else b""
    if len(first) + len(rest) > limit:
        raise DataError(f"unpacks to more than {limit} bytes (data.max_archive_bytes).", file=file)
    return first + rest if rest else first


def read_plain(path: Path, *, limit: int) -> bytes:
    """Return the content of a plain, `.gz`, `.xz` or `.zst` file; `DataError` when it is damaged or beyond `limit`."""
    with _opened(path) as stream:
        return read_limited(stream, limit, path.name)


def plain_pieces(path: Path, *, limit: int) -> Iterator[bytes]:
    """Yield the content of a plain, `.gz`, `.xz` or `.zst` file by pieces; zero bytes are for the caller to refuse."""
    with _opened(path) as stream:
        yield from _pieces(stream, limit, path.name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Readable]:
    try:
        if path.suffix == ".zst":
            import pyarrow as pa

            with pa.input_stream(str(path), compression="zstd") as stream:
                yield stream
        else:
            opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
            with opener(path, "rb") as stream:  # type: ignore[operator]
                yield stream
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"cannot be unpacked: {error}. Download it again.", file=path.name) from None


def _pieces(stream: Readable, limit: int, file: str) -> Iterator[bytes]:
    size = 0
    while piece := _read_piece(stream, size, file):
        size += len(piece)
        if size > limit:
            raise DataError(f"unpacks to more than {limit} bytes (data.max_archive_bytes).", file=file)
        yield piece


def _read_piece(stream: Readable, before: int, file: str) -> bytes:
    try:
        return stream.read(_PIECE)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        where = f"after {before:,} bytes of content"
        raise DataError(f"cannot be unpacked {where}: {error}. Download it again.", file=file) from None


def ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same pieces, the next one being unpacked in a thread of its own meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, pieces, b"")
        while piece := waiting.result():
            waiting = pool.submit(next, pieces, b"")
            yield piece
