"""Pictures of a backtest: wealth, drawdown, capacity, costs, returns. Each takes the table that it draws."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from difffinance.records import BacktestResult
from difffinance.reporting.picture import COLOURS, LABELS, Picture, house_style, new_figure, on_dates, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@house_style
def plot_wealth(table: pl.DataFrame, *, capital: float, note: str = "") -> Picture:
    """Draw wealth per unit of starting capital; `table` has ts, executor, impact (bool) and wealth."""
    figure, (axis,) = new_figure()
    for (executor, impact), part in table.group_by("executor", "impact", maintain_order=True):
        label = LABELS[str(executor)] + ("" if impact else ", no impact")
        style = {"linewidth": 1.4} if impact else {"linewidth": 1.0, "linestyle": ":"}
        axis.plot(on_dates(axis, part["ts"]), part["wealth"], color=COLOURS[str(executor)], label=label, **style)
    axis.set_yscale("log")
    _plain_log_ticks(axis)
    axis.set_ylabel("wealth / starting capital")
    axis.set_title("Wealth")
    axis.legend(ncols=3, loc="upper left")
    caption = (
        f"Solid: with fees, spread and own impact. Dotted: the same trader in a world without impact. "
        f"Starting capital {capital:,.0f}. {note}"
    )
    return Picture("wealth", "Wealth curves", caption.strip(), table, figure)


def _plain_log_ticks(axis: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_ylim()
    locator = LogLocator(base=10, subs=(1, 1.5, 2, 3, 5, 7)) if high > 3.0 * low else MaxNLocator(6)
    axis.yaxis.set_major_locator(locator)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _legend_above(axis: "Axes") -> None:
    axis.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


@house_style
def plot_drawdown(table: pl.DataFrame) -> Picture:
    """Draw the fall from the running maximum of wealth, the starting value included; columns as `plot_wealth`."""
    table = table.filter(pl.col("impact")).with_columns(
        drawdown=(pl.col("wealth") / pl.col("wealth").cum_max().clip(lower_bound=1.0) - 1.0).over("executor")
    )
    figure, (axis,) = new_figure(height=2.8)
    for (executor,), part in table.group_by("executor", maintain_order=True):
        axis.plot(
            on_dates(axis, part["ts"]),
            100 * part["drawdown"],
            color=COLOURS[str(executor)],
            label=LABELS[str(executor)],
            linewidth=1,
        )
    axis.set_ylabel("drawdown, %")
    axis.set_title("Drawdown, with impact")
    _legend_above(axis)
    return Picture("drawdown", "Drawdown", "Fall from the highest wealth so far, the start included.", table, figure)


@house_style
def plot_capacity(table: pl.DataFrame, *, currency: str) -> Picture:
    """Draw Sharpe against capital; `table` has executor, capital, sharpe, sharpe_se.

    With sharpe_lower and sharpe_upper (`capacity_curve` of a walk with draws of the cost law) the band is drawn too.
    """
    figure, (axis,) = new_figure()
    banded = "sharpe_lower" in table.columns and table["sharpe_lower"].count() > 0
    for shift, ((executor,), part) in enumerate(table.group_by("executor", maintain_order=True)):
        capital = part["capital"].to_numpy() * 1.04 ** (shift - 1)  # apart, so that the error bars can be told
        if banded:
            ends = part["sharpe_lower"].to_numpy(), part["sharpe_upper"].to_numpy()
            axis.fill_between(capital, *ends, color=COLOURS[str(executor)], alpha=0.3, linewidth=0)
        axis.errorbar(
            capital,
            part["sharpe"],
            yerr=part["sharpe_se"],
            color=COLOURS[str(executor)],
            label=LABELS[str(executor)],
            marker="o",
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
        )
    axis.axhline(0, color=COLOURS["ink"], linewidth=0.8)
    axis.set_xscale("log")
    thousands(axis, "x")
    axis.set_xlabel(f"capital, {currency}")
    axis.set_ylabel("Sharpe ratio, per year")
    axis.set_title("Capacity")
    _legend_above(axis)
    caption = (
        "The same rule run with more and more money: own impact grows with size, and where the curve falls the "
        "market is full. Bars: one standard error (common to the columns, so differences are surer than levels)."
    )
    if banded:
        caption += " Shaded: the same orders charged by draws of the cost law, 95% of them."
    return Picture("capacity", "How much capital it bears", caption, table, figure)


@house_style
def plot_costs(table: pl.DataFrame) -> Picture:
    """Draw what trading cost; `table` has executor, component, bps_per_year of average wealth."""
    components = table["component"].unique(maintain_order=True).to_list()
    executors = table["executor"].unique(maintain_order=True).to_list()
    figure, (axis,) = new_figure(height=2.6)
    left = np.zeros(len(executors))
    for component, shade in zip(components, ("#b9c3cb", "#6f93b5", "#d9541e"), strict=False):
        part = table.filter(pl.col("component") == component)
        width = np.array([float(part.filter(pl.col("executor") == e)["bps_per_year"].sum()) for e in executors])
        axis.barh([LABELS[e] for e in executors], width, left=left, color=shade, label=component, height=0.55)
        left += width
    axis.invert_yaxis()
    axis.set_xlabel("bps of average wealth, per year")
    axis.set_title("What trading cost")
    _legend_above(axis)
    caption = "Fees, slippage (half spread and temporary impact) and permanent impact paid on own fills."
    return Picture("costs", "Costs", caption, table, figure)


@house_style
def plot_returns(table: pl.DataFrame) -> Picture:
    """Draw the distribution of bar returns against a normal of the same moments; `table` has executor, ret."""
    from scipy import stats

    executors = table["executor"].unique(maintain_order=True).to_list()
    figure, axes = new_figure(height=3.0, columns=len(executors), sharey=True)
    lowest = 1.0
    low, high = np.quantile(table["ret"].to_numpy(), [0.001, 0.999])
    edges = np.linspace(low, high, 61) if high > low else np.linspace(low - 1e-3, high + 1e-3, 61)
    for axis, executor in zip(axes, executors, strict=True):
        returns = table.filter(pl.col("executor") == executor)["ret"].to_numpy()
        counts, _, _ = axis.hist(
            returns * 100, bins=(edges * 100).tolist(), density=True, color=COLOURS[executor], alpha=0.75
        )
        heights = np.asarray(counts)
        lowest = min(lowest, float(heights[heights > 0].min(initial=1.0)))
        spread = returns.std(ddof=1)
        if spread > 0:
            axis.plot(
                edges * 100, stats.norm.pdf(edges, returns.mean(), spread) / 100, color=COLOURS["ink"], linewidth=1
            )
        var95 = np.quantile(returns, 0.05)
        axis.axvline(100 * var95, color=COLOURS["sell"], linewidth=1, linestyle="--")
        axis.set_yscale("log")
        axis.set_title(LABELS[executor])
        axis.set_xlabel("return of a bar, %")
    axes[0].set_ylim(bottom=lowest / 2)  # the normal's far tails would squeeze the rest
    axes[0].set_ylabel("density, log scale")
    caption = "Line: normal of the same mean and deviation. Dashed: 5% quantile (95% value at risk)."
    return Picture("returns", "Return distribution", caption, table, figure)


@house_style
def plot_win_rate(table: pl.DataFrame) -> Picture:
    """Draw the share of winning days by year; `table` has executor, year, win_rate, win_rate_se."""
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = new_figure(height=2.8)
    executors = table["executor"].unique(maintain_order=True).to_list()
    for place, executor in enumerate(executors):
        part = table.filter(pl.col("executor") == executor)
        shift = (place - (len(executors) - 1) / 2) * 0.25
        axis.errorbar(
            part["year"].to_numpy() + shift,
            100 * part["win_rate"],
            yerr=100 * part["win_rate_se"],
            fmt="o",
            markersize=3.5,
            elinewidth=0.8,
            color=COLOURS[executor],
            label=LABELS[executor],
        )
    axis.axhline(50, color=COLOURS["ink"], linewidth=0.8)
    axis.set_ylabel("winning days, %")
    axis.set_xlabel("year")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title("Win rate by year, with impact")
    _legend_above(axis)
    caption = "Share of non-zero daily returns above zero; bars: one binomial standard error."
    return Picture("win_rate", "Win rate", caption, table, figure)


@house_style
def plot_equity(**results: BacktestResult) -> Picture:
    """Draw wealth per unit of starting capital of named backtests, e.g. `plot_equity(real=real, ideal=ideal)`."""
    figure, (axis,) = new_figure()
    parts = []
    for style, (name, result) in zip(("-", ":", "--", "-."), results.items(), strict=False):
        wealth = result.equity["equity"] / result.capital
        axis.plot(on_dates(axis, result.equity["ts"]), wealth, linestyle=style, linewidth=1.3, label=name)
        parts.append(result.equity.select("ts").with_columns(name=pl.lit(name), wealth=wealth))
    axis.set_yscale("log")
    _plain_log_ticks(axis)
    axis.set_ylabel("wealth / starting capital")
    axis.set_title("Wealth")
    _legend_above(axis)
    caption = "; ".join(f"{name}: {r.strategy}, capital {r.capital:,.0f}" for name, r in results.items())
    return Picture("equity", "Wealth", caption, pl.concat(parts), figure)
