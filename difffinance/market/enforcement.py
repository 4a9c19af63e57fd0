"""Turns a rulebook into what the kernels of `supervision` read: whole ticks, lots, nanoseconds and hundredths."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market import supervision as s
from difffinance.market.rulebooks import get_rulebook
from difffinance.market.rulebooks.parts import (
    CENT,
    AveragePriceBand,
    FeeTable,
    PercentBand,
    StepBand,
    TickTable,
    TradeBand,
)
from difffinance.market.rulebooks.rulebook import Rulebook
from difffinance.records import Array

NANOSECONDS = 1_000_000_000


def exact(value: float) -> Decimal:
    """Return a configured number as the decimal it was written as."""
    return Decimal(str(value))


def rulebook_of(config: MarketConfig) -> Rulebook:
    """Return the rulebook that a configuration names."""
    return get_rulebook(config.rulebook, config.date, half_cent_from=config.half_cent_from)


def daily_limits(config: MarketConfig, rulebook: Rulebook, close: Decimal) -> tuple[Decimal, Decimal] | None:
    """Return the price limits of the whole day; None without any (bands that move are not among them)."""
    if not isinstance(rulebook.band, PercentBand | StepBand):
        return None
    widened = rulebook.widened(config.days_at_limit)
    lower, upper = rulebook.price_band(close, listing_day=config.listing_day, widened=widened)
    return None if lower is None or upper is None else (lower, upper)


def trading_day(rulebook: Rulebook, opening: int = 0) -> list[tuple[int, int, int, str]]:
    """Return the stretches of the simulated day: start and end in trading seconds, local start in seconds, kind.

    It begins with the last `opening` seconds of the opening auction, leaves breaks out, and ends with the closing one,
    or with the session after it at the fixed closing price.
    """
    day: list[tuple[int, int, int, str]] = []
    if opening > 0:
        day.append((0, opening, _opening_ends(rulebook, opening) - opening, "auction"))
    for part in rulebook.sessions:
        if part.kind == "break" or (part.kind == "auction" and part is rulebook.sessions[0]):
            continue
        start, end = (_seconds(dt.time.fromisoformat(clock)) for clock in (part.start, part.end))
        at = day[-1][1] if day else 0
        day.append((at, at + end - start, start, part.kind))
    return day


def _opening_ends(rulebook: Rulebook, opening: int) -> int:
    first = rulebook.sessions[0] if rulebook.sessions else None
    start, end = (0, 0) if first is None else (_seconds(dt.time.fromisoformat(at)) for at in (first.start, first.end))
    if first is None or first.kind != "auction" or opening > end - start:
        length = end - start if first is not None and first.kind == "auction" else 0
        raise InputError(
            f"market.opening_auction_seconds is {opening}; the opening auction of {rulebook.name} takes {length} s. "
            f"Allowed: 0 to {length}."
        )
    return end


def with_trading_day(config: MarketConfig) -> MarketConfig:
    """Return the configuration with the length of its venue's day, unless it names a rulebook and a length itself."""
    rulebook = rulebook_of(config)
    if not rulebook.sessions or "session_seconds" in config.model_fields_set:
        return config
    close = closing_time(trading_day(rulebook, config.opening_auction_seconds))
    return config.model_copy(update={"session_seconds": float(close)})


def closing_time(day: list[tuple[int, int, int, str]]) -> int:
    """Return the trading second at which the closing price stands; after-hours trading comes later."""
    return next(end for _, end, _, kind in reversed(day) if kind != "fixed_price")


def episode_seconds(config: MarketConfig) -> float:
    """Return how long an episode is where nobody says: the session, and a whole one with its after-hours trading."""
    rulebook = rulebook_of(config)
    if config.mode != "book" or not rulebook.sessions:
        return config.session_seconds
    day = trading_day(rulebook, config.opening_auction_seconds)
    return float(day[-1][1]) if config.session_seconds == closing_time(day) else config.session_seconds


