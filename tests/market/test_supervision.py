"""The kernels' integers against the rulebooks' decimals, on random orders of every venue."""

from decimal import Decimal

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market import moving_band
from difffinance.market import supervision as s
from difffinance.market.enforcement import local_time, supervise, trading_day
from difffinance.market.engine import Book
from difffinance.market.rules import get_rulebook
from difffinance.market.special_quote import next_quote
from tests.market.venues import DAY, VENUES, market, rules_of


@pytest.mark.parametrize("rulebook", VENUES)
def test_sizes_and_prices_are_judged_alike(rulebook):
    rules, book = rules_of(rulebook)
    rng, tick = np.random.default_rng(0), Decimal(VENUES[rulebook][0])
    answers = []
    for _ in range(400):
        side, quantity = int(rng.choice([-1, 1])), int(rng.choice([rng.integers(1, 500), 100 * rng.integers(1, 9)]))
        held = int(rng.choice([0, rng.integers(1, 600), quantity]))
        if side < 0 and book.lots.owned and 0 < held < quantity:
            continue  # what is not held is refused before its size is looked at
        mine = bool(s.lot_allowed(rules, side, quantity, held))
        assert mine == book.quantity_allowed(side, quantity, held), (side, quantity, held)
        answers.append(mine)
        price = int(rng.integers(1, 40_000))
        step = book.tick_size(price * tick)
        assert s.tick_at(rules, price) == max(int(step / tick), 1)
    assert all(answers) == (book.lots.step == book.lots.least == 1)


def test_special_quotes_are_the_same():
    rules, book = rules_of("jp")
    tables, rng = Book(low=2000, high=4000).tables, np.random.default_rng(5)
    for price in [199, 200, 2999, 3000, 5000, 5001, 30_000, *rng.integers(1, 60_000, 300).tolist()]:
        step = book.tick_size(price)
        price, side = int(price - price % step), int(rng.choice([-1, 1]))
        if price > 0:
            assert s.quote_step(rules, price) == book.quote_step(price)
            limits = (Decimal(2000), Decimal(4000))
            assert next_quote(rules, tables.top, price, side) == book.special_quote(price, side, limits)


def test_half_cents_where_the_average_spread_is_narrow():
    fields = {"tick_size": 0.005, "start_price": 10.0, "session_seconds": 23400, "date": "2026-11-02"}
    for spread, step in ((0.015, 1), (0.0151, 2), (None, 2)):
        rules = supervise(MarketConfig(rulebook="us.tier1", average_quoted_spread=spread, **fields))["rules"]
        assert s.tick_at(rules, 2000) == step
    low, high = moving_band.mean_band(rules, 2003, 1, 1)  # a mean of 10.015: bands 9.51 and 10.52, in half cents
    assert (low, high) == (1902, 2104)


@pytest.mark.parametrize("fired", [0, 1, 2])
@pytest.mark.parametrize("rulebook", ["us.tier1", "cn.main"])
def test_the_breaker_calls_as_the_rulebook_does(rulebook, fired):
    date = DAY if rulebook == "us.tier1" else "2016-01-04"
    config = MarketConfig(rulebook=rulebook, date=date, session_seconds=14400)
    tables, book = supervise(config), get_rulebook(rulebook, date)
    rng, day = np.random.default_rng(3), trading_day(book)
    for _ in range(300):
        second, last = int(rng.integers(0, day[-1][1])), int(rng.integers(7500, 10_800))
        tables["session"][[s.LAST, s.FIRED]] = last, fired
        halt = book.market_halt("100", Decimal(last) / 100, local_time(day, second), range(1, fired + 1))
        expected = 0 if halt is None else -1 if halt.minutes == "close" else halt.minutes * 60 * s.SECOND_NS
        assert s.breaker_call(tables["rules"], tables["session"], second * s.SECOND_NS) == expected
        assert tables["session"][s.FIRED] == (fired if halt is None else halt.level)


