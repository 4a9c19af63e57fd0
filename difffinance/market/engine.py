"""Price-time-priority limit order book, compiled. Prices are integer ticks, quantities integer lots (int64).

A price level is an entry of an array over a window of ticks; its orders are a linked list inside the array of all
orders (the order id is the index), so adding, cancelling and filling touch a few cache lines and allocate nothing.
A bitmap of occupied levels finds the next best price. `market/reference.py` is the plain Python twin.

Kernels never grow an array: they stop before a message that needs room, `Book` makes room and goes on, so nothing
is lost. A book holds at most 2**31 - 1 orders in its life.
"""

from typing import Any, NamedTuple

import numpy as np

from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.compiled import inlined, kernel, leading_zeros, trailing_zeros
from difffinance.records import Array

ORDER = np.dtype(
    [("price", "i8"), ("quantity", "i8"), ("next", "i4"), ("previous", "i4"), ("owner", "i4"), ("side", "i4")]
)
LEVEL = np.dtype([("quantity", "i8"), ("first", "i4"), ("last", "i4")])
FILL = np.dtype([("maker", "i8"), ("taker", "i8"), ("price", "i8"), ("quantity", "i8")])
MESSAGE = np.dtype(
    [("kind", "i4"), ("side", "i4"), ("order_id", "i8"), ("price", "i8"), ("quantity", "i8"), ("owner", "i8")]
)

# Kinds of messages; numpy integers, so that numba does not compile a kernel again for each constant.
LIMIT: Any = np.int64(0)
CANCEL: Any = np.int64(1)
MARKET: Any = np.int64(2)

# Places in `top`, the book's scalars: best levels, window, price limits, prices seen, counters, next free id.
BID, ASK, BASE, WIDTH, LOW, HIGH, LOWEST, HIGHEST, LIVE, FILLS, NEXT = range(11)
MAX_SPAN = 1 << 26  # ticks between the lowest and the highest price a book admits: 1 GiB of levels
_FAR = np.int64(1) << 60

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_OK, _BAD_SIDE, _BAD_QUANTITY, _BAD_PRICE = reasons.OK, reasons.BAD_SIDE, reasons.BAD_QUANTITY, reasons.BAD_PRICE
_PRICE_LIMIT, _PRICE_SPAN, _REUSED_ID = reasons.PRICE_LIMIT, reasons.PRICE_SPAN, reasons.REUSED_ID
_UNKNOWN_ORDER, _NO_LIQUIDITY = reasons.UNKNOWN_ORDER, reasons.NO_LIQUIDITY


@inlined
def next_up(bits, index, width):  # type: ignore[no-untyped-def]
    """Return the lowest occupied level at or above `index`, or `width`."""
    word = index >> 6
    if word >= len(bits):
        return width
    rest = bits[word] >> np.uint64(index & 63)
    if rest != _ZERO:
        return index + trailing_zeros(rest)
    for word_above in range(word + 1, len(bits)):
        if bits[word_above] != _ZERO:
            return (word_above << 6) + trailing_zeros(bits[word_above])
    return width


@inlined
def next_down(bits, index):  # type: ignore[no-untyped-def]
    """Return the highest occupied level at or below `index`, or -1."""
    if index < 0:
        return -1
    word = index >> 6
    rest = bits[word] << np.uint64(63 - (index & 63))
    if rest != _ZERO:
        return index - leading_zeros(rest)
    for word_below in range(word - 1, -1, -1):
        if bits[word_below] != _ZERO:
            return (word_below << 6) + 63 - leading_zeros(bits[word_below])
    return -1


