"""The adapter to vectorbt (Apache-2.0 with Commons Clause): order sizes and price paths in, wealth out.

Only this module knows vectorbt. It fills at the open, marks at the close, and treats an order that vectorbt cut or
dropped (it does so silently when cash runs out or a price is missing) as an error.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from difffinance.errors import InputError
from difffinance.records import Array


@dataclass(frozen=True)
class EngineRun:
    """Wealth, cash and position after each bar, `(T, N)`, and vectorbt's own portfolio for whoever wants more."""

    equity: Array
    cash: Array
    position: Array
    portfolio: Any


def load_vectorbt() -> Any:
    """Return vectorbt, set to years of 252 days (it assumes 365) and to pictures that survive conversion."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vectorbt

    vectorbt.settings["returns"]["year_freq"] = "252 days"
    vectorbt.settings["plotting"]["use_widgets"] = False
    return vectorbt


def run_vectorbt(
    quantity: Array,
    price: Array,
    close: Array,
    slippage: Array,
    fee: float,
    *,
    capital: Array,
    credit: Array | None = None,
    ts: Any = None,
    names: list[str] | None = None,
) -> EngineRun:
    """Run signed order sizes through `vbt.Portfolio.from_orders`, one column per portfolio.

    `quantity`, `price` (the open of the path), `close` and `slippage` (fraction, against the order's side) are (T, N);
    `fee` is a fraction of the value filled; `capital` (N,) the starting cash. `credit` (N,) is what a column may owe
    its broker beyond its capital: vectorbt has no margin account, so it is lent as cash and taken off the wealth.
    Raises `InputError` when vectorbt did not fill exactly what was ordered.
    """
    import pandas as pd

    vbt = load_vectorbt()
    quantity = np.array(quantity, dtype=float)
    credit = np.zeros(quantity.shape[1]) if credit is None else np.asarray(credit, dtype=float)
    index = pd.RangeIndex(len(quantity)) if ts is None else pd.DatetimeIndex(np.asarray(ts))
    if not index.is_monotonic_increasing:
        raise InputError("bars run backwards in time. Allowed: sorted times; vectorbt would not notice.")
    columns = pd.Index(names or [str(i) for i in range(quantity.shape[1])])

    def frame(values: Array) -> Any:
        return pd.DataFrame(np.array(values, dtype=float), index=index, columns=columns)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        portfolio = vbt.Portfolio.from_orders(
            close=frame(close),
            size=frame(np.where(quantity == 0.0, np.nan, quantity)),  # NaN: no order, as 0 would be logged
            size_type="amount",
            direction="both",
            price=frame(price),
            slippage=frame(slippage),
            fees=fee,
            init_cash=np.asarray(capital, dtype=float) + credit,
            freq="1D",
        )
        _check_fills(quantity, portfolio.orders.records)
        return EngineRun(
            equity=portfolio.value().to_numpy(copy=True).reshape(quantity.shape) - credit,
            cash=portfolio.cash().to_numpy(copy=True).reshape(quantity.shape) - credit,
            position=portfolio.assets().to_numpy(copy=True).reshape(quantity.shape),
            portfolio=portfolio,
        )


def _check_fills(quantity: Array, records: Any) -> None:
    filled = np.zeros_like(quantity)
    sign = np.where(records["side"].to_numpy() == 0, 1.0, -1.0)  # vectorbt: 0 buy, 1 sell
    filled[records["idx"].to_numpy(), records["col"].to_numpy()] = sign * records["size"].to_numpy()
    bad = np.argwhere(np.abs(filled - quantity) > 1e-9 * np.abs(quantity))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"vectorbt filled {filled[row, column]:g} of an order of {quantity[row, column]:g} in bar {row}, column "
            f"{column} ({len(bad)} such orders). Allowed: orders that cash and credit cover, at prices that exist; "
            "limit them by the rules before they are sent."
        )


def largest_gap(first: Array, second: Array) -> float:
    """Return the largest relative difference of two wealth tables."""
    return float(np.max(np.abs(first - second) / np.abs(second), initial=0.0))