@pytest.mark.parametrize("fired", [0, 1, 2])
@pytest.mark.parametrize(("rulebook", "day"), [("cn.main", 5), ("cn.main", 6), ("cn.bse", 1), ("cn.bse", 2)])
def test_a_new_listing_pauses_as_the_rulebook_says(rulebook, day, fired):
    tables, book = supervise(market(rulebook, listing_day=day)), get_rulebook(rulebook, DAY)
    rng, answers = np.random.default_rng(4), set()
    for last in [700, 701, 1300, 1299, 1600, 1599, 400, 401, *rng.integers(200, 2000, 100).tolist()]:
        tables["session"][[s.LAST, s.FIRST_TRADE, s.PAUSED_AT]] = last, 1000, fired
        halt = book.stock_pause("10", Decimal(last) / 100, "10:00", listing_day=day, fired=range(1, fired + 1))
        assert bool(s.listing_call(tables["rules"], tables["session"])) == (halt is not None)
        assert tables["session"][s.PAUSED_AT] == (fired if halt is None else halt.level)
        assert halt is None or tables["rules"][s.LISTING_NS] == halt.minutes * 60 * s.SECOND_NS
        answers.add(halt is not None)
    assert answers == ({True, False} if day <= book.pauses.days and fired < 2 else {False})


def test_the_day_may_begin_with_the_opening_auction():
    day = trading_day(get_rulebook("cn.main", DAY), 600)
    assert [(start, end, kind) for start, end, _, kind in day] == [
        (0, 600, "auction"), (600, 7800, "continuous"), (7800, 14820, "continuous"), (14820, 15000, "auction")
    ]  # fmt: skip
    assert [str(local_time(day, second)) for second in (0, 600, 7800)] == ["09:15:00", "09:30:00", "13:00:00"]
    for rulebook in ("us.tier1", "jp"):
        with pytest.raises(InputError, match="takes 0 s"):
            supervise(market(rulebook, opening_auction_seconds=1))
    tables = supervise(market("cn.main", opening_auction_seconds=300))
    assert tables["rules"][s.CLOSING] == 14_520 * s.SECOND_NS


def test_whole_lots():
    rules, _ = rules_of("cn.main")
    assert [s.whole_lots(rules, 1, q, 0) for q in (99, 100, 250)] == [0, 100, 200]
    assert [s.whole_lots(rules, -1, q, 250) for q in (249, 250, 300, 400)] == [200, 250, 250, 400]
    free, _ = rules_of("us.tier1")
    assert s.whole_lots(free, -1, 300, 250) == 300  # short sales are not cut


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"session_seconds": 23400}, "longer than the trading day"),
        ({"tick_size": 0.004, "start_price": 9.996}, "price step"),
        ({"lot_size": 30.0}, "lot_size"),
        ({"opening_auction_seconds": 601}, "cn.main takes 600 s"),
        ({"fee_bps": 0.00001}, "too fine"),
        ({"index_path": ((5.0, 1.0),)}, "start at second 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        supervise(market("cn.main", **({"start_price": 9.99} | fields)))


@pytest.mark.parametrize(("fee", "date"), [(0.0031, "2026-11-01"), (0.0011, "2026-11-02")])
def test_an_access_fee_above_the_cap_is_refused(fee, date):
    fields = {"start_price": 10.0, "session_seconds": 23400, "date": date}
    with pytest.raises(InputError, match=r"above the cap of us\.tier1"):
        supervise(MarketConfig(rulebook="us.tier1", access_fee=fee, **fields))
    supervise(MarketConfig(rulebook="us.tier1", access_fee=round(fee - 0.0001, 4), **fields))
    with pytest.raises(InputError, match="too fine"):
        supervise(MarketConfig(rulebook="us.tier1", access_fee=1e-8, **fields))
    with pytest.raises(ValueError, match="belongs to mode 'book' and rulebooks"):
        MarketConfig(rulebook="jp", access_fee=0.001)


def test_a_trade_that_halts_or_restricts_short_sales_is_no_calm_one():
    tables = supervise(market("us.tier1"))  # 7, 13 and 20% halt, 10% restricts; the close is 10,000 ticks
    for fired, restricted, lowest in ((0, 0, 9300), (1, 0, 9000), (1, 1, 8700), (2, 0, 9000), (3, 1, 0)):
        tables["session"][[s.FIRED, s.RESTRICTED]] = fired, restricted
        s.set_calm.py_func(tables["rules"], tables["session"])
        assert tables["session"][s.CALM_LOW] == lowest
