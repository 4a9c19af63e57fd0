import numpy as np
import pytest

from difffinance.calibration.background_flow import (
    calibrate_flow,
    market_rows,
    split_blocks,
    spread_edges,
    take_sizes,
)
from difffinance.calibration.visible_day import VisibleDay, visible_day
from difffinance.config import MarketConfig
from difffinance.errors import RefusedFit
from difffinance.market.flow_fits import load_flow_fit
from difffinance.simulation.simulated_day import simulate_day

CONFIG = {"start_price": 572.0, "price_limit": None}


def test_halves_of_blocks_are_random_and_apart():
    one, other = split_blocks(np.repeat(np.arange(78), 3), np.random.default_rng(1))
    assert len(one) == len(other) == 39 and not set(one) & set(other)
    assert one.min() < 20 and other.max() > 58  # not morning and afternoon


def test_prints_of_a_moment_on_one_side_are_one_market_order():
    side = np.array([1, 1, 1, -1, 1])
    n, levels = 5, np.array([[[99.0], [101.0]]] * 5)
    day = VisibleDay(
        np.array([0.0, 1, 1, 1, 2]), np.array([0, 2, 2, 2, 2]), side, np.full(n, 99.0), np.array([50.0, 30, 20, 5, 8]),
        np.arange(n), levels, np.full((n, 2, 1), 50.0), np.zeros(n, int),
    )  # fmt: skip
    first = market_rows(day)
    assert first.tolist() == [1, 3, 4]
    size, queue = take_sizes(day, first)
    assert size.tolist() == [50.0, 5.0, 8.0] and queue.tolist() == [50.0, 50.0, 50.0]


def test_edges_of_a_narrow_spread_lie_far_away():
    edges = spread_edges(np.array([1.0] * 90 + [2.0] * 10))
    assert edges[:2].tolist() == [1.5, 2.5] and (edges[2:] > 1e5).all() and len(edges) == 6


def test_too_little_to_fit_is_refused():
    day = simulate_day(MarketConfig(flow_model="santa_fe", **CONFIG), 1, seconds=300.0)
    with pytest.raises(RefusedFit, match="2000 messages"):
        calibrate_flow(day, np.random.default_rng(0))


@pytest.mark.slow
def test_what_a_model_simulates_gives_its_parameters_back():
    planted = load_flow_fit("GOOG")
    day = simulate_day(MarketConfig(flow_model="santa_fe", **CONFIG), 5, seconds=9000.0, levels=60)
    found = calibrate_flow(day, np.random.default_rng(0), blocks=np.unique(visible_day(day).blocks))
    limit, market, unit = planted.table("unit")
    # Sixty levels show every order; ten would leave out a fifth of them, and the rate would be that much lower.
    assert found.table("unit")[2] == pytest.approx(round(unit), abs=0.01)
    assert found.table("unit")[0] == pytest.approx(limit, rel=0.03)
    assert found.table("unit")[1] == pytest.approx(market, rel=0.08)
    assert found.market_orders == pytest.approx(2.0 * market, rel=0.08)  # each takes one unit
    near = slice(20, 50)
    assert found.table("unit_cancel")[near].mean() == pytest.approx(planted.table("unit_cancel")[near].mean(), rel=0.15)
    assert found.table("place")[:, 1].max() <= 1.0 and abs(found.intraday) < 0.15  # no U-shape was planted
    # A Markov flow has next to no children of market orders.
    assert found.table("mean")[2] < 0.35


@pytest.mark.slow
def test_the_self_exciting_flow_gives_its_excitation_back():
    planted = load_flow_fit("GOOG")
    day = simulate_day(MarketConfig(flow_model="fitted", **CONFIG), 5, seconds=12_000.0)
    found = calibrate_flow(day, np.random.default_rng(0), blocks=np.unique(visible_day(day).blocks))
    place, there = found.table("place")[1:5], planted.table("place")[1:5]
    assert np.abs(place - there).max() < 0.12
    assert np.abs(found.table("take") - planted.table("take")).max() < 0.12
    assert found.table("mean")[0] == pytest.approx(planted.table("mean")[0], rel=0.35)
    assert found.branching_ratio == pytest.approx(planted.branching_ratio, abs=0.2)
