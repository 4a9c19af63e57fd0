"""Each rule of an order on both sides of its boundary, in the running market (SCIENCE 11)."""

from decimal import Decimal

import pytest

from difffinance.market import supervision as s
from difffinance.market.rules import get_rulebook
from difffinance.market.supervision import CLOSED, LIMIT_STATE, OPEN, PAUSED, REOPENING
from tests.market.desk import Desk


def china(rulebook="cn.main", **fields):
    return Desk(500, 1500, rulebook=rulebook, start_price=10.0, **fields)


@pytest.mark.parametrize(
    ("rulebook", "most", "most_market", "step"),
    [("cn.main", 1_000_000, 1_000_000, 100), ("cn.star", 100_000, 50_000, 1), ("cn.chinext", 300_000, 150_000, 100)],
)
def test_the_largest_order(rulebook, most, most_market, step):
    desk = china(rulebook)
    desk.limit(1, 1000, most)
    assert desk.refusals() == {}
    desk.limit(1, 1000, most + step)
    assert desk.refusals() == {"max_order": 1}
    desk.limit(-1, 1000, 100_000, seat=1)
    desk.market(1, most_market + step)
    assert desk.refusals() == {"max_order": 1}


@pytest.mark.parametrize(
    ("rulebook", "date", "listing_day", "low", "high"),
    [
        ("cn.main", "2025-06-02", None, 900, 1100),
        ("cn.main.st", "2026-07-03", None, 950, 1050),
        ("cn.main.st", "2026-07-06", None, 900, 1100),
        ("cn.chinext", "2020-08-21", None, 900, 1100),
        ("cn.chinext", "2020-08-24", None, 800, 1200),
        ("cn.star", "2025-06-02", 6, 800, 1200),
        ("cn.bse", "2025-06-02", 2, 700, 1300),
    ],
)
def test_the_daily_limits(rulebook, date, listing_day, low, high):
    desk = china(rulebook, date=date, listing_day=listing_day)
    desk.at(14_300)  # in the closing call no other band is in force
    for side, price, good in ((1, low, True), (1, low - 1, False), (-1, high, True), (-1, high + 1, False)):
        desk.limit(side, price, 200)
        assert desk.refusals() == ({} if good else {"price_limit": 1}), price


def test_free_days_have_no_limits():
    desk = china("cn.star", listing_day=5)
    desk.at(14_300)
    desk.limit(-1, 1499, 200)
    assert desk.refusals() == {}


def test_what_was_bought_today_is_not_sold_today():
    desk = china(inventory=1000)
    desk.limit(-1, 1000, 300, seat=1)
    desk.limit(1, 1000, 300)
    assert desk.trades == [(1000, 300)]
    desk.limit(-1, 1000, 1000)
    assert desk.refusals() == {}
    desk.limit(-1, 1000, 100)
    assert desk.refusals() == {"not_sellable": 1}


@pytest.mark.parametrize("rulebook", ["cn.main", "cn.star", "cn.bse"])
def test_the_order_price_band(rulebook):
    desk, book = china(rulebook), get_rulebook(rulebook, "2025-06-02")
    desk.limit(-1, 1003, 200, seat=1)
    desk.limit(1, 997, 200, seat=1)
    highest = book.order_band("buy", "10.03")[1]
    lowest = book.order_band("sell", "9.97")[0]
    tick = Decimal("0.01")
    for side, price, good in ((1, highest, 1), (1, highest + tick, 0), (-1, lowest, 1), (-1, lowest - tick, 0)):
        desk.limit(side, int(price * 100), 200)
        assert desk.refusals() == ({} if good else {"order_band": 1}), price
        desk.limit(-1, 1003, 200, seat=1)
        desk.limit(1, 997, 200, seat=1)


def test_the_order_price_band_in_integers():
    """102% and 98% half up to the tick, or 10 ticks, at every reference."""
    desk, book = china(), get_rulebook("cn.main", "2025-06-02")
    for last in range(1, 1500, 7):
        for side in (1, -1):
            edge = next(price for price in book.order_band(side, Decimal(last) / 100) if price is not None)
            assert s.collar_price(desk.floor.rules, desk.floor.top, last, side) == edge * 100


