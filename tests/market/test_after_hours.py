"""After-hours trading at the closing price on a book of a few orders: STAR, close of 10.00 yuan."""

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.market.enforcement import episode_seconds, with_trading_day
from difffinance.market.environment import MarketEnvironment
from difffinance.market.layout import FILLS
from difffinance.market.settlement import LAST_ASK, LAST_BID, MID
from difffinance.market.supervision import CLOSED, CLOSING_AUCTION, FIXED_PRICE, SECOND_NS
from tests.market.desk import Desk

CLOSE, END = 14_400, 15_900  # 15:00, and 15:30 without the break of 5 minutes


class Star(Desk):
    """The closing call has traded 200 shares at 10.00 and left a bid of 200 at 9.90."""

    def __init__(self, rulebook="cn.star", date="2025-06-02"):
        super().__init__(500, 1500, inventory=10_000, rulebook=rulebook, date=date, start_price=10.1)
        self.ts = (CLOSE - 60) * SECOND_NS
        self.limit(1, 990, 200)
        self.limit(1, 1000, 200)
        self.limit(-1, 1000, 200, seat=1)
        self.refusals(), self.refusals(1)


def test_the_phase_follows_the_closing_call_and_ends_the_day():
    star = Star()
    assert star.at(CLOSE - 1) == CLOSING_AUCTION
    assert star.at(CLOSE) == FIXED_PRICE and star.trades == [(1000, 200)]
    assert star.floor.resting.sum() == 0 and star.venue.book.best_bid is None  # the orders of the day expire
    assert star.at(END - 1) == FIXED_PRICE and star.at(END) == CLOSED
    star.limit(1, 1000, 200)
    assert star.refusals() == {"closed": 1}


@pytest.mark.parametrize(
    ("rulebook", "first"),
    [("cn.star", "2019-07-22"), ("cn.chinext", "2020-08-24"), ("cn.main", "2026-07-06"), ("cn.bse", "2026-07-06")],
)
def test_it_begins_on_its_first_day(rulebook, first):
    day = np.datetime64(first)
    assert Star(rulebook, first).at(CLOSE) == FIXED_PRICE
    if rulebook != "cn.star":  # which opened that day
        assert Star(rulebook, str(day - 1)).at(CLOSE) == CLOSED


@pytest.mark.parametrize(("side", "good", "bad"), [(1, (1000, 1001), (999,)), (-1, (1000, 999), (1001,))])
def test_a_limit_at_or_better_than_the_close_is_taken(side, good, bad):
    star = Star()
    star.at(CLOSE)
    for price in good:
        star.limit(side, price, 200)
    assert star.refusals() == {} and star.floor.resting[0].sum() == 400
    for price in bad:
        star.limit(side, price, 200)
    star.market(side, 200)
    assert star.refusals() == {"fixed_price": 2}


def test_trades_are_at_the_close_and_by_time_alone():
    star = Star()
    star.at(CLOSE)
    first, better = star.limit(1, 1000, 300), star.limit(1, 1005, 300)
    taker = star.limit(-1, 995, 400, seat=1)
    fills = star.floor.fills[1 : star.floor.top[FILLS]].tolist()
    assert fills == [(first, taker, 1000, 300), (better, taker, 1000, 100)]
    marks = star.floor.marks
    assert marks[MID] == 1000 and marks[LAST_BID] == marks[LAST_ASK] == 1000


def test_settlement_lots_and_fees_go_on():
    star = Star()
    star.at(CLOSE)
    assert star.floor.inventory.tolist()[:2] == [10_200, 9_800] and star.floor.fees[1] > 0
    star.limit(-1, 1000, 10_001)  # 200 of the 10,200 were bought today
    star.limit(1, 1000, 199)
    assert star.refusals() == {"not_sellable": 1, "lot_size": 1}
    before = star.floor.fees.copy()
    star.limit(-1, 1000, 10_000)
    star.limit(1, 1000, 10_000, seat=1)
    assert star.trades[-1] == (1000, 10_000) and (star.floor.fees[:2] > before[:2]).all()


def test_a_call_without_a_trade_takes_the_last_price():
    desk = Desk(500, 1500, rulebook="cn.star", start_price=10.1)
    assert desk.at(CLOSE) == FIXED_PRICE
    desk.limit(1, 1010, 200)
    desk.limit(1, 1009, 200)
    assert desk.floor.resting[0, 0] == 200 and desk.refusals() == {"fixed_price": 1}


def test_a_whole_day_has_it_and_a_shorter_one_not():
    star = with_trading_day(MarketConfig(rulebook="cn.star"))
    assert (star.session_seconds, episode_seconds(star)) == (CLOSE, END)
    assert MarketEnvironment(1, MarketConfig(rulebook="cn.star")).num_steps == END / 10
    assert MarketEnvironment(1, MarketConfig(rulebook="cn.star", session_seconds=3600)).num_steps == 360
    assert MarketEnvironment(1, MarketConfig(rulebook="cn.main")).num_steps == CLOSE / 10
    assert MarketEnvironment(1, MarketConfig(rulebook="cn.star", mode="law")).num_steps == CLOSE / 10
