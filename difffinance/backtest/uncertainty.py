"""The band of a backtest: the same orders replayed under draws of the cost law.

The orders are those that were sent under the law itself. What a trader would have done knowing another law is not in
the band; what the same trades would have cost is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from difffinance.backtest.reference import Charges, Ledger, replay_orders
from difffinance.backtest.sharpe import sharpe_ratio
from difffinance.errors import InputError
from difffinance.records import Array, CostLaw

_CELLS = 4_000_000  # of one replay's tables


@dataclass(frozen=True)
class Band:
    """One column under D draws; each array is (D,). A draw that would have ruined the column is counted, not shown."""

    sharpe: Array  # yearly
    total_return: Array
    impact_bps: Array  # temporary and half of the own permanent impact, of the value traded
    ruined: int

    def interval(self, name: str, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the central interval of a figure; None where no draw has it."""
        values = getattr(self, name)
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        low, high = np.quantile(values, [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence])
        return float(low), float(high)


def replay_band(
    quantity: Array,
    raw_open: Array,
    raw_close: Array,
    sigma: Array,
    volume: Array,
    laws: Sequence[CostLaw],
    *,
    capital: float,
    fee_bps: float,
    half_spread_bps: float,
    periods_per_year: int,
) -> Band:
    """Return what orders `quantity` (T,) would have come to under each law; prices and expectations are (T,)."""
    rows, ruined = [], 0
    size = max(1, _CELLS // max(len(quantity), 1))
    for start in range(0, len(laws), size):
        part = laws[start : start + size]
        try:
            rows += _replay(quantity, raw_open, raw_close, sigma, volume, part, capital, fee_bps, half_spread_bps)
        except InputError:
            for law in part:  # one of them is ruined: find out which
                try:
                    rows += _replay(
                        quantity, raw_open, raw_close, sigma, volume, [law], capital, fee_bps, half_spread_bps
                    )
                except InputError:
                    ruined += 1
    table = np.array(rows).reshape(-1, 3) * np.array([np.sqrt(periods_per_year), 1.0, 1.0])
    return Band(table[:, 0], table[:, 1], table[:, 2], ruined)


def _replay(
    quantity: Array,
    raw_open: Array,
    raw_close: Array,
    sigma: Array,
    volume: Array,
    laws: Sequence[CostLaw],
    capital: float,
    fee_bps: float,
    half_spread_bps: float,
) -> list[tuple[float, float, float]]:
    """Return (Sharpe ratio per bar, total return, impact in bps) for each law."""
    ledger = replay_orders(
        np.repeat(quantity[:, None], len(laws), axis=1),
        raw_open,
        raw_close,
        sigma,
        volume,
        capital=np.full(len(laws), capital),
        charges=Charges.of_laws(laws, fee_bps=fee_bps, half_spread_bps=half_spread_bps),
    )
    wealth = np.vstack([np.full(len(laws), capital), ledger.equity])
    returns = wealth[1:] / wealth[:-1] - 1.0
    sharpes = [sharpe_ratio(column) for column in returns.T]
    bps = _impact_bps(ledger)
    return [
        (np.nan if s is None else s, float(w / capital - 1.0), float(b))
        for s, w, b in zip(sharpes, wealth[-1], bps, strict=True)
    ]


def _impact_bps(ledger: Ledger) -> Array:
    value = np.sum(np.abs(ledger.quantity) * ledger.path_open, axis=0)
    paid = np.sum(ledger.temporary_cost + ledger.permanent_cost, axis=0)
    return 1e4 * np.divide(paid, value, out=np.full(len(value), np.nan), where=value > 0)
