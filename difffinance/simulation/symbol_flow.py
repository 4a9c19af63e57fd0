"""`calibrate SYMBOL --flow`: the background flow fitted to the newest order-book day of a symbol, kept in the lake."""

from typing import Any

import numpy as np

from difffinance.calibration.background_flow import calibrate_flow, market_lot, split_blocks
from difffinance.calibration.visible_day import visible_day
from difffinance.config import MarketConfig
from difffinance.data.loading import load_book
from difffinance.data.store import Lake, sha256_of, write_json
from difffinance.errors import InputError
from difffinance.market.flow_fits import FlowFit, flow_fit_to_json
from difffinance.records import BookDay
from difffinance.simulation.flow_matching import match_flow

_TRAINING, _FIT = 0, 1  # streams of random numbers


def fit_symbol_flow(symbol: str, *, lake: Lake, seed: int = 7, rounds: int = 0) -> dict[str, Any]:
    """Fit the flow to a random half of the five-minute blocks; write it and its manifest; return what was written.

    `rounds` of matching by simulation follow (`flow_matching`; minutes each), on the same blocks. The answer has
    `symbol`, `date`, `path` (give it to `market.flow_fit`), `manifest`, `market` (settings under which the flow is the
    one of the day) and `blocks`, the training ones: judge the flow on the others. Raises `NotInLakeError` without an
    order-book day, `RefusedFit` where it has too few messages.
    """
    if rounds < 0:
        raise InputError(f"rounds is {rounds}. Allowed: 0 or more rounds of matching.")
    day = load_book(symbol, lake=lake)
    blocks = split_blocks(visible_day(day).blocks, np.random.default_rng([seed, _TRAINING]))[0]
    fit = calibrate_flow(day, np.random.default_rng([seed, _FIT]), blocks=blocks)
    market = market_of(fit, day)
    if rounds:
        fit = match_flow(fit, day, blocks, MarketConfig(price_limit=None, **market), rounds=rounds)
    path = lake.folder("fits") / f"flow_{symbol}.json"
    source = lake.table_path("BookEvents", symbol, day.date)
    written = {
        "symbol": symbol, "date": day.date, "synthetic": day.synthetic, "source": source.name,
        "source_sha256": sha256_of(source) if source.is_file() else None, "seed": seed, "rounds": rounds,
        "blocks": blocks.tolist(), "market": market | {"flow_fit": str(path)},
        "branching_ratio": fit.branching_ratio, "notes": fit.notes,
    }  # fmt: skip
    write_json(path, flow_fit_to_json(fit))
    manifest = write_json(path.with_suffix(".manifest.json"), written | {"sha256": sha256_of(path)})
    return {**written, "path": str(path), "manifest": str(manifest)}


def market_of(fit: FlowFit, day: BookDay) -> dict[str, Any]:
    """Return the settings of a market whose ticks, lots and prices are those of the fitted day."""
    tick = day.instrument.tick_size
    price = round(round(fit.start_price / tick) * tick, 10)  # as it is written, 572.16 and not 572.1600000000001
    return {
        "symbol": fit.symbol, "flow_model": "fitted", "start_price": price, "tick_size": tick,
        "lot_size": market_lot(day),
    }  # fmt: skip
