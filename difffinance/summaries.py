"""The answers of the verbs as a few lines of text for a person; `--json` prints the same answers whole."""

from typing import Any


def fetched(answer: dict[str, Any]) -> str:
    """Say which tables were written, what was repaired, and how the book verified."""
    lines = [f"{answer['source']}: {len(answer['tables'])} tables"]
    for table in answer["tables"]:
        days = f"{table['start'][:10]} .. {table['end'][:10]}" if table["rows"] else "none in the file"
        mark = "  (synthetic)" if table["synthetic"] else ""
        lines.append(
            f"  {table['schema']:<10} {table['symbol']:<8} {table['rows']:>9,} rows  {days}  {table['path']}{mark}"
        )
    lines += [f"  repaired: {r['rows']} rows, {r['rule']}" for r in answer["repairs"]]
    verification = answer.get("verification")
    if verification:
        lines.append(_verified(verification))
    return "\n".join(lines)


def _verified(verification: dict[str, Any]) -> str:
    """Say whether the messages explain the book, and what a venue's feed was held against."""
    fractions = {name: verification[f"{name}_exact"] for name in ("one_step", "resync")}
    exact = all(fraction in (None, 1.0) for fraction in fractions.values())
    texts = [f"{name.replace('_', '-')} {_fraction(fraction)}" for name, fraction in fractions.items()]
    said = "book verified" if exact else "book NOT explained by its messages"
    of = f"of {verification['messages']:,} messages"
    line = (
        f"  {said}: {', '.join(texts)} {of}"
        if set(fractions.values()) != {None}
        else f"  nothing to verify in {verification['messages']:,} messages"
    )
    found = [f"{name.replace('_', ' ')} {_short(verification[name])}" for name in _FOUND if name in verification]
    return "\n".join([line, *(["  " + ", ".join(found)] if found else [])])


_FOUND = (
    "gaps",
    "trade_ids_missing",
    "bars_missing",
    "crossed_states",
    "best_quotes_exact",
    "prints",
    "prints_inside_shown",
    "traded_then_gone",
    "explained",
)


def _short(value: float | None) -> str:
    return "not defined" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6f}"


def _fraction(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.6f}"


def calibrated(answer: dict[str, Any]) -> str:
    """List the fits with their intervals, what was refused and why, and the law that may be charged."""
    mark = " (synthetic)" if answer.get("synthetic") else ""
    date = f", {answer['date']}" if "date" in answer else ""
    lines = [f"{answer['symbol']}{mark}{date}: associations of signed flow and price (never charged to an order)"]
    trades = answer.get("by_trades", {"fits": [], "refused": []})
    lines += [_fit_line(fit) for fit in [*answer["fits"], *trades["fits"]]]
    lines += [f"  refused: {_unit_of(r)}: {r['reason']}" for r in [*answer["refused"], *trades["refused"]]]
    lines += _rival_shapes(answer["fits"]) + _where_the_slope_is(answer.get("associations", {}))
    if "matrix" in answer.get("cross_impact", {}):
        cross = answer["cross_impact"]
        lines.append(
            f"  cross-impact of {' and '.join(cross['symbols'])}: {cross['matrix']} "
            f"currency per unit, symmetric with p = {cross['symmetry_p_value']:.2g}"
        )
    lines += _measures_of_bars(answer.get("bars"))
    lines += _propagator(answer.get("propagator", {}))
    costs = answer["costs"]
    rest = f"permanent {costs['permanent']:g} q/V" if costs["decay"] is None else f"fading as lag^-{costs['decay']:g}"
    lines.append(
        f"what may be charged: {costs['kind']} ({costs['source']}): temporary {costs['temporary']:.3g} "
        f"|q/V|^{costs['exponent']:.3g}, {rest}, in volatilities of the period"
    )
    if "background_flow" in answer:
        flow = answer["background_flow"]
        settings = " ".join(f"market.{name}={value}" for name, value in flow["market"].items())
        lines += [
            f"background flow: {flow['notes']}; {flow['path']}",
            f"  to trade in it: difffinance simulate {settings}",
        ]
    return "\n".join(lines)


def _fit_line(fit: dict[str, Any]) -> str:
    lower, upper = fit["gamma_ci95"]
    return (
        f"  {_unit_of(fit):<16} {fit['flow']:<8} lam {fit['lam']:.3g} +/- {fit['lam_se']:.2g}"
        f"  gamma {fit['gamma']:.3f} [{lower:.3f}, {upper:.3f}]  r2 {fit['r2']:.3f}"
        f" (placebo 95%: {fit['placebo']['r2_95']:.3f})  n {fit['n_obs']:,}"
    )


def _unit_of(fit: dict[str, Any]) -> str:
    if "horizon_trades" in fit:
        return f"{fit['horizon_trades']} orders"
    if fit["unit"] in ("order", "bars"):
        return "one order" if fit["unit"] == "order" else "bars"
    return f"{fit['horizon_s']:g} s"