@inlined
def match(orders, levels, bits, top, fills, side, limit, quantity, taker):  # type: ignore[no-untyped-def]
    """Fill up to `quantity` against the other side up to level `limit`, oldest first; return what is left."""
    best = top[ASK] if side > 0 else top[BID]
    count = top[FILLS]
    while quantity > 0 and ((side > 0 and best <= limit) or (side < 0 and best >= limit)):
        level = levels[best]
        maker = level.first
        price = best + top[BASE]
        while quantity > 0 and maker >= 0:
            order = orders[maker]
            traded = min(order.quantity, quantity)
            quantity -= traded
            level.quantity -= traded
            order.quantity -= traded
            fill = fills[count]
            fill.maker, fill.taker, fill.price, fill.quantity = maker, taker, price, traded
            count += 1
            if order.quantity == 0:
                maker = order.next
                top[LIVE] -= 1
        if maker >= 0:
            level.first = maker
            orders[maker].previous = -1
        else:
            bits[best >> 6] &= ~(_ONE << np.uint64(best & 63))
            best = next_up(bits, best, top[WIDTH]) if side > 0 else next_down(bits, best)
    top[FILLS] = count
    if side > 0:
        top[ASK] = best
    else:
        top[BID] = best
    return quantity


@inlined
def place_limit(orders, levels, bits, top, fills, order_id, side, price, quantity, owner):  # type: ignore[no-untyped-def]
    """Match a limit order and rest what is left; return (reason, filled). `ready` must have said yes."""
    code = check_order(orders, top, order_id, side, quantity)
    if code == _OK:
        code = check_price(top, price)
    if code != _OK:
        return code, 0
    top[LOWEST] = min(top[LOWEST], price)
    top[HIGHEST] = max(top[HIGHEST], price)
    index = price - top[BASE]
    left = match(orders, levels, bits, top, fills, side, index, quantity, order_id)
    order = orders[order_id]
    order.price, order.quantity, order.owner, order.side = price, left, owner, side
    if left > 0:
        level, word, bit = levels[index], index >> 6, _ONE << np.uint64(index & 63)
        if bits[word] & bit:
            order.previous = level.last
            orders[level.last].next = order_id
            level.quantity += left
        else:
            bits[word] |= bit
            order.previous = -1
            level.first = order_id
            level.quantity = left
        order.next = -1
        level.last = order_id
        top[LIVE] += 1
        if side > 0:
            top[BID] = max(top[BID], index)
        else:
            top[ASK] = min(top[ASK], index)
    return _OK, quantity - left


@inlined
def place_market(orders, levels, bits, top, fills, order_id, side, quantity, owner):  # type: ignore[no-untyped-def]
    """Match a market order; what the book cannot fill is dropped and said so; return (reason, filled)."""
    code = check_order(orders, top, order_id, side, quantity)
    if code != _OK:
        return code, 0
    limit = top[WIDTH] - 1 if side > 0 else 0
    left = match(orders, levels, bits, top, fills, side, limit, quantity, order_id)
    order = orders[order_id]
    order.price, order.quantity, order.owner, order.side = 0, 0, owner, side
    return (_NO_LIQUIDITY if left > 0 else _OK), quantity - left


@inlined
def cancel(orders, levels, bits, top, order_id, quantity):  # type: ignore[no-untyped-def]
    """Take `quantity` (0: all) off a resting order, which keeps its priority; return (reason, cancelled)."""
    if quantity < 0:
        return _BAD_QUANTITY, 0
    if order_id < 0 or order_id >= len(orders) or orders[order_id].quantity == 0:
        return _UNKNOWN_ORDER, 0
    order = orders[order_id]
    index = order.price - top[BASE]
    level = levels[index]
    if 0 < quantity < order.quantity:
        order.quantity -= quantity
        level.quantity -= quantity
        return _OK, quantity
    gone, before, after = order.quantity, order.previous, order.next
    order.quantity = 0
    level.quantity -= gone
    top[LIVE] -= 1
    if before >= 0:
        orders[before].next = after
    else:
        level.first = after
    if after >= 0:
        orders[after].previous = before
    else:
        level.last = before
    if before < 0 and after < 0:
        bits[index >> 6] &= ~(_ONE << np.uint64(index & 63))
        if index == top[BID]:
            top[BID] = next_down(bits, index)
        elif index == top[ASK]:
            top[ASK] = next_up(bits, index, top[WIDTH])
    return _OK, gone


