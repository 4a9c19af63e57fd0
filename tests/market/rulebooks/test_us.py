from decimal import Decimal

import pytest

from difffinance.config import MarketConfig
from difffinance.market.rulebooks import us
from difffinance.market.rules import get_rulebook

FREE = (None, None)


@pytest.mark.parametrize(
    ("name", "mean", "asked", "expected"),
    [
        ("us.tier1", "100", {}, ("95.00", "105.00")),
        ("us.tier2", "100", {}, ("90.00", "110.00")),
        ("us.tier1", "10.1", {}, ("9.60", "10.61")),  # 9.595 and 10.605, half up
        ("us.tier1", "3.01", {}, ("2.86", "3.16")),
        ("us.tier1", "3.00", {}, ("2.40", "3.60")),
        ("us.tier2", "0.75", {}, ("0.60", "0.90")),
        ("us.tier1", "2.90", {"previous_close": "3.01"}, ("2.76", "3.05")),  # the previous close picks the row
        ("us.tier1", "3.10", {"previous_close": "3.00"}, ("2.48", "3.72")),
        ("us.tier1", "0.74", {}, ("0.59", "0.89")),
        ("us.tier1", "0.10", {}, ("0.03", "0.18")),  # 75% is less than 0.15: 0.025 and 0.175
        ("us.tier2", "1.00", {"previous_close": "0.74"}, ("0.85", "1.15")),
        ("us.tier1", "100", {"time": "15:34:59"}, ("95.00", "105.00")),
        ("us.tier1", "100", {"time": "15:35"}, ("90.00", "110.00")),
        ("us.tier2", "100", {"time": "15:35"}, ("90.00", "110.00")),  # above 3.00: not doubled
        ("us.tier2", "3.00", {"time": "15:35"}, ("1.80", "4.20")),
        ("us.tier2", "0.50", {"time": "15:59"}, ("0.20", "0.80")),
        ("us.tier1", "0.10", {"time": "15:59"}, ("0.00", "0.25")),  # 150%: the lower band stops at 0
        ("us.tier1", "100", {"time": "09:31"}, ("95.00", "105.00")),
        ("us.tier1", "100", {"time": "09:29:59"}, FREE),
        ("us.tier1", "100", {"time": "16:00:01"}, FREE),
    ],
)
def test_limit_up_limit_down_bands(name, mean, asked, expected):
    answer = get_rulebook(name, "2025-06-02").price_band(mean, **asked)
    assert answer == tuple(e if e is None else Decimal(e) for e in expected)


def test_bands_by_date():
    assert get_rulebook("us.tier1", "2013-04-05").price_band("100") == FREE
    assert get_rulebook("us.tier1", "2020-02-21").price_band("100", time="09:44")[1] == 110  # doubled at the open
    assert get_rulebook("us.tier1", "2020-02-21").price_band("100", time="09:45")[1] == 105
    assert get_rulebook("us.tier1", "2020-02-24").price_band("100", time="09:44")[1] == 105


@pytest.mark.parametrize(
    ("last", "time", "fired", "halt"),
    [
        ("93.01", "10:00", (), None),
        ("93", "10:00", (), (15, 1)),
        ("93", "15:24:59", (), (15, 1)),
        ("93", "15:25", (), None),
        ("92", "11:00", (1,), None),  # once a day
        ("87", "11:00", (1,), (15, 2)),
        ("86", "11:00", (), (15, 2)),  # through both at once: the higher level
        ("92", "11:00", (2,), None),  # and the lower one is spent
        ("87", "15:25", (), None),
        ("87", "11:00", (7, 13), None),
        ("80", "11:00", (1, 2), ("close", 3)),
        ("80", "15:59", (), ("close", 3)),
        ("80", "16:01", (), None),
        ("110", "10:00", (), None),  # only falls
    ],
)
def test_the_market_wide_breaker(last, time, fired, halt):
    assert get_rulebook("us.tier2", "2020-03-09").market_halt("100", last, time, fired) == halt


def test_rule_201():
    rules = get_rulebook("us.tier1", "2025-06-02")
    assert rules.short_sale_restricted("10.00", "9.00") and not rules.short_sale_restricted("10.00", "9.01")
    assert not get_rulebook("us.tier1", "2011-02-25").short_sale_restricted("10.00", "5.00")


def test_ticks_and_the_postponed_half_cent():
    rules = get_rulebook("us.tier1", "2025-06-02")
    assert (rules.tick_size("1.00"), rules.tick_size("0.9999")) == (Decimal("0.01"), Decimal("0.0001"))
    assert rules.tick_size("5", quoted_spread="0.01") == Decimal("0.01")
    after = get_rulebook("us.tier1", "2026-11-02")
    assert after.tick_size("5", quoted_spread="0.015") == Decimal("0.005")
    assert after.tick_size("5", quoted_spread="0.016") == after.tick_size("5") == Decimal("0.01")
    assert get_rulebook("us.tier1", "2026-11-02", half_cent_from="2027-01-04").half_cent is None


def test_access_fees_are_capped_from_the_same_day():
    before, after = (get_rulebook("us.tier1", day) for day in ("2026-11-01", "2026-11-02"))
    assert (before.access_fee_cap("1.00"), before.access_fee_cap("0.50")) == (Decimal("0.003"), Decimal("0.0015"))
    assert (after.access_fee_cap("1.00"), after.access_fee_cap("0.50")) == (Decimal("0.001"), Decimal("0.0005"))
    assert get_rulebook("us.tier1", "2006-01-03").access_fee_cap("5") is get_rulebook("jp", "2025-06-02").access_fee
    assert MarketConfig().half_cent_from == us.HALF_CENT_FROM


def test_no_taxes_and_any_whole_quantity():
    rules = get_rulebook("us.tier1", "2025-06-02")
    assert rules.fees("sell", "100", 10).total == 0
    assert rules.fees("sell", "100", 10, "0.0005").total == Decimal("0.50")
    assert rules.quantity_allowed("buy", 1) and rules.sellable(10, 10) == 10
