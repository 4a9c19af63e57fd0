"""The result of a walk: its columns, what each did, and each as a `BacktestResult`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import polars as pl

from difffinance.backtest.metrics import Metrics, compute_metrics
from difffinance.backtest.reference import Ledger
from difffinance.backtest.sharpe import sharpe_ratio
from difffinance.backtest.uncertainty import Band
from difffinance.errors import InputError
from difffinance.records import Array, BacktestResult
from difffinance.schemas import EQUITY


@dataclass(frozen=True)
class Column:
    """One portfolio: what it believes, who trades for it, with how much, in which world."""

    signal: str
    executor: str
    capital: float
    impact: bool

    @property
    def strategy(self) -> str:
        """The name that `backtest --strategy` takes."""
        return f"{self.signal}/{self.executor}"

    def __str__(self) -> str:
        return f"{self.strategy}/{self.capital:.0f}/{'impact' if self.impact else 'no_impact'}"


@dataclass(frozen=True)
class WalkForward:
    """All columns of one walk: the ledger is (T, N) over the test bars, wealth as vectorbt accounts for it."""

    symbol: str
    columns: tuple[Column, ...]
    ts: Array  # (T,)
    ledger: Ledger
    equity: Array  # (T, N)
    engine_gap: float
    corrected: Array  # (N,) orders that asked for more than the rules allow
    unfilled: Array  # (N,) orders into bars without trading
    periods_per_year: int
    notes: tuple[str, ...]
    bands: Mapping[int, Band] = field(default_factory=dict)  # of the columns with impact, where draws were given

    def find(self, signal: str, executor: str, capital: float, *, impact: bool = True) -> int:
        """Return the number of a column."""
        wanted = Column(signal, executor, float(capital), impact)
        if wanted not in self.columns:
            raise InputError(f"no column {wanted}. There are: {', '.join(map(str, self.columns))}.")
        return self.columns.index(wanted)

    @property
    def returns(self) -> Array:
        """Simple returns per bar, `(T, N)`, the first against the starting capital."""
        start = np.array([c.capital for c in self.columns])
        wealth = np.vstack([start, self.equity])
        return wealth[1:] / wealth[:-1] - 1.0

    def result(self, number: int) -> BacktestResult:
        """Return one column as a `BacktestResult`; its Sharpe ratio is deflated by the strategies it competed with."""
        column = self.columns[number]
        result = BacktestResult(
            symbol=self.symbol,
            strategy=column.strategy,
            capital=column.capital,
            equity=self._equity_table(number),
            orders=self._orders(number),
            periods_per_year=self.periods_per_year,
            metrics={},
            impact=column.impact,
            notes=self.notes,
        )
        return replace(result, metrics=self._metrics(result, column))

    def _metrics(self, result: BacktestResult, column: Column) -> Metrics:
        rivals = [i for i, c in enumerate(self.columns) if (c.capital, c.impact) == (column.capital, column.impact)]
        sharpes = [s for i in rivals if (s := sharpe_ratio(self.returns[:, i])) is not None]
        variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
        return compute_metrics(result, n_trials=max(len(sharpes), 1), trial_variance=variance)

    def _equity_table(self, number: int) -> pl.DataFrame:
        book = {f.name: getattr(self.ledger, f.name)[:, number] for f in fields(Ledger)}
        table = pl.DataFrame(
            {
                "run": pl.repeat(str(self.columns[number]), len(self.ts), eager=True),
                "ts": self._times(),
                "equity": self.equity[:, number],
                "cash": book["cash"],
                "position": book["position"],
                "turnover": np.abs(book["quantity"]) * book["path_open"],
                "fees": book["fees"],
                "slippage": book["spread_cost"] + book["temporary_cost"],
                "impact_cost": book["permanent_cost"],
            }
        )
        return EQUITY.check(table)

    def _times(self) -> pl.Series:
        return pl.Series(self.ts).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")

    def _orders(self, number: int) -> pl.DataFrame:
        book = {f.name: getattr(self.ledger, f.name)[:, number] for f in fields(Ledger)}
        table = pl.DataFrame(
            {
                "ts": self._times(),
                "side": np.sign(book["quantity"]).astype(np.int8),
                "quantity": np.abs(book["quantity"]),
                "participation": book["participation"],
                "price": book["fill_price"],
                "path_open": book["path_open"],
                "value": np.abs(book["quantity"]) * book["path_open"],
                **{name: book[name] for name in ("fees", "spread_cost", "temporary_cost", "permanent_cost")},
            }
        )
        return table.filter(pl.col("side") != 0)
