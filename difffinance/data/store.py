"""The lake: one folder of Parquet tables and artefacts, written so that a reader sees the old file or the new one.

A write goes to a temporary name in the same folder, is synced, and is renamed. Whatever stops it, the file that was
there stays. Every table carries in its metadata what a reader needs to trust it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from difffinance.errors import DataError, InputError, NotInLakeError, StoreError
from difffinance.schemas import Schema

if TYPE_CHECKING:
    from difffinance.data.spool import Spool

FOLDERS = ("raw", "tables", "fits", "trajectories", "checkpoints", "equilibria", "backtests")
_NAME = re.compile(r"[A-Za-z0-9^][A-Za-z0-9.^=_-]{0,63}")


_PART = "__"  # between symbol and part of a table's name, hence in neither


def check_symbol(symbol: str) -> str:
    """Return `symbol` if it can name a file; raise `InputError` otherwise."""
    if not _NAME.fullmatch(symbol) or ".." in symbol or _PART in symbol or symbol.endswith("_"):
        raise InputError(
            f"symbol {symbol!r} cannot name a table. Allowed: letters, digits and . ^ = - and single _ inside, "
            "at most 64, e.g. SPY."
        )
    return symbol


@dataclass(frozen=True)
class NewTable:
    """A table on its way into the lake: where to, what, under which contract, with which metadata."""

    path: Path
    frame: "pl.DataFrame | Spool"
    schema: Schema
    metadata: Mapping[str, Any]


class Lake:
    """A folder that holds `raw/ tables/ fits/ trajectories/ checkpoints/ equilibria/ backtests/`."""

    def __init__(self, root: "AnyLake | None" = None) -> None:
        """Take a folder, by default that of `DIFFFINANCE_LAKE` or `data`; of a lake its own."""
        self.root: Path = (
            root.root if isinstance(root, Lake) else Path(root or os.environ.get("DIFFFINANCE_LAKE") or "data")
        )

    def folder(self, kind: str) -> Path:
        """Return one of the lake's folders (it need not exist yet)."""
        assert kind in FOLDERS, kind
        return self.root / kind

    def table_path(self, schema: str, symbol: str, part: str = "") -> Path:
        """Return where a table lies: `tables/<schema>_<symbol>[__<part>].parquet`."""
        name = f"{schema}_{check_symbol(symbol)}" + (_PART + check_symbol(part) if part else "")
        return self.folder("tables") / f"{name}.parquet"

    def write_table(self, path: Path, frame: pl.DataFrame, schema: Schema, metadata: Mapping[str, Any]) -> Path:
        """Check `frame` against `schema` and write it atomically with its metadata (JSON strings)."""
        frame = schema.check(frame, file=path.name)
        self.write_checked([NewTable(path, frame, schema, metadata)])
        return path

    def write_checked(self, tables: Sequence[NewTable]) -> None:
        """Write tables that have passed `schema.check` already: all of them, or none when one cannot be written."""
        with contextlib.ExitStack() as stack:
            for table in tables:
                pairs = {"schema": table.schema.name, "schema_version": table.schema.version, **table.metadata}
                texts = {key: json.dumps(value, sort_keys=True) for key, value in pairs.items()}
                if not isinstance(table.frame, pl.DataFrame):
                    table.frame.finish(texts)  # its rows are written already; whoever opened it lets it take its place
                    continue
                temporary = stack.enter_context(atomic_file(table.path))
                table.frame.write_parquet(temporary, metadata=texts, compression="zstd")

    def read_table(self, path: Path, *, advice: str = "") -> tuple[pl.DataFrame, dict[str, Any]]:
        """Return a table and its metadata; raise `NotInLakeError` with `advice` when it is not there."""
        if not path.is_file():
            raise NotInLakeError(f"{path.name} is not in the lake {self.root}. {advice}".rstrip())
        with _damaged(path):
            return pl.read_parquet(path), read_metadata(path)

    def tables(self, schema: str, symbol: str) -> list[Path]:
        """Return the tables of a symbol, sorted by name."""
        prefix = f"{schema}_{check_symbol(symbol)}"
        paths = self.folder("tables").glob(f"{schema}_*.parquet")
        return sorted(p for p in paths if p.stem == prefix or p.stem.startswith(prefix + _PART))


AnyLake = Lake | str | os.PathLike[str]
"""A lake, or its folder."""


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that `Lake.write_table` stored in a Parquet file."""
    with _damaged(path):
        texts = pl.read_parquet_metadata(path)
        return {key: json.loads(value) for key, value in texts.items() if not key.startswith("ARROW")}


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Say which file of the lake is not what was written there."""
    try:
        yield
    except (pl.exceptions.PolarsError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"is not a whole table ({reason}). Remove it and fetch again.", file=str(path)) from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_writable(folder: Path, option: str = "--lake") -> None:
    """Raise `StoreError` where nothing could be written into a folder, so that long work finds out at its start.

    The folder need not exist, and is not made. `option` is what names it on the command line.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".difffinance.", suffix=".tmp", dir=there):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(
            f"{folder} cannot be written ({there}: {reason}). Choose another folder with {option}."
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well, remove it otherwise."""
    new_folders = [folder for folder in path.parents if not folder.exists()]
    with _store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder that somebody else uses by now stays
                for folder in new_folders:
                    folder.rmdir()
            raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; put it in the place of `path` when the block ends well."""
    with _store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.replace(old / "folder")
    try:
        new.replace(path)
    except BaseException:
        (old / "folder").replace(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as sorted, indented JSON, atomically; NaN and infinities become null."""
    with atomic_file(path) as temporary:
        text = json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def finite(value: Any) -> Any:
    """Return `value` as plain JSON types with every NaN and infinity replaced by None."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Path):
        return str(value)
    return value


_FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR)


@contextlib.contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (OSError, pl.exceptions.ComputeError) as error:
        number = _error_number(error)
        if number not in _FULL_OR_FORBIDDEN:
            raise
        raise StoreError(
            f"{path} could not be written: {os.strerror(number)}. What was there before is untouched; "
            "free space or choose another folder with --lake."
        ) from error


def _error_number(error: Exception) -> int:
    """Return the system's error number; polars and arrow may hand it on only inside their text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"(?:os error |[eE]rrno )(\d+)", str(error))
    return int(found[1]) if found else 0


Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)` by long work; the command line draws it."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""
