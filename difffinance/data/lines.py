"""Text files of any size in blocks of whole lines: plain, gz, zst, xz, or the one csv of a zip."""

from collections.abc import Iterator
from pathlib import Path

from difffinance.data.archives import plain_pieces, zip_pieces
from difffinance.errors import DataError

BLOCK = 1 << 22  # a block of JSON takes about twenty times as much when it is parsed


def line_blocks(path: Path, *, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines) in blocks of about `BLOCK` bytes.

    Raises `DataError` for a damaged or truncated file, zero bytes, or more than `limit` bytes unpacked.
    """
    first, held = 1, bytearray()
    for piece in _pieces(path, limit):
        if (at := piece.find(b"\x00")) >= 0:
            row = first + held.count(b"\n") + piece.count(b"\n", 0, at)
            raise DataError("holds zero bytes, so it is not a text table.", file=path.name, row=row)
        held += piece
        end = held.rfind(b"\n") + 1 if len(held) >= BLOCK else 0
        if end:
            yield first, bytes(held[:end])
            first += held.count(b"\n", 0, end)
            del held[:end]
    if held.strip():
        yield first, bytes(held) if held.endswith(b"\n") else bytes(held) + b"\n"


def decode(block: bytes, first: int, file: str) -> str:
    """Return lines as text; `DataError` names the row of the first byte that is not UTF-8."""
    try:
        return block.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 text ({error.reason}).", file=file, row=first + block.count(b"\n", 0, error.start)
        ) from None


def _pieces(path: Path, limit: int) -> Iterator[bytes]:
    if path.suffix != ".zip":
        return plain_pieces(path, limit=limit)
    members = zip_pieces(path, lambda name: name.endswith(".csv"), limit=limit)
    if len(members) != 1:
        raise DataError(f"must hold exactly one csv; it holds {', '.join(members) or 'none'}.", file=path.name)
    return next(iter(members.values()))
