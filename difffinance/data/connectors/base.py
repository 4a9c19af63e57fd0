"""What `fetch` asks of a connector, and what it gets back.

A connector is a module with `TAKES` (the options that it reads) and `fetch(request) -> Fetched`. It reads and checks
everything first; the caller then writes all its tables or none. What may be too large for the memory goes piece by
piece into spools, which become tables only when the whole call ends well.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from difffinance.config import DataConfig
from difffinance.data.spool import Spool, spooled
from difffinance.data.store import Lake, Progress, no_progress, sha256_of
from difffinance.errors import InputError
from difffinance.schemas import Schema

Repairs = dict[str, int]
"""Rows changed or dropped, by the rule that did it."""


def add_repairs(*parts: Mapping[str, int]) -> Repairs:
    """Return the sum of what was repaired in several parts."""
    return {rule: sum(part.get(rule, 0) for part in parts) for rule in dict.fromkeys(r for part in parts for r in part)}


@dataclass(frozen=True)
class Request:
    """One call of `fetch`: the words after the source, and the options."""

    what: tuple[str, ...]
    lake: Lake
    config: DataConfig
    options: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = no_progress
    spools: ExitStack = field(default_factory=ExitStack)  # closed by the caller

    def spool(self, schema: Schema, symbol: str, part: str = "") -> Spool:
        """Open a table of this schema whose rows will be appended piece by piece."""
        return self.spools.enter_context(spooled(self.lake, schema, symbol, part))


@dataclass(frozen=True)
class Table:
    """A table that is ready to be written, with what its metadata has to say beyond the schema."""

    schema: Schema
    symbol: str
    frame: Any  # pl.DataFrame, or the Spool that its rows went to
    metadata: Mapping[str, Any]
    part: str = ""


@dataclass(frozen=True)
class Fetched:
    """The answer of a connector: tables, what was repaired, and for order books how exact they are.

    `messages_per_second` of a verification is one thing in all sources: messages replayed and verified over the
    processor seconds of that work alone, without reading, parsing and writing; None where nothing was replayed.
    """

    tables: tuple[Table, ...]
    repairs: Mapping[str, int] = field(default_factory=dict)
    verification: Mapping[str, Any] | None = None
    raw_files: tuple[Path, ...] = ()  # read by the connector; the lake keeps a copy
    raw_tables: tuple[tuple[Path, Table], ...] = ()  # a vendor's answers, to be kept in the lake under these paths
    cached: bool | None = None  # answered from the lake without the network; None where there is no network


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by their names."""
    return {path.name: sha256_of(path) for path in paths}


def describe(
    raw_sha256: Mapping[str, str],
    *,
    currency: str,
    tick_size: float | Decimal,
    lot_size: float | Decimal,
    repairs: Mapping[str, int],
    verification: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the metadata that tables of every source have, and `more`; how fast a replay ran is not in it."""
    about = {
        "currency": currency,
        "tick_size": float(tick_size),
        "lot_size": float(lot_size),
        "adjustment": "none",
        "is_index": False,
        "synthetic": False,
        "raw_sha256": dict(raw_sha256),
        "repairs": {rule: rows for rule, rows in repairs.items() if rows},
    }
    if verification is not None:
        about["verification"] = {k: v for k, v in verification.items() if not k.endswith("per_second")}
    return about | more


def one_word(request: Request, usage: str) -> str:
    """Return the only word of the request, or raise `InputError` with the usage."""
    if len(request.what) != 1:
        given = " ".join(request.what) or "nothing"
        raise InputError(f"one thing at a time; got {given}. Use: {usage}.")
    return request.what[0]
