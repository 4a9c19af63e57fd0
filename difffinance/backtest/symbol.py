"""`backtest`: from a symbol to the answer; brings, calibrates and trains what the lake does not hold, and says so."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.agents.base import BarTrader
from difffinance.backtest.bar_conditions import check_length
from difffinance.backtest.selection import probability_of_backtest_overfitting, superior_predictive_ability
from difffinance.backtest.sharpe import compare_sharpe, sharpe_ratio
from difffinance.backtest.signals import SIGNALS
from difffinance.backtest.walk_forward import WalkForward, run_walk_forward
from difffinance.config import Config
from difffinance.data.loading import has_bars, load_bars
from difffinance.data.store import Lake, Progress, atomic_folder, check_writable, no_progress, write_json
from difffinance.errors import InputError, NotInLakeError
from difffinance.market.costs import draw_cost_laws
from difffinance.records import BacktestResult, BarsTable
from difffinance.schemas import EQUITY

EXECUTORS = ("naive", "garleanu_pedersen", "diffusion")
DEFAULT_STRATEGY = "momentum/diffusion"
YARDSTICK = ("buy_and_hold", "naive")


def backtest_symbol(
    symbol: str,
    *,
    config: Config,
    lake: Lake,
    seed: int,
    strategy: str | None = None,
    checkpoint: Path | None = None,
    impact: bool = True,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Walk a strategy and its rivals forward over a symbol's bars; write the run, return the answer of CONTRACT 2.

    `strategy` is `signal/executor`. The rivals at the same capital deflate its Sharpe ratio. The folder
    `backtests/<symbol>_<signal>_<executor>[_no_impact]/` appears whole: equity, orders, metrics.json, config.json.
    """
    signal, executor = parse_strategy(strategy)
    if checkpoint is not None and executor != "diffusion":
        raise InputError(f"strategy '{strategy}' uses no checkpoint. Allowed with --checkpoint: a diffusion strategy.")
    check_writable(lake.root)
    bars, notes = find_bars(symbol, config=config, lake=lake, progress=progress)
    traders = find_traders(
        bars, config=config, lake=lake, seed=seed, checkpoint=checkpoint, notes=notes, progress=progress,
        names=EXECUTORS if executor == "diffusion" else EXECUTORS[:2],
    )  # fmt: skip
    law = _costs(symbol, config, lake)
    run = run_walk_forward(
        traders,
        bars,
        costs=law,
        config=config.backtest,
        seed=seed,
        draws=draw_cost_laws(law, np.random.default_rng([seed, 4]), config.backtest.cost_draws),
        progress=progress,
    )
    capital = config.backtest.capital
    number = run.find(signal, executor, capital, impact=impact)
    chosen, band = run.result(number), run.bands.get(number)
    without = run.result(run.find(signal, executor, capital, impact=False))
    notes = [*notes, *run.notes]
    answer = {
        "symbol": symbol,
        "strategy": chosen.strategy,
        "capital": capital,
        "impact": impact,
        "seed": seed,
        "metrics": chosen.metrics,
        "without_impact": without.metrics,
        "cost_band95": None
        if band is None
        else {k: band.interval(k) for k in ("sharpe", "total_return", "impact_bps")},
        "orders": chosen.orders.height,
        "rivals": judge_rivals(run, capital=capital, impact=impact, chosen=(signal, executor)),
        "source": bars.source,
        "notes": list(run.notes),
    }
    folder = lake.folder("backtests") / f"{symbol}_{signal}_{executor}{'' if impact else '_no_impact'}"
    _write(folder, answer, chosen, config.model_copy(update={"seed": seed}))
    return {**answer, "notes": notes, "path": str(folder)}


def parse_strategy(strategy: str | None) -> tuple[str, str]:
    """Return signal and executor of `signal/executor`; raise `InputError` that lists the known ones."""
    signal, _, executor = (strategy or DEFAULT_STRATEGY).partition("/")
    if signal not in SIGNALS or executor not in EXECUTORS:
        known = ", ".join(f"{s}/{e}" for s in SIGNALS for e in EXECUTORS)
        raise InputError(f"strategy '{strategy}' is not known. Allowed: {known}.")
    return signal, executor


def find_bars(
    symbol: str, *, config: Config, lake: Lake, progress: Progress = no_progress
) -> tuple[BarsTable, list[str]]:
    """Return the bars to trade and what was fetched for it; too few are refused before anything is trained.

    Dividend-adjusted where the lake has them; their volume is counted in adjusted units, so that a bar's dollar
    volume stays what was traded.
    """
    notes = []
    if symbol == "SPX" and not has_bars(symbol, lake=lake):
        from difffinance.data.fetching import fetch_tables

        progress("fetch", 0, 1)
        fetch_tables("sample", ["SPX"], lake=lake, config=config.data)
        progress("fetch", 1, 1)
        notes.append("fetched sample SPX: the S&P 500 history that ships with arch")
    raw = load_bars(symbol, lake=lake)
    check_length(raw, config.backtest)
    try:
        adjusted = load_bars(symbol, lake=lake, adjusted=True)
    except NotInLakeError:
        return raw, notes
    return with_traded_volume(adjusted, raw), notes


