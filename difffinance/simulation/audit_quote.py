"""The plain twin of Tokyo's special quotes: which trade would jump, which quote is due, and when the orders balance."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from difffinance.market.matching import AUCTION, IMMEDIATE, LIMIT, MARKET
from difffinance.market.rulebooks.parts import Limits
from difffinance.market.rulebooks.rulebook import Rulebook

_SECOND = 1_000_000_000


class QuoteAudit:
    """Follows the special quotes of a day; `book` is the plain order book, `limits` the daily ones."""

    def __init__(self, rulebook: Rulebook, tick: Decimal, limits: Limits | None, book: Any) -> None:
        self.rulebook, self.tick, self.book = rulebook, tick, book
        self.limits: Limits = (None, None) if limits is None else limits
        self.quote, self.side, self.since = Decimal(0), 1, 0

    def place(self, last: Decimal, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int) -> bool:
        """Place an order in the plain book; return whether a special quote is due, under which the rest waits."""
        now, worst, beyond = 0, 0, None
        for at, shown in self._opposite(side, kind, price):
            if now >= quantity:
                break
            money, step = at * self.tick, self.rulebook.quote_step(last)
            if step is not None and abs(money - last) > step:
                beyond = money
                break
            now, worst, last = min(now + shown, quantity), at, money
        if beyond is None:
            self.book.place(kind, order_id, side, price, quantity, owner)
            return False
        if now > 0:
            self.book.place(IMMEDIATE, order_id, side, worst, now, owner)
            self.book.used.discard(order_id)
        self.book.set_phase(AUCTION)
        self.book.place(kind, order_id, side, price, quantity - now, owner)
        self.side = 1 if beyond > last else -1
        return True

    def _opposite(self, side: int, kind: int, price: int) -> list[tuple[int, int]]:
        """Return price and quantity of the levels that an order could trade with, best first."""
        best = self.book.best_ask if side > 0 else self.book.best_bid
        if best is None or (kind == LIMIT and side * (best - price) > 0):
            return []
        levels: Counter[int] = Counter()
        for order in self.book.orders.values():
            if order.side == -side and (kind != LIMIT or side * (order.price - price) <= 0):
                levels[order.price] += order.open
        return sorted(levels.items(), key=lambda level: side * level[0])

    def shown(
        self, ts: int, last: Decimal, price: int, side: int, owed: str, check: Callable[[bool, str], None]
    ) -> None:
        """Judge a quote that the log holds: the first, one that has turned, or one a step further."""
        begun, start = True, last
        if owed == f"turn at {ts}":
            self.side = -self.side
        elif owed != f"special quote at {ts}":
            start, begun = self.quote, False
            check(ts == self.since + (self.rulebook.quote_seconds or 0) * _SECOND, "a special quote at another time")
        due = self.rulebook.special_quote(start, self.side, self.limits)
        check(side == self.side and price * self.tick == due, "a special quote at another price")
        check(begun or due != self.quote, "a special quote beyond the daily limit")
        self.quote, self.since = price * self.tick, ts

    def late(self, ts: int) -> bool:
        """Return whether the quote should have moved on before `ts`."""
        at_limit = self.rulebook.special_quote(self.quote, self.side, self.limits) == self.quote
        return not at_limit and ts > self.since + (self.rulebook.quote_seconds or 0) * _SECOND

    def owed(self, ts: int, last: Decimal) -> str:
        """Return what the orders call for now: nothing, that trading goes on, or that the quote turns."""
        book, (bid, ask) = self.book, (self.book.best_bid, self.book.best_ask)
        crossed = bid is not None and ask is not None and bid >= ask
        if not crossed and not book.waiting[1] and not book.waiting[-1]:
            return f"open at {ts}"
        press, back = self._pressure(self.quote), self._back(last)
        if press == self.side:
            return ""
        turns = press == -self.side and self._pressure(back) == -self.side
        return f"turn at {ts}" if turns else f"open at {ts}"

    def balance_price(self, last: Decimal) -> int:
        """Return the price in ticks of the trades that end the quote: the quote, or the nearest one to it."""
        quote, back = (int(price / self.tick) for price in (self.quote, self._back(last)))
        if self._pressure(self.quote) == 0:
            return quote
        return sorted((quote, self.book.indicative(quote).price or 0, back))[1]

    def _back(self, last: Decimal) -> Decimal:
        return self.rulebook.special_quote(last, -self.side, self.limits) or last

    def _pressure(self, money: Decimal) -> int:
        """Return 0 where the three conditions of the itayose hold at a price, 1 where they do above it, -1 below.

        All market orders trade, all orders with better limits trade, and at the price itself those of one side.
        """
        orders = self.book.orders.values()
        demand, supply = self.book.crossing(int(money / self.tick))
        bids, asks = (
            sum(o.open for o in orders if o.side == side and o.kind != MARKET and o.price * self.tick == money)
            for side in (1, -1)
        )
        return 1 if demand - bids > supply else -1 if supply - asks > demand else 0
