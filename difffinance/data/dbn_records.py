"""Databento's DBN files as arrays of records, read piece by piece.

The header is read by Databento's own package, which follows its versions; the records of market data have kept their
layout through them and lie in the file as they do in memory (little-endian; "DBN encoding" in Databento's docs).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.data.archives import plain_pieces
from difffinance.errors import DataError
from difffinance.records import Array

UNDEFINED_PRICE = np.iinfo(np.int64).max
SNAPSHOT = 32  # flag of records that tell the state at the start
_HEAD = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8")]
_MBO = [
    ("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel_id", "u1"), ("action", "S1"),
    ("side", "S1"), ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
_MBP = [
    ("price", "<i8"), ("size", "<u4"), ("action", "S1"), ("side", "S1"), ("flags", "u1"), ("depth", "u1"),
    ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
_LEVEL = np.dtype(
    [("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("bid_ct", "<u4"), ("ask_ct", "<u4")]
)
LAYOUTS = {
    "mbo": (160, np.dtype(_HEAD + _MBO)),
    "mbp-1": (1, np.dtype([*_HEAD, *_MBP, ("levels", _LEVEL, (1,))])),
    "mbp-10": (10, np.dtype([*_HEAD, *_MBP, ("levels", _LEVEL, (10,))])),
}
_FIRST = 8  # bytes: "DBN", version, length of the rest of the header
_LONGEST_HEADER = 1 << 26


def read_header(path: Path, *, limit: int) -> Any:
    """Return the metadata of a file (`databento_dbn.Metadata`)."""
    return _split(path, limit)[0]


def header_error(path: Path, reason: str, word: str, *, limit: int) -> DataError:
    """Return the refusal of a header for what one word in it says, by the byte at which that stands."""
    place = _split(path, limit)[1].rfind(word.encode())
    return DataError(f"{reason} Download it again.", file=path.name, byte=max(place, 0))


def record_blocks(path: Path, *, limit: int) -> Iterator[tuple[Array, int]]:
    """Yield records of the file's schema and the byte of the first of them; refuse the first that is none, by byte."""
    metadata, header, rest, pieces = _split(path, limit)
    base = len(header)
    rtype, layout = LAYOUTS[str(metadata.schema)]
    done = False
    while not done:
        piece = next(pieces, b"")
        done, rest = not piece, rest + piece
        whole = len(rest) // layout.itemsize * layout.itemsize
        records = np.frombuffer(rest[:whole], layout)
        lengths = records["length"].astype(np.int64) * 4
        bad = np.flatnonzero((lengths != layout.itemsize) | (records["rtype"] != rtype))
        if len(bad):
            raise DataError(
                f"the record has {lengths[bad[0]]} bytes and type {records['rtype'][bad[0]]}. Allowed in a file of "
                f"{metadata.schema}: {layout.itemsize} bytes and type {rtype}.",
                file=path.name,
                byte=base + int(bad[0]) * layout.itemsize,
            )
        if len(records):
            yield records, base
        rest, base = rest[whole:], base + whole
    if rest:
        raise DataError("is cut inside a record. Download it again.", file=path.name, byte=base)


def read_definitions(path: Path, *, limit: int) -> list[Any]:
    """Return the instrument definitions of a file of schema `definition` (small, read whole)."""
    from databento_dbn import DBNDecoder, DBNError

    decoder = DBNDecoder()
    try:
        records: list[Any] = decoder.write_and_decode(b"".join(plain_pieces(path, limit=limit)))
    except DBNError as error:
        raise DataError(f"is no whole DBN file: {error}.", file=path.name, byte=0) from None
    if not records or str(records[0].schema) != "definition" or len(records) < 2:
        raise DataError("holds no definitions.", file=path.name)
    return list(records[1:])


def _split(path: Path, limit: int) -> tuple[Any, bytes, bytes, Iterator[bytes]]:
    """Return metadata, the header's bytes, those read beyond it, and the pieces to come."""
    from databento_dbn import DBNDecoder, DBNError

    pieces = plain_pieces(path, limit=limit)
    text = next(pieces, b"")
    length = int.from_bytes(text[4:_FIRST], "little") + _FIRST
    if text[:3] != b"DBN" or not _FIRST < length <= _LONGEST_HEADER:
        raise DataError(f"does not begin as a DBN file does; got {text[:8]!r}.", file=path.name, byte=0)
    while len(text) < length and (piece := next(pieces, b"")):
        text += piece
    if len(text) < length:
        raise DataError(f"ends inside its header of {length} bytes. Download it again.", file=path.name, byte=len(text))
    try:
        metadata = DBNDecoder().write_and_decode(text[:length])[0]
    except (DBNError, IndexError) as error:
        raise DataError(f"the header cannot be read: {error}.", file=path.name, byte=0) from None
    return metadata, text[:length], text[length:], pieces
