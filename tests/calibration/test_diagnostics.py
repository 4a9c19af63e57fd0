import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted_worlds import plant

from difffinance.calibration import fit_impact_law
from difffinance.calibration.diagnostics import (
    binned_response,
    book_walk,
    impact_curve,
    response_function,
)
from difffinance.errors import InputError
from difffinance.records import BookDay, Instrument
from difffinance.schemas import depth_schema
from tests.calibration.conftest import make_day


def test_binned_response_folds_sells():
    quantity, change = [1.0, -1.0, 2.0, -2.0, 0.0], [3.0, -5.0, 7.0, -9.0, 99.0]
    table = binned_response(quantity, change, bins=2)
    assert table["quantity"].to_list() == [1.0, 2.0]
    assert table["response"].to_list() == [4.0, 8.0]
    assert table["standard_error"].to_list() == pytest.approx([1.0, 1.0])
    assert table["orders"].to_list() == [2, 2]


def test_curve_passes_through_its_bins():
    world = plant("gaussian", np.random.default_rng(61), snr=0.5)
    fit = fit_impact_law(world.quantity, world.price_change)
    table = binned_response(world.quantity, world.price_change, bins=8)
    curve = impact_curve(fit, table["quantity"])
    miss = (table["response"] - curve["price_change"]) / table["standard_error"]
    assert miss.abs().max() < 3.5


def test_band_is_the_delta_method():
    """At |q| = 1 the curve is lam, and rescaling the quantity must not change the band elsewhere."""
    world = plant("gaussian", np.random.default_rng(62), snr=0.5)
    fit = fit_impact_law(world.quantity, world.price_change)
    at_one = impact_curve(fit, [1.0])
    reach = math.exp(1.959964 * fit.lam_se / fit.lam)
    assert at_one["upper"][0] == pytest.approx(fit.lam * reach)
    scaled = fit_impact_law(world.quantity / 100.0, world.price_change)
    here, there = impact_curve(fit, [500.0]), impact_curve(replace(scaled, quantity_scale=100.0), [500.0])
    for column in ("price_change", "lower", "upper"):
        assert there[column][0] == pytest.approx(here[column][0], rel=1e-3)
    # The band is narrow where the data are: the correlation of lam and gamma is in it.
    assert np.log(here["upper"][0] / here["lower"][0]) < 0.5 * np.log(at_one["upper"][0] / at_one["lower"][0])


def alternating_day(count=40):
    """Buys and sells by turns; each moves the mid one cent in its own direction."""
    rows, mid = [(0, "new", 1, 10, 1000, 1002)], 0
    for i in range(count):
        sign = 1 if i % 2 == 0 else -1
        mid += sign
        rows.append((i + 1, "execution", -sign, 10, 1000 + mid, 1002 + mid))
    return make_day(rows)


def test_response_and_sign_memory_of_alternating_orders():
    day = alternating_day()
    response = response_function(day, [1, 2])
    assert response["response"].to_list() == pytest.approx([0.01, 0.0])
    with pytest.raises(InputError, match="lags"):
        response_function(day, [0])


def test_walking_a_known_book():
    day = alternating_day(1)
    levels = {"bid_price_ticks_1": 1000, "bid_quantity_1": 100, "ask_price_ticks_1": 1002, "ask_quantity_1": 100}
    levels |= {"bid_price_ticks_2": 990, "bid_quantity_2": 100, "ask_price_ticks_2": 1012, "ask_quantity_2": 100}
    depth = day.depth.select("symbol", "ts", "seq").with_columns(**{k: pl.lit(v) for k, v in levels.items()})
    day = BookDay(Instrument("T"), day.events, depth_schema(2).check(depth), 2, day.date, True, "")
    table = book_walk(day, [50, 150, 200, 201])
    assert table["cost"].to_list() == pytest.approx([0.01, (100 * 0.01 + 50 * 0.11) / 150, 0.06, None], nan_ok=True)
    assert table["displacement"].to_list()[:3] == [0.0, pytest.approx(0.05), None]
    assert table["coverage"].to_list() == [1.0, 1.0, 1.0, 0.0]


def test_real_book_costs_more_to_walk_than_single_orders_move_it(real_days):
    """SCIENCE 2.1b: at 400 shares of GOOG 10.5 cents, against 3 cents of the single-order law."""
    table = book_walk(real_days["GOOG_10"], [400])
    assert table["displacement"][0] == pytest.approx(0.105, abs=0.02)
    response = response_function(real_days["GOOG_10"], [1, 10])
    assert (response["response"] > 3 * response["standard_error"]).all()
