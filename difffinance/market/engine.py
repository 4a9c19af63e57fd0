"""The order book: price-time priority, every kind of order, call auctions; compiled. `market/reference.py` is its twin.

Prices are integer ticks, quantities integer lots (int64). Kernels never grow an array: they stop before a message
that needs room, `Book` makes room and goes on, so nothing is lost. A book holds at most 2**31 - 1 orders in its life.

`layout` has the arrays, `matching` the kinds of orders, `auction` the uncross, `stream` the fast loop for plain
limit, cancel and market messages; all of them work on the same arrays.
"""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.auction import indicative, set_phase, uncross
from difffinance.market.compiled import lean_kernel
from difffinance.market.depth import recording
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    CROWD,
    FILL,
    FILLS,
    HIDDEN_ASK,
    HIDDEN_BID,
    HIGH,
    HIGHEST,
    LEVEL,
    LIVE,
    LOG,
    LOGGED,
    LOW,
    LOWEST,
    NEXT,
    ORDER,
    RESERVE,
    SELF_TRADE,
    TIPS,
    WIDTH,
    Tables,
    lined_up,
    longer,
    read_depth,
)
from difffinance.market.matching import (
    CANCEL,
    CONTINUOUS,
    DECREMENT,
    HALTED,
    ICEBERG,
    LIMIT,
    MARKET,
    NO_PREVENTION,
    REPLACE,
    cancel,
    check_price,
    place,
    ready,
    replace,
)
from difffinance.market.stream import plain, run_plain
from difffinance.records import Array

MESSAGE = np.dtype(
    [("kind", "i1"), ("side", "i1"), ("order_id", "i8"), ("price", "i8"), ("quantity", "i8"), ("display", "i8"),
     ("owner", "i4")]
)  # fmt: skip
_FAR = np.int64(1) << 60
IDS = 2**31 - 1  # orders of one book, ids from 0 on


class Messages(NamedTuple):
    """A stream of messages as columns of equal length, in the types of `MESSAGE`: what the kernels read fastest."""

    kind: Any
    side: Any
    order_id: Any
    price: Any
    quantity: Any
    display: Any
    owner: Any


def columns(rows: Array) -> Messages:
    """Return `MESSAGE` rows as columns."""
    return Messages(*(np.ascontiguousarray(rows[name]) for name in Messages._fields))


@lean_kernel
def run_messages(book, messages, start, codes, done, refused, recording):  # type: ignore[no-untyped-def]
    """Process messages of all kinds from `start`; stop before one that needs room; return how far it came.

    `recording` is None or a `Recording` of the depth after each message.
    """
    top = book.top
    for i in range(start, len(messages.kind)):
        kind, side, order_id = np.int64(messages.kind[i]), np.int64(messages.side[i]), messages.order_id[i]
        price, quantity = messages.price[i], messages.quantity[i]
        if kind == CANCEL:
            code, count = cancel(book, order_id, quantity)
        elif kind == REPLACE:
            if not ready(book, 0, price):
                return i
            code, count = replace(book, order_id, price, quantity)
        else:
            if not ready(book, order_id, 0 if kind == MARKET else price):
                return i
            top[NEXT] = max(top[NEXT], order_id + 1)
            owner = np.int64(messages.owner[i])
            code, count = place(book, kind, order_id, side, price, quantity, messages.display[i], owner)
        codes[i], done[i] = code, count
        if code != reasons.OK:
            refused[code] += 1
        if recording is not None:
            read_depth(book, recording.rows[i])
    return len(messages.kind)


class Outcome(NamedTuple):
    """What became of one message: the reason (0 is good), the order's id, and lots filled or cancelled."""

    code: int
    order_id: int
    quantity: int


class Indication(NamedTuple):
    """An auction's price in ticks (None: nothing can trade), its volume, and the surplus (positive: demand) in lots."""

    price: int | None
    volume: int
    surplus: int


