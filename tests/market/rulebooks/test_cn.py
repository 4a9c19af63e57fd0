from decimal import Decimal

import polars as pl
import pytest

from difffinance.errors import InputError
from difffinance.market.rules import get_rulebook

FREE = (None, None)


def band(name, date, close, **asked):
    return get_rulebook(name, date).price_band(close, **asked)


@pytest.mark.parametrize(
    ("name", "date", "close", "asked", "expected"),
    [
        ("cn.main", "1996-12-13", "10.00", {}, FREE),
        ("cn.main", "1996-12-16", "10.00", {}, ("9.00", "11.00")),
        ("cn.main", "2024-01-02", "10.05", {}, ("9.05", "11.06")),  # 9.045 and 11.055, half up
        ("cn.main", "2024-01-02", "0.04", {}, ("0.03", "0.05")),  # at least one tick away
        ("cn.main", "2024-01-02", "0.01", {}, ("0.01", "0.02")),  # never below 0.01
        ("cn.main", "2023-04-07", "10", {"listing_day": 5}, ("9.00", "11.00")),
        ("cn.main", "2023-04-10", "10", {"listing_day": 5}, FREE),
        ("cn.main", "2023-04-10", "10", {"listing_day": 6}, ("9.00", "11.00")),
        ("cn.main.st", "2026-07-03", "10.10", {}, ("9.60", "10.61")),  # 9.595 and 10.605
        ("cn.main.st", "2026-07-06", "10.10", {}, ("9.09", "11.11")),
        ("cn.star", "2019-07-22", "10.03", {}, ("8.02", "12.04")),  # 8.024 and 12.036
        ("cn.star", "2019-07-22", "10.03", {"listing_day": 1}, FREE),
        ("cn.star", "2019-07-22", "10.03", {"listing_day": 6}, ("8.02", "12.04")),
        ("cn.chinext", "2020-08-21", "10", {"listing_day": 1}, ("9.00", "11.00")),
        ("cn.chinext", "2020-08-21", "10", {}, ("9.00", "11.00")),
        ("cn.chinext", "2020-08-24", "10", {}, ("8.00", "12.00")),
        ("cn.chinext", "2020-08-24", "10", {"listing_day": 5}, FREE),
        ("cn.bse", "2021-11-15", "10.05", {}, ("7.04", "13.07")),  # 7.035 and 13.065
        ("cn.bse", "2021-11-15", "10.05", {"listing_day": 1}, FREE),
        ("cn.bse", "2021-11-15", "10.05", {"listing_day": 2}, ("7.04", "13.07")),
    ],
)
def test_price_limits_on_both_sides_of_each_date(name, date, close, asked, expected):
    assert band(name, date, close, **asked) == tuple(e if e is None else Decimal(e) for e in expected)


def test_boards_that_were_not_open_say_when_they_opened():
    with pytest.raises(InputError, match="2019-07-22"):
        get_rulebook("cn.star", "2019-07-19")
    with pytest.raises(InputError, match="2021-11-15"):
        get_rulebook("cn.bse", "2021-11-12")


@pytest.mark.parametrize(
    ("date", "side", "stamp", "handling", "transfer"),
    [
        ("2023-08-25", "sell", "123.45", "6.01", "1.23"),
        ("2023-08-28", "sell", "61.73", "4.21", "1.23"),  # 61.725 half up
        ("2023-08-28", "buy", "0", "4.21", "1.23"),
        ("2022-04-28", -1, "123.45", "6.01", "2.47"),
        ("2022-04-29", -1, "123.45", "6.01", "1.23"),
        ("2015-08-03", 1, "0", "6.01", "2.47"),
    ],
)
def test_fees_by_item_and_date(date, side, stamp, handling, transfer):
    fees = get_rulebook("cn.main", date).fees(side, "12.345", 10_000, commission_rate="0.001")
    expected = [Decimal(x) for x in ("123.45", stamp, handling, "2.47", transfer)]
    assert list(fees[:5]) == expected
    assert fees.total == sum(expected)


