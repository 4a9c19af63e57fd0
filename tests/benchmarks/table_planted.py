"""The planted table: efficiency, bias and coverage of `fit_impact_law` in worlds whose law is known (SCIENCE 12).

`python tests/benchmarks/table_planted.py [replications] [--only WORDS] [--keep FILE] [--markdown]`. Every noise,
log-normal and Pareto sizes, independent and long-memory signs, SNR 0.1 and 0.2, n 2,000 and 8,000: 64 rows, half a
minute to a minute each at 2,000 replications on a quiet core. With `--keep` a file gathers what is done, in pieces of
250 replications, and the next run goes on from there. Each entry carries its Monte-Carlo standard error; a row passes
where the bars of SCIENCE 12 lie within two of them.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "calibration"))

import numpy as np
from planted_worlds import KINDS, plant

from difffinance.calibration import fit_impact_law

PIECE = 250
WIDE, BIASED, COVER = 1.10, 0.25, (0.93, 0.97)
# Those most in doubt first, then what shows every combination and every corner soonest.
ORDER = (
    ("pareto", False, 0.2, 8000),
    ("pareto", False, 0.1, 2000),
    ("log-normal", False, 0.1, 2000),
    ("pareto", True, 0.1, 2000),
    ("log-normal", True, 0.1, 2000),
    ("log-normal", False, 0.2, 8000),
    ("pareto", True, 0.2, 8000),
    ("log-normal", True, 0.2, 8000),
    *product(("pareto", "log-normal"), (False, True), (0.2,), (2000,)),
    *product(("pareto", "log-normal"), (False, True), (0.1,), (8000,)),
)
COLUMNS = (("world", 62), ("sd/bound", 16), ("bias/bound", 18), ("gamma cover %", 16), ("lam cover %", 16))


@dataclass
class Row:
    """One world and the sums over its replications."""

    kind: str
    sizes: str
    long_memory: bool
    snr: float
    n: int
    sums: np.ndarray = field(default_factory=lambda: np.zeros(6))  # count, error, error^2, two hits, seconds

    @property
    def name(self) -> str:
        signs = "long-memory" if self.long_memory else "independent"
        return f"{self.kind} noise, {self.sizes} sizes, {signs} signs, SNR {self.snr}, n {self.n}"

    def run(self, first: int, count: int) -> np.ndarray:
        """Return the sums over some replications."""
        sums, start = np.zeros(6), time.process_time()
        options = {"sizes": self.sizes, "long_memory": self.long_memory, "snr": self.snr, "n": self.n}
        for seed in range(first, first + count):
            world = plant(self.kind, np.random.default_rng([seed, 7]), **options)
            fit = fit_impact_law(world.quantity, world.price_change)
            error = (fit.gamma - world.gamma) / world.bound
            covered = fit.gamma_ci[0] <= world.gamma <= fit.gamma_ci[1], fit.lam_ci[0] <= world.lam <= fit.lam_ci[1]
            sums += 1.0, error, error**2, *covered, 0.0
        sums[5] = time.process_time() - start
        return sums

    def cells(self) -> tuple[list[str], bool]:
        """Return the entries with their errors, and whether the row passes."""
        count = self.sums[0]
        bias, square, *shares = self.sums[1:5] / count
        sd = float(np.sqrt(square - bias**2))
        sd_error, bias_error = sd / np.sqrt(2 * count), sd / np.sqrt(count)
        passes = sd - 2 * sd_error <= WIDE and abs(bias) - 2 * bias_error <= BIASED
        cells = [f"{sd:.3f} ± {sd_error:.3f}", f"{bias:+.3f} ± {bias_error:.3f}"]
        for share in shares:
            error = float(np.sqrt(share * (1 - share) / count))
            passes &= COVER[0] - 2 * error <= share <= COVER[1] + 2 * error
            cells.append(f"{100 * share:.1f} ± {100 * error:.1f}")
        return cells, bool(passes)


def rows(only: str) -> Iterator[Row]:
    """Yield the rows whose name holds every one of the words."""
    for (sizes, memory, snr, n), kind in product(ORDER, KINDS):
        row = Row(kind, sizes, memory, snr, n)
        if all(word in row.name for word in only.split()):
            yield row


def show(row: Row) -> bool:
    """Print one row; return whether it passes."""
    cells, passes = row.cells()
    line = "".join(f"{cell:>{width}s}" for cell, (_, width) in zip(cells, COLUMNS[1:], strict=True))
    count, seconds = int(row.sums[0]), row.sums[5] / row.sums[0]
    print(f"{row.name:{COLUMNS[0][1]}s}{line}{'' if passes else '  FAILS':8s}{count:6d} x {seconds:.3f} s", flush=True)
    return passes


def show_markdown(row: Row) -> None:
    """Print one row for the page of docs."""
    signs = "long-memory" if row.long_memory else "independent"
    cells, passes = row.cells()
    world = (row.kind.replace("_", " "), row.sizes, signs, f"{row.snr}", f"{row.n:,}", f"{int(row.sums[0]):,}")
    print("| " + " | ".join((*world, *cells, "yes" if passes else "no")) + " |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", nargs="?", type=int, default=2000)
    parser.add_argument("--only", default="", help="words that a row's name must hold")
    parser.add_argument("--keep", type=Path, help="file of what is done, to go on from")
    parser.add_argument("--markdown", action="store_true", help="print what is kept as a page of docs shows it")
    options = parser.parse_args()
    kept: dict[str, list[list[float]]] = {}
    if options.keep and options.keep.exists():
        for line in options.keep.read_text().splitlines():
            piece = json.loads(line)
            kept.setdefault(piece["world"], []).append(piece["sums"])
    passed = []
    for row in rows(options.only):
        row.sums += np.sum(kept.get(row.name, np.zeros((1, 6))), axis=0)
        if options.markdown:
            if row.sums[0]:
                show_markdown(row)
            continue
        while (done := int(row.sums[0])) < options.replications:
            sums = row.run(done, min(PIECE, options.replications - done))
            row.sums += sums
            if options.keep:
                with options.keep.open("a") as file:
                    file.write(json.dumps({"world": row.name, "sums": sums.tolist()}) + "\n")
        passed.append(show(row))
    print(f"{sum(passed)} of {len(passed)} rows pass" if not options.markdown else "")


if __name__ == "__main__":
    main()
