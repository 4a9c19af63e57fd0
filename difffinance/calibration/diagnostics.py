"""What the pictures of the impact law draw, as tables: no plotting here.

Responses are folded: a sell's price change counts with the opposite sign, so that one curve shows both sides.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from difffinance.calibration.intervals import long_run_covariance, optimal_block
from difffinance.calibration.order_flow import market_orders, mid_prices
from difffinance.errors import InputError
from difffinance.records import Array, BookDay, ImpactParameters


def binned_response(quantity: ArrayLike, price_change: ArrayLike, *, bins: int = 20) -> pl.DataFrame:
    """Return the mean folded price change by quantile bins of `|q|`: quantity, response, standard_error, orders.

    Equal sizes share a bin, so there may be fewer bins than asked. Zero quantities are left out.
    """
    q, y = np.asarray(quantity, float), np.asarray(price_change, float)
    if bins < 1 or q.shape != y.shape:
        raise InputError(f"bins must be 1 or more and arrays of equal length; got {bins}, {q.shape} and {y.shape}.")
    q, y = q[q != 0.0], y[q != 0.0]
    size, folded = np.abs(q), np.sign(q) * y
    edges = np.unique(np.quantile(size, np.linspace(0.0, 1.0, bins + 1)[1:-1])) if len(size) else np.zeros(0)
    table = pl.DataFrame({"bin": np.searchsorted(edges, size, side="left"), "size": size, "folded": folded})
    return (
        table.group_by("bin")
        .agg(
            quantity=pl.col("size").mean(),
            response=pl.col("folded").mean(),
            standard_error=pl.col("folded").std() / pl.len().sqrt(),
            orders=pl.len(),
        )
        .sort("bin")
        .drop("bin")
    )


def impact_curve(parameters: ImpactParameters, quantities: ArrayLike, *, confidence: float = 0.95) -> pl.DataFrame:
    """Return the fitted curve at sizes above 0 with its pointwise band: quantity, price_change, lower, upper.

    Delta method on ln(dp) = ln lam + gamma ln|q / quantity_scale|, with the correlation of the two estimates.
    """
    sizes = np.asarray(quantities, float)
    if sizes.ndim != 1 or not np.all(sizes > 0.0):
        raise InputError("quantities must be a one-dimensional array of sizes above 0; the curve is odd in q.")
    scaled = np.log(sizes / parameters.quantity_scale)
    curve = parameters.lam * parameters.price_scale * np.exp(parameters.gamma * scaled)
    log_error = parameters.lam_se / parameters.lam  # signed, as the correlation is with lam itself
    slope_error = scaled * parameters.gamma_se
    variance = log_error**2 + slope_error**2 + 2.0 * parameters.lam_gamma_corr * log_error * slope_error
    reach = np.exp(NormalDist().inv_cdf(0.5 + confidence / 2.0) * np.sqrt(np.maximum(variance, 0.0)))
    ends = np.sort(np.stack([curve / reach, curve * reach]), axis=0)
    return pl.DataFrame({"quantity": sizes, "price_change": curve, "lower": ends[0], "upper": ends[1]})


def response_function(day: BookDay, lags: Sequence[int], *, flow: str = "visible") -> pl.DataFrame:
    """Return `R(l) = E[eps_t (m_{t+l} - m_t)]` over market orders: lag, response, standard_error (quote currency).

    `m_t` is the mid just before order t (Bouchaud et al. 2004); standard errors hold under serial dependence.
    """
    orders = market_orders(day, flow=flow)
    sign, mid = np.sign(orders["quantity"].to_numpy()), orders["mid_before"].to_numpy()
    _check_lags(lags, len(sign))
    rows = []
    for lag in lags:
        moves = sign[:-lag] * (mid[lag:] - mid[:-lag])
        # Windows of l orders overlap: blocks are no shorter than that.
        block = min(max(optimal_block(moves), lag), max(len(moves) // 5, 1))
        variance = long_run_covariance(moves[:, None], block)[0, 0]
        rows.append((int(lag), float(moves.mean()), float(np.sqrt(variance)) / len(moves)))
    return pl.DataFrame(rows, schema=["lag", "response", "standard_error"], orient="row")


def book_walk(day: BookDay, quantities: ArrayLike, *, flow: str = "visible") -> pl.DataFrame:
    """Return what walking the displayed book would do just before each market order of the day, by size.

    Columns: `quantity`; `cost` (mean price paid beyond the mid, quote currency per unit), `displacement` (mean
    move of the mid once the units are taken), both over buys and sells; `coverage`, the share of moments at which
    the displayed levels hold the quantity, the only ones that enter the means. Displacement needs a level left behind.
    """
    sizes = np.asarray(quantities, float)
    if sizes.ndim != 1 or not np.all(sizes > 0.0):
        raise InputError("quantities must be a one-dimensional array of sizes above 0.")
    rows = market_orders(day, flow=flow)["first_row"].to_numpy() - 1
    book = day.depth[rows]
    mid = mid_prices(day)[rows]
    tick = day.instrument.tick_size
    sides = [_side(book, side, day.levels) for side in ("bid", "ask")]
    found = []
    for size in sizes:
        walks = [_walk(ticks * tick, depth, size, mid) for ticks, depth in sides]
        cost, move = np.concatenate([w[0] for w in walks]), np.concatenate([w[1] for w in walks])
        found.append((float(size), _mean(cost), _mean(move), float(np.isfinite(cost).mean())))
    return pl.DataFrame(found, schema=["quantity", "cost", "displacement", "coverage"], orient="row")


def _side(book: pl.DataFrame, side: str, levels: int) -> tuple[Array, Array]:
    """Return price ticks and quantities (n, L) of a side; NaN and 0 where a level is empty."""
    prices = book.select(pl.col(f"{side}_price_ticks_{i}").cast(pl.Float64) for i in range(1, levels + 1))
    depth = book.select(pl.col(f"{side}_quantity_{i}").cast(pl.Float64) for i in range(1, levels + 1))
    return prices.fill_null(np.nan).to_numpy(), depth.fill_null(0.0).to_numpy()


def _walk(prices: Array, depth: Array, size: float, mid: Array) -> tuple[Array, Array]:
    reached = np.cumsum(depth, axis=1)
    taken = np.clip(size - (reached - depth), 0.0, depth)
    paid = np.sum(np.where(taken > 0.0, np.abs(prices - mid[:, None]) * taken, 0.0), axis=1) / size
    paid = np.where(reached[:, -1] >= size, paid, np.nan)
    left = reached > size  # levels that still show something afterwards
    best = np.abs(prices[np.arange(len(prices)), np.argmax(left, axis=1)] - prices[:, 0])
    # The mid moves by half of what the side of the trade moves.
    return paid, np.where(left.any(axis=1), 0.5 * best, np.nan)


def _mean(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _check_lags(lags: Sequence[int], orders: int) -> None:
    if not lags or min(lags) < 1 or max(lags) >= orders - 1:
        raise InputError(
            f"lags {list(lags)} are not allowed. Allowed: 1 to {orders - 2}, fewer than the market orders."
        )