@pytest.mark.parametrize(
    ("value", "rate", "commission"),
    [
        ("1000", "0.0003", "5"),  # at least 5
        ("16666.67", "0.0003", "5.00"),
        ("20000", "0.0003", "6.00"),
        ("10000", "0.01", "30.00"),  # never above 0.3%
        ("100", "0.01", "5"),
        ("20150", "0.0003", "6.05"),  # 6.045 half up
    ],
)
def test_commission_between_its_bounds(value, rate, commission):
    assert get_rulebook("cn.star", "2024-01-02").fees("buy", value, 1, rate).commission == Decimal(commission)


def test_fees_that_are_not_in_the_tables_are_refused():
    with pytest.raises(InputError, match="later date"):
        get_rulebook("cn.main", "2015-07-31").fees("buy", "10", 100)
    with pytest.raises(InputError, match="quantity 0"):
        get_rulebook("cn.main", "2024-01-02").fees("buy", "10", 0)


@pytest.mark.parametrize(
    ("name", "side", "quantity", "holding", "allowed"),
    [
        ("cn.main", "buy", 100, 0, True),
        ("cn.main", "buy", 150, 150, False),
        ("cn.main", "buy", 50, 50, False),
        ("cn.main", "buy", 1_000_000, 0, True),
        ("cn.main", "buy", 1_000_100, 0, False),
        ("cn.main", "sell", 200, 0, True),
        ("cn.main", "sell", 50, 250, True),  # the odd shares alone
        ("cn.main", "sell", 150, 250, True),  # or with whole lots
        ("cn.main", "sell", 250, 250, True),
        ("cn.main", "sell", 30, 250, False),  # but never in parts
        ("cn.main", "sell", 120, 250, False),
        ("cn.main", "sell", 50, 0, False),
        ("cn.main", "sell", 300, 250, False),
        ("cn.star", "buy", 199, 0, False),
        ("cn.star", "buy", 200, 0, True),
        ("cn.star", "buy", 201, 0, True),
        ("cn.star", "buy", 100_001, 0, False),
        ("cn.star", "sell", 199, 199, True),
        ("cn.star", "sell", 199, 399, False),
        ("cn.star", "sell", 150, 199, False),
        ("cn.star", "sell", 201, 399, True),
        ("cn.bse", "buy", 99, 0, False),
        ("cn.bse", "buy", 101, 0, True),
        ("cn.bse", "sell", 50, 50, True),
        ("cn.bse", "sell", 50, 150, False),
        ("cn.chinext", "buy", 300_100, 0, False),
        ("cn.main", "buy", 0, 0, False),
        ("cn.main", "buy", -100, 0, False),
        ("cn.main", "buy", 100.5, 0, False),
        ("cn.main", "buy", float("nan"), 0, False),
    ],
)
def test_lots_and_remainders(name, side, quantity, holding, allowed):
    assert get_rulebook(name, "2024-01-02").quantity_allowed(side, quantity, holding) is allowed


def test_market_orders_on_star_are_smaller():
    star = get_rulebook("cn.star", "2024-01-02")
    assert star.quantity_allowed(1, 50_000, market=True) and not star.quantity_allowed(1, 50_001, market=True)


def test_shares_bought_today_stay_until_tomorrow():
    rules = get_rulebook("cn.main", "2024-01-02")
    assert (rules.sellable(500, 200), rules.sellable(100, 200)) == (300, 0)


