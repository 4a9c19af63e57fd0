from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.order_flow import FLOWS, aggregate_flow, market_orders, mid_prices, traded_volume
from difffinance.errors import InputError
from tests.calibration.conftest import make_day

SECOND = 1_000_000_000

# time, kind, RESTING side, quantity, best bid, best ask after the event
ROWS = [
    (1, "new", 1, 100, 1000, 1004),
    (2 * SECOND, "execution", -1, 10, 1000, 1004),  # a buy in three prints, the second one hidden
    (2 * SECOND, "hidden_execution", -1, 5, 1000, 1004),
    (2 * SECOND, "execution", -1, 20, 1000, 1006),
    (2 * SECOND, "execution", 1, 7, 998, 1006),  # a sell at the same nanosecond
    (2 * SECOND + 1, "execution", -1, 30, 998, 1006),  # another buy a nanosecond later
    (3 * SECOND, "delete", 1, 50, 990, 1006),
    (11 * SECOND, "hidden_execution", 1, 40, 990, 1006),
    (12 * SECOND, "new", 1, 50, 994, 1006),
    (25 * SECOND, "execution", 1, 60, 990, 1006),
]


@pytest.fixture
def day():
    return make_day(ROWS)


def test_prints_of_one_nanosecond_and_sign_are_one_order(day):
    orders = market_orders(day)
    assert orders["quantity"].to_list() == [30, -7, 30, -60]
    assert orders["prints"].to_list() == [2, 1, 1, 1]
    assert orders["mid_before"].to_list() == pytest.approx([10.02, 10.03, 10.02, 10.00])
    assert orders["price_change"].to_list() == pytest.approx([0.01, -0.01, 0.0, -0.02])


def test_hidden_prints_count_only_in_all_flow(day):
    orders = market_orders(day, flow="all")
    assert orders["quantity"].to_list() == [35, -7, 30, -40, -60]
    assert traded_volume(day) == 172


def test_buckets_begin_with_the_last_state_before_them():
    day = make_day([(-1, "new", 1, 100, 1000, 1004), *ROWS])
    buckets = aggregate_flow(day, 10.0)
    assert buckets["quantity"].to_list() == [53, 0, -60]
    assert buckets["orders"].to_list() == [3, 0, 1]
    assert buckets["price_change"].to_list() == pytest.approx([-0.04, 0.02, -0.02])
    assert buckets["price_change"].sum() == pytest.approx(mid_prices(day)[-1] - mid_prices(day)[0])
    assert aggregate_flow(day, 10.0, flow="all")["quantity"].to_list() == [58, -40, -60]


def test_bucket_in_which_the_file_begins_is_left_out(day):
    assert aggregate_flow(day, 10.0).height == 2


def test_orders_without_a_mid_are_left_out():
    rows = [
        (1, "execution", -1, 5, 1000, 1004),  # no state before it
        (2, "execution", -1, 5, 1000, None),  # takes the last ask
        (3, "new", -1, 5, 1000, 1004),
        (4, "execution", -1, 5, 1000, 1006),
    ]
    assert market_orders(make_day(rows))["price_change"].to_list() == pytest.approx([0.01])


@pytest.mark.parametrize(("horizon", "flow", "words"), [(0.0, "all", "horizon_s"), (10.0, "dark", "visible, all")])
def test_options_are_checked(day, horizon, flow, words):
    with pytest.raises(InputError, match=words):
        aggregate_flow(day, horizon, flow=flow)


def test_real_day_against_a_plain_loop(real_days):
    day = real_days["GOOG_1"]
    rows = day.events.select(pl.col("ts").cast(pl.Int64), "kind", "side", "quantity").rows()
    mids = mid_prices(day)
    expected = {}
    for i, (ts, kind, side, quantity) in enumerate(rows):
        if kind in ("execution", "hidden_execution"):
            entry = expected.setdefault((ts, -side), [i, i, 0.0])
            entry[1], entry[2] = i, entry[2] + quantity
    found = market_orders(day, flow="all")
    expected = {key: entry for key, entry in expected.items() if entry[0] > 0}
    assert found.height == len(expected)
    signed = [-sign * -total for (_, sign), (_, _, total) in expected.items()]
    change = [mids[last] - mids[first - 1] for first, last, _ in expected.values()]
    assert found["quantity"].to_list() == signed
    np.testing.assert_allclose(found["price_change"].to_numpy(), change, atol=1e-9)


@pytest.mark.parametrize("flow", FLOWS)
def test_files_of_one_and_ten_levels_give_the_same_flow(real_days, flow):
    one, ten = real_days["GOOG_1"], real_days["GOOG_10"]
    rows = ["first_row", "last_row"]
    assert market_orders(one, flow=flow).drop(rows).equals(market_orders(ten, flow=flow).drop(rows))
    for horizon in (10.0, 60.0):
        assert aggregate_flow(one, horizon, flow=flow).equals(aggregate_flow(ten, horizon, flow=flow))


def test_a_changed_day_computes_its_own_orders_and_mids(day):
    assert market_orders(day) is market_orders(day)
    with pytest.raises(ValueError, match="read-only"):
        mid_prices(day)[0] = 0.0
    halved = replace(day, instrument=replace(day.instrument, tick_size=day.instrument.tick_size / 2))
    assert mid_prices(halved) == pytest.approx(mid_prices(day) / 2)
    assert market_orders(halved)["price_change"].to_list() == pytest.approx([0.005, -0.005, 0.0, -0.01])
