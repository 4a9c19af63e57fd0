"""Walk forward through the bars: forecast, look, decide, trade at the next open; all strategies side by side.

After the close of bar t every column gets the conditions known then; its trader decides a participation, the rules
are applied, and the order is filled at the open of bar t + 1. Nothing before the first test bar is traded on, and
nothing after t is looked at.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from difffinance.agents.base import BarTrader
from difffinance.backtest.bar_conditions import BarHistory, Desk, bar_conditions, orders_within_rules, read_history
from difffinance.backtest.columns import Column, WalkForward
from difffinance.backtest.engine import largest_gap, run_vectorbt
from difffinance.backtest.reference import Charges, Ledger, ReferenceMarket
from difffinance.backtest.signals import make_forecast
from difffinance.backtest.uncertainty import Band, replay_band
from difffinance.config import BacktestConfig
from difffinance.data.store import Progress, no_progress
from difffinance.errors import InputError
from difffinance.market.costs import almgren_prior
from difffinance.records import Array, BacktestResult, BarsTable, Conditions, CostLaw

__all__ = ["Column", "WalkForward", "run_backtest", "run_walk_forward"]

ENGINE_TOLERANCE = 1e-9
"""Largest relative difference of wealth between vectorbt and the reference simulator."""


def run_backtest(
    trader: BarTrader,
    bars: BarsTable,
    *,
    costs: CostLaw | None,
    config: BacktestConfig | None = None,
    signal: str = "momentum",
    capital: float | None = None,
    seed: int = 7,
    progress: Progress = no_progress,
) -> BacktestResult:
    """Walk one strategy forward; `costs=None` is the same strategy in a world without impact (fees and spread stay).

    Without `costs` the trader still expects the published prior, so that both worlds see one strategy. Raises
    `InputError` for too few bars and `CostLawError` for a law that is no price list.
    """
    config = config or BacktestConfig()
    run = run_walk_forward(
        {trader.name or "trader": trader},
        bars,
        costs=costs,
        config=config,
        signals=(signal,),
        capitals=(config.capital if capital is None else capital,),
        impacts=(costs is not None,),
        seed=seed,
        progress=progress,
    )
    return run.result(0)


def run_walk_forward(
    traders: Mapping[str, BarTrader],
    bars: BarsTable,
    *,
    costs: CostLaw | None,
    config: BacktestConfig,
    signals: Sequence[str] = ("momentum", "buy_and_hold"),
    capitals: Sequence[float] = (),
    impacts: Sequence[bool] = (True, False),
    seed: int = 7,
    paired: bool = True,
    draws: Sequence[CostLaw] = (),
    progress: Progress = no_progress,
) -> WalkForward:
    """Walk every signal x trader x capital x world forward in one pass over the bars.

    `capitals` defaults to `config.capital`. With `paired`, columns with and without impact draw the same random
    numbers, at the price of two calls of each trader per bar; without, a trader sees all its columns in one call.
    Wealth is accounted for by vectorbt and must agree with the reference simulator. `draws` of the cost law
    (`market.costs.draw_cost_laws`) give every column with impact its band (`uncertainty`).
    """
    history = read_history(bars, config)
    columns = _make_columns(signals, traders, capitals or (config.capital,), impacts)
    law = costs if costs is not None else almgren_prior()
    forecasts = {s: make_forecast(s, history.close, history.sigma, config) for s in signals}
    first = config.estimation_bars
    for name, forecast in forecasts.items():
        if not np.isfinite(forecast.signal[:first]).any():
            raise InputError(
                f"signal '{name}' has no forecast yet at bar {first}. Allowed: backtest.estimation_bars above "
                f"momentum_window plus volatility_window, {config.momentum_window + config.volatility_window + 1}."
            )
    capital = np.array([c.capital for c in columns])
    charges = Charges.of_law(
        costs, np.array([c.impact for c in columns]), fee_bps=config.fee_bps, half_spread_bps=config.half_spread_bps
    )
    market = ReferenceMarket(history.open[first:], history.close[first:], capital=capital, charges=charges)
    desk = Desk(tuple(forecasts[c.signal] for c in columns), capital, law, config)
    corrected, unfilled = _walk(desk, history, market, _seats(columns, traders, paired), first, seed, progress)
    run = _account(market.ledger, columns, history.ts[first:], charges.fee)
    gap = largest_gap(run, market.ledger.equity)
    if gap > ENGINE_TOLERANCE:
        raise RuntimeError(f"vectorbt and the reference simulator differ by {gap:.2e} of wealth: a defect.")
    notes = _notes(bars, config, costs, history.ts[first], corrected, unfilled)
    return WalkForward(
        bars.instrument.symbol,
        columns,
        history.ts[first:],
        market.ledger,
        run,
        gap,
        corrected,
        unfilled,
        config.periods_per_year,
        notes,
        _bands(market.ledger, columns, history, first, draws, config),
    )


def _bands(
    ledger: Ledger,
    columns: tuple[Column, ...],
    history: BarHistory,
    first: int,
    draws: Sequence[CostLaw],
    config: BacktestConfig,
) -> dict[int, Band]:
    """Return the band of each column with impact; orders were decided on the expectations of the bar before."""
    known = (history.sigma > 0) & (history.volume > 0)
    sigma, volume = (np.where(known, x, 1.0)[first - 1 : -1] for x in (history.sigma, history.volume))
    return {
        number: replay_band(
            ledger.quantity[:, number],
            history.open[first:],
            history.close[first:],
            sigma,
            volume,
            draws,
            capital=column.capital,
            fee_bps=config.fee_bps,
            half_spread_bps=config.half_spread_bps,
            periods_per_year=config.periods_per_year,
        )
        for number, column in enumerate(columns)
        if column.impact and draws
    }


def _make_columns(
    signals: Sequence[str], traders: Mapping[str, BarTrader], capitals: Sequence[float], impacts: Sequence[bool]
) -> tuple[Column, ...]:
    columns = tuple(Column(s, t, float(c), i) for s, t, c, i in product(signals, traders, capitals, impacts))
    bad = [c.capital for c in columns if not (np.isfinite(c.capital) and c.capital > 0)]
    if not columns or bad or len(set(columns)) < len(columns):
        raise InputError(
            f"signals {list(signals)}, traders {list(traders)}, capitals {list(capitals)}. "
            "Allowed: at least one of each, none twice, capitals above 0."
        )
    return columns


def _seats(
    columns: tuple[Column, ...], traders: Mapping[str, BarTrader], paired: bool
) -> list[tuple[BarTrader, Array]]:
    """Return each trader with the rows it decides on in one call; paired worlds have equal rows in the same order."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault((column.executor, column.impact and paired), []).append(i)
    return [(traders[name], np.array(rows)) for (name, _), rows in groups.items()]


