"""Text files of any size, line by line in blocks: plain, gz, zst, xz, or the one csv of a zip. Nothing is unpacked."""

import contextlib
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from difffinance.data.archives import Readable, _check_member, _check_names
from difffinance.errors import DataError

BLOCK = 1 << 24


def line_blocks(path: Path, *, limit: int, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines) in blocks of about `size` bytes.

    Raises `DataError` for a damaged or truncated file, zero bytes, or more than `limit` bytes unpacked.
    """
    first, total, rest = 1, 0, b""
    with _open(path, limit) as stream:
        while piece := stream.read(size):
            total += len(piece)
            if total > limit:
                raise DataError(f"unpacks to more than {limit} bytes (data.max_archive_bytes).", file=path.name)
            if b"\x00" in piece:
                raise DataError("holds zero bytes, so it is not a text table.", file=path.name)
            end = piece.rfind(b"\n") + 1
            if not end:
                rest += piece
                continue
            block, rest = rest + piece[:end], piece[end:]
            yield first, block
            first += block.count(b"\n")
    if rest.strip():
        yield first, rest + b"\n"


@contextlib.contextmanager
def _open(path: Path, limit: int) -> Iterator[Readable]:
    try:
        if path.suffix == ".zst":
            import pyarrow as pa

            with pa.input_stream(str(path), compression="zstd") as stream:
                yield stream
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_csv(archive, path, limit)) as stream:
                yield stream
        else:
            opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
            with opener(path, "rb") as stream:  # type: ignore[operator]
                yield stream
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"cannot be unpacked: {error}. Download it again.", file=path.name) from None


def _only_csv(archive: zipfile.ZipFile, path: Path, limit: int) -> zipfile.ZipInfo:
    members = archive.infolist()
    _check_names(members, path.name)
    chosen = [m for m in members if PurePosixPath(m.filename).suffix == ".csv"]
    if len(chosen) != 1:
        names = ", ".join(m.filename for m in members[:5]) or "nothing"
        raise DataError(f"must hold exactly one csv; it holds {names}.", file=path.name)
    _check_member(chosen[0], path.name, limit)
    return chosen[0]
