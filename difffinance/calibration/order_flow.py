"""Signed flow from an order-book day: merged market orders, and their sums over seconds (SCIENCE 1).

A market order is all prints with the same nanosecond and the same sign. Its price change runs from the mid just
before its first print to the mid just after its last one. The sign is minus the side of the resting order, hidden
prints included.
"""

import numpy as np
import polars as pl

from difffinance.errors import InputError, RefusedFit
from difffinance.records import Array, BookDay

FLOWS = ("visible", "all")
_PRINTS_TO_JUDGE = 20
_KINDS = {"visible": ["execution"], "all": ["execution", "hidden_execution"]}


def market_orders(day: BookDay, *, flow: str = "visible") -> pl.DataFrame:
    """Return the day's market orders, sorted by time.

    Columns: `ts`, `first_row` and `last_row` (of the events), signed `quantity`, `prints`, `mid_before`,
    `price_change` in quote currency. Orders at a moment when a side of the book is empty, or before the first known
    state, have no mid and are left out.
    """
    name = f"market_orders_{flow}"
    if name not in day.derived:
        day.derived[name] = _market_orders(day, flow)
    orders: pl.DataFrame = day.derived[name]
    return orders


def _market_orders(day: BookDay, flow: str) -> pl.DataFrame:
    mids = pl.Series("mid", mid_prices(day))
    prints = (
        day.events.lazy()
        .select("ts", "kind", "side", "quantity")
        .with_row_index("row")
        .filter(pl.col("kind").is_in(_kinds(flow)) & (pl.col("side") != 0))
        .with_columns(sign=-pl.col("side"))
    )
    orders = (
        prints.group_by("ts", "sign")
        .agg(
            first_row=pl.col("row").min().cast(pl.Int64),
            last_row=pl.col("row").max().cast(pl.Int64),
            size=pl.col("quantity").sum(),
            prints=pl.len(),
        )
        .sort("first_row")
        .collect()
    )
    orders = orders.filter(pl.col("first_row") > 0)
    before = mids.gather(orders["first_row"] - 1)
    after = mids.gather(orders["last_row"])
    return orders.select(
        "ts",
        "first_row",
        "last_row",
        "prints",
        quantity=pl.col("sign") * pl.col("size"),
        mid_before=before,
        price_change=(after - before).round(9),
    ).filter(pl.col("price_change").is_finite())


