"""Moving bands in the kernels' integers against the rulebooks' decimals."""

from decimal import Decimal

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.market import moving_band
from difffinance.market import supervision as s
from difffinance.market.enforcement import local_time, supervise, trading_day
from difffinance.market.engine import Book
from tests.market.venues import rules_of


@pytest.mark.parametrize("close", ["0.12", "0.5", "0.75", "3.00", "3.01", "250"])
@pytest.mark.parametrize("rulebook", ["us.tier1", "us.tier2"])
def test_bands_around_a_mean_are_the_same(rulebook, close):
    rules, book = rules_of(rulebook, start_price=float(close), session_seconds=23400)
    rng, day = np.random.default_rng(2), trading_day(book)
    for _ in range(100):
        count, second = int(rng.integers(1, 50)), int(rng.integers(0, 23400))
        total = int(count * float(close) * 100 * rng.uniform(0.8, 1.2)) + 1
        mean = Decimal(total) / count / 100
        lower, upper = book.price_band(mean, time=local_time(day, second), previous_close=close)
        low, high = moving_band.mean_band(rules, total, count, moving_band.band_factor(rules, second)[0])
        assert (low, high) == (lower * 100, upper * 100)


def test_bands_stand_around_the_last_mean_all_day():
    """Through the doubled widths of the open and the close, and through a reopening, which takes the bands away."""
    held = supervise(MarketConfig(rulebook="us.tier1", date="2019-07-01", session_seconds=23_400, start_price=50.0))
    rules, session = held["rules"], held["session"]
    session[s.PHASE], session[s.UNTIL] = s.OPEN, s.FOREVER
    rng, fills, price, widths = np.random.default_rng(3), np.zeros(1, Book().fills_buffer.dtype), 5000, set()
    for second in range(1, 23_400):
        if second == 9000:
            session[s.BAND_LOW] = session[s.BAND_HIGH] = 0
        price = max(price + int(rng.integers(-6, 7)), 4000)
        fills["price"] = price
        s.note_trades(rules, session, fills, 0, 1)
        moving_band.next_second(rules, session)
        factor, _ = moving_band.band_factor(rules, second)
        expected = (
            moving_band.mean_band(rules, session[s.MEAN_SUM], session[s.MEAN_COUNT], factor) if factor else (0, 0)
        )
        assert (session[s.BAND_LOW], session[s.BAND_HIGH]) == expected, second
        widths.add(int(factor))
    assert {1, 2} <= widths and session[s.MEAN_SET] > 1000


@pytest.mark.parametrize(
    ("rulebook", "windows"),
    [
        ("us.tier1", [[0, 21900, 1], [21900, 23400, 2]]),
        ("us.tier2", [[0, 21900, 1], [21900, 23400, 2]]),  # a close of 0.50: doubled too
        ("hk.futures", [[0, 900, 0], [900, 9900, 1], [9900, 10800, 0], [10800, 21300, 1], [21300, 22500, 0]]),
        ("hk.mid", [[0, 900, 0], [900, 9000, 1], [9000, 9900, 0], [9900, 18600, 1], [18600, 20400, 0]]),
    ],
)
def test_when_moving_bands_are_in_force(rulebook, windows):
    rules, _ = rules_of(rulebook)
    rows = rules[rules[s.WINDOWS] : rules[s.WINDOWS] + 3 * rules[s.WINDOW_ROWS]].reshape(-1, 3)
    assert rows.tolist() == windows
