"""The parts rulebooks are made of: price bands, fees, lots, ticks, halts, sessions. Frozen, exact in decimal.

A venue's file chooses parts by date and fills in their numbers; nothing here knows a venue. "Lower, upper" are
prices, fractions are of 1, times are local times of the venue.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from difffinance.errors import InputError
from difffinance.market.rulebooks.reading import half_up, up, within

CENT = Decimal("0.01")
Limits = tuple[Decimal, Decimal] | tuple[None, None]
FREE: Limits = (None, None)


@dataclass(frozen=True)
class BandQuestion:
    """What a price band may depend on. `listing_day` counts the trading days of a registration-system IPO from 1."""

    reference: Decimal
    time: dt.time | None = None
    previous_close: Decimal | None = None
    listing_day: int | None = None
    widened: bool | str = False


@dataclass(frozen=True)
class NoBand:
    """No price limit."""

    def limits(self, asked: BandQuestion) -> Limits:
        """Return no limits."""
        return FREE


@dataclass(frozen=True)
class PercentBand:
    """Previous close times (1 -+ fraction), half up to the tick, at least one tick away and never below one tick."""

    fraction: Decimal
    tick: Decimal = CENT
    free_days: int = 0  # first trading days of a listing that have no limit

    def limits(self, asked: BandQuestion) -> Limits:
        """Return the daily limits around the previous close `asked.reference`."""
        if asked.listing_day is not None and asked.listing_day <= self.free_days:
            return FREE
        close, tick = asked.reference, self.tick
        lower = max(min(half_up(close * (1 - self.fraction), tick), close - tick), tick)
        upper = max(half_up(close * (1 + self.fraction), tick), close + tick)
        return lower, upper


@dataclass(frozen=True)
class StepBand:
    """Limits in money by the height of the base price: `steps` are (base price below, limit), the last one open."""

    steps: tuple[tuple[Decimal | None, Decimal], ...]
    ticks: "TickTable"
    widening: int = 4

    def limit(self, base: Decimal) -> Decimal:
        """Return the limit that belongs to a base price."""
        return next(limit for below, limit in self.steps if below is None or base < below)

    def limits(self, asked: BandQuestion) -> Limits:
        """Return base price -+ limit, the widened side with `widening` times the limit; never below the lowest price.

        The exchange's notices round a widened upper limit up to the tick of its price.
        """
        base, limit = asked.reference, self.limit(asked.reference)
        wide_lower, wide_upper = asked.widened in (True, "lower"), asked.widened in (True, "upper")
        lower = base - limit * (self.widening if wide_lower else 1)
        upper = base + limit * (self.widening if wide_upper else 1)
        if wide_upper:
            upper = up(upper, self.ticks.tick(upper))
        return max(lower, self.ticks.tick(Decimal(0))), upper


@dataclass(frozen=True)
class AveragePriceBand:
    """Bands around a mean price, their width by the height of the previous close (LULD plan)."""

    high: Decimal  # fraction above `high_from`
    doubled_high: bool  # whether bands above `high_from` double at the close too
    opening: tuple[str, str] | None  # doubled in the morning, until that ended
    middle: Decimal = Decimal("0.20")
    low_money: Decimal = Decimal("0.15")
    low: Decimal = Decimal("0.75")
    high_from: Decimal = Decimal("3.00")
    low_below: Decimal = Decimal("0.75")
    hours: tuple[str, str] = ("09:30", "16:00")
    closing: tuple[str, str] = ("15:35", "16:00")

    def factor(self, close: Decimal, time: dt.time | None) -> int:
        """Return 2 where the bands are doubled, else 1."""
        if time is None:
            return 1
        if self.opening and within(time, *self.opening) and time < dt.time.fromisoformat(self.opening[1]):
            return 2
        return 2 if within(time, *self.closing) and (self.doubled_high or close <= self.high_from) else 1

    def limits(self, asked: BandQuestion) -> Limits:
        """Return the bands around the mean `asked.reference`, half up to a cent; none outside regular hours."""
        if asked.time is not None and not within(asked.time, *self.hours):
            return FREE
        mean = asked.reference
        close = mean if asked.previous_close is None else asked.previous_close
        times = self.factor(close, asked.time)
        if close < self.low_below:
            width = min(self.low_money * times, self.low * times * mean)
        else:
            width = (self.high if close > self.high_from else self.middle) * times * mean
        return max(half_up(mean - width, CENT), Decimal(0)), half_up(mean + width, CENT)


@dataclass(frozen=True)
class TradeBand:
    """Bands around an earlier trade, not rounded, in force in `windows` (start, end), the end of the last excluded."""

    fraction: Decimal
    windows: tuple[tuple[str, str], ...]

    def limits(self, asked: BandQuestion) -> Limits:
        """Return the trade price `asked.reference` -+ fraction; none outside the windows."""
        last = dt.time.fromisoformat(self.windows[-1][1])
        if asked.time is not None and (asked.time >= last or not any(within(asked.time, *w) for w in self.windows)):
            return FREE
        return asked.reference * (1 - self.fraction), asked.reference * (1 + self.fraction)


Band = NoBand | PercentBand | StepBand | AveragePriceBand | TradeBand


class Fees(NamedTuple):
    """What one order pays, quote currency."""

    commission: Decimal
    stamp: Decimal
    handling: Decimal
    management: Decimal
    transfer: Decimal
    total: Decimal


@dataclass(frozen=True)
class FeeTable:
    """Fractions of value; each item is rounded half up to 0.01 (stamp duty up to `stamp_step` where it is given)."""

    stamp_buy: Decimal = Decimal(0)
    stamp_sell: Decimal = Decimal(0)
    handling: Decimal = Decimal(0)
    management: Decimal = Decimal(0)
    transfer: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)  # what brokers ask where the caller names no rate
    largest_commission: Decimal | None = None
    least_commission: Decimal = Decimal(0)
    stamp_step: Decimal | None = None

    def charge(self, side: int, value: Decimal, rate: Decimal | None) -> Fees:
        """Return the fees of an order worth `value`; a rate above the cap is charged as the cap."""
        rate = self.commission if rate is None else rate
        rate = rate if self.largest_commission is None else min(rate, self.largest_commission)
        duty = value * (self.stamp_buy if side > 0 else self.stamp_sell)
        commission = max(half_up(value * rate, CENT), self.least_commission)
        stamp = half_up(duty, CENT) if self.stamp_step is None else up(duty, self.stamp_step)
        handling, management, transfer = (
            half_up(value * share, CENT) for share in (self.handling, self.management, self.transfer)
        )
        total = commission + stamp + handling + management + transfer
        return Fees(commission, stamp, handling, management, transfer, total)


@dataclass(frozen=True)
class LotRule:
    """Orders of at least `least`, in steps of `step`, at most `most`; a remainder below `least` goes in one order."""

    least: int = 1
    step: int = 1
    most: int | None = None
    most_market: int | None = None  # for market orders, where it differs
    owned: bool = False  # only shares that are held can be sold

    def allows(self, side: int, quantity: int, holding: int, *, market: bool) -> bool:
        """Return whether an order's size is allowed. `holding` 0: not told, so no remainder is known."""
        most = self.most_market if market and self.most_market is not None else self.most
        if quantity <= 0 or (most is not None and quantity > most):
            return False
        if self.owned and side < 0 and 0 < holding < quantity:
            return False
        if quantity >= self.least and quantity % self.step == 0:
            return True
        if side > 0 or quantity > holding:
            return False
        if self.step > 1:  # the odd shares leave together, alone or with whole lots
            return quantity % self.step == holding % self.step
        return quantity == holding < self.least


