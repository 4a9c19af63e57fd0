from decimal import Decimal

import pytest

from difffinance.market.rules import get_rulebook

JP = get_rulebook("jp", "2025-03-03")


@pytest.mark.parametrize(
    ("below", "limit"),
    [
        (100, 30), (200, 50), (500, 80), (700, 100), (1000, 150), (1500, 300), (2000, 400), (3000, 500), (5000, 700),
        (7000, 1000), (10_000, 1500), (15_000, 3000), (20_000, 4000), (30_000, 5000), (50_000, 7000), (70_000, 10_000),
        (100_000, 15_000), (150_000, 30_000), (200_000, 40_000), (300_000, 50_000), (500_000, 70_000),
        (1_000_000, 150_000), (1_500_000, 300_000), (10_000_000, 1_500_000), (50_000_000, 7_000_000),
    ],
)  # fmt: skip
def test_daily_limits_in_yen(below, limit):
    base = Decimal(below) - 1
    assert JP.price_band(base) == (base - limit, base + limit)
    assert JP.price_band(below)[1] - below > limit  # the next row


def test_the_last_row_and_the_lowest_price():
    assert JP.price_band("50000000") == (40_000_000, 60_000_000)
    assert JP.price_band("20") == (1, 50)
    assert JP.price_band("15000", widened=True) == (1, 31_000)  # not a step of 10 yen, as at the base price


@pytest.mark.parametrize(
    ("base", "side", "lower", "upper"),
    [  # notices of the exchange: 18 Apr 2023, 28 Feb 2025 (three), 14 Feb 2023
        ("1769", "upper", 1369, 3370),
        ("3310", "lower", 510, 4010),
        ("617", "upper", 517, 1017),
        ("7870", "upper", 6370, 13_870),
        ("19170", "lower", 3170, 23_170),
    ],
)
def test_broadened_limits_as_published(base, side, lower, upper):
    assert JP.price_band(base, widened=side) == (lower, upper)


def test_broadened_on_both_sides():
    assert JP.price_band("3000", widened=True) == (200, 5800)
    assert JP.price_band("1000", widened=True) == (1, 2200)


def test_special_quote_steps():
    prices = (199, 200, 499, 500, 999, 1000, 1999, 2000, 6999, 9999, 10_000)
    assert [JP.quote_step(p) for p in prices] == [5, 8, 8, 10, 15, 30, 40, 50, 100, 150, 300]


@pytest.mark.parametrize(
    ("price", "side", "quote"),
    [
        ("1000", "buy", 1030), ("1000", "sell", 970), ("999", "sell", 984), ("199", "buy", 204), ("3", "sell", 1),
        ("2999", "buy", 3045), ("3010", "sell", 2940), ("30050", "sell", 29_350), ("29990", "buy", 30_450),
    ],
)  # fmt: skip
def test_special_quotes_lie_a_step_away_on_the_tick(price, side, quote):
    assert JP.special_quote(price, side) == quote
    assert JP.special_quote(price, side, (Decimal(1000), Decimal(1005))) == min(max(quote, 1000), 1005)
    assert get_rulebook("us.tier1", "2025-06-02").special_quote(price, side) is None


def test_two_days_at_a_limit_widen_it():
    assert [JP.widened(days) for days in (0, 1, 2, 3, -1, -2)] == [False, False, "upper", "upper", False, "lower"]
    assert get_rulebook("cn.main", "2025-06-02").widened(5) is False


def test_ticks_of_other_issues():
    prices = ("2999", "3000", "3005", "5000", "5010", "30000", "30050", "50100", "300500", "50100000")
    assert [JP.tick_size(p) for p in prices] == [1, 1, 5, 5, 10, 10, 50, 100, 500, 100_000]
