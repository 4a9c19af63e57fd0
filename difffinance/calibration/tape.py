"""Signed flow from trades and quotes where there is no order book: consolidated ticks, trade archives.

Who began a trade is not on a consolidated tape. It is read off the quotes: a trade above the mid before it is a buy,
below it a sell, at the mid the sign of the last price change (Lee & Ready, J. Finance 46(2), 1991). A side that the
venue gives is taken as it is. Locked and crossed quotes give no mid and are left out.
"""

import numpy as np
import polars as pl

from difffinance.calibration.impact import calibrate_law
from difffinance.config import CalibrationConfig
from difffinance.data.store import Lake, read_metadata
from difffinance.errors import InputError, NotInLakeError
from difffinance.records import Array, ImpactParameters


def tape_parts(symbol: str, *, lake: Lake) -> list[str]:
    """Return the parts (dates) for which the lake has both trades and quotes of a symbol, oldest first."""
    found = [{str(read_metadata(path)["part"]) for path in lake.tables(name, symbol)} for name in ("Trades", "Quotes")]
    return sorted(found[0] & found[1])


def load_tape(symbol: str, part: str, *, lake: Lake) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Return trades, quotes and the volume base of one day."""
    if part not in tape_parts(symbol, lake=lake):
        raise NotInLakeError(f"no trades with quotes of {symbol} on {part} are in the lake {lake.root}.")
    trades, about = lake.read_table(lake.table_path("Trades", symbol, part))
    quotes, _ = lake.read_table(lake.table_path("Quotes", symbol, part))
    return trades, quotes, str(about.get("volume_base", ""))


def sign_trades(trades: pl.DataFrame, quotes: pl.DataFrame) -> Array:
    """Return +1, -1 or 0 (unknown) for each trade; the quote in force is the last one strictly before it."""
    times, mids = _mids(quotes)
    price, given = trades["price"].to_numpy(), trades["side"].to_numpy().astype(float)
    at = np.searchsorted(times, trades["ts"].cast(pl.Int64).to_numpy(), side="left") - 1
    mid = np.where(at >= 0, mids[np.maximum(at, 0)], np.nan) if len(mids) else np.full(len(price), np.nan)
    by_quote = np.where(np.abs(price - mid) < 1e-9, 0.0, np.sign(price - mid))
    moves = np.sign(np.diff(price, prepend=price[:1]))
    last = np.maximum.accumulate(np.where(moves != 0.0, np.arange(len(price)), 0))
    found = np.where(by_quote == 0.0, moves[last], by_quote)
    return np.where(given != 0.0, given, np.nan_to_num(found))


def aggregate_tape(trades: pl.DataFrame, quotes: pl.DataFrame, horizon_s: float) -> pl.DataFrame:
    """Return signed volume and mid change over buckets on the clock: ts, quantity, price_change.

    A bucket begins with the last quote before it. Buckets before the first quote or after the last trade are left out.
    """
    if not 0.001 <= horizon_s <= 86_400:
        raise InputError(f"horizon_s = {horizon_s} is not allowed. Allowed: 0.001 to 86400 seconds.")
    step, (times, mids) = round(horizon_s * 1e9), _mids(quotes)
    clock = trades["ts"].cast(pl.Int64).to_numpy()
    if not len(times) or not len(clock):
        raise InputError("trades and quotes must both have rows.")
    first, last = max(times[0], clock[0]), min(times[-1], clock[-1])
    edges = np.arange(first // step + 1, last // step + 2) * step
    if len(edges) < 2:
        raise InputError(f"trades and quotes share no whole bucket of {horizon_s:g} s.")
    state = mids[np.searchsorted(times, edges, side="left") - 1]
    signed = sign_trades(trades, quotes) * trades["quantity"].to_numpy()
    total = np.concatenate([[0.0], np.cumsum(signed)])
    flow = np.diff(total[np.searchsorted(clock, edges, side="left")])
    start = pl.Series(edges[:-1]).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"ts": start, "quantity": flow, "price_change": np.round(np.diff(state), 9)})


def calibrate_tape(
    symbol: str,
    part: str,
    horizon_s: float,
    *,
    lake: Lake,
    config: CalibrationConfig | None = None,
    rng: np.random.Generator | None = None,
) -> ImpactParameters:
    """Fit the law to the flow of one day's tape over `horizon_s` seconds; an association, signed by the quotes."""
    trades, quotes, base = load_tape(symbol, part, lake=lake)
    table = aggregate_tape(trades, quotes, horizon_s)
    return calibrate_law(
        table["quantity"],
        table["price_change"],
        unit="aggregate",
        horizon_s=horizon_s,
        flow="all",
        volume_base=base,
        config=config or CalibrationConfig(),
        rng=np.random.default_rng(0) if rng is None else rng,
    )


def _mids(quotes: pl.DataFrame) -> tuple[Array, Array]:
    normal = quotes.filter(pl.col("state") == "normal")
    return normal["ts"].cast(pl.Int64).to_numpy(), (0.5 * (normal["bid"] + normal["ask"])).to_numpy()
