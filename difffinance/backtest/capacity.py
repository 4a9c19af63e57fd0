"""How much capital a strategy bears: Sharpe against capital, and what own impact took of it."""

import polars as pl

from difffinance.backtest.columns import Column, WalkForward
from difffinance.backtest.sharpe import compare_sharpe, sharpe_ratio
from difffinance.records import Array

COST_COLUMNS = ("turnover", "fees", "spread_bps", "temporary_impact_bps", "permanent_impact_bps", "impact_bps")


def capacity_curve(run: WalkForward) -> pl.DataFrame:
    """Return one row per strategy and capital of a walk, those with impact.

    `sharpe` and its standard error are yearly. Where the walk also has the column without impact, `sharpe_loss` is
    what impact took (paired over the same days, Ledoit & Wolf 2008) with `sharpe_loss_se`, and
    `smallest_detectable` the difference this sample would find with 80% power at 5%. `max_participation` is the
    largest order over the expected volume. Costs are as in `compute_metrics`. Numbers that do not exist are null.
    """
    rows = [_row(run, number, column) for number, column in enumerate(run.columns) if column.impact]
    numbers = {name: pl.Float64 for name in (rows[0] if rows else {}) if name not in ("signal", "executor", "trades")}
    return pl.DataFrame(rows, schema_overrides=numbers, infer_schema_length=None)


def _row(run: WalkForward, number: int, column: Column) -> dict[str, object]:
    metrics = run.result(number).metrics
    twin = Column(column.signal, column.executor, column.capital, impact=False)
    loss = loss_se = detectable = None
    band = run.bands[number].interval("sharpe") if number in run.bands else None
    if twin in run.columns:
        with_, without = run.returns[:, number], run.returns[:, run.columns.index(twin)]
        loss, loss_se, detectable = paired_loss(with_, without, run.periods_per_year)
    return {
        "signal": column.signal,
        "executor": column.executor,
        "capital": column.capital,
        **{name: metrics[name] for name in ("sharpe", "sharpe_se", "cagr", "volatility", "max_drawdown")},
        "sharpe_lower": None if band is None else band[0],
        "sharpe_upper": None if band is None else band[1],
        "sharpe_loss": loss,
        "sharpe_loss_se": loss_se,
        "smallest_detectable": detectable,
        "max_participation": float(abs(run.ledger.participation[:, number]).max()),
        **{name: metrics[name] for name in COST_COLUMNS},
        "trades": metrics["trades"],
    }


def paired_loss(returns: Array, benchmark: Array, periods_per_year: int) -> tuple[float | None, ...]:
    """Return benchmark Sharpe minus own, its standard error and the smallest detectable one; None without variance."""
    if sharpe_ratio(returns) is None or sharpe_ratio(benchmark) is None or len(returns) < 10:
        return None, None, None
    found = compare_sharpe(benchmark, returns, periods_per_year=periods_per_year)
    return found.difference, found.se, found.smallest_detectable
