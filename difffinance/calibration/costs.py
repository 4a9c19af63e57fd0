"""The cost law of a symbol: a labelled prior with whose volume its participation counts, or its day's propagator."""

from difffinance.calibration.propagator import fit_charged_propagator
from difffinance.config import CalibrationConfig
from difffinance.data.loading import book_volume_base, has_bars, has_book, load_bars, load_book
from difffinance.data.store import AnyLake, check_symbol
from difffinance.market.costs import almgren_prior, square_root_prior
from difffinance.market.impact import check_admissible
from difffinance.records import CostLaw


def load_costs(
    symbol: str,
    *,
    lake: AnyLake | None = None,
    config: CalibrationConfig | None = None,
) -> CostLaw:
    """Return what trades in `symbol` are charged, after both tests; `config.cost_law` chooses.

    `almgren` (default) and `square_root` are published metaorder priors, in units of the symbol's own volatility and
    volume (`market.costs.trailing_volatility_and_volume`); whose volume that is stands in `volume_base`, empty when the
    lake holds no data of the symbol. They are the default because neither bars nor one day of messages show metaorders:
    a propagator fitted to anonymous flow of one venue answers what everybody's flow did there that day, and buying a
    tenth of the volume over the day is far outside of what it was fitted to. `propagator` asks for that law; where the
    newest order-book day does not support one, `RefusedFit` says why.
    """
    config = config or CalibrationConfig()
    check_symbol(symbol)
    if config.cost_law == "propagator":
        return check_admissible(fit_charged_propagator(load_book(symbol, lake=lake), config=config).law)
    base = ""
    if has_bars(symbol, lake=lake):
        base = f"volume of the bars from {load_bars(symbol, lake=lake).source}"
    elif has_book(symbol, lake=lake):
        base = book_volume_base(symbol, lake=lake)
    if config.cost_law == "square_root":
        return check_admissible(square_root_prior(volume_base=base))
    return check_admissible(almgren_prior(inverse_turnover_days=config.inverse_turnover_days, volume_base=base))
