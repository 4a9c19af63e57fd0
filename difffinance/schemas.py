"""Every Parquet table: columns, units, rules; checked once at the door, trusted inside.

Time is UTC nanoseconds, prices are in the quote currency (integer ticks in book tables), quantities are units of
the asset, side is +1 buy, -1 sell, 0 unknown. A rule is a polars expression that is true for a good row, so one
failed rule yields the first bad row by number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NoReturn

import numpy as np
import polars as pl

from difffinance.errors import DataError

TIME = pl.Datetime("ns", "UTC")
Rows = Sequence[int] | np.ndarray  # numbers of rows in a file


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit, and whether it may be null."""

    dtype: pl.DataType | type[pl.DataType]
    unit: str
    nullable: bool = False


@dataclass(frozen=True)
class Rule:
    """A named condition that every row must meet."""

    name: str
    good: pl.Expr
    allowed: str


@dataclass(frozen=True)
class Schema:
    """A table's contract: columns in order, the sorted unique key, and rules."""

    name: str
    version: int
    columns: dict[str, Column]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = ()

    def check(
        self,
        frame: pl.DataFrame,
        *,
        file: str | None = None,
        first_row: int = 1,
        rows: Rows | None = None,
    ) -> pl.DataFrame:
        """Return `frame` in the schema's column order and types, or raise `DataError` naming file and row.

        `rows` are the rows' numbers in the file; without it they are counted from `first_row`. NaN counts as missing.
        Columns beyond the schema are refused.
        """
        rows = range(first_row, first_row + frame.height) if rows is None else rows
        missing = [c for c in self.columns if c not in frame.columns]
        extra = [c for c in frame.columns if c not in self.columns]
        if missing or extra:
            raise DataError(
                f"{self.name} needs the columns {list(self.columns)}; missing {missing}, not known {extra}.", file=file
            )
        frame = self._cast(frame, file, rows)
        rules = (*self._presence(), *self.rules)
        # One pass over all rules; only a table that breaks one is searched for the row.
        held = frame.select(rule.good.fill_null(True).all().alias(str(i)) for i, rule in enumerate(rules))
        for rule, holds in zip(rules, held.row(0), strict=True):
            if not holds:
                self._refuse(frame, rule, file, rows)
        self._check_key(frame, file, rows)
        return frame

    def _cast(self, frame: pl.DataFrame, file: str | None, rows: Rows) -> pl.DataFrame:
        try:
            return frame.select([pl.col(name).cast(column.dtype) for name, column in self.columns.items()])
        except pl.exceptions.PolarsError:
            for name, column in self.columns.items():
                lost = pl.col(name).cast(column.dtype, strict=False).is_null() & pl.col(name).is_not_null()
                found = frame.select(lost.arg_true().alias("row"))["row"]
                if len(found):
                    raise DataError(
                        f"{name} must be of type {column.dtype} ({column.unit}); got {frame[name][int(found[0])]!r}.",
                        file=file,
                        row=int(rows[int(found[0])]),
                    ) from None
            raise

    def _presence(self) -> list[Rule]:
        rules = []
        for name, column in self.columns.items():
            good = pl.lit(True) if column.nullable else pl.col(name).is_not_null()
            if column.dtype in (pl.Float64, pl.Float32):
                good = good & pl.col(name).is_finite().fill_null(True)
            if not column.nullable or column.dtype in (pl.Float64, pl.Float32):
                rules.append(Rule(f"{name} is there and finite", good, "a value in every row"))
        return rules

    def _refuse(self, frame: pl.DataFrame, rule: Rule, file: str | None, rows: Rows) -> NoReturn:
        bad = frame.select((~rule.good).fill_null(False).arg_true().alias("row"))["row"]
        row = int(bad[0])
        values = ", ".join(f"{k}={v}" for k, v in frame.row(row, named=True).items())
        raise DataError(
            f"rule '{rule.name}' is broken ({len(bad)} rows). Allowed: {rule.allowed}. Given: {_short(values)}.",
            file=file,
            row=int(rows[row]),
        )

    def _check_key(self, frame: pl.DataFrame, file: str | None, rows: Rows) -> None:
        if frame.height < 2 or not self.key:
            return
        key = pl.struct(self.key)
        # Lexicographic order of the key tuple, written out so that equal keys are told from falling ones.
        later, equal = pl.lit(False), pl.lit(True)
        for name in self.key:
            now, before = pl.col(name), pl.col(name).shift(1)
            later, equal = later | (equal & (now > before)), equal & (now == before)
        falls = frame.select((~later & pl.int_range(pl.len()).gt(0)).arg_true().alias("row"))["row"]
        if len(falls):
            row = int(falls[0])
            kind = "duplicated" if frame.select(key).slice(row - 1, 2).is_duplicated().all() else "out of order"
            raise DataError(
                f"{self.name} key {list(self.key)} is {kind} ({len(falls)} rows). Allowed: sorted, each key once. "
                f"Given: {_short(str(frame.row(row, named=True)))}.",
                file=file,
                row=int(rows[row]),
            )

    def empty(self) -> pl.DataFrame:
        """Return a table without rows."""
        return pl.DataFrame(schema={n: c.dtype for n, c in self.columns.items()})


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + " ..."


