"""`calibrate SYMBOL`: every fit of its newest order-book day, what was refused and why, and what may be charged."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from difffinance.calibration.associations import describe_day
from difffinance.calibration.bars import WARNING, describe_bars, describe_power_law
from difffinance.calibration.costs import load_costs
from difffinance.calibration.diagnostics import book_walk, response_function
from difffinance.calibration.impact import calibrate_impact
from difffinance.calibration.order_flow import FLOWS, market_orders
from difffinance.calibration.pooling import fit_cross_impact, pool_days
from difffinance.calibration.propagator import fit_charged_propagator, fit_propagator, propagator_curve
from difffinance.calibration.tape import calibrate_tape, tape_parts
from difffinance.config import CalibrationConfig
from difffinance.data.loading import book_dates, has_bars, has_book, load_bars, load_book
from difffinance.data.store import Lake, Progress, check_symbol, check_writable, no_progress, sha256_of
from difffinance.errors import CostLawError, InputError, NotInLakeError, RefusedFit
from difffinance.records import BarsTable, BookDay, ImpactParameters
from difffinance.schemas import IMPACT_FITS

PLACEBO_LEVEL = 0.05


def calibrate_symbol(
    symbol: str,
    *,
    lake: Lake,
    config: CalibrationConfig | None = None,
    horizons: Sequence[float] | None = None,
    seed: int = 7,
    against: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Fit the law to single orders and to every horizon, visible and all flow; write the accepted fits to the lake.

    Returns `symbol`, `fits`, `refused` (unit, horizon_s, flow, reason), `costs` (the law that may be charged), for an
    order-book day `date`, `synthetic`, `path` and the further associations `by_trades`, `associations`, `book_walk`
    and `propagator`, and for bars `bars` (measures of liquidity, a descriptive law). `horizons` in seconds; None takes
    those of the configuration. With several order-book days `pooled` is their common law, or why there is none; with
    `against` another symbol, `cross_impact` is the 2x2 estimate of the two on the newest day at the longest horizon.
    Without an order-book day the newest day of trades with quotes is fitted, signed by the quotes. Raises
    `NotInLakeError` where the lake holds none of these and no bars of the symbol.
    """
    config = config or CalibrationConfig()
    seconds = _check_horizons(config.horizons_s if horizons is None else horizons)
    check_symbol(symbol)
    book, bars = has_book(symbol, lake=lake), has_bars(symbol, lake=lake)
    tape = [] if book else tape_parts(symbol, lake=lake)
    if not book and not bars and not tape:
        raise NotInLakeError(
            f"no order-book day and no bars of {symbol} are in the lake {lake.root}. Bring some with: difffinance "
            f"fetch sample, fetch lobster PATH or fetch csv PATH --symbol {symbol}."
        )
    answer: dict[str, Any] = {"symbol": symbol, "fits": [], "refused": []}
    check_writable(lake.root)
    if book:
        day = load_book(symbol, lake=lake)
        answer |= _calibrate_day(day, lake, config, seconds, seed, progress)
        dates = book_dates(symbol, lake=lake)
        if len(dates) > 1:
            answer["pooled"] = _pool([load_book(symbol, date, lake=lake) for date in dates])
        if against is not None:
            other = load_book(check_symbol(against), day.date, lake=lake)
            answer["cross_impact"] = _cross(day, other, seconds[-1])
    elif against is not None:
        raise InputError(f"{symbol} has no order-book day. Allowed with another symbol: two symbols with the same day.")
    if tape:
        answer |= _calibrate_newest_tape(symbol, tape[-1], lake, config, seconds, seed, progress)
    if bars:
        _describe_bars(answer, load_bars(symbol, lake=lake), config, seed)
    answer["costs"] = asdict(load_costs(symbol, lake=lake, config=config))
    return answer


def _pool(days: list[BookDay]) -> dict[str, Any]:
    try:
        return asdict(pool_days(days))
    except RefusedFit as reason:
        return {"refused": str(reason)}


def _cross(day: BookDay, other: BookDay, horizon_s: float) -> dict[str, Any]:
    try:
        return fit_cross_impact(day, other, horizon_s=horizon_s).as_answer()
    except RefusedFit as reason:
        return {"refused": str(reason)}


def _describe_bars(answer: dict[str, Any], bars: BarsTable, config: CalibrationConfig, seed: int) -> None:
    """Add the liquidity that bars show and their descriptive law; bars never give a law that could be believed."""
    answer["bars"] = {"source": bars.source}
    try:
        answer["bars"]["liquidity"] = describe_bars(bars)
        law, reason = describe_power_law(bars, config=config, rng=np.random.default_rng([seed, 5]))
        answer["bars"]["descriptive_law"] = law
    except RefusedFit as refusal:
        reason = str(refusal)
    if reason is None:
        reason = "a description only: " + WARNING
    advice = " Fetch an order-book day: difffinance fetch lobster PATH."
    answer["refused"].append({"unit": "bars", "horizon_s": None, "flow": None, "reason": reason + advice})


