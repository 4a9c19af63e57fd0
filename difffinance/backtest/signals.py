"""Forecasts from past prices only: what the trader is told before he decides how to trade.

A forecast is in sigmas of the next bar, like the `signal` of the published state. Number t uses bars up to t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from difffinance.config import BacktestConfig
from difffinance.errors import InputError
from difffinance.records import Array


@dataclass(frozen=True)
class Forecast:
    """The forecast return of the next bar (sigma), the part of it lost per bar, and whether it may go short."""

    signal: Array  # (T,), NaN where there is no forecast yet
    decay: Array  # (T,)
    short_allowed: bool


def momentum(close: Array, sigma: Array, config: BacktestConfig) -> Forecast:
    """Forecast by a shrunk regression, through the origin, of the next return on a momentum score.

    The score is the log return over `momentum_window` bars but the last `momentum_skip` (Jegadeesh & Titman 1993;
    on one asset: Moskowitz, Ooi & Pedersen 2012), in units of its volatility. The slope is re-estimated at each bar
    from the pairs that are complete by then, with a normal prior around 0 whose deviation is a yearly Sharpe ratio of
    `prior_sharpe` for a unit score. The decay is 1 minus the score's own autocorrelation so far.
    """
    window, skip = config.momentum_window, config.momentum_skip
    if skip >= window:
        raise InputError(f"momentum_skip is {skip}. Allowed: below momentum_window, {window}.")
    logs, sigma = np.log(close), np.where(sigma > 0, sigma, np.nan)  # a suspended symbol has no forecast
    score = np.full(len(close), np.nan)
    score[window:] = (logs[window - skip : len(logs) - skip] - logs[:-window]) / np.sqrt(window - skip)
    score = score / sigma
    outcome = np.full(len(close), np.nan)  # of the bar, in the sigmas that were expected of it
    outcome[1:] = (close[1:] / close[:-1] - 1.0) / sigma[:-1]
    before = np.concatenate([[np.nan], score[:-1]])
    good = np.isfinite(before) & np.isfinite(outcome)
    squares, products = _running(good, before * before), _running(good, before * outcome)
    prior = config.prior_sharpe / np.sqrt(config.periods_per_year)
    slope = products / (squares + 1.0 / prior**2)  # outcomes have variance 1
    both = good & np.isfinite(score)
    kept = _running(both, before * score) / np.maximum(_running(both, before * before), 1e-12)
    return Forecast(slope * score, np.clip(1.0 - kept, 0.0, 1.0), config.short_selling)


def buy_and_hold(close: Array, sigma: Array, config: BacktestConfig) -> Forecast:
    """Forecast what makes holding one's whole wealth optimal: `f = a sigma` sigmas, for ever, never short.

    The return that a holder implies (reverse optimisation, Black & Litterman 1992). Nothing is estimated: a mean
    estimated on the years before would turn the yardstick into a market timer.
    """
    return Forecast(config.risk_aversion * sigma, np.zeros(len(close)), short_allowed=False)


def _running(good: Array, values: Array) -> Array:
    return np.cumsum(np.where(good, values, 0.0))


SIGNALS: dict[str, Callable[[Array, Array, BacktestConfig], Forecast]] = {
    "momentum": momentum,
    "buy_and_hold": buy_and_hold,
}


def make_forecast(name: str, close: Array, sigma: Array, config: BacktestConfig) -> Forecast:
    """Return the forecast of a named signal; adding one is a function and a line in `SIGNALS`."""
    if name not in SIGNALS:
        raise InputError(f"signal '{name}' is not known. Allowed: {', '.join(SIGNALS)}.")
    return SIGNALS[name](close, sigma, config)