@dataclass(frozen=True)
class TickTable:
    """Smallest price steps by price: `steps` are (price up to, tick), the last one open. `inclusive`: up to and at."""

    steps: tuple[tuple[Decimal | None, Decimal], ...]
    inclusive: bool = False

    def tick(self, price: Decimal) -> Decimal:
        """Return the tick at a price."""
        return next(tick for end, tick in self.steps if end is None or price < end or (self.inclusive and price == end))


@dataclass(frozen=True)
class AccessFeeCap:
    """The most a venue may charge per share for taking liquidity: `most`, or a share of prices below `below`."""

    most: Decimal
    share: Decimal
    below: Decimal = Decimal(1)

    def most_at(self, price: Decimal) -> Decimal:
        """Return the cap at a price."""
        return self.most if price >= self.below else price * self.share


class Halt(NamedTuple):
    """A stop of trading: its length in minutes or "close" (to the end of the day), and the level that was reached."""

    minutes: int | str
    level: int


@dataclass(frozen=True)
class Level:
    """One level of a breaker: `minutes` of halt before `until`, then `later` (None: no halt any more)."""

    fraction: Decimal
    minutes: int | str
    until: str | None = None
    later: str | None = None


@dataclass(frozen=True)
class Breaker:
    """Market-wide halts when an index has moved by the fraction of a level from its previous close."""

    levels: tuple[Level, ...]
    rises: bool  # a rise halts too
    hours: tuple[str, str]

    def halt(self, previous_close: Decimal, last: Decimal, time: dt.time, fired: frozenset[int]) -> Halt | None:
        """Return the halt that `last` calls for, of the highest level reached; a level below a fired one is spent."""
        if not within(time, *self.hours):
            return None
        move = (last - previous_close) / previous_close
        for number in range(len(self.levels), max(fired, default=0), -1):
            level = self.levels[number - 1]
            # Compared as prices: a quotient may be rounded.
            down = last <= previous_close * (1 - level.fraction)
            rise = self.rises and move > 0 and last >= previous_close * (1 + level.fraction)
            if not (down or rise):
                continue
            early = level.until is None or time < dt.time.fromisoformat(level.until)
            minutes = level.minutes if early else level.later
            if minutes is not None:
                return Halt(minutes, number)
        return None


