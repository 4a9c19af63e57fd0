"""Planted worlds: efficiency, bias and coverage of `fit_impact_law`, and its speed (SCIENCE 12).

Run as a program: `python tests/benchmarks/bench_impact_fit.py [replications] [--all]`. One core; 300 replications of
the eight main worlds take some five minutes, `--all` adds other sizes, sign memory and worlds without impact.
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

HEADER = f"{'world':44s}{'sd/bound':>14s}{'bias/bound':>14s}{'gamma cover':>16s}{'lam cover':>16s}{'s/fit':>8s}"


def share(hits: list[bool]) -> str:
    """Return a share with its binomial standard error, in percent."""
    p = float(np.mean(hits))
    return f"{100 * p:.1f} +- {100 * np.sqrt(p * (1 - p) / len(hits)):.1f}"


def run(name: str, replications: int, kind: str, **world_options: object) -> None:
    """Print one row of the table."""
    errors, gamma_hits, lam_hits, seconds = [], [], [], 0.0
    for seed in range(replications):
        world = plant(kind, np.random.default_rng([seed, 7]), **world_options)
        start = time.perf_counter()
        fit = fit_impact_law(world.quantity, world.price_change)
        seconds += time.perf_counter() - start
        errors.append((fit.gamma - world.gamma) / world.bound)
        gamma_hits.append(fit.gamma_ci[0] <= world.gamma <= fit.gamma_ci[1])
        lam_hits.append(fit.lam_ci[0] <= world.lam <= fit.lam_ci[1])
    sd, each = np.std(errors), seconds / replications
    spread, bias = f"{sd:.3f} +- {sd / np.sqrt(2 * replications):.3f}", f"{np.mean(errors):+.3f}"
    if world_options.get("lam") == 0.0:
        spread, bias = "-", "-"
    cover = (share(gamma_hits), share(lam_hits))
    print(f"{name:44s}{spread:>14s}{bias:>14s}{cover[0]:>16s}{cover[1]:>16s}{each:8.3f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("replications", nargs="?", type=int, default=300)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    count = options.replications
    print(HEADER)
    for kind, snr in product(KINDS, (0.1, 0.2)):
        run(f"{kind}, n 4000, SNR {snr}", count, kind, snr=snr)
    if not options.all:
        return
    for kind in KINDS:
        run(f"{kind}, n 2000, SNR 0.1", count, kind, n=2000)
        run(f"{kind}, Pareto sizes, sign memory", count, kind, sizes="pareto", long_memory=True)
        run(f"{kind}, no impact, n 1000", count, kind, lam=0.0, n=1000)
    run("gaussian, sign memory, noise AR(1) 0.3", count, "gaussian", long_memory=True, autoregression=0.3)
    run("student_t, on a grid", count, "student_t", grid=0.25)


if __name__ == "__main__":
    main()
