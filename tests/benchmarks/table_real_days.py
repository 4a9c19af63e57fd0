"""The real-day table: what calibration says of real data, with intervals and placebos.

`python tests/benchmarks/table_real_days.py SHARED_DATA` with the folder that holds `lobster/`, `lean_us_equity/`,
`binance_ws_raw/`. Every row is an association; what may be charged stands below with its tests.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from difffinance.calibration.pooling import fit_cross_impact
from difffinance.calibration.symbol import calibrate_symbol
from difffinance.calibration.tape import calibrate_tape, tape_parts
from difffinance.config import CalibrationConfig, DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.errors import DiffFinanceError

HEADER = (
    f"{'data':22s}{'unit':10s}{'s':>7s} {'flow':8s}{'lam [95%]':>32s}{'gamma [95%]':>24s}{'R2':>7s}{'oos':>7s}"
    f"{'placebo R2 95%':>16s}{'p':>7s}{'n':>7s}  noise, volume"
)


def row(name: str, fit: dict[str, Any]) -> str:
    """Return one line of the table."""
    lam, gamma = fit["lam_ci95"], fit["gamma_ci95"]
    return (
        f"{name:22s}{fit['unit']:10s}{fit['horizon_s']:7.4g} {fit['flow']:8s}"
        f"{fit['lam']:10.3g} [{lam[0]:8.2g}, {lam[1]:8.2g}]{fit['gamma']:8.3f} [{gamma[0]:.3f}, {gamma[1]:.3f}]"
        f"{fit['r2']:7.3f}{fit['r2_oos']:7.3f}{fit['placebo']['r2_95']:16.3f}{fit['placebo']['p_value']:7.3f}"
        f"{fit['n_obs']:7d}  {fit['noise']}, {fit['volume_base']}"
        f"{'  REFUSED' if fit['placebo']['p_value'] > 0.05 else ''}"
    )


def book(name: str, symbol: str, lake: Lake) -> None:
    """Print a day of order-book data: fits, then what may be charged."""
    answer = calibrate_symbol(symbol, lake=lake, horizons=[1.0, 10.0, 60.0, 300.0])
    for fit in [*answer["fits"], *answer["by_trades"]["fits"]]:
        print(row(name, fit))
    for refusal in answer["refused"]:
        print(f"{name:22s}refused: {refusal['unit']} {refusal['horizon_s']} s {refusal['flow']}: {refusal['reason']}")
    found = answer["propagator"]
    if "in_orders" in found:
        kernel = found["in_orders"]
        print(
            f"{name:22s}propagator: decay {kernel['decay']:.3f} {np.round(kernel['decay_ci'], 3)}, sign exponent "
            f"{kernel['sign_exponent']:.2f} +- {kernel['sign_exponent_se']:.2f}, diffusive decay "
            f"{kernel['decay_of_diffusion']:.3f}"
        )
    if "chargeable" in found:
        charged = found["chargeable"]
        law, free = charged["law"], charged["free"]
        print(
            f"{name:22s}free law: gamma {free['gamma']:.2f}, decay {free['kernel']['decay']:.2f}, best round trip "
            f"{charged['round_trip_share']:.0%} of the cost of buying; charged instead: gamma {law['exponent']:.2f}, "
            f"decay {law['decay']:.2f}, R2 {charged['r2']:.3f} -> {charged['r2_charged']:.3f}"
        )
    shares = ", ".join(f"{s['horizon_s']:g} s {s['inside_trades']:.0%}" for s in answer["associations"]["slope_split"])
    print(f"{name:22s}slope inside trades: {shares}")


def tape(name: str, symbol: str, lake: Lake) -> None:
    """Print the days of trades and quotes."""
    for part in tape_parts(symbol, lake=lake):
        for horizon in (1.0, 10.0, 60.0):
            rng = np.random.default_rng([7, round(1e3 * horizon)])
            try:
                fit = calibrate_tape(symbol, part, horizon, lake=lake, config=CalibrationConfig(), rng=rng)
            except DiffFinanceError as reason:
                print(f"{name + ' ' + part:22s}refused at {horizon:g} s: {reason}")
                continue
            answer = {
                k: getattr(fit, k) for k in ("unit", "horizon_s", "flow", "lam", "gamma", "r2", "r2_oos", "n_obs")
            }
            answer |= {"lam_ci95": fit.lam_ci, "gamma_ci95": fit.gamma_ci, "noise": fit.noise}
            answer |= {"placebo": {"r2_95": fit.placebo_r2_95, "p_value": fit.placebo_p_value}}
            print(row(f"{name} {part}", answer | {"volume_base": fit.volume_base}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        print(HEADER)
        for symbol, levels in (("GOOG", 10), ("AAPL", 1)):
            path = data / "lobster" / f"LOBSTER_SampleFile_{symbol}_2012-06-21_{levels}.zip"
            fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
            book(f"{symbol} {levels}", symbol, lake)
        for horizon in (10.0, 60.0):
            days = [load_book(symbol, lake=lake) for symbol in ("GOOG", "AAPL")]
            print(f"GOOG and AAPL, {horizon:g} s: {fit_cross_impact(*days, horizon_s=horizon)}")
        fetch_tables("lean", [str(data / "lean_us_equity" / "tick" / "ibm")], lake=lake, config=DataConfig())
        tape("IBM", "IBM", lake)
        capture = data / "binance_ws_raw" / "usdm_btcusdt_20240808.gz"
        try:
            answer = fetch_tables("binance", [str(capture)], lake=lake, config=DataConfig())
        except DiffFinanceError as reason:
            print(f"Binance: {reason}")
            return
        symbol = answer["tables"][0]["symbol"]
        book(symbol, symbol, lake)


if __name__ == "__main__":
    main()
