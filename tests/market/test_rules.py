from decimal import Decimal

import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.rules import UNLIMITED, price_band, session_rules


@pytest.mark.parametrize(
    ("close", "fraction", "expected"),
    [
        ("10.00", "0.1", ("9.00", "11.00")),
        ("10.05", "0.1", ("9.05", "11.06")),  # 9.045 and 11.055: half up, where binary floats round down
        ("3.35", "0.1", ("3.02", "3.69")),
        ("0.04", "0.1", ("0.03", "0.05")),  # at least one tick away
        ("0.01", "0.1", ("0.01", "0.02")),  # never below one tick
    ],
)
def test_price_band_rounds_half_up_in_decimal(close, fraction, expected):
    band = price_band(Decimal(close), Decimal(fraction), Decimal("0.01"))
    assert band == tuple(map(Decimal, expected))


def test_session_rules_from_the_configuration():
    rules = session_rules(MarketConfig(start_price=10.05, max_position=250, lot_size=100, fee_bps=3))
    assert (rules.lower_ticks, rules.upper_ticks) == (905, 1106)
    assert (rules.min_position, rules.max_position) == (-2, 2)
    assert rules.buy_fee == pytest.approx(3e-4)
    free = session_rules(MarketConfig(price_limit=None))
    assert (free.lower_ticks, free.max_position) == (None, UNLIMITED)


def test_t_plus_one_forbids_short_positions():
    assert session_rules(MarketConfig(t_plus_one=True)).min_position == 0


def test_a_start_price_off_the_grid_is_an_error():
    with pytest.raises(InputError, match=r"market\.start_price 10\.005, .* multiples of market\.tick_size, 0\.01"):
        session_rules(MarketConfig(start_price=10.005))