SYMBOL = Column(pl.String, "name of the instrument")
TS = Column(TIME, "UTC nanoseconds")
SEQ = Column(pl.Int64, "order of events that share a time")
PRICE = Column(pl.Float64, "quote currency")
QUANTITY = Column(pl.Float64, "units of the asset")
SIDE = Column(pl.Int8, "+1 buy, -1 sell, 0 unknown")
SIDE_RULE = Rule("side is a sign", pl.col("side").is_in([-1, 0, 1]), "-1, 0 or +1")

BARS = Schema(
    "Bars",
    1,
    {"symbol": SYMBOL, "ts": TS, "open": PRICE, "high": PRICE, "low": PRICE, "close": PRICE, "volume": QUANTITY},
    ("symbol", "ts"),
    (
        Rule("prices are positive", pl.min_horizontal("open", "high", "low", "close") > 0, "prices above 0"),
        Rule("volume is not negative", pl.col("volume") >= 0, "volume at or above 0"),
        Rule("low is not above high", pl.col("low") <= pl.col("high"), "low <= high"),
        Rule(
            "open and close lie in the range",
            (pl.min_horizontal("open", "close") >= pl.col("low"))
            & (pl.max_horizontal("open", "close") <= pl.col("high")),
            "low <= open, close <= high",
        ),
    ),
)

REFERENCE_PRICES = Schema(
    "ReferencePrices",
    1,
    {
        "symbol": SYMBOL,
        "ts": TS,
        "previous_close": Column(pl.Float64, "quote currency; the close before, corrected for rights and dividends"),
    },
    ("symbol", "ts"),
    (Rule("the reference is positive", pl.col("previous_close") > 0, "prices above 0"),),
)

TRADES = Schema(
    "Trades",
    1,
    {"symbol": SYMBOL, "ts": TS, "seq": SEQ, "price": PRICE, "quantity": QUANTITY, "side": SIDE},
    ("symbol", "ts", "seq"),
    (
        Rule("price is positive", pl.col("price") > 0, "prices above 0"),
        Rule("quantity is positive", pl.col("quantity") > 0, "quantity above 0"),
        SIDE_RULE,
    ),
)

# What the state of a quote is: bid against ask.
QUOTE_STATE = (
    pl.when(pl.col("bid") < pl.col("ask"))
    .then(pl.lit("normal"))
    .when(pl.col("bid") == pl.col("ask"))
    .then(pl.lit("locked"))
    .otherwise(pl.lit("crossed"))
    .alias("state")
)

