"""The cost law of a symbol: the labelled prior, with whose volume its participation counts."""

import os

from difffinance.config import CalibrationConfig
from difffinance.data.loading import has_bars, has_book, load_bars, load_book
from difffinance.data.store import Lake, check_symbol
from difffinance.market.costs import almgren_prior
from difffinance.market.impact import check_admissible
from difffinance.records import CostLaw


def load_costs(
    symbol: str,
    *,
    lake: Lake | str | os.PathLike[str] | None = None,
    config: CalibrationConfig | None = None,
) -> CostLaw:
    """Return what trades in `symbol` are charged: the metaorder prior of Almgren et al., after both tests.

    Neither bars nor one day of messages show metaorders, so the law is a prior and says so. It is in units of the
    symbol's own volatility and volume (`market.costs.trailing_volatility_and_volume`); whose volume that is stands in
    `volume_base`, empty when the lake holds no data of the symbol.
    """
    config = config or CalibrationConfig()
    check_symbol(symbol)
    base = ""
    if has_bars(symbol, lake=lake):
        base = f"volume of the bars from {load_bars(symbol, lake=lake).source}"
    elif has_book(symbol, lake=lake):
        base = load_book(symbol, lake=lake).volume_base
    return check_admissible(almgren_prior(inverse_turnover_days=config.inverse_turnover_days, volume_base=base))
