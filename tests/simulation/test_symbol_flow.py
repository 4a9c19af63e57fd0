import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.background_flow import calibrate_flow, market_lot
from difffinance.calibration.visible_day import visible_day
from difffinance.config import MarketConfig
from difffinance.data.store import sha256_of
from difffinance.errors import InputError, NotInLakeError, RefusedFit
from difffinance.market.flow_fits import SIZE_TABLES, load_flow_fit
from difffinance.simulation.simulated_day import simulate_day
from difffinance.simulation.symbol_flow import fit_symbol_flow
from tests.calibration.test_symbol import store


@pytest.fixture(scope="module")
def small_day():
    market = MarketConfig(flow_model="fitted", start_price=572.0, price_limit=None, symbol="TINY")
    return simulate_day(market, 3, seconds=2400.0)


def read(answer):
    return json.loads(Path(answer["manifest"]).read_text())


@pytest.mark.slow
def test_a_users_own_day_becomes_a_market(lake, small_day):
    store(lake, small_day)
    answer = fit_symbol_flow("TINY", lake=lake, seed=3)
    assert answer["symbol"] == "TINY" and answer["date"] == small_day.date
    fit = load_flow_fit(answer["path"])
    assert fit.symbol == "TINY" and fit.branching_ratio < 1.0 and fit.table("worth")[0] >= 0.0
    half = set(answer["blocks"])
    assert half < set(visible_day(small_day).blocks.tolist()) and len(half) == 4
    manifest = read(answer)
    assert manifest["sha256"] == sha256_of(lake.folder("fits") / "flow_TINY.json") and manifest["seed"] == 3
    again = fit_symbol_flow("TINY", lake=lake, seed=3)
    assert read(again)["sha256"] == manifest["sha256"]
    market = MarketConfig(price_limit=None, **answer["market"])
    day = visible_day(simulate_day(market, 1, seconds=900.0))
    assert len(day.kind) > 500 and abs(np.median(day.mid) * market.tick_size / fit.start_price - 1.0) < 0.02


@pytest.mark.slow
def test_quantities_of_a_coin_become_whole_lots(small_day):
    def in_units(table, unit):
        return table.with_columns(pl.col("^.*quantity.*$").cast(pl.Float64) * unit)

    coin = replace(
        small_day, instrument=replace(small_day.instrument, lot_size=1e-8),
        events=in_units(small_day.events, 1e-3), depth=in_units(small_day.depth, 1e-3),
    )  # fmt: skip
    median = small_day.events.filter(pl.col("kind") == "new")["quantity"].median()
    assert (market_lot(small_day), market_lot(coin)) == (1.0, 10.0 ** np.floor(np.log10(median * 1e-7)))
    shares, coins = (calibrate_flow(day, np.random.default_rng(1)) for day in (small_day, coin))
    lots = 1e-3 / market_lot(coin)  # a share is that many
    for name in SIZE_TABLES:
        assert coins.table(name) == pytest.approx(np.maximum(np.rint(shares.table(name) * lots), 1.0), abs=1.0), name
    for name in ("place", "life", "children", "unit_limit", "take"):
        assert np.array_equal(coins.table(name), shares.table(name)), name


def test_what_cannot_be_fitted_is_refused(lake, small_day):
    with pytest.raises(NotInLakeError):
        fit_symbol_flow("NOPE", lake=lake)
    with pytest.raises(InputError, match="rounds"):
        fit_symbol_flow("TINY", lake=lake, rounds=-1)
    with pytest.raises(RefusedFit, match="has 1"):
        calibrate_flow(replace(small_day, levels=1), np.random.default_rng(1))
