"""LOBSTER zip to verified Parquet against a bare polars csv-to-Parquet conversion of the same files, in one process.

Run: python tests/benchmarks/bench_lobster.py [folder or zip]. Prints the medians of alternating runs and their ratio.
"""

import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import polars as pl

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.store import Lake

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "lobster"
RUNS = 7


def bare(folder: Path, csv_files: list[Path]) -> float:
    start = time.perf_counter()
    for path in csv_files:
        pl.read_csv(path, has_header=False).write_parquet(folder / f"{path.stem}.parquet", compression="zstd")
    return time.perf_counter() - start


def ours(folder: Path, archive: Path) -> tuple[float, dict]:
    start = time.perf_counter()
    answer = fetch_tables("lobster", [str(archive)], lake=Lake(folder / "lake"), config=DataConfig())
    return time.perf_counter() - start, answer["verification"]


def compare(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(archive) as file:
            members = [m for m in file.namelist() if m.endswith(".csv")]
            file.extractall(folder, members)
        csv_files = [folder / m for m in members]
        ours(folder, archive)  # loads the compiled kernel
        pairs = [(bare(folder, csv_files), *ours(folder, archive)) for _ in range(RUNS)]
        plain, full = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        seen = pairs[-1][2]
        print(
            f"{archive.name}: {seen['messages']} messages, one-step {seen['one_step_exact']}, "
            f"resync {seen['resync_exact']}, verification {seen['messages_per_second'] / 1e6:.1f} M messages/s; "
            f"bare {plain * 1e3:.0f} ms, zip to verified Parquet {full * 1e3:.0f} ms, rate ratio {plain / full:.2f}"
        )


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for archive in sorted(place.glob("*.zip")) if place.is_dir() else [place]:
        compare(archive)