def _check_horizons(horizons: Sequence[float]) -> list[float]:
    seconds = sorted({float(horizon) for horizon in horizons})
    if not seconds or not all(0.001 <= horizon <= 86_400.0 for horizon in seconds):
        raise InputError(f"horizons {list(horizons)} are not allowed. Allowed: 0.001 to 86400 seconds, e.g. 10.")
    return seconds


def _calibrate_day(
    day: BookDay, lake: Lake, config: CalibrationConfig, seconds: list[float], seed: int, progress: Progress
) -> dict[str, Any]:
    cases = [(horizon, flow) for horizon in [0.0, *seconds] for flow in FLOWS]
    fits: list[ImpactParameters] = []
    refused = []
    for done, (horizon, flow) in enumerate(cases):
        progress("calibrate", done, len(cases))
        # Each fit has its own generator, so that asking for one horizon more changes no other fit.
        rng = np.random.default_rng([seed, round(horizon * 1e3), FLOWS.index(flow)])
        try:
            fits.append(_accept(calibrate_impact(day, horizon_s=horizon, flow=flow, config=config, rng=rng)))
        except RefusedFit as reason:
            unit = "order" if horizon == 0.0 else "aggregate"
            refused.append({"unit": unit, "horizon_s": horizon, "flow": flow, "reason": str(reason)})
    progress("calibrate", len(cases), len(cases))
    path = _write(day, fits, lake, config, seed)
    return {
        "fits": [_as_answer(fit) for fit in fits],
        "refused": refused,
        "by_trades": _fit_trades(day, config, seed),
        "associations": describe_day(day, config=config, seed=seed),
        "book_walk": _walk_table(day),
        "propagator": _describe_propagator(day, config, seed),
        "date": day.date,
        "synthetic": day.synthetic,
        "path": str(path),
    }


def _fit_trades(day: BookDay, config: CalibrationConfig, seed: int) -> dict[str, Any]:
    """Return the law over groups of market orders as `fits`, and what was refused."""
    fits, refused = [], []
    for count in config.horizons_trades:
        rng = np.random.default_rng([seed, count, 8])
        try:
            fit = _accept(calibrate_impact(day, horizon_trades=count, config=config, rng=rng))
            fits.append({**_as_answer(fit), "horizon_trades": count})
        except RefusedFit as reason:
            refused.append({"unit": "trades", "horizon_trades": count, "flow": "visible", "reason": str(reason)})
    return {"fits": fits, "refused": refused}


def _walk_table(day: BookDay) -> list[dict[str, Any]]:
    """Return what walking the displayed book costs, at sizes over the range of the day's orders."""
    sizes = market_orders(day)["quantity"].abs().to_numpy()
    if not len(sizes):
        return []
    return book_walk(day, np.unique(np.quantile(sizes, [0.25, 0.5, 0.75, 0.9, 0.99]))).to_dicts()


