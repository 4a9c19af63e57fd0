import numpy as np
import pytest

from difffinance.backtest.signals import buy_and_hold, make_forecast, momentum
from difffinance.config import BacktestConfig
from difffinance.errors import InputError
from difffinance.market.costs import trailing_volatility_and_volume
from tests.backtest.conftest import random_walk

CONFIG = BacktestConfig(momentum_window=60, momentum_skip=5)


def walk(seed=0, count=900):
    close = random_walk(count, seed)["close"]
    return close, trailing_volatility_and_volume(close, np.ones(count), window=20)[0]


def test_slope_is_the_ridge_regression_on_complete_pairs_only():
    close, sigma = walk()
    found = momentum(close, sigma, CONFIG)
    for t in (300, 650):
        score = {u: np.log(close[u - 5] / close[u - 60]) / (sigma[u] * np.sqrt(55)) for u in range(60, t + 1)}
        x = np.array([score[u] for u in range(60, t)])
        y = np.array([(close[u + 1] / close[u] - 1) / sigma[u] for u in range(60, t)])
        slope = x @ y / (x @ x + 252 / 0.5**2)
        assert found.signal[t] == pytest.approx(slope * score[t], rel=1e-9)
        z = np.array([score[u] for u in range(61, t + 1)])
        assert found.decay[t] == pytest.approx(1 - x @ z / (x @ x), rel=1e-9)


def test_later_bars_change_no_forecast():
    close, sigma = walk()
    changed = close.copy()
    changed[500:] *= np.exp(np.random.default_rng(1).normal(0, 0.1, 400))
    other = trailing_volatility_and_volume(changed, np.ones(900), window=20)[0]
    for signal in (momentum, buy_and_hold):
        before, after = signal(close, sigma, CONFIG), signal(changed, other, CONFIG)
        np.testing.assert_array_equal(before.signal[:500], after.signal[:500])
        np.testing.assert_array_equal(before.decay[:500], after.decay[:500])
        assert not np.array_equal(before.signal[500:], after.signal[500:])


def test_trends_are_learned_and_noise_is_shrunk():
    rng = np.random.default_rng(2)
    drift = np.repeat(rng.choice([-0.006, 0.006], 10), 300)
    close = 100 * np.exp(np.cumsum(drift + rng.normal(0, 0.01, 3000)))
    sigma = trailing_volatility_and_volume(close, np.ones(3000), window=20)[0]
    forecast = momentum(close, sigma, CONFIG).signal[1000:-1]
    outcome = np.diff(np.log(close))[1000:]
    assert np.corrcoef(forecast, outcome)[0, 1] > 0.2
    noise, sigma = walk(3)
    assert np.nanstd(momentum(noise, sigma, CONFIG).signal[500:]) < 0.05


def test_holding_implies_a_full_position():
    close, sigma = walk()
    forecast = buy_and_hold(close, sigma, CONFIG)
    weight = forecast.signal / (CONFIG.risk_aversion * sigma)
    assert weight[25:] == pytest.approx(np.ones(875))
    assert not forecast.short_allowed and (forecast.decay == 0).all()


def test_unknown_signals_and_windows_are_refused():
    close, sigma = walk()
    with pytest.raises(InputError, match="momentum, buy_and_hold"):
        make_forecast("value", close, sigma, CONFIG)
    with pytest.raises(InputError, match="momentum_skip"):
        momentum(close, sigma, BacktestConfig(momentum_window=20, momentum_skip=20))
