import math

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.bars import (
    amihud,
    corwin_schultz_spread,
    describe_bars,
    describe_power_law,
    high_low_spreads,
    kyle,
    roll_spread,
)
from difffinance.config import CalibrationConfig
from difffinance.errors import RefusedFit
from difffinance.records import BarsTable, Instrument

CONFIG = CalibrationConfig(permutations=39)


def table(close, volume, high=None, low=None, is_index=False):
    frame = pl.DataFrame({"open": close, "high": high if high is not None else close,
                          "low": low if low is not None else close, "close": close, "volume": volume})  # fmt: skip
    return BarsTable(Instrument("BAR"), frame, "test", is_index=is_index)


def test_amihud_is_the_mean_over_money_traded():
    close, volume = np.tile([100.0, 110.0], 40), np.tile([1e4, 2e4], 40)
    volume[2] = 0.0  # a bar without trading says nothing
    up, down = 0.1 / (110 * 2e4), (1 - 100 / 110) / (100 * 1e4)
    assert amihud(close, volume, "USD").value == pytest.approx(1e6 * (40 * up + 38 * down) / 78)


@pytest.mark.parametrize("spread", [0.005, 0.02])
def test_rolls_spread_is_that_of_bouncing_prices(spread):
    rng = np.random.default_rng(1)
    efficient = np.cumsum(0.003 * rng.standard_normal(40_000))
    found = roll_spread(np.exp(efficient + 0.5 * spread * rng.choice([-1, 1], 40_000)))
    assert abs(found.value - spread) < 4 * found.standard_error < spread


def test_roll_says_where_it_has_no_spread():
    trend = np.exp(np.cumsum(np.repeat(np.random.default_rng(2).standard_normal(200), 20) * 1e-3))
    found = roll_spread(trend)
    assert found.value is None and "not negative" in found.note


def simulated_days(days, spread, gap, seed=3, steps=390):
    """High, low and close of quotes that bounce around a random walk, with overnight gaps of sd `gap`."""
    rng = np.random.default_rng(seed)
    start, rows = 0.0, []
    for _ in range(days):
        start += gap * rng.standard_normal()
        path = start + np.cumsum(0.02 / math.sqrt(steps) * rng.standard_normal(steps))
        seen = np.exp(path) * (1 + 0.5 * spread * rng.choice([-1, 1], steps))
        rows.append((seen.max(), seen.min(), seen[-1]))
        start = path[-1]
    return (np.array(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("gap", [0.0, 0.01])
def test_high_low_spread_of_simulated_days(gap):
    """Raw estimates are right on average without gaps; the published adjustment undoes most of a gap's bias."""
    high, low, close = simulated_days(3000, 0.03, gap)
    raw = high_low_spreads(high, low, close)
    assert raw.mean() == pytest.approx(0.03, abs=0.004)
    blind = high_low_spreads(high, low, np.concatenate([0.5 * (high + low)[1:], close[-1:]]))  # sees no gaps
    assert gap == 0.0 or blind.mean() < raw.mean() - 0.002
    found = corwin_schultz_spread(high, low, close)
    assert found.value >= raw.mean() and "below 0" in found.note
    assert found.value == pytest.approx(np.maximum(raw, 0).mean())


def test_high_low_spread_is_the_published_formula():
    high, low, close = np.array([103.0, 112.0]), np.array([99.0, 106.0]), np.array([102.0, 108.0])
    # The second bar opened above the close before it by 4 and is moved back: 108, 102.
    beta = math.log(103 / 99) ** 2 + math.log(108 / 102) ** 2
    gamma = math.log(108 / 99) ** 2
    k = 3 - 2 * math.sqrt(2)
    alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
    expected = 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))
    assert high_low_spreads(high, low, close)[0] == pytest.approx(expected)


def test_kyle_is_the_slope_and_warns():
    rng = np.random.default_rng(4)
    close, volume = 100 + np.cumsum(rng.standard_normal(500)), rng.uniform(1, 2, 500)
    found = kyle(close, volume)
    x = np.sign(np.diff(close)) * volume[1:]
    assert found.value == pytest.approx(np.linalg.lstsq(x[:, None], np.diff(close), rcond=None)[0][0])
    assert "descriptive" in found.note
    assert kyle(close, np.zeros(500)).value is None


def test_bars_without_impact_are_refused_with_a_large_r2():
    """SCIENCE 2.3: the trap. Volume has nothing to do with returns, and the fit still explains most of them."""
    rng = np.random.default_rng(5)
    bars = table(100 + np.cumsum(rng.standard_normal(2000)), np.exp(rng.standard_normal(2000)))
    law, reason = describe_power_law(bars, config=CONFIG, rng=rng)
    assert law["r2"] > 0.6
    assert law["placebo"]["r2_median"] > 0.9 * law["r2"]
    assert "shuffled" in reason and "descriptive" in law["label"]


def test_bars_whose_volume_moves_with_returns_are_described_and_stay_uncharged():
    rng = np.random.default_rng(6)
    move = rng.standard_normal(3000)
    bars = table(1000 + np.cumsum(move), np.abs(move) ** 2 * np.exp(0.2 * rng.standard_normal(3000)))
    law, reason = describe_power_law(bars, config=CONFIG, rng=rng)
    assert reason is None and law["gamma"] == pytest.approx(0.5, abs=0.05)
    assert law["placebo"]["p_value"] == pytest.approx(1 / 40)


def test_an_index_has_no_volume_of_its_own():
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(300)))
    bars = table(close, np.ones(300), close * 1.01, close * 0.99, is_index=True)
    assert [row["name"] for row in describe_bars(bars)] == ["roll_spread", "corwin_schultz_spread"]
    with pytest.raises(RefusedFit, match="60"):
        describe_bars(table(close[:59], np.ones(59)))
