"""Speed of calibration: one estimator call, one day from Parquet to all fits, and cost against length.

`python tests/benchmarks/bench_impact_fit.py [--day ZIP] [--days 1 10 100]`. CPU seconds, median of 7 after a warm-up
(long runs once). The reference for one call is scipy's curve_fit of the same law without intervals, in the same run.
The table of accuracy is table_planted.py.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "calibration"))

import numpy as np
import polars as pl
from planted_worlds import plant
from scipy.optimize import curve_fit

from difffinance.calibration import fit_impact_law
from difffinance.calibration.impact import calibrate_impact
from difffinance.calibration.symbol import calibrate_symbol
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.records import BookDay


def seconds(task: Callable[[], object], repeats: int = 7) -> float:
    """Return the median CPU time of `task` after one warm-up."""
    if repeats > 1:
        task()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        found.append(time.process_time() - start)
    return float(np.median(found))


def one_call() -> None:
    """Print the cost of one estimator call on 4,000 points."""
    world = plant("both", np.random.default_rng(1))
    x, y = world.quantity, world.price_change
    ours = seconds(lambda: fit_impact_law(x, y))
    law = lambda q, lam, gamma: lam * np.sign(q) * np.abs(q) ** gamma  # noqa: E731
    theirs = seconds(lambda: curve_fit(law, x, y, p0=(0.01, 0.6)))
    print(f"fit_impact_law on {len(x)} points: {ours:.3f} s, {ours / theirs:.0f} x a bare curve_fit (bar: 1 s)")


def whole_day(path: str | None) -> None:
    """Print the cost of one day from Parquet to all fits with intervals."""
    with tempfile.TemporaryDirectory() as folder:
        lake, symbol = Lake(folder), "SYNTH"
        if path is None:
            fetch_tables("sample", [], lake=lake, config=DataConfig())
        else:
            symbol = fetch_tables("lobster", [path], lake=lake, config=DataConfig())["tables"][0]["symbol"]
        rows = load_book(symbol, lake=lake).events.height
        each = seconds(lambda: calibrate_symbol(symbol, lake=lake), 3)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{symbol}, {rows:,} messages, Parquet to all fits: {each:.2f} s CPU (bar: 3 s), peak {memory:.2f} GB (1)"
        )


def joined_days(day: BookDay, count: int) -> BookDay:
    """Return `count` copies of a day, one after the other in time, one level of book."""
    depth = day.depth.select("ts", *(f"{s}_{w}_1" for s in ("bid", "ask") for w in ("price_ticks", "quantity")))
    events = day.events.select("ts", "kind", "side", "quantity")
    span = pl.duration(days=1, time_unit="ns")
    later = [[frame.with_columns(pl.col("ts") + i * span) for i in range(count)] for frame in (events, depth)]
    return replace(day, events=pl.concat(later[0]), depth=pl.concat(later[1]), levels=1)


def against_length(counts: list[int]) -> None:
    """Print the cost of the order and 10 s fits against the number of synthetic days in one table."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        fetch_tables("sample", [], lake=lake, config=DataConfig())
        day = load_book("SYNTH", lake=lake)
    first = None
    for count in counts:
        joined = joined_days(day, count)
        cost = seconds(lambda j=joined: [calibrate_impact(j, horizon_s=h) for h in (0.0, 10.0)], 3 if count < 20 else 1)
        per = 1e6 * cost / joined.events.height
        first = first or per
        print(
            f"{count:4d} days, {joined.events.height:10,} messages: {cost:7.2f} s, "
            f"{per:.2f} us a message, {per / first:.2f} x"
        )


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--day", help="an official LOBSTER zip; the packaged synthetic day without")
    parser.add_argument("--days", nargs="+", type=int, default=[1, 10])
    options = parser.parse_args()
    one_call()
    whole_day(options.day)
    against_length(options.days)


if __name__ == "__main__":
    main()
