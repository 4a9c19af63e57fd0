import math

import numpy as np
import pytest

from difffinance.config import FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow import INTRADAY, LOG_VALUE, NOW, activity, buys, draw_distance, parameters
from difffinance.market.flow_state import LEAN, PULL, REFILL
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from difffinance.market.rules import session_rules
from difffinance.market.scale import measure_flow, reference_steps
from difffinance.market.venue import Venue


def background(seconds, seed=1, step=100.0, **flow):
    """Run the background alone; return its events and the mid at each step."""
    config = MarketConfig(price_limit=None, flow=FlowConfig(**flow))
    venue = Venue(config, session_rules(config), np.zeros(0), np.zeros(0, np.int64))
    rng, events, mids = np.random.default_rng(seed), [], []
    venue.run_flow(rng, 900.0)
    while venue.flow.clock[NOW] < 900 + seconds:
        venue.clear_step()
        venue.run_flow(rng, float(venue.flow.clock[NOW]) + step)
        events.append(venue.floor.events[: venue.floor.counts[0]].copy())
        mids.append(venue.floor.marks[0])
    return np.concatenate(events), np.array(mids), venue


def test_rates_of_messages_are_those_of_the_configuration():
    events, _, _ = background(10_000, intraday=0.0, market_rate=0.5, limit_rate=2.0)
    market, limit = (events["kind"] == MARKET).sum(), (events["kind"] == LIMIT).sum()
    assert market == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert limit == pytest.approx(20_000, abs=4 * np.sqrt(20_000))
    assert (np.diff(events["ts"]) >= 0).all()


def test_sides_of_limit_orders_are_those_of_the_exact_formula():
    p, rng = parameters(MarketConfig()), np.random.default_rng(0)
    for gap in rng.normal(0.0, 1.5 * p[PULL], 2000):
        thin = rng.uniform(-1.0, 1.0)
        edge = 0.5 + 0.5 * (p[LEAN] * math.tanh(gap / p[PULL]) + p[REFILL] * thin)
        for draw in (rng.random(), edge - 1e-12, np.nextafter(edge, 0.0), edge, np.nextafter(edge, 1.0), edge + 1e-9):
            assert buys(gap / p[PULL], p[LEAN], p[REFILL] * thin, draw) == (draw < edge)


@pytest.mark.parametrize("flow", [{}, {"placement_scale": 1.7, "placement_tail": 0.8, "placement_max": 7}])
def test_distances_of_limit_orders_are_those_of_the_exact_formula(flow):
    config = MarketConfig(flow=FlowConfig(**flow))
    venue = Venue(config, session_rules(config), np.zeros(0), np.zeros(0, np.int64))
    f = config.flow
    for draw in np.append(np.random.default_rng(0).random(20_000), [1.0, 2.0**-53, 0.5, 1 / 1024, 1023 / 1024]):
        exact = f.placement_scale * (draw ** (-1.0 / f.placement_tail) - 1.0)
        assert draw_distance(venue.flow_handle, draw) == min(math.floor(exact), f.placement_max)


def test_orders_live_as_long_as_the_cancel_rate_says():
    # Without market orders and inside placement an order leaves by cancellation only: mean life 1 / rate.
    events, _, venue = background(20_000, market_rate=0.0, cancel_rate=0.02, intraday=0.0, partial_cancels=0.0)
    assert (events["kind"] == CANCEL).sum() > 10_000
    alive = np.count_nonzero(venue.floor.orders["quantity"])
    assert alive == pytest.approx(1.2 / 0.02, abs=4 * np.sqrt(60))


def test_signs_remember_and_returns_do_not():
    events, mids, _ = background(40_000, step=10.0)
    signs = events["side"][events["kind"] == MARKET].astype(float)
    signs -= signs.mean()
    returns = np.diff(np.log(mids))

    def autocorrelation(x, lag):
        return np.corrcoef(x[:-lag], x[lag:])[0, 1]

    assert autocorrelation(signs, 1) > 0.1
    assert 0.02 < autocorrelation(signs, 20) < autocorrelation(signs, 1)
    assert all(abs(autocorrelation(returns, lag)) < 0.12 for lag in (2, 5, 10))


def test_price_follows_the_value():
    gaps, mids = [], []
    for seed in range(4):
        _, path, venue = background(5_000, step=5_000.0, seed=seed, fundamental_volatility=0.03)
        mids.append(np.log(path[-1]))
        gaps.append(mids[-1] - venue.flow.clock[LOG_VALUE])
    assert np.sqrt(np.mean(np.square(gaps))) < 0.005 < np.std(mids)


def test_activity_is_u_shaped_with_mean_one():
    p = parameters(MarketConfig())
    day = np.array([activity(p, t) for t in np.linspace(0, 23_400, 2001)])
    assert day.mean() == pytest.approx(1.0, abs=1e-3)
    assert day[0] == pytest.approx(1 + 2 * p[INTRADAY]) and day.min() == pytest.approx(1 - p[INTRADAY])


def test_scale_measures_volume_and_volatility_of_the_flow():
    config = MarketConfig(flow=FlowConfig(intraday=0.0))
    scale = measure_flow(config)
    events, mids, _ = background(30_000, seed=9, step=10.0, intraday=0.0)
    volume = events["done"][events["kind"] == MARKET].sum() / 3000
    assert scale.volume == pytest.approx(volume, rel=0.1)
    assert scale.volatility == pytest.approx(np.diff(np.log(mids)).std(), rel=0.15)
    assert 0.005 < scale.reversion < 0.3
    assert scale.temporary > 0 and scale.permanent > 0
    assert measure_flow(MarketConfig(flow=FlowConfig(intraday=0.0), fee_bps=9.0)) is scale


def test_the_reference_run_of_long_steps_is_shorter_and_of_endless_ones_refused():
    """Orders of the run stay within memory; steps as they are used have all of it."""
    steps = [reference_steps(MarketConfig(step_seconds=s), rate) for s, rate in ((60, 1.5), (10, 10), (23400, 1.5))]
    assert steps == [8000, 8000, 284]
    with pytest.raises(InputError, match=r"a step of 9000 s .* about 9\d\d,\d\d\d background orders"):
        measure_flow(MarketConfig(step_seconds=9000.0, flow=FlowConfig(limit_rate=100.0)))
    with pytest.raises(InputError, match=r"20,000 background orders a second .* Allowed: up to 11,111"):
        measure_flow(MarketConfig(flow=FlowConfig(limit_rate=10_000.0, market_rate=10_000.0)))
    with pytest.raises(InputError, match=r"about 864,000,000 background orders. Allowed: up to 66,666"):
        reference_steps(MarketConfig(step_seconds=86400), 10_000.0)
