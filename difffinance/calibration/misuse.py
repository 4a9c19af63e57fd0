"""What follows where a law of signed flow is taken for a price list (SCIENCE 2.1b): why none is ever charged.

Each function answers one question about a fit, in plain arithmetic: how far would a given share of the day's volume
have moved the price, what does slicing do to that, and what does a round trip earn.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from difffinance.calibration.diagnostics import impact_curve
from difffinance.calibration.order_flow import mid_prices
from difffinance.calibration.propagator import day_scales
from difffinance.errors import InputError
from difffinance.records import Array, BookDay, ImpactParameters


def read_displacement(day: BookDay, fits: Sequence[ImpactParameters], *, share: float = 0.05) -> pl.DataFrame:
    """Return what each fit says that `share` of the day's volume moves the price, in daily volatilities.

    Columns: unit, horizon_s, flow, gamma, quantity, displacement with its 95% interval lower and upper (daily sigma).
    One market, one day and one question: laws that could be charged would give one answer.
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"share = {share} is not allowed. Allowed: above 0 and up to 1, of the day's volume.")
    sigma, volume, _ = day_scales(day)
    scale = sigma * float(np.nanmean(mid_prices(day)))
    rows = []
    for fit in fits:
        _, *moved = impact_curve(fit, [share * volume]).row(0)
        rows.append((fit.unit, fit.horizon_s, fit.flow, fit.gamma, share * volume, *(move / scale for move in moved)))
    names = ["unit", "horizon_s", "flow", "gamma", "quantity", "displacement", "lower", "upper"]
    return pl.DataFrame(rows, schema=names, orient="row")


def slice_displacement(
    day: BookDay, fit: ImpactParameters, *, slices: Sequence[int], share: float = 0.05
) -> pl.DataFrame:
    """Return slices and displacement (daily sigma) where the law is applied slice by slice to one quantity.

    It grows as `slices ** (1 - gamma)`: the answer is a choice of the slicing.
    """
    if not slices or min(slices) < 1:
        raise InputError(f"slices {list(slices)} are not allowed. Allowed: 1 or more.")
    once = float(read_displacement(day, [fit], share=share)["displacement"][0])
    return pl.DataFrame({"slices": list(slices), "displacement": [once * n ** (1.0 - fit.gamma) for n in slices]})


def trade_round_trip(fit: ImpactParameters, *, quantity: float, pieces: int) -> pl.DataFrame:
    """Return buying `quantity` in equal pieces and selling it at once, each trade moving the price by the law for good.

    Columns: trade (signed units), price (paid, half of the trade's own move included, beyond the first mid), position,
    cash (quote currency, so far). A last cash above 0 is money for nothing. Prices as in `market.impact`.
    """
    if not quantity > 0.0 or pieces < 1:
        raise InputError(f"quantity {quantity} and pieces {pieces} are not allowed. Allowed: above 0 and 1 or more.")
    trades = np.append(np.full(pieces, quantity / pieces), -quantity)
    shift = apply_law(fit, trades)
    price = np.cumsum(shift) - 0.5 * shift
    columns = {"trade": trades, "price": price, "position": np.cumsum(trades), "cash": -np.cumsum(trades * price)}
    return pl.DataFrame(columns)


def apply_law(fit: ImpactParameters, quantity: Array) -> Array:
    """Return the price changes (quote currency) that the fit gives to signed quantities."""
    size = np.abs(quantity) / fit.quantity_scale
    return fit.lam * fit.price_scale * np.sign(quantity) * size**fit.gamma