@pytest.mark.parametrize(
    ("date", "last", "time", "fired", "halt"),
    [
        ("2015-12-31", "93", "10:00", (), None),
        ("2016-01-01", "95", "10:00", (), (15, 1)),
        ("2016-01-04", "105", "10:00", (), (15, 1)),
        ("2016-01-04", "95.01", "10:00", (), None),
        ("2016-01-04", "95", "14:44:59", (), (15, 1)),
        ("2016-01-04", "95", "14:45", (), ("close", 1)),
        ("2016-01-04", "94", "13:30", (1,), None),
        ("2016-01-04", "93", "13:34", (1,), ("close", 2)),
        ("2016-01-07", "93", "09:59", (), ("close", 2)),  # through both levels at once
        ("2016-01-08", "93", "10:00", (), None),
    ],
)
def test_the_index_circuit_breaker_of_four_sessions(date, last, time, fired, halt):
    assert get_rulebook("cn.main", date).market_halt("100", last, time, fired) == halt


def test_pauses_of_days_without_limits():
    bse = get_rulebook("cn.bse", "2024-01-02")
    assert bse.stock_pause("10", "13", "10:00", listing_day=1) == (10, 1)
    assert bse.stock_pause("10", "12.99", "10:00", listing_day=1) is None
    assert bse.stock_pause("10", "4", "10:00", listing_day=1, fired=(1,)) == (10, 2)
    assert bse.stock_pause("10", "13", "10:00", listing_day=2) is None
    assert get_rulebook("cn.star", "2024-01-02").stock_pause("10", "13", "10:00", listing_day=5) == (10, 1)
    assert get_rulebook("cn.main", "2023-04-07").stock_pause("10", "13", "10:00", listing_day=1) is None


@pytest.mark.parametrize(
    ("name", "date", "side", "reference", "expected"),
    [
        ("cn.main", "2023-04-07", "buy", "10.00", FREE),
        ("cn.main", "2023-04-10", "buy", "10.00", (None, "10.20")),
        ("cn.main", "2023-04-10", "sell", "10.00", ("9.80", None)),
        ("cn.main", "2023-04-10", "buy", "3.00", (None, "3.10")),  # ten ticks are wider than 2%
        ("cn.bse", "2024-01-02", "buy", "10.00", (None, "10.50")),
        ("cn.bse", "2024-01-02", "sell", "10.00", ("9.50", None)),
    ],
)
def test_order_price_bands(name, date, side, reference, expected):
    answer = get_rulebook(name, date).order_band(side, reference)
    assert answer == tuple(e if e is None else Decimal(e) for e in expected)


def test_sessions_by_date():
    assert get_rulebook("cn.main", "2026-07-03").session("15:10") == "closed"
    assert get_rulebook("cn.main", "2026-07-06").session("15:10") == "fixed_price"
    assert get_rulebook("cn.star", "2020-01-02").session("15:10") == "fixed_price"
    day = get_rulebook("cn.main", "2024-01-02")
    times = ("09:14", "09:15", "09:25", "09:30", "11:30", "13:00", "14:57", "15:00")
    kinds = ["closed", "auction", "break", "continuous", "break", "continuous", "auction", "closed"]
    assert [day.session(t) for t in times] == kinds


def test_no_real_bar_leaves_its_band(shared_data):
    """Main-board bars from 2020 to 2024; `pre_close` is the exchange's reference, on ex-dividend days too."""
    bars, upper_closes, lower_closes = 0, 0, 0
    for path in sorted((shared_data / "ashare_daily_raw").glob("6*.csv")) + [
        shared_data / "ashare_daily_raw" / name for name in ("000001.SZ.csv", "000858.SZ.csv")
    ]:
        for row in pl.read_csv(path, infer_schema=False).iter_rows(named=True):
            day = f"{row['trade_date'][:4]}-{row['trade_date'][4:6]}-{row['trade_date'][6:]}"
            rules = get_rulebook("cn.main", day)
            lower, upper = rules.price_band(row["pre_close"])
            prices = [Decimal(row[name]) for name in ("low", "open", "close", "high")]
            assert lower <= prices[0] and prices[3] <= upper, (path.name, day)
            assert all(price % rules.tick_size(price) == 0 for price in prices)
            bars += 1
            upper_closes += prices[2] == upper
            lower_closes += prices[2] == lower
    assert (bars, upper_closes, lower_closes) == (6060, 10, 3)  # the counts in the data's README
