"""LOBSTER zip to verified Parquet against a bare polars csv-to-Parquet conversion of the same files, in one process.

Run: python tests/benchmarks/bench_lobster.py [folder or zip]. Prints the medians of alternating runs and the ratio of
their rates, by the processor time of all threads and by the clock. Ours starts from the zip, writes events, book and
trades and verifies them; the bare conversion starts from unpacked files, so that the share of unpacking is printed too.
"""

import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.store import Lake

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "lobster"
RUNS = 7


def bare(folder: Path, csv_files: list[Path]) -> None:
    for path in csv_files:
        pl.read_csv(path, has_header=False).write_parquet(folder / f"{path.stem}.parquet", compression="zstd")


def ours(folder: Path, archive: Path) -> dict[str, Any]:
    return fetch_tables("lobster", [str(archive)], lake=Lake(folder / "lake"), config=DataConfig())["verification"]


def unpack(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.namelist():
            file.read(member)


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Return milliseconds of processor time and of the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    work(*arguments)
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - clock) * 1e3


def compare(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(archive) as file:
            members = [m for m in file.namelist() if m.endswith(".csv")]
            file.extractall(folder, members)
        csv_files = [folder / m for m in members]
        seen = ours(folder, archive)  # loads the compiled kernels
        runs = [
            (*timed(bare, folder, csv_files), *timed(ours, folder, archive), *timed(unpack, archive))
            for _ in range(RUNS)
        ]
        bare_cpu, bare_clock, cpu, clock, unpack_cpu, _ = (
            statistics.median(column) for column in zip(*runs, strict=True)
        )
        print(
            f"{archive.name}: {seen['messages']} messages, one-step {seen['one_step_exact']}, resync "
            f"{seen['resync_exact']}, verification {seen['messages_per_second'] / 1e6:.1f} M messages/s\n"
            f"  processor: bare {bare_cpu:.0f} ms, ours {cpu:.0f} ms (of which unpacking {unpack_cpu:.0f}), "
            f"rate ratio {bare_cpu / cpu:.2f}; clock: bare {bare_clock:.0f} ms, ours {clock:.0f} ms, "
            f"rate ratio {bare_clock / clock:.2f}"
        )


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for archive in sorted(place.glob("*.zip")) if place.is_dir() else [place]:
        compare(archive)
