"""Pictures of a market: price path, volumes, order book, cost law. Each takes the table that it draws."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from difffinance.records import Array
from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure, on_dates, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@house_style
def plot_price(table: pl.DataFrame, *, symbol: str, currency: str, note: str = "", name: str = "price") -> Picture:
    """Draw a price path; `table` has ts and price, and position (fraction of wealth) where a trader held one."""
    held = "position" in table.columns
    figure, axes = new_figure(height=4.6 if held else 3.2, rows=2 if held else 1, sharex=True)
    axes[0].plot(on_dates(axes[0], table["ts"]), table["price"], color=COLOURS["ink"], linewidth=0.9)
    axes[0].set_ylabel(f"price, {currency}")
    axes[0].set_title(f"{symbol}: price path")
    if (table["ts"].max() - table["ts"].min()).days < 2:  # type: ignore[operator,union-attr]
        _clock(axes[-1])
        axes[-1].set_xlabel("time, UTC")
    if held:
        axes[1].fill_between(
            on_dates(axes[1], table["ts"]), 100 * table["position"], color=COLOURS["diffusion"], alpha=0.55, step="post"
        )
        axes[1].set_ylabel("position,\n% of wealth")
        axes[1].set_title("What the diffusion agent held")
    return Picture(name, "Price path", note, table, figure)


@house_style
def plot_volume(table: pl.DataFrame, *, unit: str, what: str, note: str = "", name: str = "volume") -> Picture:
    """Draw the distribution of volumes on a log axis; `table` has volume (above 0)."""
    volume = table["volume"].to_numpy()
    volume = volume[volume > 0]
    figure, (axis,) = new_figure(height=2.8)
    low, high = volume.min(), volume.max()
    edges = np.geomspace(low, high if high > low else low * 2, 60)
    axis.hist(volume, bins=edges.tolist(), color="#6f93b5")
    axis.axvline(float(np.median(volume)), color=COLOURS["ink"], linewidth=1, linestyle="--", label="median")
    axis.set_xscale("log")
    thousands(axis, "x")
    axis.set_xlabel(unit)
    axis.set_ylabel("count")
    axis.set_title(f"Volume distribution: {what}")
    axis.legend(loc="upper left")
    return Picture(name, "Volume distribution", note, table, figure)


@house_style
def plot_book_heatmap(table: pl.DataFrame, trades: pl.DataFrame, *, title: str, currency: str, note: str) -> Picture:
    """Draw resting quantity by time and price.

    `table` has ts, price, quantity; `trades` has ts, price, quantity, side.
    """
    wide = table.pivot(on="price", index="ts", values="quantity", sort_columns=True).sort("ts")
    prices = np.array([float(name) for name in wide.columns[1:]])
    order = np.argsort(prices)
    quantity = wide.drop("ts").to_numpy()[:, order].T
    figure, (axis,) = new_figure(height=4.4)
    times = on_dates(axis, wide["ts"]), on_dates(axis, trades["ts"])
    draw_book(axis, times[0], prices[order], np.where(quantity > 0, quantity, np.nan), times[1], trades)
    axis.set_ylabel(f"price, {currency}")
    axis.set_xlabel("time, UTC")
    axis.set_title(title)
    axis.legend(loc="upper left", fontsize=8, frameon=True, framealpha=0.8)
    _clock(axis)
    return Picture("book_heatmap", "Order-book heatmap", note, table, figure)


def draw_book(
    axis: "Axes", times: Array, prices: Array, quantity: Array, trade_times: Array, trades: pl.DataFrame
) -> None:
    """Draw resting quantity (prices, times), NaN where there is none, and trades, whose dots grow with quantity."""
    from matplotlib.colors import LogNorm

    mesh = axis.pcolormesh(
        times,
        prices,
        np.ma.masked_invalid(quantity),
        norm=LogNorm(),
        cmap="viridis",
        shading="nearest",
        rasterized=True,
    )
    for side, colour, name in ((1, "#ff8a5c", "buyer-initiated trade"), (-1, "#ffffff", "seller-initiated trade")):
        part = (trades["side"] == side).to_numpy()
        size = np.clip(trades["quantity"].to_numpy()[part] / 20, 3, 60)
        axis.scatter(
            trade_times[part], trades["price"].to_numpy()[part], s=size, color=colour, edgecolor="black", linewidth=0.3,
            label=name,
        )  # fmt: skip
    axis.figure.colorbar(mesh, ax=axis, label="resting quantity, units")
    axis.grid(False)


def _clock(axis: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axis.xaxis.set_major_locator(AutoDateLocator(maxticks=8))
    axis.xaxis.set_major_formatter(DateFormatter("%H:%M"))


@house_style
def plot_law(table: pl.DataFrame, *, title: str, note: str) -> Picture:
    """Draw a cost law; `table` has participation, temporary_bps with lower_bps and upper_bps, permanent_bps."""
    figure, (axis,) = new_figure(height=3.2)
    axis.fill_between(
        table["participation"],
        table["lower_bps"],
        table["upper_bps"],
        color=COLOURS["diffusion"],
        alpha=0.2,
        label="95% interval of the temporary part",
    )
    axis.plot(
        table["participation"],
        table["temporary_bps"],
        color=COLOURS["diffusion"],
        label="temporary (paid on the trade)",
    )
    axis.plot(
        table["participation"],
        table["permanent_bps"],
        color=COLOURS["ink"],
        linestyle="--",
        label="permanent (stays in the price)",
    )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("participation: own quantity / daily volume")
    axis.set_ylabel("impact, bps of price")
    axis.set_title(title)
    axis.legend(loc="upper left")
    return Picture("cost_law", "What an order is charged", note, table, figure)
