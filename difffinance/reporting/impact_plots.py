"""Pictures of impact: what the data say about signed flow, and what an order is charged."""

import numpy as np
import polars as pl

from difffinance.calibration.diagnostics import binned_response, book_walk, impact_curve
from difffinance.calibration.order_flow import aggregate_flow, market_orders
from difffinance.market.costs import permanent_impact, temporary_impact
from difffinance.records import BookDay, CostLaw, ImpactParameters
from difffinance.reporting.market_plots import plot_law
from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure


@house_style
def plot_impact(fit: ImpactParameters, day: BookDay) -> Picture:
    """Draw the binned response, the fitted curve with its band and, for single orders, the book walk beside it."""
    single = fit.unit == "order"
    flow = market_orders(day, flow=fit.flow) if single else aggregate_flow(day, fit.horizon_s, flow=fit.flow)
    bins = binned_response(flow["quantity"], flow["price_change"])
    grid = np.geomspace(bins["quantity"].to_numpy()[0], bins["quantity"].to_numpy()[-1], 80)
    curve = impact_curve(fit, grid)
    walk = book_walk(day, grid[::8], flow=fit.flow) if single else None
    figure, (axis,) = new_figure(height=3.6)
    axis.errorbar(
        bins["quantity"],
        100 * bins["response"],
        yerr=196 * bins["standard_error"],
        fmt="o",
        markersize=4,
        elinewidth=0.8,
        color=COLOURS["ink"],
        label="mean response of a size bin, 95%",
    )
    axis.plot(curve["quantity"], 100 * curve["price_change"], color=COLOURS["diffusion"], label="fitted law, 95% band")
    axis.fill_between(
        curve["quantity"], 100 * curve["lower"], 100 * curve["upper"], color=COLOURS["diffusion"], alpha=0.2
    )
    if walk is not None:
        known = walk.drop_nulls("displacement").filter(pl.col("coverage") > 0.5)
        axis.plot(
            known["quantity"],
            100 * known["displacement"],
            color=COLOURS["garleanu_pedersen"],
            linestyle="--",
            label="walking the displayed book",
        )
    axis.set_xscale("log")
    axis.set_xlabel("|signed quantity|, units")
    axis.set_ylabel(f"price change, 0.01 {day.instrument.currency}")
    name = "one market order" if single else f"{fit.horizon_s:g} s of signed flow"
    mark = " (synthetic)" if day.synthetic else ""
    axis.set_title(f"{day.instrument.symbol}{mark}: {name}, {fit.flow} flow")
    axis.legend(loc="best")
    lower, upper = fit.gamma_ci
    caption = (
        f"{fit}. 95% interval of gamma [{lower:.2f}, {upper:.2f}]; placebo R2 {fit.placebo_r2_95 or 0:.3f}. "
        "An association of flow and price: it describes the market and is never charged to an order."
    )
    key = "order" if single else f"{fit.horizon_s:g}s"
    return Picture(f"impact_{key}_{fit.flow}", f"Impact: {name}", caption, curve, figure)


@house_style
def plot_cost_law(law: CostLaw, sigma: float) -> Picture:
    """Draw what an order of a day is charged at daily volatility `sigma` (fraction), with the prior's interval."""
    share = np.geomspace(1e-4, 0.5, 60)
    temporary = 1e4 * temporary_impact(law, share, sigma)
    # Delta method on the logarithm: the errors of coefficient and exponent are taken as independent.
    coefficient_error = 0.5 * np.log(law.temporary_ci[1] / law.temporary_ci[0])
    exponent_error = 0.5 * (law.exponent_ci[1] - law.exponent_ci[0]) * np.log(share)
    reach = np.exp(np.hypot(coefficient_error, exponent_error))
    table = pl.DataFrame(
        {
            "participation": share,
            "temporary_bps": temporary,
            "lower_bps": temporary / reach,
            "upper_bps": temporary * reach,
            "permanent_bps": 1e4 * permanent_impact(law, share, sigma),
        }
    )
    note = f"{law}. A labelled prior, not an estimate on this symbol; daily volatility {100 * sigma:.2f}%."
    return plot_law(table, title="Cost law: impact of an order spread over a day", note=note)
