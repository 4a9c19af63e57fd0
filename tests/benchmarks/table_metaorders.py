"""Metaorders of 0.1 to 10% of a day's volume in the book market, against what real ones show.

`python tests/benchmarks/table_metaorders.py [--model fitted] [--participation 0.3] [--replications 40]
[--picture metaorders.png]`. Prints impact by size with standard errors, the fitted exponent, Y and what is left after
one and two durations, each with its 95% interval and the aim. `--model` is a `market.flow_model`. Minutes: 3 markets a
size and replication.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl

from difffinance.config import MarketConfig
from difffinance.market.flow_fits import load_flow_fit
from difffinance.reporting.facts_plots import plot_metaorders
from difffinance.simulation.metaorder import AIMS, measure_metaorders


def main() -> None:
    """Print the table and the four figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="zero_intelligence")
    parser.add_argument("--replications", type=int, default=40)
    parser.add_argument("--participation", type=float, default=0.3)
    parser.add_argument("--days", type=int, default=200, help="days without orders, for the daily volatility")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    market = MarketConfig(flow_model=options.model)
    if options.model != "zero_intelligence":  # its ticks and sizes are those of the fitted day
        market = market.model_copy(update={"start_price": round(load_flow_fit(market.flow_fit).start_price, 2)})
    study = measure_metaorders(
        market, participation=options.participation, replications=options.replications, volatility_days=options.days,
        seed=options.seed,
    )  # fmt: skip
    with pl.Config(tbl_rows=20, tbl_cols=20, tbl_width_chars=140, float_precision=4, tbl_hide_dataframe_shape=True):
        print(study.table)
    for name, (low, high) in AIMS.items():
        lower, upper = study.ci[name]
        said = "missed" if name in study.misses else "met"
        print(f"{name:<13} {getattr(study, name):6.3f} [{lower:.3f}, {upper:.3f}]  aim {low} to {high}: {said}")
    if options.picture:
        picture = plot_metaorders(study.table, exponent=study.exponent, prefactor=study.prefactor)
        options.picture.write_bytes(picture.png())


if __name__ == "__main__":
    main()