def _rival_shapes(fits: list[dict[str, Any]]) -> list[str]:
    """Say for each visible fit what rival shapes predict out of sample."""
    lines = []
    for fit in fits:
        rivals = {name: r2 for name, r2 in (fit.get("rivals_r2_oos") or {}).items() if name != "no_impact"}
        if rivals and fit["flow"] == "visible":
            said = ", ".join(f"{name.replace('_', ' ')} {r2:.3f}" for name, r2 in rivals.items())
            lines.append(f"  R2 out of sample, {_unit_of(fit)}: {said}")
    return lines


def _where_the_slope_is(found: dict[str, Any]) -> list[str]:
    """Say what share of the slope is inside trades, and what order-flow imbalance explains."""
    lines = []
    if found.get("slope_split"):
        said = ", ".join(
            f"{s['horizon_s']:g} s {s['inside_trades']:.0%} +/- {s['standard_error']:.0%}" for s in found["slope_split"]
        )
        lines.append(f"  slope inside trades (the rest is quote revision): {said}")
    touch = [s for s in found.get("slopes", []) if s["name"] == "order-flow imbalance"]
    if touch:
        said = ", ".join(f"{s['horizon_s']:g} s {s['r2']:.3f}" for s in touch)
        lines.append(f"  order-flow imbalance at the touch, R2: {said}")
    if found.get("imbalance_levels"):
        most = max(row["levels"] for row in found["imbalance_levels"])
        rows = [row for row in found["imbalance_levels"] if row["levels"] == most]
        said = ", ".join(f"{row['horizon_s']:g} s {row['r2_oos']:.3f}" for row in rows)
        lines.append(f"  order-flow imbalance at {most} levels, R2 out of sample: {said}")
    return lines


def _measures_of_bars(bars: dict[str, Any] | None) -> list[str]:
    lines = []
    for measure in (bars or {}).get("liquidity", []):
        value = "none" if measure["value"] is None else f"{measure['value']:.3g} +/- {measure['standard_error']:.2g}"
        note = f" ({measure['note']})" if measure["note"] else ""
        lines.append(f"  bars: {measure['name']} {value} {measure['unit']}{note}")
    law = (bars or {}).get("descriptive_law")
    if law is not None:
        lines.append(
            f"  bars: gamma {law['gamma']:.3f}, R2 {law['r2']:.3f} beside {law['placebo']['r2_median']:.3f} with sizes "
            "shuffled: descriptive, never charged"
        )
    return lines


def _propagator(found: dict[str, Any]) -> list[str]:
    lines = []
    if "in_orders" in found:
        kernel = found["in_orders"]
        low, high = kernel["decay_ci"]
        lines.append(
            f"  propagator: G(l) ~ l^-b in orders, b {kernel['decay']:.3f} [{low:.3f}, {high:.3f}]; diffusive prices "
            f"would need {kernel['decay_of_diffusion']:.3f} (sign memory {kernel['sign_exponent']:.2f})"
        )
    if "chargeable" in found:
        charged = found["chargeable"]
        law = charged["law"]
        lines.append(
            f"  as a price list: linear in the rate, decay {law['decay']:.2f}; "
            + (
                "nearest to the day's own law, in which a round trip earns up "
                f"to {charged['round_trip_share']:.0%} of the cost of buying; "
                f"R2 {charged['r2']:.3f} -> {charged['r2_charged']:.3f}"
                if charged["replaced"]
                else "the day's own law passes both tests"
            )
        )
    return lines


def simulated(answer: dict[str, Any]) -> str:
    """List what each kind of participant earned."""
    lines = [f"{answer['trades']:,} trades, {answer['violations']} rule violations, {answer['path']}"]
    for agent in answer["agents"]:
        se = "" if agent["pnl_se"] is None else f" +/- {agent['pnl_se']:,.0f}"
        band = agent.get("pnl_band95")
        said = "" if band is None else f"  [{band[0]:,.0f}, {band[1]:,.0f}] over the law's error"
        lines.append(f"  {agent['kind']:<13} profit {agent['pnl_mean']:>12,.0f}{se}{said}")
    if "draws" in answer:
        lines.append(f"  the same episodes under {answer['draws']} draws of {answer['cost_law']}")
    return "\n".join(lines)


def trained(answer: dict[str, Any]) -> str:
    """Say what was learned, against the baseline."""
    return (
        f"{answer['checkpoint']}: {answer['parameters']:,} parameters, {answer['seconds']:.0f} s\n"
        f"  held-out loss {answer['val_loss']:.4f} against {answer['val_baseline']:.4f} of the Gaussian denoiser"
    )


def backtested(answer: dict[str, Any]) -> str:
    """Put the main metrics with and without impact side by side."""
    lines = [f"{'':<18}{'with impact':>14}{'without':>14}"]
    without = answer["without_impact"] or {}
    for name in (
        "total_return",
        "sharpe",
        "sharpe_se",
        "max_drawdown",
        "win_rate",
        "slippage_bps",
        "impact_bps",
    ):
        lines.append(f"  {name:<16}{_number(answer['metrics'].get(name)):>14}{_number(without.get(name)):>14}")
    return "\n".join([*lines, str(answer["path"])])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def reported(answer: dict[str, Any]) -> str:
    """Say where the page lies."""
    return f"{answer['html']} ({answer['seconds']:.0f} s)"
