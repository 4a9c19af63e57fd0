"""What an environment enforces: price limits, ticks, lots, position limits, T+1, fees. Exact in decimal arithmetic.

`get_rulebook` answers by venue and date (`market/rulebooks/`).
"""

from dataclasses import dataclass
from decimal import Decimal

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.enforcement import daily_limits
from difffinance.market.rulebooks import NAMES, get_rulebook
from difffinance.market.rulebooks.parts import BandQuestion, FeeTable, PercentBand
from difffinance.market.rulebooks.rulebook import Rulebook

__all__ = ["NAMES", "Rulebook", "SessionRules", "get_rulebook", "price_band", "session_rules"]

UNLIMITED = 1 << 60  # lots


@dataclass(frozen=True)
class SessionRules:
    """The rules of one session in whole ticks and lots. `None` in the band: no daily price limit."""

    tick_size: Decimal
    lot_size: Decimal
    lower_ticks: int | None
    upper_ticks: int | None
    min_position: int
    max_position: int
    max_order: int
    max_open: int
    max_leverage: float
    max_resting_orders: int
    t_plus_one: bool
    buy_fee: float  # fraction of value
    sell_fee: float


def price_band(previous_close: Decimal, fraction: Decimal, tick_size: Decimal) -> tuple[Decimal, Decimal]:
    """Return the daily limits `previous_close * (1 -+ fraction)`, rounded half up to the tick.

    Each limit lies at least one tick from the previous close, and the lower one is at least one tick (SCIENCE 11).
    """
    lower, upper = PercentBand(fraction, tick_size).limits(BandQuestion(previous_close))
    assert lower is not None and upper is not None
    return lower, upper


def session_rules(config: MarketConfig) -> SessionRules:
    """Return the rules of a session from the configuration, whose start price is the previous close.

    The fees are shares of value: what a rulebook adds by the order (minima, rounding) is not in them.
    """
    tick, lot = Decimal(str(config.tick_size)), Decimal(str(config.lot_size))
    close = Decimal(str(config.start_price))
    if close % tick:
        raise InputError(
            f"market.start_price {close}, the previous close, is off the tick grid. Allowed: multiples of "
            f"market.tick_size, {tick}."
        )
    rulebook = get_rulebook(config.rulebook, config.date)
    band = daily_limits(config, rulebook, close)
    if rulebook.name == "none" and config.price_limit is not None:
        band = price_band(close, Decimal(str(config.price_limit)), tick)
    lower, upper = (None, None) if band is None else (-int(-band[0] // tick), int(band[1] // tick))

    def lots(units: float | None) -> int:
        return UNLIMITED if units is None else int(min(Decimal(str(units)) / lot, Decimal(UNLIMITED)))

    position, most = lots(config.max_position), lots(config.max_order)
    t_plus_one = config.t_plus_one or rulebook.t_plus_one
    short = config.short_allowed and rulebook.short_sales and not t_plus_one
    fee = config.fee_bps / 1e4
    duties = rulebook.fee_table or FeeTable()
    both = duties.handling + duties.management + duties.transfer
    return SessionRules(
        tick, lot, lower, upper, -position if short else 0, position,
        most if rulebook.lots.most is None else min(most, lots(rulebook.lots.most)), lots(config.max_open),
        config.max_leverage, config.max_resting_orders, t_plus_one,
        fee + float(both + duties.stamp_buy), fee + float(both + duties.stamp_sell),
    )  # fmt: skip
