"""Pictures of "one lambda, five costs": what a law of signed flow is, what it is not, and how well it fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.diagnostics import binned_response, impact_curve
from difffinance.calibration.misuse import apply_law
from difffinance.calibration.order_flow import aggregate_flow, market_orders
from difffinance.records import BookDay, ImpactParameters
from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure
from difffinance.simulation.closed_loop import ClosedLoop, joint_region

_SHAPES = ("power", "square_root", "logarithmic", "linear", "constant")
_FLOOR = -0.3  # of a picture of R2; what lies below stands on it with its number


@house_style
def plot_displacements(table: pl.DataFrame, sliced: pl.DataFrame, *, name: str) -> Picture:
    """Draw what each fit says of one quantity (`misuse.read_displacement`), and what slicing does to it."""
    figure, (left, right) = new_figure(columns=2, height=3.6)
    labels = [_unit(*row) for row in table.select("unit", "horizon_s").rows()]
    moved, at = table["displacement"].to_numpy(), np.arange(table.height)
    reach = np.stack([moved - table["lower"].to_numpy(), table["upper"].to_numpy() - moved])
    left.errorbar(at, moved, yerr=reach, fmt="o", color=COLOURS["diffusion"], capsize=3)
    left.set_yscale("log")
    left.set_xticks(at, labels)
    left.set_xlim(-0.5, table.height - 0.5)
    left.set_xlabel("unit of the fit")
    left.set_ylabel("displacement, daily volatilities")
    left.set_title("One quantity, read off each fit")
    right.plot(sliced["slices"], sliced["displacement"], color=COLOURS["ink"], marker="o", markersize=3)
    right.set_xscale("log")
    right.set_ylim(bottom=0.0)
    right.set_xlabel("slices that the law is applied to")
    right.set_ylabel("displacement, daily volatilities")
    right.set_title("One fit, one quantity, sliced")
    caption = (
        f"{name}: {table['quantity'][0]:,.0f} units, pointwise 95% intervals. A law that could be charged would give "
        "one answer on the left and a flat line on the right."
    )
    return Picture("displacements", "One lambda, five costs", caption, table, figure)


@house_style
def plot_round_trip(trip: pl.DataFrame, *, name: str, currency: str = "USD") -> Picture:
    """Draw a round trip (`misuse.trade_round_trip`): the price of every trade, and the money made."""
    figure, (left, right) = new_figure(columns=2, height=3.4)
    at, buys = np.arange(1, trip.height + 1), trip["trade"].to_numpy() > 0.0
    price = trip["price"].to_numpy()
    left.plot(at[buys], price[buys], color=COLOURS["buy"], label="bought in pieces")
    left.plot(at[~buys], price[~buys], "v", color=COLOURS["sell"], label="sold at once")
    left.set_xlabel("trade")
    left.set_ylabel(f"price paid beyond the first mid, {currency}")
    left.set_title("What each trade pays")
    left.legend(loc="upper left")
    wealth = trip["cash"].to_numpy() + np.where(at == trip.height, 0.0, np.nan)
    right.plot(at, trip["cash"] + trip["position"] * price, color=COLOURS["ink"], label="cash and shares at that price")
    right.plot(at, wealth, "o", color=COLOURS["diffusion"], label=f"flat again: {trip['cash'][-1]:+,.0f} {currency}")
    right.axhline(0.0, color=COLOURS["naive"], linewidth=0.8)
    right.set_xlabel("trade")
    right.set_ylabel(f"wealth, {currency}")
    right.set_title("Money for nothing")
    right.legend(loc="upper left")
    bought = float(trip["trade"].to_numpy()[buys].sum())
    caption = (
        f"{name}: {bought:,.0f} units bought in {int(buys.sum())} pieces and sold at once, the fit taken as permanent "
        f"impact. It earns {trip['cash'][-1] / bought:+.4f} {currency} a unit."
    )
    return Picture("round_trip", "A round trip that pays", caption, trip, figure)


@house_style
def plot_slope_split(splits: Sequence[dict[str, Any]], *, name: str) -> Picture:
    """Draw the share of the slope that happens inside trades and in quote revisions (`associations.slope_split`)."""
    table = pl.DataFrame(list(splits))
    figure, (axis,) = new_figure(height=3.0, width=7.0)
    at, inside = np.arange(table.height), 100 * table["inside_trades"].to_numpy()
    error = 196 * table["standard_error"].to_numpy()
    axis.errorbar(at - 0.06, inside, yerr=error, fmt="o", color=COLOURS["diffusion"], capsize=3, label="inside trades")
    axis.errorbar(
        at + 0.06, 100 - inside, yerr=error, fmt="s", color=COLOURS["ink"], capsize=3, label="quote revisions"
    )
    axis.axhline(0.0, color=COLOURS["naive"], linewidth=0.8)
    axis.axhline(100.0, color=COLOURS["naive"], linewidth=0.8)
    axis.set_xticks(at, [f"{s:g} s" for s in table["horizon_s"]])
    axis.set_xlim(-0.5, table.height - 0.5)
    axis.set_xlabel("horizon")
    axis.set_ylabel("share of the slope, %")
    axis.set_title(f"{name}: where the slope comes from")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = "Shares with 95% intervals. What happens in quote revisions was never paid by the trades of the bucket."
    return Picture("slope_split", "Inside trades, or quotes revised", caption, table, figure)


@house_style
def plot_imbalance(levels: Sequence[dict[str, Any]], fits: Sequence[ImpactParameters], *, name: str) -> Picture:
    """Draw R2 of order-flow imbalance by book levels (`associations.level_r2`) beside that of signed trade flow."""
    table = pl.DataFrame(list(levels))
    figure, (axis,) = new_figure(height=3.4, width=7.0)
    colours = [COLOURS["diffusion"], COLOURS["garleanu_pedersen"], COLOURS["ink"], COLOURS["buy_and_hold"]]
    flow = {fit.horizon_s: fit.r2_oos for fit in fits if fit.flow == "visible" and fit.r2_oos is not None}
    for colour, ((seconds,), part) in zip(colours, table.group_by("horizon_s", maintain_order=True), strict=False):
        axis.plot(part["levels"], part["r2_oos"], marker="o", color=colour, label=f"{seconds:g} s")
        if seconds in flow:
            axis.axhline(flow[seconds], color=colour, linestyle=":", linewidth=1.2, label=f"{seconds:g} s, trades only")
    axis.axhline(0.0, color=COLOURS["naive"], linewidth=0.8)
    axis.set_xticks(sorted(set(table["levels"].to_list())))
    axis.set_xlabel("book levels in the imbalance")
    axis.set_ylabel("R2 out of sample")
    axis.set_title(f"{name}: order-flow imbalance")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = "Price change on the imbalance of the first levels; dotted, the power law on signed trades alone."
    return Picture("imbalance", "Order-flow imbalance", caption, table, figure)


@house_style
def plot_criticism(fits: Sequence[ImpactParameters], *, name: str) -> Picture:
    """Draw what rival shapes of impact predict of data that they have not seen, R2 against predicting no impact."""
    rows = [
        {"unit": _unit(fit.unit, fit.horizon_s), "shape": shape, "r2_oos": (fit.rivals_r2_oos or {})[shape]}
        for fit in fits
        for shape in _SHAPES
    ]
    table = pl.DataFrame(rows)
    figure, (axis,) = new_figure(height=3.4)
    markers = dict(zip(_SHAPES, "oDs^x", strict=True))
    colours = dict(zip(_SHAPES, ("diffusion", "garleanu_pedersen", "buy_and_hold", "ink", "naive"), strict=True))
    units = table["unit"].unique(maintain_order=True).to_list()
    for offset, shape in enumerate(_SHAPES):
        part = table.filter(pl.col("shape") == shape)
        at = np.array([units.index(u) for u in part["unit"]]) + 0.12 * (offset - 2)
        axis.plot(
            at,
            part["r2_oos"].clip(_FLOOR),
            markers[shape],
            color=COLOURS[colours[shape]],
            label=shape.replace("_", " "),
        )
        for x, r2 in zip(at, part["r2_oos"], strict=True):
            if r2 < _FLOOR:
                axis.annotate(f"{r2:.1f}", (x, _FLOOR), xytext=(6, -3), textcoords="offset points", fontsize=8)
    axis.axhline(0.0, color=COLOURS["naive"], linewidth=0.8)
    axis.set_xticks(range(len(units)), units)
    axis.set_xlabel("unit of the fit")
    axis.set_ylabel("R2 out of sample")
    axis.set_title(f"{name}: which shape predicts?")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = "Five contiguous folds, each predicted from the others; 0 is what no impact predicts."
    return Picture("criticism", "Rival shapes", caption, table, figure)


@house_style
def plot_calibration_page(fit: ImpactParameters, day: BookDay) -> Picture:
    """Draw a fit on one page: binned response and curve, density of sizes, mean and spread of what the law misses."""
    single = fit.unit == "order"
    flow = market_orders(day, flow=fit.flow) if single else aggregate_flow(day, fit.horizon_s, flow=fit.flow)
    flow = flow.filter(pl.col("quantity") != 0.0)
    quantity, change = flow["quantity"].to_numpy(), 100 * flow["price_change"].to_numpy()
    miss = change - 100 * apply_law(fit, quantity)
    table = residual_table(quantity, change, miss)
    grid = np.geomspace(table["quantity"][0], table["quantity"][-1], 80)
    curve = impact_curve(fit, grid)
    figure, (response, residual, density, spread) = new_figure(rows=2, columns=2, height=6.4, sharex=True)
    cents = f"0.01 {day.instrument.currency}"
    _errorbars(response, table, "response", "mean of a size bin, 95%")
    response.plot(grid, 100 * curve["price_change"], color=COLOURS["diffusion"], label="fitted law, 95% band")
    response.fill_between(grid, 100 * curve["lower"], 100 * curve["upper"], color=COLOURS["diffusion"], alpha=0.2)
    response.set_ylabel(f"price change, {cents}")
    response.set_title("Response and law")
    response.legend(loc="upper left")
    _errorbars(residual, table, "residual", None)
    residual.axhline(0.0, color=COLOURS["diffusion"], linewidth=1.0)
    residual.set_ylabel(f"response - law, {cents}")
    residual.set_title("What the law misses, 95%")
    sizes = np.abs(quantity)
    density.hist(sizes, bins=np.geomspace(sizes.min(), sizes.max(), 40).tolist(), color=COLOURS["naive"])
    density.set_ylabel("orders" if single else "buckets")
    density.set_title("Where the data are")
    spread.plot(table["quantity"], table["spread"], "s", color=COLOURS["ink"], markersize=4)
    spread.set_ylabel(f"spread of the misses, {cents}")
    spread.set_title(f"Noise by size (model: {fit.noise.replace('_', '-')})")
    spread.set_ylim(bottom=0.0)
    for axis in (density, spread):
        axis.set_xscale("log")
        axis.set_xlabel("|signed quantity|, units")
    mark = " (synthetic)" if day.synthetic else ""
    caption = f"{day.instrument.symbol}{mark}, {day.date}: {fit}. Folded: sells count with the opposite sign."
    return Picture("calibration_page", f"Calibration: {_unit(fit.unit, fit.horizon_s)}", caption, table, figure)


@house_style
def plot_closed_loop(loop: ClosedLoop, *, name: str, currency: str = "USD") -> Picture:
    """Draw the joint region of the real day's law, the laws of the simulated days, and both curves."""
    figure, (left, right) = new_figure(columns=2, height=3.8)
    region = joint_region(loop.real, confidence=loop.confidence)
    percent = f"{100 * loop.confidence:.0f}%"
    left.plot(region[:, 0], region[:, 1], color=COLOURS["diffusion"], label=f"real day, joint {percent} region")
    left.plot(loop.real.lam, loop.real.gamma, "o", color=COLOURS["diffusion"])
    lam, gamma = np.exp(loop.points[:, 0]), loop.points[:, 1]
    left.plot(lam, gamma, "x", color=COLOURS["ink"], label="simulated days")
    mean = np.exp(loop.points[:, 0].mean()), gamma.mean()
    left.plot(*mean, "D", markersize=5, color=COLOURS["ink"], label="their mean")
    left.set_xscale("log")
    left.set_xlabel(f"lambda, {currency} at one unit")
    left.set_ylabel("gamma")
    left.set_title(f"{_unit(loop.real.unit, loop.real.horizon_s)} of {loop.real.flow} flow")
    left.legend(loc="upper right")
    grid = np.geomspace(10.0, 3000.0, 60)
    curve = impact_curve(loop.real, grid)
    right.fill_between(grid, 100 * curve["lower"], 100 * curve["upper"], color=COLOURS["diffusion"], alpha=0.2)
    right.plot(grid, 100 * curve["price_change"], color=COLOURS["diffusion"], label=f"real day, {percent} band")
    for k, fit in enumerate(loop.simulated):
        label = "simulated days" if k == 0 else None
        right.plot(grid, 100 * apply_law(fit, grid), color=COLOURS["ink"], linewidth=0.7, alpha=0.7, label=label)
    right.set_xscale("log")
    right.set_xlabel("|signed quantity|, units")
    right.set_ylabel(f"price change, 0.01 {currency}")
    right.set_title("The laws as curves")
    right.legend(loc="upper left")
    said = "inside" if loop.inside else "outside"
    caption = (
        f"{name}: the mean of {len(lam)} simulated days lies {said} the region, at a Mahalanobis distance of "
        f"{loop.mean_distance:.2f} where {loop.radius:.2f} is its edge."
    )
    return Picture("closed_loop", "The closed loop", caption, loop.table(), figure)


def residual_table(quantity: np.ndarray, change: np.ndarray, miss: np.ndarray) -> pl.DataFrame:
    """Return folded mean change and mean miss by size, each with its standard error, and the spread of the misses."""
    left, right = (binned_response(quantity, column) for column in (change, miss))
    renamed = right.select(residual="response", residual_error="standard_error")
    table = pl.concat([left.rename({"standard_error": "response_error"}), renamed], how="horizontal")
    return table.with_columns(spread=pl.col("residual_error") * pl.col("orders").sqrt())


def _errorbars(axis: Any, table: pl.DataFrame, column: str, label: str | None) -> None:
    axis.errorbar(
        table["quantity"], table[column], yerr=1.96 * table[f"{column}_error"],
        fmt="o", markersize=4, elinewidth=0.8, color=COLOURS["ink"], label=label,
    )  # fmt: skip


def _unit(unit: str, horizon_s: float) -> str:
    return "order" if unit == "order" else f"{horizon_s:g} s"