QUOTES = Schema(
    "Quotes",
    1,
    {
        "symbol": SYMBOL,
        "ts": TS,
        "seq": SEQ,
        "bid": PRICE,
        "bid_quantity": QUANTITY,
        "ask": PRICE,
        "ask_quantity": QUANTITY,
        "state": Column(pl.String, "normal, locked or crossed"),
    },
    ("symbol", "ts", "seq"),
    (
        Rule("prices are positive", pl.min_horizontal("bid", "ask") > 0, "prices above 0"),
        Rule("quantities are positive", pl.min_horizontal("bid_quantity", "ask_quantity") > 0, "above 0"),
        Rule(
            "state tells bid against ask",
            pl.col("state") == QUOTE_STATE,
            "normal: bid < ask, locked: bid = ask, crossed: bid > ask",
        ),
    ),
)

EVENT_KINDS = ("new", "partial_cancel", "delete", "execution", "hidden_execution", "cross", "halt")

BOOK_EVENTS = Schema(
    "BookEvents",
    1,
    {
        "symbol": SYMBOL,
        "ts": TS,
        "seq": SEQ,
        "order_id": Column(pl.Int64, "identity of the resting order; 0 where the venue tells none"),
        "kind": Column(pl.String, " ".join(EVENT_KINDS)),
        "side": Column(pl.Int8, "of the RESTING order: +1 bid, -1 ask; a trade's sign is the opposite"),
        "price_ticks": Column(pl.Float64, "ticks; whole numbers except hidden executions, which may be off the grid"),
        "quantity": QUANTITY,
    },
    ("symbol", "ts", "seq"),
    (
        Rule("kind is known", pl.col("kind").is_in(EVENT_KINDS), ", ".join(EVENT_KINDS)),
        Rule("quantity is positive", (pl.col("quantity") > 0) | (pl.col("kind") == "halt"), "quantity above 0"),
        Rule("price is positive", (pl.col("price_ticks") > 0) | (pl.col("kind") == "halt"), "prices above 0"),
        Rule(
            "visible price is on the tick grid",
            (pl.col("price_ticks") == pl.col("price_ticks").round(0))
            | pl.col("kind").is_in(["hidden_execution", "cross", "halt"]),
            "whole ticks",
        ),
        SIDE_RULE,
    ),
)


@cache
def depth_schema(levels: int) -> Schema:
    """Return the schema of order-book snapshots with `levels` levels a side, level 1 the best.

    Empty levels are null in price and quantity.
    """
    columns: dict[str, Column] = {"symbol": SYMBOL, "ts": TS, "seq": SEQ}
    for level in range(1, levels + 1):
        for side in ("bid", "ask"):
            columns[f"{side}_price_ticks_{level}"] = Column(pl.Int64, "ticks", nullable=True)
            columns[f"{side}_quantity_{level}"] = Column(pl.Float64, "units of the asset", nullable=True)
    rules = [
        Rule(
            "the book is not crossed",
            (pl.col("bid_price_ticks_1") < pl.col("ask_price_ticks_1")).fill_null(True),
            "best bid below best ask",
        )
    ]
    for level in range(1, levels + 1):
        for side in ("bid", "ask"):
            quantity, price = pl.col(f"{side}_quantity_{level}"), pl.col(f"{side}_price_ticks_{level}")
            good = (quantity > 0).fill_null(True) & (quantity.is_null() == price.is_null())
            rules.append(Rule(f"{side} quantity {level} is positive", good, "above 0, null where the price is"))
            if level > 1:
                near, far = pl.col(f"{side}_price_ticks_{level - 1}"), pl.col(f"{side}_price_ticks_{level}")
                better = near > far if side == "bid" else near < far
                ordered = far.is_null() | better.fill_null(False)
                rules.append(Rule(f"{side} level {level} is worse", ordered, "levels ordered by price, without gaps"))
    return Schema("Depth", 1, columns, ("symbol", "ts", "seq"), tuple(rules))


