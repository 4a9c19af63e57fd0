"""Episodes under each venue's rules, judged from their logs by the plain twin in decimals."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest

from difffinance.config import AgentsConfig, FlowConfig, MarketConfig
from difffinance.market import enforcement, reasons
from difffinance.market.environment import MarketEnvironment
from difffinance.market.matching import LIMIT
from difffinance.market.settlement import PHASE_CHANGE
from difffinance.market.supervision import (
    CLOSED,
    CLOSING_AUCTION,
    FIXED_PRICE,
    OPEN,
    PAUSED,
    REOPENING,
    SPECIAL_QUOTE,
)
from difffinance.simulation.audit import find_violations
from difffinance.simulation.episode import record_episode

pytestmark = pytest.mark.slow


class Wild:
    """Sends large orders of both sides, with a trend, and quotes near and far."""

    kind = "speculator"

    def __init__(self, seed, trend):
        self.rng, self.trend = np.random.default_rng(seed), trend

    def act(self, state, info=None):
        rng, action = self.rng, np.zeros(10)
        action[0] = rng.normal() + self.trend
        action[[1, 3, 5, 7]] = rng.integers(-3, 30, 4)
        action[[2, 4, 6, 8]] = rng.random(4) * 0.5
        action[9] = rng.integers(0, 2)
        return action


def settings(rulebook, date, *, inventory=100_050.0, **fields):
    market = MarketConfig(rulebook=rulebook, date=date, max_leverage=1e6, **({"session_seconds": 14400} | fields))
    return market, AgentsConfig(capital=1e9, inventory=inventory)


def play(rulebook, date, *, trend=0.0, steps=60, inventory=100_050.0, **fields):
    market, agents = settings(rulebook, date, inventory=inventory, **fields)
    env = MarketEnvironment(3, market, agents=agents, kinds=["speculator"] * 3, num_steps=steps)
    episode = record_episode(env, [Wild(seed, trend) for seed in range(3)], seed=1)
    changes = [row for rows in episode.events for row in rows[rows["kind"] == PHASE_CHANGE]]
    return episode, [int(row["code"]) for row in changes], find_violations(episode, market, agents)


@pytest.mark.parametrize(
    ("rulebook", "fields"),
    [
        ("cn.main", {"start_price": 10.0}),
        ("cn.star", {"start_price": 10.0, "trend": 5.0}),
        ("cn.bse", {"start_price": 10.0, "trend": -3.0}),
        ("us.tier1", {"session_seconds": 23400, "trend": 10.0}),
        ("hk.large", {"start_price": 15.0, "trend": 10.0}),
        ("jp", {"start_price": 2990.0, "tick_size": 1.0, "trend": 4.0}),
    ],
)
def test_no_order_breaks_a_rule_of_its_venue(rulebook, fields):
    episode, _, violations = play(rulebook, "2025-06-02", **fields)
    assert violations == {}
    assert len(episode.trades) > 100


def test_a_fall_of_the_index_halts_the_market_and_it_goes_on():
    path = ((0.0, 1.0), (100.0, 0.92))
    episode, phases, violations = play(
        "us.tier1", "2025-06-02", session_seconds=23400, steps=120, index_path=path, short_allowed=True
    )
    assert phases[:3] == [PAUSED, REOPENING, OPEN]
    assert episode.refusals["halted"] > 50
    assert episode.trades["seconds"].max() > 1000 + 60
    assert violations == {}


def test_a_fall_of_a_tenth_restricts_short_sales_and_a_pause_refuses_orders():
    flow = FlowConfig(fundamental_volatility=1.5)
    episode, phases, violations = play(
        "us.tier2", "2025-06-02", session_seconds=23400, trend=-1.0, steps=300, inventory=0.0, flow=flow
    )
    assert violations == {}
    assert episode.trades["price"].min() <= 90.0
    assert episode.refusals["short_sale"] > 0 and episode.refusals["halted"] > 0
    assert phases == [PAUSED, REOPENING, OPEN]


def test_the_close_of_a_day_refuses_orders():
    episode, phases, violations = play("cn.main", "2025-06-02", start_price=10.0, step_seconds=360.0, steps=42)
    assert phases[-1] == CLOSED
    assert violations == {}
    assert episode.refusals["closed"] > 0


def test_a_new_listing_pauses_at_its_thresholds_and_goes_on():
    """SCIENCE 11, STAR: no limit on the first five days; pauses of 10 minutes at 30% and 60% from the opening."""
    flow = FlowConfig(fundamental_volatility=3.0)
    episode, phases, violations = play(
        "cn.star", "2025-06-02", start_price=10.0, listing_day=1, trend=6.0, steps=200, flow=flow
    )
    assert violations == {}
    assert phases == [PAUSED, REOPENING, OPEN] * 2
    seconds, prices = (episode.trades[name].to_numpy() for name in ("seconds", "price"))
    away = np.abs(prices / prices[0] - 1)
    for threshold in (0.3, 0.6):
        assert away.max() >= threshold
        reached = seconds[np.argmax(away >= threshold)]
        assert not ((seconds > reached) & (seconds < reached + 599.9)).any()
    assert episode.refusals["halted"] > 0


def test_a_cooling_off_holds_the_band_for_five_minutes_and_trading_goes_on():
    """SCIENCE 11, Hong Kong: +-10% of the last trade 5 minutes earlier; a cooling-off of 5 minutes inside the band."""
    flow = FlowConfig(fundamental_volatility=1.5, worth=0.0)  # as much as that, a value would follow the seats
    episode, phases, violations = play("hk.large", "2025-06-02", start_price=15.0, trend=10.0, steps=300, flow=flow)
    assert violations == {} and phases == []
    refused = [row["ts"] for rows in episode.events for row in rows if row["code"] == reasons.MOVING_BAND]
    begun = refused[0] / 1e9
    seconds, prices = (episode.trades[name].to_numpy() for name in ("seconds", "price"))
    reference = prices[seconds < np.floor(begun) - 300][-1]
    low, high = 0.9 * reference, 1.1 * reference
    cooling = (seconds >= begun) & (seconds < begun + 300)
    assert cooling.sum() > 50 and ((prices[cooling] >= low) & (prices[cooling] <= high)).all()
    later = prices[seconds >= begun + 301]
    assert len(later) > 50 and ((later < low) | (later > high)).any()


def test_an_opening_auction_gathers_orders_and_trades_at_one_price():
    """SCIENCE 11, China: a call auction before continuous trading."""
    episode, phases, violations = play(
        "cn.main", "2025-06-02", start_price=10.0, opening_auction_seconds=115, session_seconds=14515, steps=40
    )
    assert violations == {} and phases == [REOPENING, OPEN]
    seconds, prices = (episode.trades[name].to_numpy() for name in ("seconds", "price"))
    assert seconds.min() == 115 and len(set(prices[seconds == 115])) == 1
    assert (seconds == 115).sum() > 1 and (seconds > 115).sum() > 50


RENEWAL = 180_000_000_000
AFTER_HOURS = {"rulebook": "cn.star", "date": "2025-06-02", "start_price": 10.0, "step_seconds": 300.0}


@pytest.fixture(scope="module")
def star():
    """A whole day of the STAR board."""
    return play(**AFTER_HOURS, steps=54)


def test_after_hours_trades_are_at_the_close(star):
    """SCIENCE 11, China: 15:05 to 15:30 at the closing price."""
    episode, phases, violations = star
    assert violations == {} and phases == [CLOSING_AUCTION, FIXED_PRICE, CLOSED]
    seconds, prices = (episode.trades[name].to_numpy() for name in ("seconds", "price"))
    close = prices[seconds <= 14_400][-1]
    assert (seconds > 14_400).sum() > 10 and (prices[seconds > 14_400] == close).all()
    assert seconds.max() < 15_900
    assert episode.refusals["fixed_price"] > 0 and episode.refusals["closed"] > 0


def test_breaches_of_after_hours_trading_are_found(star):
    episode = deepcopy(star[0])
    market, agents = settings(**AFTER_HOURS)
    main = market.model_copy(update={"rulebook": "cn.bse"})  # no after-hours trading on that day
    assert find_violations(episode, main, agents)["after-hours trading at another time"] == 1
    close = episode.trades.filter(episode.trades["seconds"] <= 14_400)["price"][-1] / market.tick_size
    for rows in episode.events:
        late = (rows["ts"] > 14_400e9) & (rows["code"] == reasons.OK) & (rows["side"] > 0) & (rows["kind"] == LIMIT)
        rows["price"][late] = round(close) - 1
    assert find_violations(episode, market, agents)["an after-hours order worse than the close"] > 10


TOKYO = {
    "rulebook": "jp", "date": "2025-06-02", "start_price": 101.0, "tick_size": 1.0, "session_seconds": 19800,
    "step_seconds": 60.0, "inventory": 0.0, "days_at_limit": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokyo():
    """An hour of buyers after two days at the upper limit: 301 yen instead of 151."""
    return play(**TOKYO, trend=4.0)


def quote_rows(episode):
    return [r for rows in episode.events for r in rows if r["kind"] == PHASE_CHANGE and r["code"] == SPECIAL_QUOTE]


def test_special_quotes_come_and_go(tokyo):
    """SCIENCE 11, Tokyo: no trade further than a step from the last; a quote that moves every 3 minutes."""
    episode, phases, violations = tokyo
    assert violations == {} and set(phases) == {SPECIAL_QUOTE, OPEN}
    assert phases.count(OPEN) >= 5 and phases.count(SPECIAL_QUOTE) > phases.count(OPEN)
    rows = quote_rows(episode)
    assert sum(later["ts"] - row["ts"] == RENEWAL for row, later in pairwise(rows)) > 5
    seconds = episode.trades["seconds"].to_numpy()
    changes = [row for rows in episode.events for row in rows if row["kind"] == PHASE_CHANGE]
    for row, later in pairwise(changes):  # nothing trades under a quote until it ends
        if row["code"] == SPECIAL_QUOTE:
            assert not ((seconds > row["ts"] / 1e9 + 1e-6) & (seconds < later["ts"] / 1e9 - 1e-6)).any()


def test_breaches_of_special_quotes_are_found(tokyo, monkeypatch):
    episode = deepcopy(tokyo[0])
    renewals = [later for row, later in pairwise(quote_rows(episode)) if later["ts"] - row["ts"] == RENEWAL]
    renewals[0]["price"] += 1
    renewals[3]["ts"] -= 1
    found = find_violations(episode, *settings(**TOKYO))
    assert found["a special quote at another price"] > 0 and found["a special quote at another time"] > 0
    monkeypatch.setattr(enforcement, "quote_steps", lambda rulebook, tick: np.array([[1 << 60, 1 << 40]]))
    _, phases, found = play(**TOKYO, trend=4.0)
    assert phases == [] and found["no halt where one was due"] > 0


def test_widened_limits_let_prices_through_that_others_do_not(tokyo):
    episode = tokyo[0]
    assert 151 < episode.trades["price"].max() <= 301
    assert find_violations(episode, *settings(**TOKYO | {"days_at_limit": 1}))["price limit"] > 0


HALF_CENT = {
    "rulebook": "us.tier1", "date": "2026-11-02", "start_price": 10.0, "session_seconds": 23400, "tick_size": 0.005,
    "average_quoted_spread": 0.015, "access_fee": 0.001,
}  # fmt: skip


def test_half_cent_ticks_and_access_fees():
    """SCIENCE 11, United States: 0.005 where the average quoted spread is at most 0.015; at most 0.001 a share."""
    episode, _, violations = play(**HALF_CENT, trend=1.0, steps=30)
    assert violations == {}
    ticks = (episode.trades["price"] / 0.005).round().cast(int)
    assert (ticks % 2 == 1).any()
    for change, found in (
        ({"average_quoted_spread": 0.0151}, "tick size"),
        ({"date": "2026-11-01"}, "tick size"),
        ({"access_fee": 0.0}, "cash net of fees differs"),
    ):
        assert find_violations(episode, *settings(**HALF_CENT | change))[found] > 0
