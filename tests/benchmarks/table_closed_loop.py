"""The closed loop on GOOG: does the flow fitted to the day, simulated, return the day's own 10 s law?

`python tests/benchmarks/table_closed_loop.py SHARED_DATA [--days 6] [--seed 101] [--model fitted]
[--picture loop.png]` with the folder that holds `lobster/`. Prints every simulated day's law, the Mahalanobis distance
of their mean from the real one, and whether it lies in the joint 95% region.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl

from difffinance.config import DataConfig, MarketConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.market.flow_fits import load_flow_fit
from difffinance.reporting.impact_story import plot_closed_loop
from difffinance.simulation.closed_loop import close_loop

ARCHIVE = "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"


def main() -> None:
    """Print the table and the verdict."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--seed", type=int, default=101, help="of the first day; 101 to 106 were seen in matching")
    parser.add_argument("--model", default="fitted")
    parser.add_argument("--horizon", type=float, default=10.0)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        fetch_tables("lobster", [str(options.data / ARCHIVE)], lake=lake, config=DataConfig())
        day = load_book("GOOG", lake=lake)
    start = round(load_flow_fit("GOOG").start_price, 2)
    config = MarketConfig(flow_model=options.model, start_price=start, price_limit=None, symbol="GOOG")
    loop = close_loop(day, config, range(options.seed, options.seed + options.days), horizon_s=options.horizon)
    with pl.Config(tbl_rows=100, tbl_cols=20, tbl_width_chars=160, tbl_hide_dataframe_shape=True):
        print(loop.table())
    print(loop)
    for reason in loop.refused:
        print(f"refused: {reason}")
    if options.picture:
        options.picture.write_bytes(plot_closed_loop(loop, name="GOOG").png())


if __name__ == "__main__":
    main()
