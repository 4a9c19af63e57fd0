"""What a venue's rules answer on one day: a frozen bundle of parts with the methods that users ask."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from difffinance.errors import InputError
from difffinance.market.rulebooks.parts import (
    AccessFeeCap,
    Band,
    BandQuestion,
    Breaker,
    Fees,
    FeeTable,
    Halt,
    Limits,
    LimitState,
    LotRule,
    NoBand,
    PauseRule,
    PriceCollar,
    Session,
    TickTable,
    read_fired,
)
from difffinance.market.rulebooks.reading import (
    Price,
    Time,
    half_up,
    read_amount,
    read_listing_day,
    read_side,
    read_time,
    read_whole,
    up,
)

_WIDENED = (False, True, "lower", "upper")
ANY_PRICE, ANY_LOT, NO_BAND, NO_FEES = TickTable(((None, Decimal(0)),)), LotRule(), NoBand(), FeeTable()


@dataclass(frozen=True)
class Rulebook:
    """The rules of one venue on one day. What it lacks is answered with "no restriction".

    Prices are decimals, strings or integers in the venue's currency; times are the venue's own; quantities are
    shares; `side` is "buy" or "sell", +1 or -1.
    """

    name: str
    date: dt.date
    band: Band = NO_BAND
    fee_table: FeeTable | None = field(default=NO_FEES, repr=False)  # None: what was charged then is not known here
    lots: LotRule = ANY_LOT
    ticks: TickTable = field(default=ANY_PRICE, repr=False)
    half_cent: tuple[Decimal, Decimal] | None = None  # tick, and the largest average quoted spread that earns it
    access_fee: AccessFeeCap | None = None
    breaker: Breaker | None = field(default=None, repr=False)
    pauses: PauseRule | None = None
    collar: PriceCollar | None = None
    limit_state: LimitState | None = None
    cooling_seconds: int | None = None  # of a volatility control that trading in the band goes on in
    short_fall: Decimal | None = None  # fall from the previous close that restricts short sales
    short_sales: bool = True
    t_plus_one: bool = False
    sessions: tuple[Session, ...] = field(default=(), repr=False)
    quote_steps: tuple[tuple[Decimal | None, Decimal], ...] = field(default=(), repr=False)
    quote_seconds: int | None = None  # from one special quote to the next
    widen_after: int | None = None  # days at the limit without trading that widen it

    def price_band(
        self,
        reference: Price,
        *,
        time: Time | None = None,
        previous_close: Price | None = None,
        listing_day: int | None = None,
        widened: bool | str = False,
    ) -> Limits:
        """Return the lowest and highest price allowed, or `(None, None)`.

        `reference` is the previous close (China, Tokyo: the base price), the mean price of the last 5 minutes (United
        States, where `previous_close` picks the width; default: the reference) or the last trade 5 minutes earlier
        (Hong Kong). Without `time` the bands of the middle of a session are meant. `listing_day` counts the trading
        days of a registration-system IPO from 1; leave it out for any other stock. `widened` (Tokyo) is True for
        both sides, "lower" or "upper" for one.
        """
        day = None if listing_day is None else read_listing_day(listing_day)
        if widened not in _WIDENED:
            raise InputError(f"widened {widened!r} is not known. Allowed: False, True, 'lower' or 'upper'.")
        return self.band.limits(
            BandQuestion(
                read_amount(reference, "reference"),
                None if time is None else read_time(time),
                None if previous_close is None else read_amount(previous_close, "previous_close"),
                day,
                widened,
            )
        )

    def fees(self, side: str | int, price: Price, quantity: int, commission_rate: Price | float | None = None) -> Fees:
        """Return what an order filled at `price` pays; a commission rate above the legal cap is charged as the cap."""
        if self.fee_table is None:
            raise InputError(f"the fees of {self.name} on {self.date} are not in the tables. Take a later date.")
        shares = read_whole(quantity, "quantity")
        rate = None if commission_rate is None else read_amount(commission_rate, "commission_rate", zero=True)
        if shares == 0:
            raise InputError("quantity 0 pays no fees. Allowed: 1, 2, ...")
        return self.fee_table.charge(read_side(side), read_amount(price, "price") * shares, rate)

    def quantity_allowed(self, side: str | int, quantity: int, holding: int = 0, *, market: bool = False) -> bool:
        """Return whether an order of that size may be sent. `holding` tells what remainder a sale may carry away."""
        try:
            shares = read_whole(quantity, "quantity")
        except InputError:
            return False
        return self.lots.allows(read_side(side), shares, read_whole(holding, "holding"), market=market)

    def sellable(self, holding: int, bought_today: int) -> int:
        """Return how much of a holding may be sold today."""
        held, bought = read_whole(holding, "holding"), read_whole(bought_today, "bought_today")
        return max(held - bought, 0) if self.t_plus_one else held

    def tick_size(self, price: Price, *, quoted_spread: Price | None = None) -> Decimal:
        """Return the price step at `price`; 0 where any price goes. `quoted_spread`: the stock's time-weighted mean."""
        return self.tick_table(quoted_spread).tick(read_amount(price, "price"))

    def tick_table(self, quoted_spread: Price | None = None) -> TickTable:
        """Return all price steps; `quoted_spread` as in `tick_size`."""
        if self.half_cent is None or quoted_spread is None:
            return self.ticks
        least, widest = self.half_cent
        if read_amount(quoted_spread, "quoted_spread", zero=True) > widest:
            return self.ticks
        steps = tuple((end, min(tick, least)) for end, tick in self.ticks.steps)
        return TickTable(steps, self.ticks.inclusive)

    def access_fee_cap(self, price: Price) -> Decimal | None:
        """Return the most that a venue may charge per share for taking liquidity at `price`; None: no cap."""
        value = read_amount(price, "price")
        return None if self.access_fee is None else self.access_fee.most_at(value)

    def market_halt(self, previous_close: Price, last: Price, time: Time, fired: Iterable[object] = ()) -> Halt | None:
        """Return the market-wide halt that an index at `last` calls for.

        `fired` holds the levels that halted the market earlier today, as numbers (1 is the mildest), `Halt`s or
        per cents. Where a move passes several levels at once the highest counts, and the lower ones are spent.
        """
        close, now = read_amount(previous_close, "previous_close"), read_amount(last, "last")
        clock = read_time(time)
        if self.breaker is None:
            return None
        spent = read_fired(fired, tuple(level.fraction for level in self.breaker.levels))
        return self.breaker.halt(close, now, clock, spent)

    def short_sale_restricted(self, previous_close: Price, low: Price) -> bool:
        """Return whether the day's `low` restricts short sales to prices above the best bid, today and tomorrow."""
        close, lowest = read_amount(previous_close, "previous_close"), read_amount(low, "low")
        return self.short_fall is not None and lowest <= close * (1 - self.short_fall)

    def stock_pause(
        self, opening: Price, last: Price, time: Time, *, listing_day: int, fired: Iterable[object] = ()
    ) -> Halt | None:
        """Return the pause of one stock without limits (China) that `last` calls for; `fired` as in `market_halt`."""
        first, now, clock = read_amount(opening, "opening"), read_amount(last, "last"), read_time(time)
        rule, day = self.pauses, read_listing_day(listing_day)
        if rule is None or day > rule.days or clock >= dt.time.fromisoformat(rule.latest):
            return None
        spent = read_fired(fired, rule.thresholds)
        for number in range(len(rule.thresholds), max(spent, default=0), -1):
            move = rule.thresholds[number - 1]
            if now >= first * (1 + move) or now <= first * (1 - move):
                return Halt(rule.minutes, number)
        return None

    def order_band(self, side: str | int, reference: Price) -> Limits:
        """Return the lowest and highest price of an order in continuous trading (None: no bound on that side).

        `reference` is the best opposite price, else the best own price, else the last trade.
        """
        if self.collar is None:
            return (None, None)
        price, sign = read_amount(reference, "reference"), read_side(side)
        tick = self.ticks.tick(price)
        edge = half_up(price * (1 + sign * self.collar.fraction), tick)
        wide = price + sign * self.collar.ticks * tick
        return (None, max(edge, wide)) if sign > 0 else (max(min(edge, wide), tick), None)  # type: ignore[return-value]

    def quote_step(self, price: Price) -> Decimal | None:
        """Return how far a special quote moves at each renewal (Tokyo), or None."""
        value = read_amount(price, "price")
        return next((step for below, step in self.quote_steps if below is None or value < below), None)

    def special_quote(self, price: Price, side: str | int, limits: Limits = (None, None)) -> Decimal | None:
        """Return the special quote that follows `price`, the last trade or the quote so far; None where there is none.

        It lies a step away, up for "buy", on the tick (not further than the step) and not beyond the daily `limits`.
        """
        value, sign, step = read_amount(price, "price"), read_side(side), self.quote_step(price)
        if step is None:
            return None
        quote = max(value + sign * step, self.ticks.tick(Decimal(0)))
        tick = self.ticks.tick(quote)
        quote = quote - quote % tick if sign > 0 else up(quote, tick)
        lower, upper = limits
        quote = quote if lower is None else max(quote, lower)
        return quote if upper is None else min(quote, upper)

    def widened(self, days_at_limit: int) -> bool | str:
        """Return the side whose daily limit is widened today, for `price_band`.

        `days_at_limit` counts the days in a row before today that ended at the upper limit without trading; below 0:
        at the lower limit.
        """
        if self.widen_after is None or abs(days_at_limit) < self.widen_after:
            return False
        return "upper" if days_at_limit > 0 else "lower"

    def after_hours_allowed(self, side: str | int, limit: Price, close: Price) -> bool:
        """Return whether a limit order may trade after hours, where every trade is at the `close`."""
        price, closing = read_amount(limit, "limit"), read_amount(close, "close")
        fixed = any(part.kind == "fixed_price" for part in self.sessions)
        return fixed and (price >= closing if read_side(side) > 0 else price <= closing)

    def session(self, time: Time) -> str:
        """Return what happens at a time of the day: auction, continuous, fixed_price, break or closed."""
        clock = read_time(time)
        for part in self.sessions:
            if dt.time.fromisoformat(part.start) <= clock < dt.time.fromisoformat(part.end):
                return part.kind
        return "closed" if self.sessions else "continuous"