IMPACT_FITS = Schema(
    "ImpactFits",
    1,
    {
        "symbol": SYMBOL,
        "unit": Column(pl.String, "order, aggregate or bars"),
        "horizon_s": Column(pl.Float64, "seconds; 0 for single orders"),
        "flow": Column(pl.String, "visible or all"),
        "fold": Column(pl.String, "full, or the name of the part of the data"),
        "lam": Column(pl.Float64, "quote currency for |q| = quantity_scale"),
        "gamma": Column(pl.Float64, "exponent"),
        "lam_se": Column(pl.Float64, "quote currency"),
        "gamma_se": Column(pl.Float64, "exponent"),
        "lam_lower": Column(pl.Float64, "quote currency"),
        "lam_upper": Column(pl.Float64, "quote currency"),
        "gamma_lower": Column(pl.Float64, "exponent"),
        "gamma_upper": Column(pl.Float64, "exponent"),
        "r2": Column(pl.Float64, "fraction"),
        "r2_oos": Column(pl.Float64, "fraction", nullable=True),
        "n_obs": Column(pl.Int64, "observations"),
        "noise": Column(pl.String, "noise model"),
        "placebo_r2_95": Column(pl.Float64, "95th percentile of R2 of shuffled flow"),
        "placebo_p_value": Column(pl.Float64, "permutation p-value"),
        "price_scale": Column(pl.Float64, "quote currency"),
        "quantity_scale": Column(pl.Float64, "units of the asset"),
        "volume_base": Column(pl.String, "whose volume is counted"),
        "start": TS,
        "end": TS,
    },
    ("symbol", "unit", "horizon_s", "flow", "fold"),
)

TRAJECTORIES = Schema(
    "Trajectories",
    1,
    {
        "run": Column(pl.String, "name of the run"),
        "episode": Column(pl.Int64, "count from 0"),
        "step": Column(pl.Int64, "count from 0"),
        "agent": Column(pl.Int64, "seat, from 0"),
        "agent_kind": Column(pl.String, "kind of participant"),
        "mid": PRICE,
        "spread": PRICE,
        "inventory": QUANTITY,
        "cash": Column(pl.Float64, "quote currency"),
        "wealth": Column(pl.Float64, "quote currency, inventory at the mid"),
        "side": SIDE,
        "price": Column(pl.Float64, "quote currency; the mid where the order is a market order"),
        "quantity": Column(pl.Float64, "units asked at the market, unsigned"),
        "filled": Column(pl.Float64, "signed units filled in the step"),
        "fill_price": Column(pl.Float64, "quote currency, mean of the step", nullable=True),
        "impact": Column(pl.Float64, "mid after minus mid before, quote currency"),
        "reward": Column(pl.Float64, "quote currency"),
        "done": Column(pl.Boolean, "last step"),
        "state": Column(pl.List(pl.Float64), "50 numbers, market.observation.STATE"),
        "action": Column(pl.List(pl.Float64), "10 numbers, market.observation.ACTION"),
        "opponents": Column(pl.List(pl.Float64), "40 numbers, market.observation.OPPONENTS"),
        "constraints": Column(pl.List(pl.Float64), "20 numbers, market.observation.CONSTRAINTS"),
    },
    ("run", "episode", "step", "agent"),
)

EQUITY = Schema(
    "Equity",
    1,
    {
        "run": Column(pl.String, "name of the run"),
        "ts": TS,
        "equity": Column(pl.Float64, "quote currency"),
        "cash": Column(pl.Float64, "quote currency"),
        "position": QUANTITY,
        "turnover": Column(pl.Float64, "quote currency traded in the bar"),
        "fees": Column(pl.Float64, "quote currency"),
        "slippage": Column(pl.Float64, "quote currency, temporary impact and half spread"),
        "impact_cost": Column(pl.Float64, "quote currency, permanent impact paid on own fills"),
    },
    ("run", "ts"),
)