def _walk(
    desk: Desk,
    history: BarHistory,
    market: ReferenceMarket,
    seats: list[tuple[BarTrader, Array]],
    first: int,
    seed: int,
    progress: Progress,
) -> tuple[Array, Array]:
    count = len(desk.capital)
    corrected, unfilled = np.zeros(count, dtype=int), np.zeros(count, dtype=int)
    for bar in range(first - 1, len(history) - 1):
        sigma, volume = history.sigma[bar], history.volume[bar]
        if not (sigma > 0 and volume > 0):  # a suspended symbol: nothing to expect, nothing to trade
            market.trade(np.zeros(count), sigma=1.0, volume=1.0)
            continue
        conditions = bar_conditions(desk, history, market, bar)
        wanted = np.zeros(count)
        for trader, rows in seats:
            part = Conditions(conditions.state[rows], conditions.opponents[rows], conditions.constraints[rows])
            wanted[rows] = trader.participation(part, np.random.default_rng([seed, bar]))
        smallest = desk.config.min_order * market.wealth(history.close[bar]) / history.close[bar]
        quantity, broken = orders_within_rules(
            wanted, conditions, market, volume=volume, lot=history.lot, smallest=smallest
        )
        corrected += broken
        if not history.traded[bar + 1]:
            unfilled += quantity != 0
            quantity = np.zeros(count)
        market.trade(quantity, sigma=sigma, volume=volume)
        progress("backtest", bar - first + 2, len(history) - first)
    return corrected, unfilled


def _account(ledger: Ledger, columns: tuple[Column, ...], ts: Array, fee: float) -> Array:
    """Return the wealth that vectorbt finds for the same orders, prices and charges."""
    # vectorbt has no margin account: what shorts and overnight gaps need is lent, and taken off again.
    gross = np.max(np.abs(ledger.position) * np.maximum(ledger.path_open, ledger.path_close), axis=0)
    debt = np.maximum(-np.min(ledger.cash, axis=0), 0.0)
    run = run_vectorbt(
        ledger.quantity,
        ledger.path_open,
        ledger.path_close,
        ledger.slippage,
        fee,
        capital=np.array([c.capital for c in columns]),
        credit=2.0 * (gross + debt),
        ts=ts,
        names=[str(c) for c in columns],
    )
    return run.equity


def _notes(
    bars: BarsTable, config: BacktestConfig, costs: CostLaw | None, first: object, corrected: Array, unfilled: Array
) -> tuple[str, ...]:
    symbol, day = bars.instrument.symbol, str(first)[:10]
    notes = [f"the first {config.estimation_bars} bars are only estimated on; the first test bar is {day}"]
    if bars.is_index:
        notes.append(
            f"{symbol} is an index: it cannot be traded itself and has no dollar volume of its own; "
            f"{config.index_dollar_volume:,.0f} a day is assumed (backtest.index_dollar_volume)"
        )
    adjusted = "adjusted for dividends" if bars.adjusted else "as traded (splits only): dividends are not counted"
    notes.append(f"prices are {adjusted}")
    notes.append("idle cash and debt bear no interest, short positions no borrowing fee")
    notes.append(f"cost law: {costs}" if costs is not None else "no impact: fees and half spread only")
    if corrected.any():
        notes.append(f"{int(corrected.sum())} orders asked for more than the rules allow and were cut before sending")
    if unfilled.any():
        notes.append(f"{int(unfilled.sum())} orders fell on bars without trading and were not filled")
    return tuple(notes)
