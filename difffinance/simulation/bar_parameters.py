"""What simulated bars are like, estimated from real bars before a cut and from nothing after it."""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from difffinance.errors import InputError
from difffinance.records import Array

_WINDOW = 20  # bars of trailing volatility and volume
_TRENDS = (21, 63, 252)  # bars of the momentum forecast
_FEWEST = 400


@dataclass(frozen=True)
class BarParameters:
    """Level and movement of volatility, volume and signal, per bar. The default is a plain daily stock index."""

    volatility: float = 0.01  # sd of a bar's return, fraction, at its median
    volatility_persistence: float = 0.98
    volatility_variation: float = 0.35  # sd of log volatility
    volume_persistence: float = 0.97
    volume_variation: float = 0.2  # sd of the log of expected volume
    signal_strength: float = 0.05  # sd of the forecast return, sigma
    signal_decay: float = 0.02  # part of the forecast lost per bar
    bars: int = 0  # real bars behind the estimates
    start: str = ""
    end: str = ""

    def as_dict(self) -> dict[str, float | int | str]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def estimate_bar_parameters(bars: pl.DataFrame) -> BarParameters:
    """Return the parameters of `bars` (columns ts, close, volume): all of them, so cut before the first test bar.

    Volatility and volume: level, spread and lag-20 persistence of their trailing 20-bar estimates. Signal: a momentum
    forecast (mean of 21, 63 and 252-bar trends over their noise, clipped at 2). Its strength is the root of squared
    regression slope plus squared standard error: nobody knows the sign of a slope that small, but its size has a
    scale. Needs 400 bars. A volume that is missing or constant (an index) has variation 0.
    """
    if len(bars) < _FEWEST:
        raise InputError(
            f"bars before the first test bar: got {len(bars)}, need {_FEWEST} to estimate what bars are like."
        )
    close = bars["close"].to_numpy().astype(float)
    if not (np.isfinite(close).all() and (close > 0).all()):
        raise InputError("close prices must be positive and finite.")
    returns = np.diff(np.log(close))
    volatility = np.sqrt(_trailing_mean(returns**2, _WINDOW))
    if not (volatility > 0).all():
        raise InputError(f"the close does not move for {_WINDOW} bars in a row: no volatility to simulate with.")
    kept_v, spread_v = _log_movement(volatility)
    volume = bars["volume"].fill_null(0.0).to_numpy().astype(float) if "volume" in bars.columns else np.zeros(1)
    has_volume = len(volume) > 1 and (volume > 0).all()
    kept_u, spread_u = _log_movement(_trailing_mean(volume, _WINDOW)) if has_volume else (0.0, 0.0)
    strength, decay = _signal(returns, volatility)
    return BarParameters(
        float(np.median(volatility)), kept_v, spread_v, kept_u, spread_u, strength, decay,
        len(bars), str(bars["ts"][0]), str(bars["ts"][-1]),
    )  # fmt: skip


def _trailing_mean(values: Array, window: int) -> Array:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[window:] - total[:-window]) / window


def _log_movement(level: Array) -> tuple[float, float]:
    """Return persistence per bar (from lag 20, where windows do not overlap) and sd of the log of a level."""
    logs = np.log(level)
    spread = float(logs.std(ddof=1))
    if spread < 1e-12:
        return 0.0, 0.0
    correlation = float(np.corrcoef(logs[_WINDOW:], logs[:-_WINDOW])[0, 1])
    return float(np.clip(correlation, 0.01, 0.99) ** (1.0 / _WINDOW)), spread


def _signal(returns: Array, volatility: Array) -> tuple[float, float]:
    """Return strength (sd, sigma) and decay per bar of the momentum forecast."""
    first = max(_TRENDS)
    total = np.concatenate([[0.0], np.cumsum(returns)])
    sigma = volatility[first - _WINDOW :]  # known at bar `first`, `first + 1`, ...
    trends = [np.clip((total[first:] - total[first - n : -n]) / (sigma * np.sqrt(n)), -2, 2) for n in _TRENDS]
    forecast = np.mean(trends, axis=0)[:-1]
    scaled = returns[first:] / sigma[:-1]
    x = forecast - forecast.mean()
    slope = float(x @ (scaled - scaled.mean()) / (x @ x))
    error = float(np.sqrt(np.mean((scaled - scaled.mean() - slope * x) ** 2) / (x @ x)))
    kept = float(np.corrcoef(forecast[1:], forecast[:-1])[0, 1])
    return float(np.hypot(slope, error) * forecast.std(ddof=1)), float(np.clip(1.0 - kept, 1e-3, 0.5))
