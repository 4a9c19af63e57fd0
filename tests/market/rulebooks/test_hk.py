from decimal import Decimal

import pytest

from difffinance.market.rules import get_rulebook

DAY = "2025-09-01"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hk.large", ("6.993", "8.547")),
        ("hk.mid", ("6.6045", "8.9355")),  # not rounded
        ("hk.small", ("6.216", "9.324")),
    ],
)
def test_volatility_control_by_size(name, expected):
    assert get_rulebook(name, DAY).price_band("7.77") == tuple(map(Decimal, expected))


@pytest.mark.parametrize(
    ("time", "monitored"),
    [
        ("09:29", False), ("09:44:59", False), ("09:45", True), ("11:59", True), ("12:30", False), ("13:00", False),
        ("13:14:59", False), ("13:15", True), ("15:39:59", True), ("15:40", False), ("15:55", False),
    ],
)  # fmt: skip
def test_not_at_the_start_of_a_session_nor_at_the_end_of_the_day(time, monitored):
    assert (get_rulebook("hk.large", DAY).price_band("100", time=time) != (None, None)) is monitored


def test_first_days():
    assert get_rulebook("hk.large", "2016-08-19").price_band("100") == (None, None)
    assert get_rulebook("hk.mid", "2020-05-08").price_band("100") == (None, None)
    assert get_rulebook("hk.mid", "2020-05-11").price_band("100") == (Decimal(85), Decimal(115))


def test_stamp_duty_of_both_sides_goes_up_to_the_dollar():
    for date, duty in (("2021-07-30", 2), ("2021-08-02", 2), ("2023-11-16", 2), ("2023-11-17", 2)):
        assert get_rulebook("hk.large", date).fees("buy", "12.00", 100).stamp == duty
    assert get_rulebook("hk.large", "2023-11-16").fees("sell", "100", 1000).stamp == 130
    assert get_rulebook("hk.large", "2023-11-17").fees("sell", "100", 1000).stamp == 100


def test_spread_table_and_its_reduction():
    before, after = get_rulebook("hk.large", "2025-08-01"), get_rulebook("hk.large", "2025-08-04")
    prices = ("0.25", "0.255", "10", "10.02", "20.05", "50.05", "150", "300", "700", "1500", "3000", "6000")
    ticks = ("0.001", "0.005", "0.01", "0.02", "0.05", "0.05", "0.1", "0.2", "0.5", "1", "2", "5")
    assert [before.tick_size(p) for p in prices] == [Decimal(t) for t in ticks]
    assert (after.tick_size("10.02"), after.tick_size("20.05")) == (Decimal("0.01"), Decimal("0.02"))


def test_nothing_else_is_restricted():
    rules = get_rulebook("hk.small", DAY)
    assert rules.market_halt("100", "50", "10:00") is None
    assert rules.short_sale_restricted("10", "1") is False
    assert rules.sellable(100, 100) == 100


def test_index_futures_have_a_band_of_a_twentieth():
    """SCIENCE 11: +-5% of the last trade 5 minutes earlier, not early in a session nor late in the day."""
    rules = get_rulebook("hk.futures", DAY)
    assert rules.price_band("25001", time="10:00") == (Decimal("23750.95"), Decimal("26251.05"))
    times = ("09:29:59", "09:30", "12:30", "13:14:59", "13:15", "16:09:59", "16:10")
    monitored = [rules.price_band("25000", time=time) != (None, None) for time in times]
    assert monitored == [False, True, False, False, True, True, False]
    assert get_rulebook("hk.futures", "2017-01-13").price_band("25000") == (None, None)
    assert rules.tick_size("25000") == 1 and rules.fees("buy", "25000", 10).total == 0
    assert rules.cooling_seconds == 300 and rules.session("16:29") == "continuous"