@inlined
def check_order(orders, top, order_id, side, quantity):  # type: ignore[no-untyped-def]
    """Return why an order cannot be taken whatever its price."""
    if side != 1 and side != -1:
        return _BAD_SIDE
    if quantity <= 0:
        return _BAD_QUANTITY
    if orders[order_id].side != 0:
        return _REUSED_ID
    return _OK


@inlined
def check_price(top, price):  # type: ignore[no-untyped-def]
    """Return why a limit price cannot be taken."""
    if price <= 0:
        return _BAD_PRICE
    if price < top[LOW] or price > top[HIGH]:
        return _PRICE_LIMIT
    if max(price, top[HIGHEST]) - min(price, top[LOWEST]) >= MAX_SPAN:
        return _PRICE_SPAN
    return _OK


@inlined
def ready(orders, top, fills, order_id, price):  # type: ignore[no-untyped-def]
    """Return whether the arrays have room for an order: its id, its price (0: none) and every fill it could make."""
    if order_id < 0 or order_id >= len(orders) or top[FILLS] + top[LIVE] > len(fills):
        return False
    return price <= 0 or 0 <= price - top[BASE] < top[WIDTH] or check_price(top, price) != _OK


@kernel
def run_messages(orders, levels, bits, top, fills, messages, start, codes, done):  # type: ignore[no-untyped-def]
    """Process messages from `start`; stop before one that needs room; return how far it came."""
    for i in range(start, len(messages)):
        m = messages[i]
        if m.kind == CANCEL:
            codes[i], done[i] = cancel(orders, levels, bits, top, m.order_id, m.quantity)
            continue
        if not ready(orders, top, fills, m.order_id, m.price if m.kind == LIMIT else 0):
            return i
        top[NEXT] = max(top[NEXT], m.order_id + 1)
        if m.kind == LIMIT:
            codes[i], done[i] = place_limit(
                orders, levels, bits, top, fills, m.order_id, m.side, m.price, m.quantity, m.owner
            )
        else:
            codes[i], done[i] = place_market(orders, levels, bits, top, fills, m.order_id, m.side, m.quantity, m.owner)
    return len(messages)


@kernel
def read_depth(levels, bits, top, out):  # type: ignore[no-untyped-def]
    """Fill `out` (2, L, 2) with (price, quantity) of the best bid and ask levels; 0 where there is none."""
    index = top[BID]
    for k in range(out.shape[1]):
        out[0, k, 0] = out[0, k, 1] = 0
        if index >= 0:
            out[0, k, 0], out[0, k, 1] = index + top[BASE], levels[index].quantity
            index = next_down(bits, index - 1)
    index = top[ASK]
    for k in range(out.shape[1]):
        out[1, k, 0] = out[1, k, 1] = 0
        if index < top[WIDTH]:
            out[1, k, 0], out[1, k, 1] = index + top[BASE], levels[index].quantity
            index = next_up(bits, index + 1, top[WIDTH])


class Outcome(NamedTuple):
    """What became of one message: the reason (0 is good), the order's id, and lots filled or cancelled."""

    code: int
    order_id: int
    quantity: int


