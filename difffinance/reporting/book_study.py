"""The sections of an order-book day: what flow does to its price, and what the market looked like."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.order_flow import market_orders, traded_volume
from difffinance.calibration.symbol import calibrate_symbol
from difffinance.config import Config
from difffinance.data.loading import load_book
from difffinance.data.store import Lake, Progress, no_progress, read_metadata
from difffinance.records import BookDay, CostLaw, ImpactParameters
from difffinance.reporting.book_tables import book_heatmap, market_prints, mid_path
from difffinance.reporting.impact_plots import plot_cost_law, plot_impact
from difffinance.reporting.market_plots import plot_book_heatmap, plot_price, plot_volume
from difffinance.reporting.study import METRIC_KEYS, Section, Study, Table


def make_book_study(symbol: str, *, config: Config, lake: Lake, progress: Progress = no_progress) -> Study:
    """Return the report of the newest order-book day of `symbol`: impact and market; no daily returns, no Sharpe."""
    day = load_book(symbol, lake=lake)
    answer = calibrate_symbol(symbol, lake=lake, config=config.calibration, seed=config.seed, progress=progress)
    sections = (
        impact_section(day, answer, CostLaw(**answer["costs"])),
        *market_sections(day),
    )
    first = answer["fits"][0] if answer["fits"] else None
    verdict = (
        f"{len(answer['fits'])} impact fits stand and {len(answer['refused'])} were refused. "
        + (_sentence(first) if first else "The day does not tell the impact law. ")
        + "One day of messages has no daily returns: there is no Sharpe ratio here, and none is made up."
    )
    metrics: dict[str, Any] = dict.fromkeys(METRIC_KEYS)
    metrics |= {
        "symbol": symbol,
        "date": day.date,
        "synthetic": day.synthetic,
        "seed": config.seed,
        "n_obs": day.events.height,
        "trades": market_prints(day).height,
        **impact_metrics(answer),
    }
    return Study(
        symbol=symbol,
        title=f"{symbol}{' (synthetic)' if day.synthetic else ''}: one order-book day, {day.date}",
        verdict=verdict,
        notes=day_notes(day),
        sections=sections,
        metrics=metrics,
        data_hashes=raw_hashes(lake.table_path("Depth", symbol, day.date)),
        seconds=0.0,  # set by make_study, which sees the whole of it
    )


def raw_hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each raw file that a table was imported from, by file name."""
    hashes = read_metadata(path)["raw_sha256"]
    return dict(hashes) if isinstance(hashes, dict) else {path.name: str(hashes)}