def _describe_propagator(day: BookDay, config: CalibrationConfig, seed: int) -> dict[str, Any]:
    """Return the kernel in orders, without a formula too, and the law that could be charged, with its two tests."""
    found: dict[str, Any] = {}
    try:
        kernel = fit_propagator(day, config=config, rng=np.random.default_rng([seed, 6]))
        found["in_orders"] = asdict(kernel)
        found["curve"] = propagator_curve(day, size_exponent=kernel.size_exponent).to_dicts()
        lags = [lag for lag in (1, 10, 100, 1000) if lag < kernel.n_obs // 10]
        found["response"] = response_function(day, lags).to_dicts()
    except RefusedFit as reason:
        found["refused"] = str(reason)
    try:
        charged = fit_charged_propagator(day, config=config, rng=np.random.default_rng(0))
        found["chargeable"] = {"law": asdict(charged.law), **charged.as_answer()}
    except (RefusedFit, CostLawError) as reason:
        found["chargeable_refused"] = str(reason)
    return found


def _calibrate_newest_tape(
    symbol: str, part: str, lake: Lake, config: CalibrationConfig, seconds: list[float], seed: int, progress: Progress
) -> dict[str, Any]:
    """Return fits and refusals of a day of trades and quotes, whose single orders are not told apart."""
    fits, refused = [], []
    for done, horizon in enumerate(seconds):
        progress("calibrate", done, len(seconds))
        rng = np.random.default_rng([seed, round(horizon * 1e3), FLOWS.index("all")])
        try:
            fits.append(_as_answer(_accept(calibrate_tape(symbol, part, horizon, lake=lake, config=config, rng=rng))))
        except RefusedFit as reason:
            refused.append({"unit": "aggregate", "horizon_s": horizon, "flow": "all", "reason": str(reason)})
    progress("calibrate", len(seconds), len(seconds))
    return {"fits": fits, "refused": refused, "date": part, "signed_by": "quotes (Lee & Ready 1991)"}


def _accept(fit: ImpactParameters) -> ImpactParameters:
    """Return the fit, or raise `RefusedFit` where chance could have made it."""
    assert fit.placebo_p_value is not None and fit.placebo_r2_95 is not None
    if fit.placebo_p_value > PLACEBO_LEVEL:
        raise RefusedFit(
            f"flow shuffled in blocks explains as much: R2 {fit.r2:.3g} against a 95th percentile of "
            f"{fit.placebo_r2_95:.3g}, permutation p-value {fit.placebo_p_value:.3g} (n {fit.n_obs}).{_rival(fit)}"
        )
    told = np.isfinite(fit.gamma_ci)
    if told.any() and not told.all():
        lower, upper = fit.gamma_ci
        raise RefusedFit(f"gamma is told on one side only, [{lower:.2f}, {upper:.2f}] (n {fit.n_obs}).{_rival(fit)}")
    if not told.all():
        raise RefusedFit(f"lam cannot be told from 0 once gamma is free (n {fit.n_obs}), so gamma means nothing.")
    return fit


def _rival(fit: ImpactParameters) -> str:
    """Return a sentence where flow does predict the price, only not by the power law that was fitted."""
    name, r2 = max((fit.rivals_r2_oos or {}).items(), key=lambda item: item[1], default=("", 0.0))
    if r2 <= (fit.placebo_r2_95 or 0.0):
        return ""
    shape = name.replace("_", " ")
    return f" Flow is not silent: the {shape} shape predicts R2 {r2:.3g} out of sample; the fitted power law does not."


def _as_answer(fit: ImpactParameters) -> dict[str, Any]:
    names = "unit horizon_s flow lam gamma lam_se gamma_se r2 r2_oos n_obs price_scale quantity_scale volume_base noise"
    return {
        **{name: getattr(fit, name) for name in names.split()},
        "lam_ci95": list(fit.lam_ci),
        "gamma_ci95": list(fit.gamma_ci),
        "lam_gamma_corr": fit.lam_gamma_corr,
        "largest_leverage": fit.largest_leverage,
        "rivals_r2_oos": fit.rivals_r2_oos,
        "placebo": {"r2_95": fit.placebo_r2_95, "p_value": fit.placebo_p_value},
    }


def _write(day: BookDay, fits: list[ImpactParameters], lake: Lake, config: CalibrationConfig, seed: int) -> Any:
    symbol = day.instrument.symbol
    rows = [_row(fit, symbol, day.events["ts"][0], day.events["ts"][-1]) for fit in fits]
    types = {name: column.dtype for name, column in IMPACT_FITS.columns.items()}
    frame = pl.DataFrame(rows, schema=types).sort(IMPACT_FITS.key)
    source = lake.table_path("BookEvents", symbol, day.date)
    metadata = {
        "source": source.name,
        "source_sha256": sha256_of(source) if source.is_file() else None,
        "symbol": symbol,
        "date": day.date,
        "synthetic": day.synthetic,
        "currency": day.instrument.currency,
        "tick_size": day.instrument.tick_size,
        "lot_size": day.instrument.lot_size,
        "config": config.model_dump(mode="json"),
        "seed": seed,
    }
    return lake.write_table(lake.folder("fits") / f"impact_{symbol}.parquet", frame, IMPACT_FITS, metadata)


def _row(fit: ImpactParameters, symbol: str, start: datetime, end: datetime) -> dict[str, Any]:
    same = (
        "unit horizon_s flow lam gamma lam_se gamma_se r2 r2_oos n_obs noise placebo_r2_95 placebo_p_value price_scale"
    )
    names = [*same.split(), "quantity_scale", "volume_base"]
    return {
        "symbol": symbol,
        "fold": "full",
        **{name: getattr(fit, name) for name in names},
        "lam_lower": fit.lam_ci[0],
        "lam_upper": fit.lam_ci[1],
        "gamma_lower": fit.gamma_ci[0],
        "gamma_upper": fit.gamma_ci[1],
        "start": start,
        "end": end,
    }
