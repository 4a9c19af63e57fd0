"""Peak memory of importing a LOBSTER zip and an ITCH file of 1, 5 and 20 times the length; it should be flat.

Run: python tests/benchmarks/bench_memory.py. Each file is imported by a process of its own; the peak is what the
system says of that process (resource.getrusage).
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.data.test_itch import OPEN, directory, message

ROWS = 150_000
LEVELS = 10
CHILD = """
import resource, sys
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.store import Lake
options = {"symbol": "TEST"} if sys.argv[1] == "itch" else {}
answer = fetch_tables(sys.argv[1], [sys.argv[2]], lake=Lake(sys.argv[3]), config=DataConfig(), **options)
v = answer["verification"]
assert v["resync_exact"] == 1.0, v
print(v["messages"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def lobster_zip(path: Path, rows: int) -> Path:
    """Write a day in which one order at the best bid grows and shrinks in turn."""
    stem = "LONG_2020-01-02_34200000_57600000"
    level = [f"{(5001 + k) * 100},7{k},{(4999 - k) * 100},{{}}" for k in range(LEVELS)]
    book = [",".join(level).format(size, *([50] * (LEVELS - 1))) + "\n" for size in (60, 50)]
    messages = ["34200.5,1,11,10,499900,1\n", "34200.5,2,11,10,499900,1\n"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for what, (one, two) in (("message", messages), ("orderbook", book)):
            with archive.open(f"{stem}_{what}_{LEVELS}.csv", "w", force_zip64=True) as stream:
                for _ in range(rows // 1000):
                    stream.write((one + two).encode() * 500)
    return path


def itch_file(path: Path, rows: int) -> Path:
    """Write a day of one stock in which orders come and go."""
    pair = message("A", "TEST", OPEN, 1, "B", 100, "TEST", 1_000_000) + message("D", "TEST", OPEN, 1)
    with path.open("wb") as stream:
        stream.write(directory("TEST"))
        for _ in range(rows // 1000):
            stream.write(pair * 500)
    return path


def peak(source: str, path: Path, lake: Path) -> tuple[int, float]:
    """Return events imported and the process's peak in MB."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, source, str(path), str(lake)], check=True, capture_output=True, text=True
    )
    count, size = run.stdout.split()
    return int(count), float(size)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, make, file in (("lobster", lobster_zip, "long.zip"), ("itch", itch_file, "01022020.NASDAQ_ITCH50")):
            for times in (1, 5, 20):
                path = make(folder / file, ROWS * times)
                events, size = peak(source, path, folder / "lake")
                print(f"{source}: {events:>9,} events, peak {size:.0f} MB")
