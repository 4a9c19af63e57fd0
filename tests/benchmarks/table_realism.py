"""The realism table: LOB-Bench's distances of each background model from held-out blocks of GOOG's day, with intervals.

Run as a program: `python tests/benchmarks/table_realism.py [FIT.json] [--match ROUNDS]`. Blocks of five minutes are
halved at random (seed 2012). The shipped fit saw the first half alone; the second half is looked at here only. The
floor is the distance between the halves. With `--match` the fit is made anew, matched by simulation (0 rounds: as the
shipped one) and written to FIT.json.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from difffinance.calibration.background_flow import calibrate_flow, split_blocks
from difffinance.calibration.visible_day import visible_day
from difffinance.config import DataConfig, MarketConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.market.flow_fits import flow_fit_to_json, load_flow_fit
from difffinance.simulation.book_scores import book_scores
from difffinance.simulation.flow_matching import match_flow, matched
from difffinance.simulation.realism import FLOOR, compare_days, conditional_distances, drift, realism_table
from difffinance.simulation.responses import response_distance, response_functions
from difffinance.simulation.simulated_day import simulate_day
from difffinance.simulation.stylized_facts import facts_table

ARCHIVE = Path(__file__).resolve().parents[3] / "shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
MODELS = ("santa_fe", "queue_reactive", "fitted")
SPLIT_SEED, SEEDS = 2012, (101, 102, 103)
MATCH_SEEDS = (1, 2, 3, 4)
# Where the search begins: what a round of it on the training blocks moved (`flow_matching.FACTORS`). The shipped fit.
START = (0.2, 0.3, 0.3, 0.0, 0.3, -0.6, -0.15, 0.7, 0.0, 0.0, 0.0)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fit", nargs="?", default="GOOG")
    parser.add_argument("--match", type=int, metavar="ROUNDS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        fetch_tables("lobster", [str(ARCHIVE)], lake=lake, config=DataConfig())
        day = load_book("GOOG", lake=lake)
    real = visible_day(day)
    training, held_out = split_blocks(real.blocks, np.random.default_rng(SPLIT_SEED))
    if arguments.match is not None:
        fit = calibrate_flow(day, np.random.default_rng(SPLIT_SEED))
        config = _config("fitted", fit.start_price)
        if arguments.match > 0:
            options = {"rounds": arguments.match, "seeds": MATCH_SEEDS, "report": print}
            fit = match_flow(fit, day, training, config, start=np.array(START), **options)
        else:
            fit = matched(fit, np.array(START))
        fit = replace(fit, notes=f"GOOG on NASDAQ, {day.date}: {fit.notes}")
        Path(arguments.fit).write_text(json.dumps(flow_fit_to_json(fit)), encoding="utf-8")
    fit = load_flow_fit(arguments.fit)
    print(fit)
    days = {model: [simulate_day(_config(model, fit.start_price), s, fit=fit) for s in SEEDS] for model in MODELS}
    compared = compare_days(day, days, training, held_out, np.random.default_rng(1))
    pl.Config.set_tbl_rows(100)
    pl.Config.set_float_precision(3)
    pl.Config.set_tbl_hide_dataframe_shape(True)
    table = realism_table(compared)
    print("Wasserstein-1, standardised by pooled mean and deviation (LOB-Bench), held-out blocks")
    print(table.pivot(on="model", index="score", values="distance"))
    for metric in ("wasserstein", "wasserstein_real", "l1"):
        print(realism_table(compared, metric=metric).filter(pl.col("score").is_in(["mean", "improvement"])))
    simulated = {model: [visible_day(d) for d in days[model]] for model in MODELS}
    print("conditional Wasserstein-1 (deciles of the condition, edges of the real day)")
    rows = {model: conditional_distances(real, found[0], held_out) for model, found in simulated.items()}
    print(pl.DataFrame([{"model": model, **found} for model, found in rows.items()]))
    here = response_functions(real, held_out)
    rows = {m: response_distance(here, response_functions(d[0], held_out)) for m, d in simulated.items()}
    rows[FLOOR] = response_distance(here, response_functions(real, training))
    print("responses by event type, relative difference:", {name: round(value, 3) for name, value in rows.items()})
    print("mean distance by time since the start (drift)")
    for model in MODELS:
        print(model, drift(book_scores(real), simulated[model])["distance"].round(3).to_list())
    print(facts_table({"real": real, **{model: found[0] for model, found in simulated.items()}}))


def _config(model: str, price: float) -> MarketConfig:
    return MarketConfig(flow_model=model, start_price=round(price, 2), price_limit=None, symbol="GOOG")


if __name__ == "__main__":
    main()