class Book:
    """The order book. `low` and `high` are the daily price limits in ticks; ids are given out in sequence.

    `self_trade` is a policy of `matching` (NO_PREVENTION, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT), `crowd` the owner
    that stands for many and may trade with itself. `logged` keeps every change of the book in `log`.
    """

    def __init__(
        self,
        *,
        low: int | None = None,
        high: int | None = None,
        capacity: int = 1024,
        self_trade: int = NO_PREVENTION,
        crowd: int = -1,
        logged: bool = False,
    ) -> None:
        capacity = _whole("capacity", capacity, 0, IDS)
        lowest, highest = _whole("low", low or 1, 1, int(_FAR)), _whole("high", high or int(_FAR), 1, int(_FAR))
        if lowest > highest:
            raise InputError(f"low is {lowest} and high is {highest}. Allowed: low at or below high.")
        self_trade, crowd = _whole("self_trade", self_trade, 0, DECREMENT), _whole("crowd", crowd, -IDS, IDS)
        self.orders, self.reserves = lined_up(capacity, ORDER), lined_up(capacity, RESERVE)
        self.fills_buffer = lined_up(capacity, FILL)
        self.log_buffer = np.zeros(4 * capacity if logged else 0, LOG)
        self.levels, self.bits, self.waiting = np.zeros((4, 64), LEVEL), np.zeros((4, 1), np.uint64), np.zeros(2, LEVEL)
        self.top = np.zeros(CROWD + 1, np.int64)
        self.top[[BID, HIDDEN_BID]], self.top[[ASK, HIDDEN_ASK, WIDTH]] = -1, 64
        self.top[[LOW, HIGH, LOWEST, HIGHEST]] = lowest, highest, _FAR, -_FAR
        self.top[[SELF_TRADE, CROWD]] = self_trade, crowd
        self.refused = np.zeros(len(reasons.NAMES), np.int64)  # counted by reason

    @property
    def tables(self) -> Tables:
        """The arrays that kernels take."""
        return Tables(
            self.orders, self.reserves, self.levels, self.bits, self.waiting, self.top, self.fills_buffer,
            self.log_buffer,
        )  # fmt: skip

    def limit(self, side: int, price: float, quantity: float, *, owner: int = 0, kind: int = LIMIT) -> Outcome:
        """Place a limit order; `kind` may also be IMMEDIATE, FILL_OR_KILL, POST_ONLY or HIDDEN."""
        return self._send(kind, int(self.top[NEXT]), side, price, quantity, owner)

    def market(self, side: int, quantity: float, *, owner: int = 0) -> Outcome:
        """Place a market order."""
        return self._send(MARKET, int(self.top[NEXT]), side, 0, quantity, owner)

    def iceberg(self, side: int, price: float, quantity: float, display: float, *, owner: int = 0) -> Outcome:
        """Place an iceberg that shows at most `display` lots at a time."""
        return self._send(ICEBERG, int(self.top[NEXT]), side, price, quantity, owner, display)

    def cancel(self, order_id: int, quantity: float = 0) -> Outcome:
        """Cancel `quantity` lots of a resting order; 0 cancels it whole."""
        return self._send(CANCEL, order_id, 0, 0, quantity, 0)

    def replace(self, order_id: int, price: float, quantity: float) -> Outcome:
        """Give a resting order a new price and a new open quantity, see `matching.replace`."""
        return self._send(REPLACE, order_id, 0, price, quantity, 0)

    def _send(
        self, kind: int, order_id: int, side: int, price: float, quantity: float, owner: int, display: float = 0
    ) -> Outcome:
        code = unreadable(kind, side, order_id, owner) or off_grid(price, quantity, display)
        if code != reasons.OK:
            self.refused[code] += 1
            return Outcome(code, order_id, 0)
        row = (kind, side, order_id, int(price), int(quantity), int(display), owner)
        codes, done = self.run(np.array([row], MESSAGE))
        return Outcome(int(codes[0]), order_id, int(done[0]))

    def run(self, messages: Array | Messages) -> tuple[Array, Array]:
        """Process a stream (`MESSAGE` rows or columns); return each one's reason and quantity filled or cancelled.

        A new order whose id is below 0, not below 2**31 - 1, or so high that there is no memory for all ids up to it,
        is refused as `bad_id`.
        """
        if not isinstance(messages, Messages) and getattr(messages, "dtype", None) != MESSAGE:
            raise InputError(f"messages are {type(messages)}. Allowed: an array of `engine.MESSAGE`, or `Messages`.")
        stream = messages if isinstance(messages, Messages) else columns(messages)
        codes, done = np.empty(len(stream.kind), np.int8), np.empty(len(stream.kind), np.int64)
        self.process(stream, codes, done)
        return codes, done

    def process(self, messages: Messages, codes: Array, done: Array, depth: Array | None = None) -> None:
        """Do what `run` does, writing into `codes` (int8) and `done` (int64).

        `depth` (messages, 2, L, 2) takes the depth after every message; its integers may be short where they suffice.
        """
        lengths = [len(column) for column in (*messages, codes, done, *(() if depth is None else (depth,)))]
        if set(lengths) != {len(codes)}:  # kernels write as far as there are messages
            raise InputError(f"columns, codes, done and depth must have equal lengths; got {lengths}.")
        if depth is not None and depth.dtype != np.int64:
            self._check_depth(messages, depth)
        taken = None if depth is None else recording(depth)
        at, fast = 0, plain(self.tables)
        while True:
            run = run_plain if fast else run_messages
            at = run(self.tables, messages, at, codes, done, self.refused, taken)
            if at == len(codes):
                return
            kind, order_id, price = (int(column[at]) for column in (messages.kind, messages.order_id, messages.price))
            if fast and kind not in (LIMIT, CANCEL, MARKET):
                fast = False
                continue
            if kind != REPLACE and not self._takes(order_id):
                codes[at], done[at] = reasons.BAD_ID, 0
                self.refused[reasons.BAD_ID] += 1
                if depth is not None:
                    read_depth(self.tables, depth[at])
                at += 1
                continue
            self.make_room(0 if kind == REPLACE else order_id, 0 if kind == MARKET else price)
            fast = fast and plain(self.tables)

    def _takes(self, order_id: int) -> bool:
        """Return whether there is room for an order of this id, or could be made."""
        if not 0 <= order_id < IDS:
            return False
        try:
            self._grow_orders(order_id + 1)
        except MemoryError:
            return False
        return True

    def _grow_orders(self, orders: int) -> None:
        self.orders, self.reserves = longer(self.orders, orders), longer(self.reserves, orders)

    def _check_depth(self, messages: Messages, depth: Array) -> None:
        most = float(messages.quantity.sum(dtype=float) + self.orders["quantity"].sum(dtype=float))
        if max(most, float(messages.price.max(initial=0))) > np.iinfo(depth.dtype).max:
            raise InputError(f"depth of {depth.dtype} could not hold these prices and quantities. Allowed: int64.")

    def set_phase(self, phase: int) -> int:
        """Change the phase (CONTINUOUS, AUCTION, HALTED), see `auction.set_phase`; return the reason."""
        return int(set_phase(self.tables, check_phase(phase)))

    def indicative(self, reference: int = 0) -> Indication:
        """Return what an uncross would do now; `reference` is the last traded price in ticks."""
        price, volume, surplus = indicative(self.tables, check_reference(reference))
        return Indication(int(price) or None, int(volume), int(surplus))

    def uncross(self, reference: int = 0) -> Indication:
        """Let the auction trade at its price, see `auction.uncross`; the phase stays."""
        self.make_room(0)
        price, volume, surplus = uncross(self.tables, check_reference(reference))
        return Indication(int(price) or None, int(volume), int(surplus))

    def make_room(self, order_id: int, price: int = 0) -> None:
        """Grow whatever an order with this id and price (0: none) needs."""
        if not 0 <= order_id < IDS:
            raise InputError(f"order id {order_id} is not allowed. Allowed: 0 to {IDS - 1}.")
        self.grow(order_id + 1)
        outside = not 0 <= price - self.top[BASE] < self.top[WIDTH]
        if outside and check_price.py_func(self.top, price) == reasons.OK:  # what is refused needs no window
            self.cover(price, price)

    def grow(self, orders: int, messages: int = 0) -> None:
        """Make room for ids below `orders`, and for all fills and log rows of one order after `messages` plain ones."""
        self._grow_orders(orders)
        most = int(self.top[LIVE] + self.top[TIPS]) + messages
        self.fills_buffer = longer(self.fills_buffer, int(self.top[FILLS]) + most)
        if len(self.log_buffer):
            self.log_buffer = longer(self.log_buffer, int(self.top[LOGGED]) + 3 * most + 4 * (messages + 1))

    def cover(self, lowest: int, highest: int) -> None:
        """Make the window of levels reach from `lowest` to `highest` ticks, with as much again to spare."""
        base, width = int(self.top[BASE]), int(self.top[WIDTH])
        used = bool(self.top[LOWEST] <= self.top[HIGHEST])  # a window in which no order ever was is not kept
        low, high = (min(base, lowest), max(base + width, highest + 1)) if used else (lowest, highest + 1)
        spare = max((high - low) // 2, 256)
        low = max(low - (spare if lowest < base or not used else 0), 0) & ~63
        high = (high + (spare if highest >= base + width or not used else 0) + 63) & ~63
        levels, bits = np.zeros((4, high - low), LEVEL), np.zeros((4, (high - low) >> 6), np.uint64)
        shift = base - low
        if used:
            levels[:, shift : shift + width] = self.levels
            bits[:, shift >> 6 : (shift + width) >> 6] = self.bits
        top = self.top
        for row in (BID, HIDDEN_BID):
            top[row] += shift if top[row] >= 0 else 0
        for row in (ASK, HIDDEN_ASK):
            top[row] = top[row] + shift if top[row] < width else high - low
        top[BASE], top[WIDTH] = low, high - low
        self.levels, self.bits = levels, bits

    def depth(self, levels: int) -> Array:
        """Return (2, L, 2): price and quantity shown at the best bid and ask levels, 0 where there is none."""
        out = np.zeros((2, _whole("levels", levels, 0, IDS), 2), np.int64)
        read_depth(self.tables, out)
        return out

    @property
    def fills(self) -> Array:
        """The trade log so far: maker, taker, price, quantity. In an uncross the taker is the buyer."""
        return self.fills_buffer[: self.top[FILLS]]

    @property
    def log(self) -> Array:
        """Every change of the book so far, `LOG` rows: enough to rebuild it (`reference.rebuild`)."""
        return self.log_buffer[: self.top[LOGGED]]

    @property
    def best_bid(self) -> int | None:
        """Highest displayed bid in ticks."""
        return int(self.top[BID] + self.top[BASE]) if self.top[BID] >= 0 else None

    @property
    def best_ask(self) -> int | None:
        """Lowest displayed ask in ticks."""
        return int(self.top[ASK] + self.top[BASE]) if self.top[ASK] < self.top[WIDTH] else None


def check_phase(phase: int) -> int:
    """Return a phase that there is."""
    return _whole("phase", phase, CONTINUOUS, HALTED)


def check_reference(price: int) -> int:
    """Return an auction's reference price: whole ticks, 0 for none."""
    return _whole("reference", price, 0, int(_FAR))


def _whole(name: str, value: float, least: int, most: int) -> int:
    if not _fits(value, 2**62) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}. Allowed: whole numbers from {least} to {most}.")
    return int(value)


def unreadable(kind: float, side: float, order_id: float, owner: float) -> int:
    """Return why numbers do not fit into a `MESSAGE` (NaN and infinities included), or 0; an owner must."""
    if not _fits(owner, 2**31):
        raise InputError(f"owner is {owner!r}. Allowed: whole numbers between -2^31 and 2^31.")
    for value, end, code in (
        (kind, 2**7, reasons.BAD_KIND), (side, 2**7, reasons.BAD_SIDE), (order_id, 2**62, reasons.UNKNOWN_ORDER)
    ):  # fmt: skip
        if not _fits(value, end):
            return code
    return reasons.OK


def _fits(value: float, end: int) -> bool:
    try:
        return abs(value) < end and value == int(value)
    except TypeError:
        return False


def off_grid(price: float, quantity: float, display: float) -> int:
    """Return why numbers are no whole ticks and lots (NaN and infinities included), or 0."""
    for value, code in ((price, reasons.BAD_PRICE), (quantity, reasons.BAD_QUANTITY), (display, reasons.BAD_DISPLAY)):
        if not _fits(value, 2**62):
            return reasons.OFF_GRID if isinstance(value, Real) and abs(value) < 2**62 else code
    return reasons.OK
