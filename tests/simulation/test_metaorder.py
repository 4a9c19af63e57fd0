import math

import numpy as np
import pytest

from difffinance.config import FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.simulation.metaorder import AIMS, MetaorderStudy, _estimate, measure_metaorders, twin_mids


@pytest.fixture(scope="module")
def env():
    return MarketEnvironment(1, kinds=["twap"], num_steps=12)


def test_twins_differ_by_the_order_alone(env):
    none, again, traded = twin_mids(env, np.zeros(12), np.random.SeedSequence(3))
    assert np.array_equal(none, again) and traded == 0
    orders = np.where(np.arange(12) >= 6, 2.0, 0.0)
    pushed, without, traded = twin_mids(env, orders, np.random.SeedSequence(3))
    assert np.array_equal(without, none)  # the twin without the order is the same market
    assert np.array_equal(pushed[:7], none[:7]) and pushed[7:].mean() > none[7:].mean()
    assert traded > 0


def test_buys_push_up_and_sells_push_down_on_average(env):
    moved = []
    for r in range(12):
        for side in (1.0, -1.0):
            pushed, without, _ = twin_mids(env, np.full(12, 0.5 * side), np.random.SeedSequence(r))
            moved.append(side * (pushed - without)[-1])
    assert np.mean(moved) > 3 * np.std(moved) / math.sqrt(len(moved))


def test_a_planted_law_is_found_again():
    sizes, rng = np.array([0.001, 0.003, 0.01, 0.03, 0.1]), np.random.default_rng(2)
    peaks = 0.8 * sizes**0.5
    impacts = [p * np.array([1.0, 0.7, 0.6]) + 0.02 * rng.standard_normal((400, 3)) for p in peaks]
    found = _estimate(sizes, impacts)
    assert found["exponent"] == pytest.approx(0.5, abs=0.03)
    assert found["prefactor"] == pytest.approx(0.8, rel=0.1)
    assert found["relaxation_1"] == pytest.approx(0.7, abs=0.02)
    assert found["relaxation_2"] == pytest.approx(0.6, abs=0.02)
    exact = _estimate(sizes, [np.tile(p * np.array([1.0, 0.5, 0.25]), (3, 1)) for p in peaks])
    assert list(exact.values()) == pytest.approx([0.5, 0.8, 0.5, 0.25], rel=1e-9)


@pytest.mark.slow
def test_the_default_market_has_the_metaorders_of_real_ones():
    """Four sizes, so that the exponent is known to .04; `tests/benchmarks/table_metaorders.py` has the whole table."""
    study = measure_metaorders(sizes=(0.003, 0.01, 0.03, 0.1), replications=60, volatility_days=200)
    assert all(low - 0.05 <= getattr(study, name) <= high + 0.05 for name, (low, high) in AIMS.items()), study
    # What seats teach is what makes it so.
    untaught = MarketConfig(flow=FlowConfig(worth=0.0))
    without = measure_metaorders(untaught, sizes=(0.003, 0.03), replications=20, volatility_days=20)
    assert without.prefactor < 0.3 * study.prefactor


@pytest.mark.slow
def test_so_has_the_queue_reactive_one():
    market = MarketConfig(flow_model="queue_reactive", start_price=572.0)
    study = measure_metaorders(market, sizes=(0.003, 0.01, 0.03, 0.1), replications=30, volatility_days=200)
    assert all(low - 0.05 <= getattr(study, name) <= high + 0.05 for name, (low, high) in AIMS.items()), study


@pytest.mark.slow
def test_a_study_is_reproducible_and_reports_where_it_misses():
    """Small: the figures of a full study need minutes. The same seed gives the same table."""
    small = {"sizes": (0.001, 0.004), "replications": 6, "volatility_days": 2}
    market = MarketConfig(session_seconds=5000.0)
    first, second = (measure_metaorders(market, **small) for _ in range(2))
    assert first.table.equals(second.table) and first.ci == second.ci
    assert first.table["size"].to_numpy() == pytest.approx([0.0012, 0.0042], rel=0.02)  # 2 and 7 steps of 500
    assert first.table["steps"].to_list() == [2, 7]
    for name, (low, high) in first.ci.items():
        assert low <= high, name
    assert first.daily_volatility > 0
    aims = {"exponent": 0.5, "prefactor": 1.0, "relaxation_1": 0.6, "relaxation_2": 0.9}
    study = MetaorderStudy(first.table, **aims, ci={}, participation=0.3, daily_volatility=0.01, daily_volume=1.0,
                           replications=2, impacts=[])  # fmt: skip
    assert study.misses == {"relaxation_2": 0.9}


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"participation": 0.0}, "participation"),
        ({"participation": math.nan}, "participation"),
        ({"sizes": (0.01,)}, "sizes"),
        ({"sizes": (0.01, 2.0)}, "sizes"),
        ({"sizes": (0.01, math.nan)}, "sizes"),
        ({"sizes": (1e-6, 0.01)}, "one step"),
        ({"replications": 1}, "replications"),
        ({"volatility_days": 1}, "volatility_days"),
        ({"market": MarketConfig(mode="law")}, "book"),
    ],
)
def test_bad_studies_are_refused(bad, what):
    with pytest.raises(InputError, match=what):
        measure_metaorders(**bad)


@pytest.mark.slow
def test_under_the_fitted_flow_a_metaorder_moves_the_price_and_part_of_that_fades():
    market = MarketConfig(flow_model="fitted", start_price=572.0, price_limit=None, max_position=None)
    env, peak, left = MarketEnvironment(1, market, kinds=["twap"], num_steps=90), [], []
    for r in range(40):
        side = 1.0 if r % 2 else -1.0
        orders = np.where(np.arange(90) < 30, 0.8 * side, 0.0)
        pushed, without, traded = twin_mids(env, orders, np.random.SeedSequence(r))
        assert side * traded > 0 and (pushed - without)[0] == 0.0
        peak.append(side * (pushed - without)[30])
        left.append(side * (pushed - without)[-1])
    assert np.mean(peak) > 3 * np.std(peak) / math.sqrt(len(peak))
    assert 0.0 < np.mean(left) < np.mean(peak)
