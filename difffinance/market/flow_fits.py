"""The numbers of a fitted background flow: one small record, saved as JSON; the package ships the one of GOOG.

Ticks and units of the asset are those of the fitted day. What each table means is said in `flow_state.TABLES`;
here sizes are in units.
"""

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow_state import TABLES

SHIPPED = ("GOOG",)
SIZE_TABLES, SIZE_EDGES = ("size", "own_size", "take_size"), ("queue_edges", "life_sizes")
_ANEW = "Make one of an earlier version anew: difffinance calibrate SYMBOL --flow."


@dataclass(frozen=True)
class FlowFit:
    """A fit of all background models to one day. `tables_by_name` holds nested lists of numbers, by table."""

    symbol: str
    intraday: float  # depth of the U-shape of activity
    value_volatility: float  # of the value, fraction per session
    value_lean: float
    value_pull: float
    start_price: float  # of the fitted day, quote currency
    order_size: float  # mean of market orders, units
    worth_fade: float  # how fast what a seat's order was worth fades, and the part that stays: a prior, not fitted
    worth_kept: float
    notes: str
    tables_by_name: dict[str, Any]

    def __post_init__(self) -> None:
        names = TABLES.names or ()
        if set(names) != set(self.tables_by_name):
            off = sorted(set(names) ^ set(self.tables_by_name))
            raise InputError(
                f"a flow fit has the tables {', '.join(names)}; missing or unknown: {', '.join(off)}. {_ANEW}"
            )
        for name in names:
            table = self.table(name)
            if table.shape != TABLES[name].shape or not np.isfinite(table).all():
                raise InputError(
                    f"table '{name}' must hold {TABLES[name].shape} finite numbers; got shape {table.shape}. {_ANEW}"
                )

        if self.branching_ratio >= 1.0:
            raise InputError(
                f"the flow fit has a branching ratio of {self.branching_ratio:.3f}: bursts never end. Allowed: below 1."
            )

    @property
    def branching_ratio(self) -> float:
        """Spectral radius of the matrix of expected children, those that the book turns away left out."""
        return float(np.abs(np.linalg.eigvals(self._children().sum(axis=2))).max())

    @property
    def market_orders(self) -> float:
        """Market orders per second of the fitted day."""
        _, market, unit = self.table("unit")
        return float(2.0 * market * unit / self.order_size)

    @property
    def gap_sign(self) -> float:
        """Sign of market orders that a full pull of the value brings, as far as the means of past signs miss it.

        A gap that lasts leans the sides of spontaneous events, and children hand that down: the response of a branching
        process to its immigrants, to first order. The means see the part `sum(sign_weight)` of what lasts.
        """
        children, base = self._children(), self.table("base") * self.table("met")
        # By book side: a value above the mid brings bids, and takes and thins out offers.
        leaning, total = (
            np.linalg.solve(np.eye(3) - moved.T, born)
            for moved, born in (
                (children[:, :, 0] - children[:, :, 1], base * [1.0, -1.0, -1.0]),
                (children.sum(axis=2), base),
            )
        )
        missed = 1.0 - float(self.table("sign_weight").sum())
        return missed * self.value_lean * float(-leaning[2] / total[2]) if total[2] > 0.0 else 0.0

    def _children(self) -> np.ndarray:
        """Return expected children that the book lets happen: (3 sources, 3 kinds, same side or other)."""
        shares = np.diff(self.table("children"), axis=1, prepend=0.0).reshape(4, 3, 2, -1).sum(axis=3)
        each = shares * self.table("mean")[:, None, None] * self.table("met")[:, None]
        return _merged(each, float(self.table("partial")[0]))

    def __str__(self) -> str:
        count = sum(np.asarray(table).size for table in self.tables_by_name.values())
        return f"background flow of {self.symbol}: {count} numbers, {self.notes}"

    def value_of(self, model: str) -> list[float]:
        """Return what a model knows of its value.

        How much it leans to it and at which log gap, its volatility a session, then what a seat's market order of mean
        size is worth (log) and the part of that which stays.
        """
        if model == "queue_reactive":
            return [float(x) for x in self.table("state_value")]
        return [self.value_lean, self.value_pull, self.value_volatility, float(self.table("worth")[0]), self.worth_kept]

    def table(self, name: str) -> np.ndarray:
        """Return one table as an array."""
        return np.asarray(self.tables_by_name[name], float)

    def tables(self, config: MarketConfig) -> np.ndarray:
        """Return the tables in the lots of a market, one `TABLES` record."""
        tables = np.zeros(1, TABLES)
        for name in TABLES.names or ():
            tables[name][0] = self.table(name)
        for name in SIZE_TABLES:
            tables[name] = np.maximum(np.round(tables[name] / config.lot_size), 1.0)
        for name in SIZE_EDGES:
            tables[name] /= config.lot_size
        tables["unit"][0, 2] = max(round(tables["unit"][0, 2] / config.lot_size), 1)
        return tables


def branching_ratio(children: np.ndarray, partial: float) -> float:
    """Return the spectral radius of expected children (4 sources, 3 kinds), `partial` of the market orders as 4th."""
    return float(np.abs(np.linalg.eigvals(_merged(children, partial))).max())


def _merged(children: np.ndarray, partial: float) -> np.ndarray:
    """Return the children of three sources: the fourth is the part `partial` of the market orders."""
    return np.concatenate([children[:2], [(1.0 - partial) * children[2] + partial * children[3]]])


def flow_fit_to_json(fit: FlowFit) -> dict[str, Any]:
    """Return what is written to disk."""
    return asdict(fit)


def flow_fit_from_json(value: Any) -> FlowFit:
    """Return the fit of a parsed JSON file; raise `InputError` where fields are missing or unknown."""
    names = {field.name for field in fields(FlowFit)}
    if not isinstance(value, dict) or set(value) != names:
        given = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise InputError(f"a flow fit has the fields {', '.join(sorted(names))}; got {given}. {_ANEW}")
    return FlowFit(**value)


@cache
def load_flow_fit(name: str) -> FlowFit:
    """Return a shipped fit by symbol, or the one of a JSON file."""
    if name in SHIPPED:
        text = resources.files("difffinance").joinpath(f"market/fits/flow_{name}.json").read_text(encoding="utf-8")
    elif name.endswith(".json") and Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise InputError(
            f"flow fit '{name}' is not known. Allowed: {', '.join(SHIPPED)}, or a .json file that "
            "`difffinance calibrate SYMBOL --flow` wrote."
        )
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"flow fit '{name}' is no JSON ({error}). Write it anew: calibrate SYMBOL --flow.") from error
    return flow_fit_from_json(value)