def local_time(day: Sequence[tuple[int, int, int, str]], second: int) -> dt.time:
    """Return the venue's time of the day at a trading second."""
    start, _, clock, _ = next((part for part in day if part[0] <= second < part[1]), day[-1])
    clock += second - start
    return dt.time(clock // 3600, clock // 60 % 60, clock % 60)


def supervise(config: MarketConfig) -> dict[str, Array]:
    """Return the arrays of a session's supervision by their names in `floor.Floor`."""
    rulebook, opening = rulebook_of(config), config.opening_auction_seconds
    day = trading_day(rulebook, opening)
    rules, session = np.zeros(s.RULES, np.int64), np.zeros(s.SESSION, np.int64)
    rules[[s.LEAST, s.STEP, s.MOST, s.MOST_MARKET]] = 1, 1, s.FOREVER, s.FOREVER
    session[[s.UNTIL, s.DUE, s.RESUME]], session[s.MEAN_COUNT] = s.FOREVER, 1
    if rulebook.name == "none":
        return {
            "rules": _pack(rules, [(s.TICKS, None, np.array([[s.FOREVER, 1]]))]),
            "session": session,
            "paid_on": np.zeros(1, np.int64),
        }
    tick, close = exact(config.tick_size), int(exact(config.start_price) / exact(config.tick_size))
    _set_day(rules, config, rulebook, day)
    _set_lots(rules, config, rulebook)
    _set_fees(rules, config, rulebook.fee_table)
    rules[s.ACTIVE], rules[s.CLOSE], rules[s.REACH] = 1, close, s.FOREVER
    if rulebook.collar:
        rules[[s.COLLAR, s.COLLAR_TICKS]] = _shares(rulebook.collar.fraction), rulebook.collar.ticks
        rules[s.REACH] = rules[s.COLLAR_TICKS]
    rules[s.SHORT_AT] = close * (s.ONE - _shares(rulebook.short_fall)) // s.ONE if rulebook.short_fall else 0
    rules[s.RISES] = bool(rulebook.breaker and rulebook.breaker.rises)
    _set_band(rules, config, rulebook)
    session[[s.LAST, s.MEAN_SUM, s.MEAN_SET]] = close, close, -s.HOLD_SECONDS
    session[s.UNTIL] = rules[s.CLOSING]
    if opening > 0:
        session[[s.UNTIL, s.RESUME]] = 0, opening * NANOSECONDS
    rules[s.RENEWAL_NS] = (rulebook.quote_seconds or 0) * NANOSECONDS
    _set_access_fee(rules, config, rulebook)
    session[s.RESTRICTED] = bool(rulebook.short_fall) and config.short_sales_restricted
    tables = [
        (s.TICKS, None, tick_steps(rulebook.tick_table(_spread(config)), tick, rulebook.name)),
        (s.WINDOWS, s.WINDOW_ROWS, band_windows(rulebook, tuple(day), exact(config.start_price))),
        (s.BREAKER, s.LEVELS, _breaker(rulebook, day)),
        (s.INDEX, s.INDEX_ROWS, _index_path(config)),
        (s.LISTING, s.LISTING_LEVELS, _listing(rules, config, rulebook)),
    ]
    if rulebook.quote_steps:
        tables.append((s.QUOTES, None, quote_steps(rulebook, tick)))
    rules = _pack(rules, tables)
    for note in (s.set_due, s.set_calm):
        note.py_func(rules, session)  # compiling takes longer than a few numbers do
    return {"rules": rules, "session": session, "paid_on": np.zeros(4096, np.int64)}


def _pack(rules: Array, tables: list[tuple[int, int | None, Array]]) -> Array:
    for place, rows, table in tables:
        rules[place] = len(rules)
        if rows is not None:
            rules[rows] = len(table)
        rules = np.append(rules, table.astype(np.int64).ravel())
    return rules


def _set_day(rules: Array, config: MarketConfig, rulebook: Rulebook, day: list[tuple[int, int, int, str]]) -> None:
    length, close = day[-1][1], closing_time(day)
    if config.session_seconds > length:
        raise InputError(
            f"market.session_seconds is {config.session_seconds:g}, longer than the trading day of {rulebook.name}. "
            f"Allowed: up to {length}."
        )
    closing = next(start if kind == "auction" else close for start, end, _, kind in day if end == close)
    state = rulebook.limit_state
    rules[[s.CLOSING, s.END]] = closing * NANOSECONDS, close * NANOSECONDS
    rules[s.AFTER] = length * NANOSECONDS if length > close else 0
    rules[s.STATE_NS] = (state.state_seconds if state else 0) * NANOSECONDS
    rules[s.PAUSE_NS] = (state.pause_seconds if state else 0) * NANOSECONDS
    rules[s.REOPENING_NS] = round(config.reopening_seconds * NANOSECONDS)
    rules[s.COOLING_NS] = (rulebook.cooling_seconds or 0) * NANOSECONDS


def _set_lots(rules: Array, config: MarketConfig, rulebook: Rulebook) -> None:
    lots, unit = rulebook.lots, exact(config.lot_size)
    if unit % 1 and rulebook.lots.most is not None:
        raise InputError(f"market.lot_size is {unit}; {rulebook.name} trades whole shares. Allowed: 1, 2, ...")

    def whole(shares: int, name: str) -> int:
        if Decimal(shares) % unit and unit % shares:
            raise InputError(f"market.lot_size {unit} does not fit the {name} of {shares} shares of {rulebook.name}.")
        return max(int(shares / unit), 1)

    rules[s.LEAST], rules[s.STEP] = whole(lots.least, "smallest order"), whole(lots.step, "lot")
    most = s.FOREVER if lots.most is None else int(lots.most // unit)
    rules[s.MOST] = most
    rules[s.MOST_MARKET] = most if lots.most_market is None else int(lots.most_market // unit)


def _set_fees(rules: Array, config: MarketConfig, fees: FeeTable | None) -> None:
    if fees is None:
        raise InputError(f"the fees of {config.rulebook} on {config.date} are not in the tables. Take a later date.")
    commission = exact(config.fee_bps) / 10_000
    if fees.largest_commission is not None:
        commission = min(commission, fees.largest_commission)
    names = (s.COMMISSION, s.STAMP_BUY, s.STAMP_SELL, s.HANDLING, s.MANAGEMENT, s.TRANSFER)
    values = (commission, fees.stamp_buy, fees.stamp_sell, fees.handling, fees.management, fees.transfer)
    for place, value in zip(names, values, strict=True):
        share = value * s.FEE_UNIT
        if share % 1:
            raise InputError(f"market.fee_bps {config.fee_bps} is too fine. Allowed: multiples of 0.001.")
        rules[place] = int(share)
    rules[s.FEE_ITEMS] = 1
    rules[s.LEAST_COMMISSION] = int(fees.least_commission / CENT)
    rules[s.STAMP_STEP] = int((fees.stamp_step or Decimal(0)) / CENT)
    rules[s.DUTIES] = rules[[s.STAMP_BUY, s.STAMP_SELL, s.HANDLING, s.MANAGEMENT, s.TRANSFER]].any()
    money = Fraction(exact(config.tick_size) * exact(config.lot_size) / CENT)
    rules[s.MONEY_CENTS], rules[s.PER_MONEY] = money.numerator, money.denominator
    commission_of_lot = Fraction(int(rules[s.COMMISSION]), s.FEE_UNIT) * money
    rules[[s.COMMISSION, s.COMMISSION_UNIT]] = commission_of_lot.numerator, commission_of_lot.denominator


def _set_band(rules: Array, config: MarketConfig, rulebook: Rulebook) -> None:
    band, close = rulebook.band, exact(config.start_price)
    cents = Fraction(exact(config.tick_size) / CENT)
    rules[s.CENTS], rules[s.PER_TICKS] = cents.numerator, cents.denominator
    if isinstance(band, TradeBand):
        rules[s.BAND], rules[s.BAND_WIDTH] = s.TRADE_BAND, _shares(band.fraction)
    if isinstance(band, AveragePriceBand):
        rules[s.BAND] = s.MEAN_BAND
        rules[s.BAND_WIDTH] = _shares(band.high if close > band.high_from else band.middle)
        if close < band.low_below:
            rules[s.BAND_WIDTH], rules[s.BAND_CENTS] = _shares(band.low), int(band.low_money / CENT)


def tick_steps(ticks: TickTable, tick: Decimal, name: str) -> Array:
    """Return price steps in ticks of the market: rows (up to and at this price, step)."""
    rows: list[tuple[int, int]] = []
    for end, step in ticks.steps:
        if step % tick and tick % step:
            raise InputError(f"market.tick_size {tick} does not fit the price step {step} of {name}.")
        last = int(s.FOREVER) if end is None else int(end / tick) - (0 if ticks.inclusive else 1)
        if rows and rows[-1][1] == max(int(step / tick), 1):
            rows.pop()  # the table is searched for every order
        rows.append((last, max(int(step / tick), 1)))
    return np.array(rows, np.int64)


def quote_steps(rulebook: Rulebook, tick: Decimal) -> Array:
    """Return the steps of special quotes in ticks: rows (up to and at this price, step)."""
    rows = []
    for below, step in rulebook.quote_steps:
        if step % tick and (below is None or below > tick):
            raise InputError(f"market.tick_size {tick} does not fit the special-quote step {step} of {rulebook.name}.")
        rows.append((int(s.FOREVER) if below is None else int(-(-below // tick)) - 1, max(int(step / tick), 1)))
    return np.array(rows, np.int64)


def _spread(config: MarketConfig) -> Decimal | None:
    return None if config.average_quoted_spread is None else exact(config.average_quoted_spread)


def _set_access_fee(rules: Array, config: MarketConfig, rulebook: Rulebook) -> None:
    cap, fee = rulebook.access_fee, exact(config.access_fee)
    if fee == 0:
        return
    if cap is not None and fee > cap.most:
        raise InputError(
            f"market.access_fee {fee} is above the cap of {rulebook.name} on {rulebook.date}. Allowed: to {cap.most}."
        )
    units = fee * exact(config.lot_size) * s.FEE_UNIT
    if units % 1:
        raise InputError(f"market.access_fee {fee} is too fine. Allowed: multiples of 0.0000001 a share.")
    rules[s.ACCESS] = int(units)
    if cap is not None:
        rules[s.ACCESS_SHARE] = _shares(cap.share)
        rules[s.ACCESS_BELOW] = int(-(-cap.below // exact(config.tick_size)))


@lru_cache(maxsize=32)
def band_windows(rulebook: Rulebook, day: tuple[tuple[int, int, int, str], ...], close: Decimal) -> Array:
    """Return when a moving band is in force: rows of first second, second after the last, factor of its width.

    A day asks the rulebook once a minute, as long as an episode takes: markets of one rulebook share the answer.
    """
    band = rulebook.band
    rows: list[list[int]] = []
    if not isinstance(band, AveragePriceBand | TradeBand):
        return np.zeros((0, 3), np.int64)
    for second in range(0, day[-1][1], 60):
        clock = local_time(day, second)
        factor = 0 if rulebook.price_band(close, time=clock)[0] is None else 1
        if factor and isinstance(band, AveragePriceBand):
            factor = band.factor(close, clock)
        if rows and rows[-1][2] == factor:
            rows[-1][1] = second + 60
        else:
            rows.append([second, second + 60, factor])
    windows = np.array(rows, np.int64)
    windows.flags.writeable = False
    return windows


def _breaker(rulebook: Rulebook, day: list[tuple[int, int, int, str]]) -> Array:
    if rulebook.breaker is None:
        return np.zeros((0, 4), np.int64)
    rows = []
    for level in rulebook.breaker.levels:
        until = int(s.FOREVER)
        if level.until is not None:
            local = _seconds(dt.time.fromisoformat(level.until))
            start, _, clock, _ = next(part for part in reversed(day) if part[2] <= local)
            until = (start + local - clock) * NANOSECONDS
        rows.append((_shares(level.fraction), _span(level.minutes), until, _span(level.later)))
    return np.array(rows, np.int64)


def _listing(rules: Array, config: MarketConfig, rulebook: Rulebook) -> Array:
    pauses = rulebook.pauses
    if pauses is None or config.listing_day is None or config.listing_day > pauses.days:
        return np.zeros(0, np.int64)
    rules[s.LISTING_NS] = _span(pauses.minutes)
    return np.array([_shares(threshold) for threshold in pauses.thresholds], np.int64)


def _index_path(config: MarketConfig) -> Array:
    path = np.array([(round(at * NANOSECONDS), round(level * 1e6)) for at, level in config.index_path], np.int64)
    if len(path) and (path[0, 0] > 0 or (np.diff(path[:, 0]) <= 0).any() or (path[:, 1] <= 0).any()):
        raise InputError("market.index_path must start at second 0, go forward in time and stay above 0.")
    return path.reshape(-1, 2)


def _span(minutes: int | str | None) -> int:
    return 0 if minutes is None else -1 if isinstance(minutes, str) else minutes * 60 * NANOSECONDS


def _shares(fraction: Decimal) -> int:
    return int(fraction * s.ONE)


def _seconds(clock: dt.time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second
