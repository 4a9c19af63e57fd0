"""The plain twin of the venue's rules: what a rulebook in decimals says of every message, trade and phase of a log."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from difffinance.config import MarketConfig
from difffinance.market import reasons
from difffinance.market.enforcement import daily_limits, exact, local_time, trading_day
from difffinance.market.matching import LIMIT
from difffinance.market.rulebooks.parts import Halt
from difffinance.market.rules import get_rulebook
from difffinance.market.supervision import (
    CLOSED,
    CLOSING_AUCTION,
    FIXED_PRICE,
    LIMIT_STATE,
    OPEN,
    PAUSED,
    REOPENING,
    SPECIAL_QUOTE,
)
from difffinance.simulation.audit_quote import QuoteAudit

_SECOND = 1_000_000_000


class VenueAudit:
    """Follows a day by its log. `check(good, what)` counts what is wrong; `book` is the plain order book."""

    def __init__(self, market: MarketConfig, book: Any, check: Callable[[bool, str], None]) -> None:
        self.market, self.book, self.check = market, book, check
        self.rulebook = get_rulebook(market.rulebook, market.date, half_cent_from=market.half_cent_from)
        self.tick, self.close = exact(market.tick_size), exact(market.start_price)
        self.daily = daily_limits(market, self.rulebook, self.close)
        self.day = trading_day(self.rulebook, market.opening_auction_seconds)
        self.end = next(part[1] for part in reversed(self.day) if part[3] != "fixed_price") * _SECOND
        self.phase, self.since, self.resume = OPEN, 0, 0
        self.last, self.low = self.close, self.close
        self.fired: list[Halt] = []
        self.opening: Decimal | None = None
        self.paused: list[Halt] = []  # of a new listing
        self.trades: deque[tuple[int, Decimal]] = deque()
        self.lasts: deque[tuple[int, Decimal]] = deque([(-1, self.close)])
        self.second, self.mean, self.mean_set = 0, Fraction(self.close), -30
        self.band: tuple[Decimal, Decimal] | None = None
        self.cooling_until, self.owed, self.traded = 0, "", False
        self.paid: dict[int, tuple[Decimal, Decimal]] = {}  # value and fees of each order so far
        self.quotes = QuoteAudit(self.rulebook, self.tick, self.daily, book) if self.rulebook.quote_steps else None

    def carry_on(self, ts: int) -> None:
        """Let the seconds up to `ts` pass."""
        while (self.second + 1) * _SECOND <= ts:
            self.second += 1
            while self.trades and self.trades[0][0] < (self.second - 300) * _SECOND:
                self.trades.popleft()
            while len(self.lasts) > 1 and self.lasts[1][0] < (self.second - 300) * _SECOND:
                self.lasts.popleft()
            if self.phase == OPEN and self.cooling_until <= self.second * _SECOND:
                self._set_band()
            if self.market.index_path:
                self._heed_breaker(self.second * _SECOND)

    def _set_band(self) -> None:
        clock, book = local_time(self.day, self.second), self.rulebook
        reference = self.lasts[0][1]
        if book.limit_state:
            if self.trades and self.second - self.mean_set >= 30:
                mean = Fraction(sum(price for _, price in self.trades)) / len(self.trades)
                if abs(mean - self.mean) * 100 >= self.mean:
                    self.mean, self.mean_set = mean, self.second
            reference = Decimal(self.mean.numerator) / Decimal(self.mean.denominator)
        elif book.cooling_seconds is None:
            return
        lower, upper = book.price_band(reference, time=clock, previous_close=self.close)
        self.band = None if lower is None or upper is None else (lower, upper)

    def change_phase(self, ts: int, phase: int, price: int, side: int) -> None:
        """Judge a change of phase that the log holds; price and side are those of a special quote."""
        self.carry_on(ts)
        state, opening = self.rulebook.limit_state, 0
        if phase == PAUSED:
            due = state is not None and self.phase == LIMIT_STATE and ts == self.since + state.state_seconds * _SECOND
            self.check(due or self.owed == f"pause at {ts}", "paused without a reason")
            if not self.owed and state is not None:
                self.resume = ts + state.pause_seconds * _SECOND
        elif phase == LIMIT_STATE:
            self.check(self.phase == OPEN and self._at_limit(), "limit state without a reason")
        elif phase == REOPENING:
            opening = round(self.market.reopening_seconds * _SECOND)
            if self.phase == OPEN:
                self.resume = self.market.opening_auction_seconds * _SECOND
                self.check(ts == 0 < self.resume, "an opening auction at another time")
            else:
                self.check(ts == max(self.since, self.resume - opening), "reopening auction at another time")
        elif phase == OPEN and self.phase == REOPENING:
            self.check(ts == self.resume, "trading resumed at another time")
        elif phase == OPEN and self.phase == SPECIAL_QUOTE:
            self.check(self.owed == f"open at {ts}", "a special quote ended without a match")
        elif phase == SPECIAL_QUOTE and self.quotes is not None:
            self.quotes.shown(ts, self.last, price, side, self.owed, self.check)
        elif phase == FIXED_PRICE:
            fixed = self.day[-1][3] == "fixed_price" and self.phase == CLOSING_AUCTION
            self.check(fixed and ts == self.end, "after-hours trading at another time")
            for order_id in list(self.book.orders):
                self.book.cancel(order_id)
        elif phase == CLOSED:
            self.check(
                ts == (self.end if self.phase == PAUSED else self.day[-1][1] * _SECOND), "closed at another time"
            )
        self.owed = ""
        if self.phase == REOPENING and phase == OPEN:
            self._reopen()
        self.phase, self.since = phase, ts
        if phase == SPECIAL_QUOTE and self.quotes is not None:
            self.owed = self.quotes.owed(ts, self.last)

    def uncross(self, ts: int) -> list[int]:
        """Trade the plain book's auction at the end of a call phase; return the prices in ticks."""
        self.carry_on(ts)
        start = len(self.book.trades)
        quoted = self.quotes if self.phase == SPECIAL_QUOTE else None
        price = None if quoted is None else quoted.balance_price(self.last)
        self.book.uncross(int(self.last / self.tick), price=price)
        for _, _, price, _ in self.book.trades[start:]:
            self.trade(ts, price, auction=True)
        return [row[2] for row in self.book.trades[start:]]

    def _reopen(self) -> None:
        traded = any(ts // _SECOND == self.second for ts, _ in self.trades)
        bid, ask = self.book.best_bid, self.book.best_ask
        self.mean = Fraction(self.last)
        if not traded and bid is not None and ask is not None:
            self.mean = Fraction(bid + ask, 2) * Fraction(self.tick)
        self.mean_set, self.band = self.second, None
        self.trades.clear()

    def order(self, ts: int, kind: int, side: int, price: int, quantity: int, held: int | None) -> None:
        """Judge an accepted order of a seat (`held`: what it has left to sell) or of the background (None)."""
        self.carry_on(ts)
        book, money = self.rulebook, price * self.tick
        self.check(not self.owed, "no halt where one was due")
        if self.phase == LIMIT_STATE and book.limit_state:
            self.check(ts < self.since + book.limit_state.state_seconds * _SECOND, "a limit state went on")
        self.check(self.phase not in (PAUSED, CLOSED), "an order was accepted in a halt")
        unit = exact(self.market.lot_size)
        shares, holding = quantity * unit, (held or 0) * unit
        self.check(book.quantity_allowed(side, int(shares), max(int(holding), 0)), "lot size")
        if kind == LIMIT and book.ticks.tick(money) > 0:
            spread = self.market.average_quoted_spread
            step = book.tick_size(money, quoted_spread=None if spread is None else exact(spread))
            self.check(money % step == 0, "tick size")
        after_hours = book.session(local_time(self.day, ts // _SECOND)) == "fixed_price"
        self.check(after_hours == (self.phase == FIXED_PRICE), "after-hours trading outside its hours")
        if self.phase == FIXED_PRICE:
            good = kind == LIMIT and book.after_hours_allowed(side, money, self.last)
            self.check(good, "an after-hours order worse than the close")
        if self.quotes is not None and self.phase == SPECIAL_QUOTE:
            self.check(not self.quotes.late(ts), "a special quote was not renewed")
        if ts < 0 or self.phase not in (OPEN, LIMIT_STATE):
            return
        bid, ask = self.book.best_bid, self.book.best_ask
        if kind == LIMIT and book.collar:
            reference = (ask if side > 0 else bid) or (bid if side > 0 else ask) or int(self.last / self.tick)
            lowest, highest = book.order_band(side, reference * self.tick)
            self.check((lowest is None or money >= lowest) and (highest is None or money <= highest), "order band")
        short = side < 0 and held is not None and quantity > held
        if short and (self.market.short_sales_restricted or book.short_sale_restricted(self.close, self.low)):
            self.check(kind == LIMIT and (bid is None or price > bid), "short sale at or below the best bid")

    def send(self, ts: int, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int) -> None:
        """Place an accepted order in the plain book: after hours at the close, short of a special quote."""
        at = int(self.last / self.tick) if self.phase == FIXED_PRICE else price
        if self.quotes is None or ts < 0 or self.phase != OPEN:
            self.book.place(kind, order_id, side, at, quantity, owner)
        elif self.quotes.place(self.last, kind, order_id, side, price, quantity, owner):
            self.owed = f"special quote at {ts}"

    def trade(self, ts: int, price: int, *, auction: bool = False) -> None:
        """Judge a trade and remember it."""
        money = price * self.tick
        if self.daily is not None:
            self.check(self.daily[0] <= money <= self.daily[1], "price limit")
        if ts < 0:
            return
        if self.band is not None and not auction:
            self.check(self.band[0] <= money <= self.band[1], "a trade outside the moving band")
        if self.phase == FIXED_PRICE:
            self.check(money == self.last, "an after-hours trade off the close")
        self.opening = money if self.opening is None else self.opening
        self.trades.append((ts, money))
        self.lasts.append((ts, money))
        self.last, self.low = money, min(self.low, money)
        self.traded = self.traded or not auction

    def settled(self, ts: int) -> None:
        """After a message: note which halt, limit state or end of a special quote the rulebook now calls for."""
        if self.phase == SPECIAL_QUOTE and self.quotes is not None:
            self.owed = self.quotes.owed(ts, self.last)
        if ts < 0 or self.phase not in (OPEN, LIMIT_STATE):
            return
        if self.traded:
            self._heed_breaker(ts)
            self._heed_listing(ts)
        self.traded = False
        if not self.owed and self.phase == OPEN and self._at_limit():
            self.owed = f"limit state at {ts}"

    def _heed_breaker(self, ts: int) -> None:
        """Note whether the market-wide breaker halts at `ts`: by the index, or by the instrument itself."""
        if self.phase not in (OPEN, LIMIT_STATE):
            return
        base, level = self.close, self.last
        if self.market.index_path:
            base = Decimal(1)
            level = [exact(value) for at, value in self.market.index_path if round(at * _SECOND) <= ts][-1]
        halt = self.rulebook.market_halt(base, level, local_time(self.day, ts // _SECOND), self.fired)
        if halt is not None:
            self.fired.append(halt)
            self.resume = ts + int(halt.minutes) * 60 * _SECOND if halt.minutes != "close" else 0
            self.owed = f"pause at {ts}"

    def _heed_listing(self, ts: int) -> None:
        """Note whether a new listing without limits has gone so far from its opening price that it pauses."""
        if self.owed or self.opening is None or self.market.listing_day is None:
            return
        clock, day = local_time(self.day, ts // _SECOND), self.market.listing_day
        halt = self.rulebook.stock_pause(self.opening, self.last, clock, listing_day=day, fired=self.paused)
        if halt is not None:
            self.paused.append(halt)
            self.resume = ts + int(halt.minutes) * 60 * _SECOND
            self.owed = f"pause at {ts}"

    def refused(self, ts: int, code: int) -> None:
        """Let the time of a refused message pass; in Hong Kong it may have started a cooling-off."""
        self.carry_on(ts)
        cooling = self.rulebook.cooling_seconds
        if code == reasons.MOVING_BAND and cooling is not None and self.cooling_until <= ts:
            self.cooling_until = ts + cooling * _SECOND

    def _at_limit(self) -> bool:
        if self.band is None or self.rulebook.limit_state is None:
            return False
        bid, ask = self.book.best_bid, self.book.best_ask
        lower, upper = -(-self.band[0] // self.tick), self.band[1] // self.tick
        return (bid is not None and bid >= upper) or (ask is not None and ask <= lower)

    def access_fee(self, price: int, quantity: int) -> Decimal:
        """Return what taking `quantity` lots at a price in ticks pays the venue."""
        fee, cap = exact(self.market.access_fee), self.rulebook.access_fee_cap(price * self.tick)
        return (fee if cap is None else min(fee, cap)) * quantity * exact(self.market.lot_size)

    def fees(self, order_id: int, side: int, value: int) -> Decimal:
        """Return what a trade adds to the fees of an order; `value` in ticks times lots."""
        before, paid = self.paid.get(order_id, (Decimal(0), Decimal(0)))
        worth = before + value * self.tick * exact(self.market.lot_size)
        total = self.rulebook.fees(side, worth, 1, exact(self.market.fee_bps) / 10_000).total
        self.paid[order_id] = (worth, total)
        return total - paid
