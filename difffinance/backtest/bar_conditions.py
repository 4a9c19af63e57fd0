"""What a trader sees at a close: the published tables of `market.observation`, filled from trailing data only."""

from dataclasses import dataclass

import numpy as np

from difffinance.backtest.reference import ReferenceMarket
from difffinance.backtest.signals import Forecast
from difffinance.config import BacktestConfig
from difffinance.errors import InputError
from difffinance.market.costs import trailing_volatility_and_volume
from difffinance.market.observation import (
    CONSTRAINT_INDEX,
    NO_LIMIT,
    STATE_INDEX,
    constraint_vector,
    opponent_vector,
    state_vector,
)
from difffinance.records import Array, BarsTable, Conditions, CostLaw


@dataclass(frozen=True)
class BarHistory:
    """Bars as arrays, with the volatility and volume expected of the next bar as known at each close; all `(T,)`."""

    ts: Array
    open: Array
    close: Array
    sigma: Array  # fraction per bar
    volume: Array  # units of the asset
    relative_volume: Array  # over its mean so far
    traded: Array  # False: nobody traded in the bar, so no order is filled
    lot: float

    def __len__(self) -> int:
        return len(self.close)


def check_length(bars: BarsTable, config: BacktestConfig) -> None:
    """Raise `InputError` for bars that leave nothing to test on."""
    needed = config.estimation_bars + 2
    if bars.frame.height < needed:
        raise InputError(
            f"{bars.instrument.symbol} has {bars.frame.height} bars. Allowed: at least {needed}; the first "
            f"{config.estimation_bars} are only estimated on (backtest.estimation_bars)."
        )


def read_history(bars: BarsTable, config: BacktestConfig) -> BarHistory:
    """Return the history of `bars`; an index gets the configured dollar volume, for it has none that can be traded."""
    check_length(bars, config)
    frame = bars.frame
    open_, close, volume = (frame[c].to_numpy().astype(float) for c in ("open", "close", "volume"))
    sigma, expected = trailing_volatility_and_volume(close, volume, window=config.volatility_window)
    traded = volume > 0
    if bars.is_index:
        expected = config.index_dollar_volume / close
        traded = np.ones(len(close), dtype=bool)
    dollars = np.where(np.isfinite(expected), expected * close, 0.0)
    seen = np.maximum(np.cumsum(dollars > 0), 1)
    mean = np.cumsum(dollars) / seen
    relative = np.where(mean > 0, dollars / np.where(mean > 0, mean, 1.0), 1.0)
    lot = 0.0 if bars.is_index else bars.instrument.lot_size
    return BarHistory(frame["ts"].to_numpy(), open_, close, sigma, expected, relative, traded, lot)


@dataclass(frozen=True)
class Desk:
    """What does not change from bar to bar: each column's forecast and starting capital, and the law it believes in.

    `law` is what the trader expects to pay. It is shown to columns without impact too: there the same strategy
    trades in a world that does not charge it.
    """

    forecasts: tuple[Forecast, ...]  # N
    capital: Array  # (N,)
    law: CostLaw
    config: BacktestConfig


def bar_conditions(desk: Desk, history: BarHistory, market: ReferenceMarket, bar: int) -> Conditions:
    """Return the conditions of all columns at the close of `bar`, for the order at the next open.

    Opponents are unknown (0), and so is the flow of the last bars; the tables of past returns and volumes stay 0 with
    it, as in simulated bars whose history is unknown. `linear_cost` holds the fees too. `sigma` may not be 0.
    """
    config, law = desk.config, desk.law
    count, sigma = len(desk.capital), history.sigma[bar]
    wealth = market.wealth(history.close[bar])
    price = history.close[bar] * (1.0 + market.shift)
    capital = wealth / (price * history.volume[bar])
    position = market.position / history.volume[bar]
    short_allowed = np.array([f.short_allowed for f in desk.forecasts])
    state = state_vector(
        count,
        signal=np.array([f.signal[bar] for f in desk.forecasts]),
        signal_decay=np.array([f.decay[bar] for f in desk.forecasts]),
        volatility=sigma,
        relative_volume=history.relative_volume[bar],
        position=position,
        capital=capital,
        risk_aversion=config.risk_aversion,
        temporary_impact=law.temporary,
        temporary_exponent=law.exponent,
        permanent_impact=law.permanent,
        linear_cost=(config.half_spread_bps + config.fee_bps) / 1e4 / sigma,
        steps_left=1.0,
        cash=market.cash / wealth,
        profit=wealth / desk.capital - 1.0,
        spread=2.0 * config.half_spread_bps / 1e4 / sigma,
        upper_limit=NO_LIMIT,
        lower_limit=NO_LIMIT,
    )
    rules = constraint_vector(
        count,
        max_participation=config.max_participation,
        min_position=np.where(short_allowed, -NO_LIMIT, 0.0),
        sellable=np.where(short_allowed, NO_LIMIT, np.maximum(position, 0.0)),
        lot=history.lot / history.volume[bar],
        short_allowed=short_allowed,
        buy_fee_bps=config.fee_bps,
        sell_fee_bps=config.fee_bps,
        max_leverage=config.max_leverage,
    )
    return Conditions(state, opponent_vector(count), rules)


def orders_within_rules(
    participation: Array, conditions: Conditions, market: ReferenceMarket, *, volume: float, lot: float, smallest: Array
) -> tuple[Array, Array]:
    """Return signed quantities that the rules allow, and which columns had asked for more than they may.

    Traders promise to keep the rules; this is the broker's check before the order leaves. Leverage is checked at the
    close, so an overnight gap can leave a column a little above it, on credit. Orders are rounded towards 0 to whole
    lots; those below `smallest` units are not sent.
    """
    table = conditions.constraints
    cap = table[:, CONSTRAINT_INDEX["max_participation"]] * volume
    # State columns are in step volumes; capital over volume is wealth over price.
    reach = table[:, CONSTRAINT_INDEX["max_leverage"]] * np.maximum(_state(conditions, "capital"), 0.0) * volume
    lowest = np.where(table[:, CONSTRAINT_INDEX["short_allowed"]] > 0.5, -reach, 0.0)
    asked = np.nan_to_num(participation, nan=0.0) * volume
    low = np.minimum(np.maximum(lowest - market.position, -cap), 0.0)
    high = np.maximum(np.minimum(reach - market.position, cap), 0.0)
    allowed = np.clip(asked, low, high)
    broken = ~np.isfinite(participation) | (np.abs(allowed - asked) > 1e-6 * np.maximum(np.abs(asked), cap))
    if lot > 0:
        whole = allowed / lot
        near = np.round(whole)
        allowed = np.where(np.abs(whole - near) < 1e-6, near, np.trunc(whole)) * lot
    return np.where(np.abs(allowed) < smallest, 0.0, allowed), broken


def _state(conditions: Conditions, name: str) -> Array:
    return conditions.state[:, STATE_INDEX[name]]
