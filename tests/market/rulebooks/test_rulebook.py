import datetime as dt
from decimal import Decimal

import pytest

from difffinance.errors import InputError
from difffinance.market.rules import NAMES, get_rulebook

CN = get_rulebook("cn.main", "2024-01-02")
US = get_rulebook("us.tier1", "2024-01-02")


def test_names_and_dates():
    assert len(NAMES) == 13
    with pytest.raises(InputError, match=r"hk\.large, hk\.mid"):
        get_rulebook("hk", "2024-01-02")
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        get_rulebook("jp", "02/01/2024")
    days = (dt.date(2023, 8, 28), dt.datetime(2023, 8, 28, 10), "2023-08-28")
    assert len({get_rulebook("cn.main", day) for day in days}) == 1


def test_a_venue_without_rules_restricts_nothing():
    free = get_rulebook("none", "2024-01-02")
    assert free.price_band("10", time="10:00", listing_day=1, widened=True) == (None, None)
    assert free.fees("sell", "10", 100).total == 0
    assert free.quantity_allowed("sell", 7) and free.sellable(5, 5) == 5
    assert free.market_halt("100", "1", "10:00") is None
    assert free.short_sale_restricted("10", "1") is False
    assert free.tick_size("10") == 0
    assert free.order_band("buy", "10") == (None, None) and free.quote_step("10") is None
    assert free.session("03:00") == "continuous"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CN.price_band("ten"), "not a number"),
        (lambda: CN.price_band("NaN"), "not allowed"),
        (lambda: CN.price_band("-1"), "not allowed"),
        (lambda: CN.price_band("0"), "above 0"),
        (lambda: CN.price_band("10", listing_day=0), "listing_day 0"),
        (lambda: CN.price_band("10", widened="up"), "'lower' or 'upper'"),
        (lambda: CN.price_band("10", time="25:00"), "HH:MM"),
        (lambda: CN.fees("hold", "10", 100), "'buy' or 'sell'"),
        (lambda: CN.fees("buy", "10", 1.5), "whole number"),
        (lambda: CN.fees("buy", "10", 100, commission_rate="-0.1"), "commission_rate"),
        (lambda: CN.fees(["buy"], "10", 100), "'buy' or 'sell'"),
        (lambda: CN.fees("buy", "10", 10**30), "up to 1,000,000,000,000"),
        (lambda: CN.price_band("1e40"), "up to 1,000,000,000,000"),
        (lambda: CN.sellable(-1, 0), "holding"),
        (lambda: US.market_halt("100", "80", "10:00", (5,)), "Allowed: some of 1, 2, 3"),
        (lambda: US.market_halt("100", "80", "10:00", 7), "fired 7 .* Allowed: some of 1, 2, 3"),
        (lambda: US.market_halt("100", "80", "10:00", None), "fired None"),
        (lambda: CN.stock_pause("10", "13", "10:00", listing_day=1, fired=("x",)), "Allowed: some of 1, 2, in"),
        (lambda: CN.stock_pause("10", "13", "10:00", listing_day=1, fired=(3,)), "fired"),
        (lambda: CN.stock_pause("10", "13", "10:00", listing_day="first"), "listing_day 'first'"),
        (lambda: CN.stock_pause("10", "13", "10:00", listing_day=0), "listing_day 0"),
        (lambda: CN.stock_pause("10", "13", "10:00", listing_day=1, fired="12"), "in a tuple"),
        (lambda: CN.price_band("10", listing_day="first"), "listing_day 'first'"),
    ],
)
def test_bad_input_says_what_is_allowed(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_numbers_come_in_any_decimal_form():
    assert CN.price_band("10.05") == CN.price_band(Decimal("10.05")) == CN.price_band(10.05)
    assert CN.price_band("10", listing_day="3") == CN.price_band("10", listing_day=3) == (None, None)
    assert CN.stock_pause("10", "13", "10:00", listing_day="1") == (10, 1)
    assert CN.stock_pause("10", "16", "10:00", listing_day=1, fired=("0.3",)) == (10, 2)
    assert CN.price_band("10", time=dt.time(10)) == CN.price_band("10", time="10:00")
    assert CN.session("9:30") == CN.session("9:30:00") == CN.session("09:30:00") == "continuous"
    assert CN.fees("sell", 10**12, 10**12).total > 0
    assert CN.fees(1, "10", 100) == CN.fees("buy", "10", 100)