def with_traded_volume(adjusted: BarsTable, raw: BarsTable) -> BarsTable:
    """Return dividend-adjusted bars whose volume times price is the money that was traded."""
    factor = raw.frame.select("ts", raw_close="close", raw_volume="volume")
    frame = adjusted.frame.join(factor, on="ts", how="left", maintain_order="left")
    if frame["raw_close"].null_count():
        raise InputError(f"adjusted and raw bars of {raw.instrument.symbol} differ in their days. Fetch them again.")
    frame = frame.with_columns(volume=pl.col("raw_volume") * pl.col("raw_close") / pl.col("close"))
    return replace(adjusted, frame=frame.select(adjusted.frame.columns))


def find_traders(
    bars: BarsTable,
    *,
    config: Config,
    lake: Lake,
    seed: int,
    names: tuple[str, ...] = EXECUTORS,
    checkpoint: Path | None = None,
    notes: list[str] | None = None,
    progress: Progress = no_progress,
) -> dict[str, BarTrader]:
    """Return the named executors; trains the diffusion agent for `bars` if the lake has none, and notes it."""
    from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
    from difffinance.agents.naive import NaiveTrader

    traders: dict[str, BarTrader] = {"naive": NaiveTrader(), "garleanu_pedersen": GarleanuPedersenTrader()}
    if "diffusion" in names:
        from difffinance.agents.diffusion_agent import DiffusionAgent
        from difffinance.diffusion.checkpoint import load_model

        if checkpoint is None:
            checkpoint = _find_checkpoint(bars, config, lake, seed, notes if notes is not None else [], progress)
        traders["diffusion"] = DiffusionAgent(load_model(checkpoint, lake=lake))
    return {name: traders[name] for name in names}


def _find_checkpoint(
    bars: BarsTable, config: Config, lake: Lake, seed: int, notes: list[str], progress: Progress
) -> Path:
    from difffinance.simulation.bar_parameters import estimate_bar_parameters

    cut = config.backtest.estimation_bars
    past = bars.frame.head(cut)
    if bars.is_index:
        past = past.with_columns(volume=pl.lit(0.0))  # an index's volume is assumed, not estimated
    parameters = estimate_bar_parameters(past)
    recipe = {
        "model": config.model.model_dump(),
        "training": config.training.model_dump(),
        "bars": asdict(parameters),
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:10]
    name = f"bars_{bars.instrument.symbol}_{str(past['ts'][-1])[:10]}_{digest}"
    folder = lake.folder("checkpoints") / name
    if not folder.is_dir():
        from difffinance.training.agent import train_agent

        answer = train_agent(
            model=config.model,
            training=config.training,
            lake=lake,
            seed=seed,
            name=name,
            bars=parameters,
            progress=progress,
        )
        folder = Path(answer["checkpoint"])
        notes.append(
            f"trained the diffusion agent on simulated bars like the {cut} before the first test bar: {folder.name}"
        )
    return folder


def _costs(symbol: str, config: Config, lake: Lake) -> Any:
    from difffinance.calibration.costs import load_costs

    return load_costs(symbol, lake=lake, config=config.calibration)


def judge_rivals(run: WalkForward, *, capital: float, impact: bool, chosen: tuple[str, str]) -> dict[str, Any]:
    """Return every strategy's Sharpe ratio, the chosen one's against buy-and-hold, and whether luck picked the best.

    `probability_of_overfitting` and `superior_ability` (p-values against buy-and-hold) are over all strategies of
    the walk at this capital. What too few bars, or traders who never traded, do not tell is None.
    """
    numbers = {c.strategy: i for i, c in enumerate(run.columns) if (c.capital, c.impact) == (capital, impact)}
    strategies = {}
    for name, i in numbers.items():
        metrics = run.result(i).metrics
        strategies[name] = {key: metrics[key] for key in ("sharpe", "sharpe_se", "cagr", "max_drawdown", "impact_bps")}
    yardstick = "/".join(YARDSTICK)
    own, base = run.returns[:, numbers["/".join(chosen)]], run.returns[:, numbers[yardstick]]
    judged: dict[str, Any] = {"strategies": strategies, "against": yardstick, "difference": None}
    comparable = len(run.ts) >= 10 and sharpe_ratio(own) is not None and sharpe_ratio(base) is not None
    if "/".join(chosen) != yardstick and comparable:
        judged["difference"] = asdict(compare_sharpe(own, base, periods_per_year=run.periods_per_year))
    judged |= {"probability_of_overfitting": None, "superior_ability": None}
    if len(run.ts) >= 64:
        others = [i for name, i in numbers.items() if name != yardstick]
        table = run.returns[:, list(numbers.values())]
        judged["probability_of_overfitting"] = probability_of_backtest_overfitting(table)
        if np.ptp(run.returns[:, others] - base[:, None], axis=0).any():  # else nobody traded
            judged["superior_ability"] = asdict(superior_predictive_ability(run.returns[:, others], base))
    return judged


def _write(folder: Path, answer: dict[str, Any], result: BacktestResult, config: Config) -> None:
    with atomic_folder(folder) as temporary:
        metadata = {
            "schema": json.dumps(EQUITY.name),
            "schema_version": json.dumps(EQUITY.version),
            "source": json.dumps(answer["source"]),
        }
        EQUITY.check(result.equity).write_parquet(temporary / "equity.parquet", metadata=metadata, compression="zstd")
        result.orders.write_parquet(temporary / "orders.parquet", compression="zstd")
        write_json(temporary / "metrics.json", answer)
        write_json(temporary / "config.json", config.model_dump(mode="json"))
