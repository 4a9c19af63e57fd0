"""Pictures of a simulated episode: path with limits and halts, order book by time and price, depth, accounts."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from difffinance.reporting.market_plots import draw_book
from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from difffinance.simulation.counterfactual import Twins
    from difffinance.simulation.episode import Episode

_HALTS = ("#e8a33d", "#6fa3cf", "#b9a3d0", "#9a9a9a", "#7fb58a", "#d98a8a")
SHADES = ("#1f6fb2", "#8c8c8c", "#3f8f5f", "#7d4fa8", "#d9541e", "#b08a2e", "#2b9aa0", "#a03a6b")


@house_style
def plot_path(
    table: pl.DataFrame,
    *,
    halts: pl.DataFrame | None = None,
    lower: float | None = None,
    upper: float | None = None,
    currency: str = "USD",
    title: str = "Price path (synthetic)",
    note: str = "",
) -> Picture:
    """Draw a mid with the price limits and the halts of the session.

    `table` has minutes, mid and, where it is known, value; `halts` has start, end (minutes), reason and, for special
    quotes, the quote.
    """
    figure, (axis,) = new_figure(height=3.6)
    axis.plot(table["minutes"], table["mid"], color=COLOURS["ink"], linewidth=0.9, label="mid")
    if "value" in table.columns:
        axis.plot(table["minutes"], table["value"], color=COLOURS["buy_and_hold"], linewidth=0.9, label="value")
    for level, name, colour in ((upper, "upper limit", COLOURS["buy"]), (lower, "lower limit", COLOURS["sell"])):
        if level is not None:
            axis.axhline(level, color=colour, linewidth=1, linestyle="--", label=f"{name} {level:g}")
    _shade_halts(axis, halts)
    axis.set_ylabel(f"price, {currency}")
    axis.set_xlabel("minutes since the opening")
    axis.set_title(title, pad=22)
    axis.legend(ncols=5, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return Picture("market_path", "Price path, limits and halts", note, table, figure)


def halts_table(episode: "Episode", *, tick_size: float = 0.01) -> pl.DataFrame:
    """Return the phases of an episode but continuous trading, from its log: start, end (minutes), reason, quote.

    A special quote has a row for each of its steps, with its price; the others have none.
    """
    from difffinance.market.settlement import PHASE_CHANGE
    from difffinance.market.supervision import OPEN, PHASES

    changes = np.concatenate([rows[rows["kind"] == PHASE_CHANGE] for rows in episode.events])
    minutes = np.append(changes["ts"] / 6e10, len(episode) * episode.step_seconds / 60)
    quotes = [ticks * tick_size if ticks else None for ticks in changes["price"].tolist()]
    rows = [
        (float(start), float(end), PHASES[code].replace("_", " "), quote)
        for start, end, code, quote in zip(minutes[:-1], minutes[1:], changes["code"].tolist(), quotes, strict=True)
        if code != OPEN
    ]
    schema = {"start": pl.Float64, "end": pl.Float64, "reason": pl.String, "quote": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _shade_halts(axis: "Axes", halts: pl.DataFrame | None) -> None:
    labelled: list[str] = []
    for start, end, reason in [] if halts is None else halts.select("start", "end", "reason").iter_rows():
        label = None if reason in labelled else reason.replace("_", " ")
        if label:
            labelled.append(reason)
        shade = _HALTS[labelled.index(reason) % len(_HALTS)]
        axis.axvspan(start, end, color=shade, alpha=0.35, linewidth=0, label=label)
    if halts is not None and "quote" in halts.columns:
        shown = halts.drop_nulls("quote")
        axis.hlines(shown["quote"], shown["start"], shown["end"], color=COLOURS["ink"], linewidth=1.4)


@house_style
def plot_episode_book(episode: "Episode", *, tick_size: float, currency: str = "USD", steps: int = 240) -> Picture:
    """Draw the shown quantity of the first `steps` steps by time and price, with every trade."""
    shown = episode.depth[: steps + 1]  # (T+1, 2, L, 2)
    table = _levels(shown, episode.step_seconds)
    trades = episode.trades.filter(pl.col("seconds") <= steps * episode.step_seconds)
    ticks = (table["price"] / tick_size).round().cast(pl.Int64).to_numpy()
    grid = np.full((int(np.ptp(ticks)) + 1, len(shown)), np.nan)
    grid[ticks - ticks.min(), table["step"].to_numpy()] = table["quantity"].to_numpy()
    figure, (axis,) = new_figure(height=4.4)
    times, prices = np.arange(len(shown)) * episode.step_seconds / 60, (np.arange(len(grid)) + ticks.min()) * tick_size
    draw_book(axis, times, prices, grid, trades["seconds"].to_numpy() / 60, trades)
    axis.set_ylabel(f"price, {currency}")
    axis.set_xlabel("minutes since the opening")
    axis.set_title("Order book by time and price (synthetic)", pad=22)
    axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    note = f"The best {shown.shape[2]} levels of each side after every step; the size of a dot is the trade's quantity."
    return Picture("episode_book", "Order-book heatmap", note, table, figure)


def _levels(depth: Any, step_seconds: float) -> pl.DataFrame:
    steps, sides, levels, _ = depth.shape
    step, side, level = np.meshgrid(np.arange(steps), [1, -1][:sides], np.arange(1, levels + 1), indexing="ij")
    table = pl.DataFrame(
        {
            "step": step.ravel(), "seconds": step.ravel() * step_seconds, "side": side.ravel(), "level": level.ravel(),
            "price": depth[..., 0].ravel(), "quantity": depth[..., 1].ravel(),
        }
    )  # fmt: skip
    return table.filter(pl.col("quantity") > 0)


@house_style
def plot_depth_profile(episode: "Episode", *, tick_size: float) -> Picture:
    """Draw the quantity shown at each distance from the mid: mean over the episode and the middle half of steps."""
    table = _profile(episode, tick_size)
    figure, (axis,) = new_figure(height=3.2)
    for side, colour, name in ((1, COLOURS["buy"], "bids"), (-1, COLOURS["sell"], "asks")):
        part = table.filter(pl.col("side") == side).sort("distance")
        x = -side * part["distance"]
        axis.fill_between(x, part["lower"], part["upper"], color=colour, alpha=0.2, step="mid")
        axis.step(x, part["mean"], color=colour, where="mid", label=f"{name}: mean, band: middle half of steps")
    axis.set_xlabel("distance from the mid, ticks (bids left, asks right)")
    axis.set_ylabel("shown quantity, units")
    axis.set_title("Depth profile (synthetic)", pad=22)
    axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    seen = episode.depth.shape[2]
    note = f"Averages over all steps; a distance without an order counts as 0. Only the best {seen} levels are seen."
    return Picture("depth_profile", "Depth profile", note, table, figure)


def _profile(episode: "Episode", tick_size: float) -> pl.DataFrame:
    steps = len(episode.mid)
    mid = pl.DataFrame({"step": np.arange(steps), "mid": episode.mid})
    gap = (pl.col("price") - pl.col("mid")).abs() / tick_size
    levels = _levels(episode.depth, episode.step_seconds).join(mid, on="step")
    levels = levels.with_columns(distance=(gap + 1e-6).floor().cast(pl.Int64))
    cells = levels.group_by("side", "distance", "step").agg(pl.col("quantity").sum())
    rows = []
    for (side, distance), part in cells.group_by("side", "distance"):
        quantity = np.zeros(steps)
        quantity[: part.height] = part["quantity"].to_numpy()  # the other steps show nothing there
        low, high = np.quantile(quantity, [0.25, 0.75])
        rows.append((side, distance, float(quantity.mean()), float(low), float(high)))
    table = pl.DataFrame(rows, schema=["side", "distance", "mean", "lower", "upper"], orient="row")
    return table.filter(pl.col("mean") > 0.002 * pl.col("mean").max()).sort("side", "distance")


@house_style
def plot_accounts(episode: "Episode", *, currency: str = "USD") -> Picture:
    """Draw what each seat earned and what it holds."""
    figure, axes = new_figure(height=5.0, rows=2, sharex=True)
    minutes = np.arange(len(episode) + 1) * episode.step_seconds / 60
    table: dict[str, Any] = {"minutes": minutes}
    for seat, kind in enumerate(episode.kinds):
        profit = episode.wealth[:, seat] - episode.wealth[0, seat]
        style: dict[str, Any] = {"color": SHADES[seat % len(SHADES)], "label": kind.replace("_", " "), "linewidth": 1.1}
        axes[0].plot(minutes, profit, **style)
        axes[1].plot(minutes, episode.inventory[:, seat], **style)
        table |= {f"profit_{seat}_{kind}": profit, f"inventory_{seat}_{kind}": episode.inventory[:, seat]}
    axes[0].set_ylabel(f"profit, {currency}")
    axes[1].set_ylabel("inventory, units")
    axes[1].set_xlabel("minutes since the opening")
    rows = -(-len(episode.kinds) // 5)
    axes[0].set_title("Wealth and inventory (synthetic)", pad=6 + 16 * rows)
    axes[0].legend(ncols=5, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    caption = "Wealth is marked at the mid, net of fees."
    return Picture("accounts", "Wealth and inventory", caption, pl.DataFrame(table), figure)


@house_style
def plot_twins(twins: "Twins", *, step_seconds: float, tick_size: float, orders_end: int | None = None) -> Picture:
    """Draw what one seat's orders did to the mid: with less without, mean and 95% interval over replications.

    `orders_end` is the step after which the seat sent nothing.
    """
    mean, error = twins.impact
    minutes = np.arange(len(mean)) * step_seconds / 60
    lower, upper = (mean - 1.96 * error) / tick_size, (mean + 1.96 * error) / tick_size
    figure, (axis,) = new_figure(height=3.2)
    axis.fill_between(minutes, lower, upper, color=COLOURS["diffusion"], alpha=0.2, label="95% interval")
    axis.plot(minutes, mean / tick_size, color=COLOURS["diffusion"], label="mean over twins")
    axis.axhline(0, color="#7a8791", linewidth=0.8)
    if orders_end is not None:
        axis.axvline(orders_end * step_seconds / 60, color=COLOURS["ink"], linestyle="--", label="last order")
    axis.set_xlabel("minutes")
    axis.set_ylabel("mid with orders - mid without, ticks")
    axis.set_title("What the orders did to the price (synthetic)", pad=22)
    axis.legend(ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    table = pl.DataFrame({"minutes": minutes, "impact_ticks": mean / tick_size, "lower": lower, "upper": upper})
    note = f"{len(twins.cost)} pairs of markets with the same random numbers, with and without the orders."
    return Picture("twins", "Counterfactual twins", note, table, figure)