def impact_metrics(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the part of `metrics.json` that comes from `calibrate`, without paths."""
    return {key: answer[key] for key in ("fits", "refused", "costs")}


def day_notes(day: BookDay) -> tuple[str, ...]:
    """Say what the day is, and is not."""
    notes = [f"volume base: {day.volume_base}", f"{day.levels} levels a side, {day.events.height:,} messages"]
    if day.synthetic:
        notes.insert(
            0, f"{day.instrument.symbol} is SYNTHETIC: our own simulator wrote it; it says nothing of a real market"
        )
    return tuple(notes)


def impact_section(day: BookDay, answer: dict[str, Any], law: CostLaw | None = None) -> Section:
    """Return the fits with their pictures, what was refused, and what an order may be charged."""
    fits = [as_parameters(fit) for fit in answer["fits"]]
    rows = tuple(_fit_row(fit) for fit in fits)
    headings = ("unit", "flow", "lambda", "gamma", "95% interval", "R2", "R2 out of sample", "placebo 95%", "n")
    evidence: list[Any] = [Table(f"fits_{day.instrument.symbol}", "dp = lambda sign(q) |q|^gamma", headings, rows)]
    evidence += [plot_impact(fit, day) for fit in fits if fit.flow == "visible"]
    refused = tuple((r["unit"], _horizon(r["horizon_s"]), r.get("flow") or "", r["reason"]) for r in answer["refused"])
    if refused:
        evidence.append(
            Table(f"refused_{day.instrument.symbol}", "Refused", ("unit", "horizon", "flow", "reason"), refused)
        )
    if law is not None:
        evidence.append(plot_cost_law(law, daily_volatility(day)))
    name = f"{day.instrument.symbol}{' (synthetic)' if day.synthetic else ''}"
    text = (
        f"On {name}, {day.date}: price moves against signed flow, by single order and over several horizons. "
        "The exponent depends on the unit, so none is carried to another, and none is a price list: "
        "what an order is charged is a published prior."
    )
    return Section("impact", "What flow does to the price", text, tuple(evidence))


def daily_volatility(day: BookDay) -> float:
    """Return the day's volatility as a fraction, from one-minute mid moves."""
    mids = mid_path(day, "1m")["price"]
    moves = (mids / mids.shift(1) - 1).drop_nulls().to_numpy()
    return float(np.sqrt(moves @ moves))


def market_sections(day: BookDay) -> tuple[Section, ...]:
    """Return price path, volume distribution and order-book heatmap of a day."""
    symbol, currency = day.instrument.symbol, day.instrument.currency
    mark = " (synthetic)" if day.synthetic else ""
    orders = market_orders(day, flow="all").select(volume=pl.col("quantity").abs())
    path = mid_path(day)
    table, trades = book_heatmap(day)
    spread = float(np.median(path["spread_ticks"].to_numpy()))
    price = plot_price(path, symbol=symbol + mark, currency=currency, note="Mid every 10 seconds; times are UTC.")
    volume = plot_volume(
        orders,
        unit="units per market order",
        what=f"market orders of {symbol}{mark}",
        note="Prints of one moment and one sign are one order; hidden executions are counted.",
    )
    heat = plot_book_heatmap(
        table,
        trades,
        title=f"{symbol}{mark}: resting orders and trades in the busiest quarter of an hour",
        currency=currency,
        note=f"The {day.levels} best levels a side; a dot is a print, its area grows with its size.",
    )
    text = (
        f"{market_prints(day).height:,} prints of {traded_volume(day):,.0f} units; median spread {spread:.0f} ticks "
        f"of {day.instrument.tick_size:g} {currency}."
    )
    return (Section("market", "What the market looked like", text, (price, volume, heat)),)


def as_parameters(fit: dict[str, Any]) -> ImpactParameters:
    """Return a fit of the `calibrate` answer as `ImpactParameters`."""
    plain = {k: v for k, v in fit.items() if k not in ("lam_ci95", "gamma_ci95", "placebo")}
    return ImpactParameters(
        **plain,
        lam_ci=tuple(fit["lam_ci95"]),
        gamma_ci=tuple(fit["gamma_ci95"]),
        placebo_r2_95=fit["placebo"]["r2_95"],
        placebo_p_value=fit["placebo"]["p_value"],
    )


def _fit_row(fit: ImpactParameters) -> tuple[str, ...]:
    return (
        "single order" if fit.unit == "order" else f"{fit.horizon_s:g} s",
        fit.flow,
        f"{fit.lam:.3g} ± {fit.lam_se:.2g}",
        f"{fit.gamma:.3f} ± {fit.gamma_se:.3f}",
        f"{fit.gamma_ci[0]:.3f} .. {fit.gamma_ci[1]:.3f}",
        f"{fit.r2:.3f}",
        "-" if fit.r2_oos is None else f"{fit.r2_oos:.3f}",
        f"{fit.placebo_r2_95 or 0:.3f}",
        f"{fit.n_obs:,}",
    )


def _horizon(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g} s"


def _sentence(fit: dict[str, Any]) -> str:
    unit = "one market order" if fit["unit"] == "order" else f"{fit['horizon_s']:g} s of flow"
    lower, upper = fit["gamma_ci95"]
    return f"For {unit} ({fit['flow']}), gamma is {fit['gamma']:.2f}, 95% interval {lower:.2f} to {upper:.2f}. "