def aggregate_flow(day: BookDay, horizon_s: float, *, flow: str = "visible") -> pl.DataFrame:
    """Return signed volume and mid change over buckets of `horizon_s` seconds on the clock.

    Columns: `ts` (start of the bucket), signed `quantity`, `orders`, `price_change`. A bucket begins with the last
    state before it; the one in which the file begins has none and is left out. Buckets without trades are kept with
    quantity 0.
    """
    if not 0.001 <= horizon_s <= 86_400:
        raise InputError(f"horizon_s = {horizon_s} is not allowed. Allowed: 0.001 to 86400 seconds.")
    step = round(horizon_s * 1e9)
    times = day.events["ts"].cast(pl.Int64).to_numpy()
    mids = mid_prices(day)
    if len(times) == 0:
        raise InputError("the order-book day has no events.")
    edges = np.arange(times[0] // step + 1, times[-1] // step + 2) * step
    state = mids[np.searchsorted(times, edges, side="left") - 1]
    bucket = pl.col("ts").cast(pl.Int64) // step * step
    sums = (
        market_orders(day, flow=flow)
        .group_by(bucket.alias("start"))
        .agg(quantity=pl.col("quantity").sum(), orders=pl.len().cast(pl.Int64))
    )
    changes = pl.DataFrame({"start": edges[:-1], "price_change": np.round(np.diff(state), 9)})
    return (
        changes.join(sums, on="start", how="left", maintain_order="left")
        .filter(pl.col("price_change").is_finite())
        .select(
            ts=pl.col("start").cast(pl.Datetime("ns", "UTC")),
            quantity=pl.col("quantity").fill_null(0.0),
            orders=pl.col("orders").fill_null(0),
            price_change="price_change",
        )
    )


def aggregate_trades(day: BookDay, count: int, *, flow: str = "visible") -> pl.DataFrame:
    """Return signed volume and mid change over `count` market orders each, the last incomplete group left out.

    Columns: `ts` (of the first order), signed `quantity`, `orders`, `price_change`: from the mid before the first order
    to the mid before the first of the next group, so that changes add up to the day's.
    """
    if count < 1:
        raise InputError(f"{count} orders are not allowed. Allowed: 1 or more to a group.")
    orders = market_orders(day, flow=flow)
    starts = np.arange(0, max(orders.height - count, 0), count)
    total = np.concatenate([[0.0], np.cumsum(orders["quantity"].to_numpy())])
    mid = orders["mid_before"].to_numpy()
    return pl.DataFrame(
        {
            "ts": orders["ts"].gather(starts),
            "quantity": total[starts + count] - total[starts],
            "orders": np.full(len(starts), count),
            "price_change": np.round(mid[starts + count] - mid[starts], 9),
        }
    )


def book_imbalance(day: BookDay, levels: int = 1) -> Array:
    """Return the order-flow imbalance of each event at each of the first levels, `(n, levels)`, units of the asset.

    `e = 1{b >= b'} qb - 1{b <= b'} qb' - 1{a <= a'} qa + 1{a >= a'} qa'` with the primed state before the event: Cont,
    Kukanov & Stoikov, J. Financial Econometrics 12(1), 2014, and level by level Xu, Gould & Howison, Market
    Microstructure and Liquidity 4, 2018. The first event has none (0). An empty level is one infinitely far away.
    """
    if not 1 <= levels <= day.levels:
        raise InputError(f"levels = {levels} is not allowed. Allowed: 1 to {day.levels}, as the day's file has.")
    found = np.zeros((day.depth.height, levels))
    for level in range(1, levels + 1):
        for side, name, far in ((1.0, "bid", -np.inf), (-1.0, "ask", np.inf)):
            price = day.depth[f"{name}_price_ticks_{level}"].cast(pl.Float64).fill_null(far).to_numpy()
            quantity = day.depth[f"{name}_quantity_{level}"].cast(pl.Float64).fill_null(0.0).to_numpy()
            better, worse = side * price[1:] >= side * price[:-1], side * price[1:] <= side * price[:-1]
            found[1:, level - 1] += side * (better * quantity[1:] - worse * quantity[:-1])
    return found


def mid_prices(day: BookDay) -> Array:
    """Return the mid after each event, quote currency; NaN where a side of the book is empty. Read-only."""
    if "mids" not in day.derived:
        ticks = day.depth.select((pl.col("bid_price_ticks_1") + pl.col("ask_price_ticks_1")).cast(pl.Float64))
        mids = ticks.to_series().fill_null(np.nan).to_numpy() * (0.5 * day.instrument.tick_size)
        mids.flags.writeable = False
        day.derived["mids"] = mids
    found: Array = day.derived["mids"]
    return found


def check_quantity_scale(day: BookDay) -> None:
    """Raise `RefusedFit` where traded quantities cannot be in the units of the displayed ones.

    A print against a displayed order takes its own quantity from the touch. Where the queue is still there afterwards,
    what it lost is what was printed: dollars, or lots of another size, show as another ratio.
    """
    if day.depth.height < 2:
        return
    ratios = []
    for side, name in ((1, "bid"), (-1, "ask")):
        price, queue = day.depth[f"{name}_price_ticks_1"], day.depth[f"{name}_quantity_1"].cast(pl.Float64)
        table = pl.DataFrame(
            {
                "quantity": day.events["quantity"].cast(pl.Float64),
                "lost": queue.shift(1) - queue,
                "hit": (day.events["kind"] == "execution") & (day.events["side"] == side) & (price == price.shift(1)),
            }
        )
        seen = table.filter(pl.col("hit") & (pl.col("lost") > 0.0))
        ratios.append((seen["quantity"] / seen["lost"]).to_numpy())
    ratio = np.concatenate(ratios)
    if len(ratio) >= _PRINTS_TO_JUDGE and not 0.5 <= float(np.median(ratio)) <= 2.0:
        raise RefusedFit(
            f"a print of {day.instrument.symbol} takes 1/{np.median(ratio):.4g} of its quantity from the queue that it "
            f"hits (median of {len(ratio)}): traded quantities are in other units than displayed ones. Allowed: both "
            "in units of the asset; prints in dollars or in lots must be converted."
        )


def traded_volume(day: BookDay) -> float:
    """Return the units traded in the day, hidden executions and crosses included."""
    kinds = [*_KINDS["all"], "cross"]
    return float(day.events.filter(pl.col("kind").is_in(kinds))["quantity"].sum())


def _kinds(flow: str) -> list[str]:
    if flow not in _KINDS:
        raise InputError(f"flow '{flow}' is not known. Allowed: {', '.join(FLOWS)}.")
    return _KINDS[flow]
