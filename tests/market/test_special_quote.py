"""Tokyo's special quotes on books of a few orders: last trade 1,000 yen, a step of 30 yen, limits 700 and 1,300."""

import numpy as np
import pytest

from difffinance.config import FlowConfig, MarketConfig
from difffinance.market import reasons
from difffinance.market.environment import MarketEnvironment
from difffinance.market.floor import withdraw
from difffinance.market.settlement import PHASE_CHANGE
from difffinance.market.supervision import (
    CLOSING_AUCTION,
    LAST,
    OPEN,
    QUOTE,
    QUOTE_SIDE,
    SECOND_NS,
    SPECIAL_QUOTE,
)
from tests.market.desk import Desk

STEP = 180 * SECOND_NS


class Tokyo(Desk):
    """Seat 1 is the book."""

    def __init__(self, **fields):
        super().__init__(1, 2500, rulebook="jp", start_price=1000.0, tick_size=1.0, **fields)

    @property
    def quote(self):
        return (int(self.floor.session[QUOTE]), int(self.floor.session[QUOTE_SIDE]))

    @property
    def quotes(self):
        rows = self.events
        shown = rows[(rows["kind"] == PHASE_CHANGE) & (rows["code"] == SPECIAL_QUOTE)]
        return [(int(row["price"]), int(row["side"])) for row in shown]


@pytest.fixture
def tokyo():
    return Tokyo()


def test_a_trade_a_step_away_happens_and_one_further_does_not(tokyo):
    tokyo.limit(-1, 1030, 100, seat=1)
    tokyo.market(1, 100)
    assert tokyo.trades == [(1030, 100)] and tokyo.phase == OPEN and tokyo.quotes == []
    tokyo.limit(-1, 1061, 100, seat=1)
    tokyo.market(1, 100)
    assert tokyo.trades == [(1030, 100)] and tokyo.phase == SPECIAL_QUOTE
    assert tokyo.quote == (1060, 1)


def test_what_lies_within_steps_trades_and_the_rest_waits(tokyo):
    for price in (1010, 1040, 1071):  # 10 and 30 from the trade before, then 31
        tokyo.limit(-1, price, 100, seat=1)
    order = tokyo.market(1, 250)
    assert tokyo.trades == [(1010, 100), (1040, 100)]
    assert tokyo.floor.orders[order]["quantity"] == 50 and tokyo.floor.session[LAST] == 1040
    assert tokyo.quote == (1070, 1)
    assert tokyo.floor.inventory[0] == 100_200 and tokyo.floor.resting[0, 0] == 50


def test_contra_orders_at_the_quote_trade_with_it_all_at_once(tokyo):
    tokyo.limit(-1, 1100, 500, seat=1)
    tokyo.market(1, 300)
    tokyo.limit(-1, 1030, 100, seat=1)
    assert tokyo.trades == [] and tokyo.phase == SPECIAL_QUOTE  # 200 would be left of a market order
    tokyo.limit(-1, 1020, 200, seat=1)
    assert tokyo.trades == [(1030, 200), (1030, 100)] and tokyo.phase == OPEN
    assert tokyo.floor.session[LAST] == 1030 and tokyo.floor.resting[0, 0] == 0


def test_the_quote_is_renewed_every_three_minutes_until_it_meets_the_other_side(tokyo):
    tokyo.limit(-1, 1085, 100, seat=1)
    tokyo.limit(1, 1090, 100, seat=0)
    begun = tokyo.ts
    tokyo.wait(STEP - 1)
    assert tokyo.quotes == [(1030, 1)]
    tokyo.wait(1)
    assert tokyo.quotes == [(1030, 1), (1060, 1)] and tokyo.phase == SPECIAL_QUOTE
    tokyo.wait(STEP)
    assert tokyo.quotes[2] == (1090, 1) and tokyo.trades == [(1090, 100)] and tokyo.phase == OPEN
    changes = tokyo.events[tokyo.events["kind"] == PHASE_CHANGE]["ts"].tolist()
    assert changes == [begun, begun + STEP, begun + 2 * STEP, begun + 2 * STEP]


def test_it_stops_at_the_daily_limit_until_the_closing_auction():
    tokyo = Tokyo()
    tokyo.limit(-1, 1300, 100, seat=1)
    tokyo.market(1, 400)
    tokyo.wait(20 * STEP)
    steps = [1030, 1060, 1090, 1120, 1150, 1180, 1210, 1240, 1270, 1300]
    assert tokyo.quotes == [(price, 1) for price in steps]
    assert tokyo.phase == SPECIAL_QUOTE and tokyo.trades == []  # 300 of the market order would be left
    tokyo.limit(-1, 1300, 300, seat=1)
    assert tokyo.trades == [(1300, 100), (1300, 300)] and tokyo.phase == OPEN


def test_a_quote_that_never_meets_ends_with_the_closing_auction():
    tokyo = Tokyo()
    tokyo.limit(-1, 1300, 100, seat=1)
    tokyo.market(1, 400)
    tokyo.wait(19_500 * SECOND_NS)
    assert tokyo.phase == CLOSING_AUCTION and tokyo.trades == []