class Book:
    """The order book. `low` and `high` are the daily price limits in ticks; ids are given out in sequence."""

    def __init__(self, *, low: int | None = None, high: int | None = None, capacity: int = 1024) -> None:
        self.orders = np.zeros(capacity, ORDER)
        self.fills_buffer = np.zeros(capacity, FILL)
        self.levels = np.zeros(64, LEVEL)
        self.bits = np.zeros(1, np.uint64)
        self.top = np.array([-1, 64, 0, 64, low or 1, high or _FAR, _FAR, -_FAR, 0, 0, 0], np.int64)
        self._windowed = False

    def limit(self, side: int, price: int, quantity: int, *, owner: int = 0) -> Outcome:
        """Place a limit order."""
        return self._send(LIMIT, int(self.top[NEXT]), side, price, quantity, owner)

    def market(self, side: int, quantity: int, *, owner: int = 0) -> Outcome:
        """Place a market order."""
        return self._send(MARKET, int(self.top[NEXT]), side, 0, quantity, owner)

    def cancel(self, order_id: int, quantity: int = 0) -> Outcome:
        """Cancel `quantity` lots of a resting order; 0 cancels it whole."""
        return self._send(CANCEL, order_id, 0, 0, quantity, 0)

    def _send(self, kind: int, order_id: int, side: int, price: int, quantity: int, owner: int) -> Outcome:
        codes, done = self.run(np.array([(kind, side, order_id, price, quantity, owner)], MESSAGE))
        return Outcome(int(codes[0]), order_id, int(done[0]))

    def run(self, messages: Array) -> tuple[Array, Array]:
        """Process a stream of `MESSAGE` rows; return each one's reason and quantity filled or cancelled."""
        codes, done = np.empty(len(messages), np.int8), np.empty(len(messages), np.int64)
        at = 0
        while True:
            at = run_messages(
                self.orders, self.levels, self.bits, self.top, self.fills_buffer, messages, at, codes, done
            )
            if at == len(messages):
                break
            row = messages[at]
            self.make_room(int(row["order_id"]), int(row["price"]) if row["kind"] == LIMIT else 0)
        return codes, done

    def make_room(self, order_id: int, price: int = 0) -> None:
        """Grow whatever an order with this id and price (0: none) needs."""
        if not 0 <= order_id < 2**31 - 1:
            raise InputError(f"order id {order_id} is not allowed. Allowed: 0 to 2147483646.")
        if order_id >= len(self.orders):
            self.orders = _longer(self.orders, max(2 * len(self.orders), order_id + 1))
        need = int(self.top[FILLS] + self.top[LIVE])
        if need > len(self.fills_buffer):
            self.fills_buffer = _longer(self.fills_buffer, 2 * need)
        if price > 0 and not 0 <= price - self.top[BASE] < self.top[WIDTH]:
            self.cover(price, price)

    def cover(self, lowest: int, highest: int) -> None:
        """Make the window of levels reach from `lowest` to `highest` ticks, with as much again to spare."""
        base, width = int(self.top[BASE]), int(self.top[WIDTH])
        low, high = (min(base, lowest), max(base + width, highest + 1)) if self._windowed else (lowest, highest + 1)
        spare = max((high - low) // 2, 256)
        low = max(low - (spare if lowest < base or not self._windowed else 0), 0) & ~63
        high = (high + (spare if highest >= base + width or not self._windowed else 0) + 63) & ~63
        levels, bits = np.zeros(high - low, LEVEL), np.zeros((high - low) >> 6, np.uint64)
        shift = base - low
        if self._windowed:
            levels[shift : shift + width] = self.levels
            bits[shift >> 6 : (shift + width) >> 6] = self.bits
        self.top[BID] += shift if self.top[BID] >= 0 else 0
        self.top[ASK] = self.top[ASK] + shift if self.top[ASK] < width else high - low
        self.top[BASE], self.top[WIDTH] = low, high - low
        self.levels, self.bits, self._windowed = levels, bits, True

    def depth(self, levels: int) -> Array:
        """Return (2, L, 2): price and quantity of the best bid and ask levels, 0 where there is none."""
        out = np.zeros((2, levels, 2), np.int64)
        read_depth(self.levels, self.bits, self.top, out)
        return out

    @property
    def fills(self) -> Array:
        """The trade log so far: maker, taker, price, quantity."""
        return self.fills_buffer[: self.top[FILLS]]

    @property
    def best_bid(self) -> int | None:
        """Highest bid in ticks."""
        return int(self.top[BID] + self.top[BASE]) if self.top[BID] >= 0 else None

    @property
    def best_ask(self) -> int | None:
        """Lowest ask in ticks."""
        return int(self.top[ASK] + self.top[BASE]) if self.top[ASK] < self.top[WIDTH] else None


def _longer(array: Array, length: int) -> Any:
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer
