"""The facts of order flow and prices (SCIENCE 3), drawn alike for real and simulated days."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from difffinance.calibration.visible_day import VisibleDay

_SHADES = (COLOURS["ink"], COLOURS["diffusion"], COLOURS["garleanu_pedersen"], COLOURS["buy_and_hold"])
_LAGS = np.unique(np.geomspace(1, 100, 16).astype(int))
_LINES = ("sign memory", "return memory", "volatility clustering", "inter-arrival", "activity")


@house_style
def plot_stylised_facts(days: "Mapping[str, VisibleDay]") -> Picture:
    """Draw six facts for each day: memory of signs, of returns and of their size, gaps, activity, sizes taken."""
    table = pl.concat([_facts(name, day) for name, day in days.items()])
    figure, axes = new_figure(width=10.0, height=5.8, rows=2, columns=3)
    for axis, panel in zip(axes, _LINES, strict=False):
        for shade, name in zip(_SHADES, days, strict=False):
            part = table.filter(pl.col("panel") == panel, pl.col("day") == name)
            axis.plot(part["x"], part["y"], color=shade, label=name, marker="o" if len(part) < 30 else "", markersize=3)
    for axis in (axes[0], axes[2]):
        axis.set_xscale("log")
        axis.set_xlabel("lag, market orders" if axis is axes[0] else "lag, 10 s steps")
    axes[0].set_yscale("log", nonpositive="mask")
    axes[0].set_title("Memory of market-order signs")
    axes[0].set_ylabel("autocorrelation")
    axes[1].axhline(0, color="#7a8791", linewidth=0.8)
    axes[1].set_title("No memory of returns")
    axes[1].set_xlabel("lag, 10 s steps")
    axes[1].set_ylabel("autocorrelation")
    axes[2].axhline(0, color="#7a8791", linewidth=0.8)
    axes[2].set_title("Memory of their size")
    axes[2].set_ylabel("autocorrelation")
    axes[3].set_xscale("log")
    axes[3].set_yscale("log")
    axes[3].set_title("Gaps between messages")
    axes[3].set_xlabel("seconds")
    axes[3].set_ylabel("share that is longer")
    axes[4].set_title("Activity over the day")
    axes[4].set_xlabel("minutes since the opening")
    axes[4].set_ylabel("messages, mean = 1")
    axes[4].set_ylim(bottom=0)
    _bars(axes[5], table, list(days))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(days))
    note = "The same code measures every day. Signs are of market orders against shown orders; returns are of the mid."
    return Picture("stylised_facts", "Stylised facts", note, table, figure)


def _bars(axis: "Axes", table: pl.DataFrame, days: list[str]) -> None:
    names = ("below", "equal", "above")
    for k, (shade, day) in enumerate(zip(_SHADES, days, strict=False)):
        part = table.filter(pl.col("panel") == "size against best queue", pl.col("day") == day)
        place = np.arange(3) + (k - (len(days) - 1) / 2) * 0.8 / len(days)
        axis.bar(place, part["y"], width=0.8 / len(days), color=shade)
    axis.set_xticks(range(3), names)
    axis.set_title("Order size, best queue")
    axis.set_ylabel("share of market orders")


def _facts(name: str, day: "VisibleDay") -> pl.DataFrame:
    from difffinance.calibration.background_flow import market_rows, take_sizes
    from difffinance.simulation.stylized_facts import autocorrelation, mid_returns

    first = market_rows(day)
    sign = -day.side[first].astype(float)
    returns = mid_returns(day, 10.0)
    size, queue = take_sizes(day, first)
    gaps = np.sort(np.diff(day.seconds))
    longer = np.geomspace(1e-4, max(gaps[-1], 1e-3), 40)
    minutes = np.bincount((day.seconds / 60).astype(int))
    tens = minutes[: len(minutes) // 10 * 10].reshape(-1, 10).mean(axis=1) if len(minutes) >= 10 else minutes
    few, short = _LAGS[len(sign) // 2 > _LAGS], np.arange(1, min(21, len(returns) // 2))
    panels: dict[str, tuple[Any, Any]] = {
        "sign memory": (few, np.array([autocorrelation(sign, int(k)) for k in few])),
        "return memory": (short, np.array([autocorrelation(returns, int(k)) for k in short])),
        "volatility clustering": (short, np.array([autocorrelation(np.abs(returns), int(k)) for k in short])),
        "inter-arrival": (longer, 1.0 - np.searchsorted(gaps, longer, side="right") / len(gaps)),
        "activity": (10.0 * np.arange(len(tens)) + 5.0, tens / tens.mean()),
        "size against best queue": (
            np.arange(3), np.array([np.mean(size < queue), np.mean(size == queue), np.mean(size > queue)])
        ),
    }  # fmt: skip
    parts = [
        pl.DataFrame({"day": name, "panel": panel, "x": x.astype(float), "y": y.astype(float)})
        for panel, (x, y) in panels.items()
    ]
    return pl.concat(parts)


@house_style
def plot_metaorders(table: pl.DataFrame, *, exponent: float, prefactor: float, note: str = "") -> Picture:
    """Draw peak impact by size with its fit and the square root; `table` is that of `simulation.metaorder`."""
    figure, (axis,) = new_figure(height=3.4)
    size = table["size"].to_numpy()
    axis.errorbar(
        size, table["peak"], yerr=1.96 * table["peak_se"], fmt="o", color=COLOURS["ink"], capsize=3,
        label="peak impact, 95% interval",
    )  # fmt: skip
    grid = np.geomspace(size.min(), size.max(), 50)
    axis.plot(
        grid, prefactor * grid**exponent, color=COLOURS["diffusion"], label=f"fit: {prefactor:.2g} x^{exponent:.2f}"
    )
    axis.plot(grid, np.sqrt(grid), color="#8c8c8c", linestyle="--", label="square root with Y = 1")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("metaorder / daily volume")
    axis.set_ylabel("impact, daily volatilities")
    axis.set_title("Metaorders in the book (synthetic)")
    axis.legend(loc="upper left")
    return Picture("metaorders", "Metaorders", note, table, figure)
