"""The planted table: efficiency, bias and coverage of `fit_impact_law` in worlds whose law is known (SCIENCE 12).

`python tests/benchmarks/table_planted.py [replications] [--only WORDS]`. Every noise, log-normal and Pareto
sizes, independent and long-memory signs; the hardest corner first (SNR 0.1, n 2,000), then SNR 0.2 at n 8,000, then
the two others. 2,000 replications take three to eight minutes a row on one core. Each entry carries its Monte-Carlo
standard error; a row passes where the bars of SCIENCE 12 lie within two of them.
"""

import argparse
import os
import sys
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "calibration"))

import numpy as np
from planted_worlds import KINDS, plant

from difffinance.calibration import fit_impact_law

CORNERS = ((0.1, 2000), (0.2, 8000), (0.2, 2000), (0.1, 8000))
WIDE, BIASED, COVER = 1.10, 0.25, (0.93, 0.97)
COLUMNS = (("world", 58), ("sd/bound", 16), ("bias/bound", 18), ("gamma cover %", 16), ("lam cover %", 16))


def run(name: str, replications: int, kind: str, **world_options: object) -> bool:
    """Print one row of the table; return whether it passes."""
    errors, gamma_hits, lam_hits, start = [], [], [], time.process_time()
    for seed in range(replications):
        world = plant(kind, np.random.default_rng([seed, 7]), **world_options)
        fit = fit_impact_law(world.quantity, world.price_change)
        errors.append((fit.gamma - world.gamma) / world.bound)
        gamma_hits.append(fit.gamma_ci[0] <= world.gamma <= fit.gamma_ci[1])
        lam_hits.append(fit.lam_ci[0] <= world.lam <= fit.lam_ci[1])
    sd, bias = float(np.std(errors)), float(np.mean(errors))
    sd_error, bias_error = sd / np.sqrt(2 * replications), sd / np.sqrt(replications)
    passes = sd - 2 * sd_error <= WIDE and abs(bias) - 2 * bias_error <= BIASED
    cells = [f"{sd:.3f} +- {sd_error:.3f}", f"{bias:+.3f} +- {bias_error:.3f}"]
    for hits in (gamma_hits, lam_hits):
        share = float(np.mean(hits))
        error = float(np.sqrt(share * (1 - share) / replications))
        passes &= COVER[0] - 2 * error <= share <= COVER[1] + 2 * error
        cells.append(f"{100 * share:.1f} +- {100 * error:.1f}")
    row = "".join(f"{cell:>{width}s}" for cell, (_, width) in zip(cells, COLUMNS[1:], strict=True))
    seconds = (time.process_time() - start) / replications
    print(f"{name:{COLUMNS[0][1]}s}{row}{'' if passes else '  FAILS':8s}{seconds:.3f} s", flush=True)
    return passes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", nargs="?", type=int, default=2000)
    parser.add_argument("--only", default="", help="words that a row's name must hold")
    options = parser.parse_args()
    print("".join(f"{title:>{width}s}" for title, width in COLUMNS), flush=True)
    passed = []
    for (snr, n), sizes, memory, kind in product(CORNERS, ("log-normal", "pareto"), (False, True), KINDS):
        signs = "long-memory" if memory else "independent"
        name = f"{kind}, {sizes} sizes, {signs} signs, SNR {snr}, n {n}"
        if all(word in name for word in options.only.split()):
            passed.append(run(name, options.replications, kind, sizes=sizes, long_memory=memory, snr=snr, n=n))
    print(f"{sum(passed)} of {len(passed)} rows pass")


if __name__ == "__main__":
    main()