def test_it_ends_without_a_trade_where_the_order_is_withdrawn(tokyo):
    tokyo.limit(-1, 1100, 500, seat=1)
    order = tokyo.limit(1, 1200, 300, seat=0)
    assert tokyo.phase == SPECIAL_QUOTE
    withdraw(tokyo.venue.floor_handle, tokyo.ts + 1, order, 0)
    assert tokyo.phase == OPEN and tokyo.trades == []


def test_a_buyer_who_meets_an_offer_far_below_trades_at_the_quote(tokyo):
    """The offer is not shown before a trade with it would jump down; the bid at 1,000 is within the first quote."""
    tokyo.limit(-1, 900, 100, seat=1)
    tokyo.limit(1, 1000, 100, seat=0)
    assert tokyo.quotes == [(970, -1)] and tokyo.trades == [(970, 100)] and tokyo.phase == OPEN


def test_a_quote_turns_where_the_other_side_presses(tokyo):
    tokyo.limit(-1, 1100, 100, seat=1)
    tokyo.market(1, 100)
    tokyo.limit(-1, 900, 500, seat=1)
    assert tokyo.phase == SPECIAL_QUOTE and tokyo.quotes == [(1030, 1), (970, -1)]
    tokyo.wait(5 * STEP)  # below 1,000 yen the step is 15
    assert tokyo.trades == [(900, 100)] and tokyo.quotes[-2:] == [(910, -1), (895, -1)]


def test_a_quote_turns_where_buyers_take_all_that_is_offered_below(tokyo):
    tokyo.limit(-1, 900, 100, seat=1)
    tokyo.limit(-1, 1100, 100, seat=1)
    tokyo.market(1, 300)
    assert tokyo.phase == SPECIAL_QUOTE and tokyo.quotes == [(970, -1), (1030, 1)]
    tokyo.limit(-1, 1010, 200, seat=1)
    assert tokyo.trades == [(1030, 100), (1030, 200)] and tokyo.phase == OPEN


def test_a_price_nearer_to_the_last_trade_than_the_quote(tokyo):
    """Sellers at 1,010 are more than the buyer wants: at 1,030 they would not all trade, at 1,010 they share."""
    tokyo.limit(-1, 1100, 100, seat=1)
    tokyo.market(1, 100)
    tokyo.limit(-1, 1010, 300, seat=1)
    assert tokyo.trades == [(1010, 100)] and tokyo.phase == OPEN


def test_orders_never_trade_further_back_than_a_step(tokyo):
    """At 800 and at 1,030 the orders balance too; 970 is a step from the last trade."""
    tokyo.limit(-1, 1100, 100, seat=1)
    tokyo.limit(1, 1100, 100, seat=0)
    tokyo.limit(1, 1020, 50, seat=0)
    tokyo.limit(-1, 800, 150, seat=1)
    assert tokyo.trades[0][0] >= 970 and tokyo.phase == OPEN


def test_a_seat_with_a_full_list_of_orders_is_refused():
    tokyo = Tokyo(max_resting_orders=1)
    tokyo.limit(-1, 1100, 100, seat=1)
    tokyo.limit(1, 900, 100, seat=0)
    tokyo.market(1, 100)
    assert tokyo.floor.refused[0, reasons.TOO_MANY_ORDERS] == 1 and tokyo.phase == OPEN
    other = Tokyo(max_resting_orders=1)
    other.limit(-1, 1100, 100, seat=1)
    other.market(1, 100)
    other.market(1, 100)
    assert other.floor.refused[0, reasons.TOO_MANY_ORDERS] == 1 and other.floor.own_count[0] == 1


@pytest.mark.parametrize(
    ("days", "lower", "upper"), [(1, 700, 1300), (2, 700, 2200), (3, 700, 2200), (-1, 700, 1300), (-2, 1, 1300)]
)
def test_two_days_at_the_limit_widen_it(days, lower, upper):
    """SCIENCE 11: 4 times the limit on that side; the lower one stops at one yen."""
    tokyo = Tokyo(days_at_limit=days)
    for price, good in ((lower, True), (lower - 1, False), (upper, True), (upper + 1, False)):
        if price > 0:
            tokyo.limit(1 if price < 1000 else -1, price, 100, seat=1)
            assert tokyo.refusals(1) == ({} if good else {"price_limit": 1}), price


def test_a_running_market_shows_the_quote_and_goes_on_from_a_snapshot():
    flow = FlowConfig(fundamental_volatility=0.5)
    config = MarketConfig(rulebook="jp", start_price=101.0, tick_size=1.0, step_seconds=60.0, flow=flow)
    env = MarketEnvironment(2, config, num_steps=80)
    env.reset(seed=1)
    action = np.zeros((2, 10))
    action[0, 0] = 3.0
    step = env.step(action)
    while step.info["phase"] != "special_quote":
        step = env.step(action)
    shown = step.info["special_quote"]
    assert shown == env.venue.floor.session[QUOTE] and step.state.halted
    saved, ends = env.snapshot(), []
    for _ in range(2):
        env.restore(saved)
        rows = [env.step(0 * action) and env.events.copy() for _ in range(10)]
        assert any((row["code"] == SPECIAL_QUOTE).any() for row in rows)
        ends.append(b"".join(row.tobytes() for row in rows))
    assert ends[0] == ends[1]