def test_short_sales_only_above_the_best_bid_after_a_fall_of_a_tenth():
    for last, restricted in ((9001, False), (9000, True)):
        calm = ((0.0, 1.0),)  # the index of the market-wide breaker
        desk = Desk(8000, 11_000, rulebook="us.tier2", start_price=100.0, inventory=0, index_path=calm)
        desk.limit(1, last, 10, seat=1)
        desk.limit(-1, last, 10)
        desk.limit(1, 8999, 10, seat=1)
        desk.refusals()
        desk.limit(-1, 8999, 10)
        assert desk.refusals() == ({"short_sale": 1} if restricted else {})
        desk.limit(-1, 9002, 10)
        assert desk.refusals() == {}


def test_limit_up_limit_down_takes_the_band_itself_and_pauses_after_15_seconds():
    desk = Desk(9000, 11_000, rulebook="us.tier1", start_price=100.0)
    desk.at(2)
    desk.limit(1, 10_501, 10)
    assert desk.refusals() == {"moving_band": 1}
    desk.limit(1, 10_500, 10)
    assert desk.refusals() == {} and desk.phase == LIMIT_STATE
    begun = desk.ts
    desk.wait(15 * s.SECOND_NS - 1)
    assert desk.phase == LIMIT_STATE
    desk.wait(1)
    assert desk.phase == PAUSED and desk.ts == begun + 15 * s.SECOND_NS
    desk.limit(1, 10_000, 10)
    assert desk.refusals() == {"halted": 1}


def test_the_volatility_control_trades_at_its_edge_and_not_beyond():
    desk = Desk(5000, 20_000, rulebook="hk.large", start_price=10.0, tick_size=0.001)
    desk.at(1000)
    for price, good in ((11_000, True), (11_020, False)):
        desk.limit(-1, price, 10, seat=1)
        desk.limit(1, price, 10)
        assert desk.refusals() == ({} if good else {"moving_band": 1}), price
    assert desk.trades == [(11_000, 10)] and desk.floor.session[s.COOLINGS] == 1


@pytest.mark.parametrize(
    ("second", "level", "minutes"),
    [
        (3600, 0.9501, 0),
        (3600, 0.95, 15),
        (3600, 1.05, 15),
        (3600, 0.93, None),
        (13_499, 0.95, 15),
        (13_500, 0.95, None),
    ],
)
def test_the_index_circuit_breaker_of_2016(second, level, minutes):
    """15 minutes at 5%, to the close at 7% or from 14:45 on (13,500 s of trading)."""
    desk = china(date="2016-01-04", index_path=((0.0, 1.0), (float(second), level)))
    assert desk.at(second - 1) == OPEN
    assert desk.at(second) == (OPEN if minutes == 0 else PAUSED)
    if minutes == 0:
        return
    desk.limit(1, 1000, 100)
    assert desk.refusals() == {"halted": 1}
    if minutes is not None and second < 13_000:
        assert desk.at(second + 899) == REOPENING and desk.at(second + 900) == OPEN
    if minutes is None:
        assert desk.at(14_399) == PAUSED and desk.at(14_400) == CLOSED


@pytest.mark.parametrize(
    ("rulebook", "tick", "good", "bad"),
    [
        ("us.tier1", 0.0001, (9998, 9999, 10_000, 10_100), (10_001, 10_099)),
        ("jp", 1.0, (2999, 3000, 3005), (3001, 3004)),
        ("hk.small", 0.001, (249, 250, 255, 500, 510), (251, 254, 505)),
    ],
)
def test_ticks_change_with_the_price(rulebook, tick, good, bad):
    desk = Desk(1, 2 * good[-1], rulebook=rulebook, start_price=good[0] * tick, tick_size=tick)
    for price in good:
        desk.limit(1, price, 10)
        assert desk.refusals() == {}, price
    for price in bad:
        desk.limit(1, price, 10)
        assert desk.refusals() == {"tick_size": 1}, price