def read_fired(given: Iterable[object], fractions: tuple[Decimal, ...]) -> frozenset[int]:
    """Return the numbers, from 1, of levels that were reached before; each a number, `Halt`, fraction or per cent."""
    names = {Decimal(name): n for n, move in enumerate(fractions, 1) for name in (n, move, move * 100)}
    try:
        if isinstance(given, str):
            raise TypeError
        values = [Decimal(str(level.level if isinstance(level, Halt) else level)) for level in given]
        return frozenset(names[value] for value in values)
    except (TypeError, KeyError, ArithmeticError):
        levels = ", ".join(str(n) for n in range(1, len(fractions) + 1))
        raise InputError(f"fired {given!r} names no levels. Allowed: some of {levels}, in a tuple.") from None


@dataclass(frozen=True)
class PauseRule:
    """Pauses of one stock on days without limits, when it has moved by a threshold from its opening price."""

    thresholds: tuple[Decimal, ...]
    minutes: int
    days: int  # first trading days of a listing
    latest: str  # a pause ends then at the latest


@dataclass(frozen=True)
class PriceCollar:
    """Order price band in continuous trading: buys at most 1 + fraction, sells at least 1 - fraction, of a reference.

    `ticks` steps if that is wider.
    """

    fraction: Decimal
    ticks: int = 0


@dataclass(frozen=True)
class LimitState:
    """A stock at its band: `state_seconds` to come back, then a pause of `pause_seconds` and a call auction."""

    state_seconds: int
    pause_seconds: int


@dataclass(frozen=True)
class Session:
    """A stretch of the day: `kind` is auction, continuous, break or fixed_price."""

    start: str
    end: str
    kind: str
