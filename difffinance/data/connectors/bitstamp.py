"""bitstamp: order-level events of a day (id, timestamp, exchange.timestamp, price, volume, action, direction).

The venue tells what became of every order - created, changed to a volume, deleted at a volume - and not who traded
with whom. The trades are inferred, as in the R package ob-analytics: a loss of volume that is no cancellation (a
change, or a deletion at volume 0) is a fill, and a bid's fill and an ask's fill of the same volume (to 2e-8, the venue
rounds), at prices that meet, within 5 seconds, are the two sides of one trade. A fill that has no such partner may be
several of the other side, one after the other. The order with the lower id was there first: it is the maker, and its
price is the trade's.

An order is shown in the book with what it did not take on arrival, after its last such trade; all trades of a taker
stand at the time of the first, for the venue matches an order at once and tells of it piece by piece. Orders that the
file does not create rest from its beginning with the volume that they are first seen with. Fills without a partner
are `partial_cancel` or `delete` and are counted. An order that would cross the book is not shown while the order that
it crosses is alive; a resting order of which the file says nothing more is taken out when it is crossed.

Prices are USD, volumes 1e-8 BTC, times those at which the messages came (ms); the venue's own have whole seconds.
"""

import bisect
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from difffinance.data.connectors.base import Fetched, Request, Table, one_word
from difffinance.data.csv_blocks import CsvLayout, CsvTable, read_csv, utc_times
from difffinance.data.decimals import Scaled, count_steps
from difffinance.data.level2 import DELETE, EXECUTION, HALT, NEW, PARTIAL_CANCEL
from difffinance.data.level2_tables import Grid, book_tables, exactness, load_kernels, trades_table
from difffinance.data.store import check_symbol, sha256_of
from difffinance.errors import DataError, InputError
from difffinance.records import Array
from difffinance.schemas import BOOK_EVENTS, TRADES, depth_schema

TAKES = ("symbol",)
USAGE = "difffinance fetch bitstamp orders.csv.xz [--symbol BTCUSD]"
WINDOW_MS = 5_000
ROUNDING = 2  # lots by which the venue's volumes of the two sides may differ
LAYOUT = CsvLayout(
    ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction"),
    ("price",),
    ("id", "timestamp", "exchange.timestamp", "volume"),
    header=True,
)


@dataclass(slots=True)
class Resting:
    """An order: its side (1 bid, 0 ask), price in ticks, volume at the start, and the last row that speaks of it."""

    id: int
    side: int
    price: int
    volume: int
    created: int  # row; -1 for orders that the file does not create
    last: int


@dataclass(slots=True)
class Fill:
    """A loss of volume that is no cancellation; `volume` is 0 where the file does not tell."""

    row: int
    order: Resting
    volume: int
    price: int  # as told here: that of a market order walks with its trades
    partners: list["Fill"] = field(default_factory=list)


def fetch(request: Request) -> Fetched:
    """Return `BookEvents`, `Depth` and `Trades` of one file."""
    path = Path(one_word(request, USAGE))
    if not path.is_file():
        raise InputError(f"{path} is not a file. Use: {USAGE}.")
    symbol = check_symbol(request.options.get("symbol", "BTCUSD"))
    load_kernels()
    table = read_csv(path, LAYOUT, limit=request.config.max_archive_bytes)
    ts = _times(table, path.name)
    request.progress("bitstamp", 1, 3)
    volume = Scaled(table.frame["volume"].to_numpy(), 8)
    grid = Grid.find(table.decimals["price"], volume, request.config.tick_size, request.config.lot_size, path.name)
    ticks = count_steps(table.decimals["price"], grid.tick, "price", file=path.name, rows=table.rows)
    lots = count_steps(volume, grid.lot, "volume", file=path.name, rows=table.rows)
    start = time.thread_time()
    orders, fills, cancels, repairs = read_orders(table, ticks, lots, path.name)
    match_fills(fills, ts // 1_000_000)
    planned = plan_events(orders, fills, cancels)
    request.progress("bitstamp", 2, 3)
    shown = show(planned, orders, request.config.book_levels)
    rows, depth, at, ids = shown.arrays()
    one_step, resync = exactness(rows, depth)
    seconds = time.thread_time() - start
    frames = book_tables(symbol, ts[at], rows, depth, grid, path.name, order_id=ids)
    executed = rows[:, 1] == EXECUTION
    price = Scaled(rows[executed, 3] * int(grid.tick.scaleb(8)), 8)
    quantity = Scaled(rows[executed, 4] * int(grid.lot.scaleb(8)), 8)
    side = 1 - 2 * rows[executed, 2]  # the aggressor's
    trades = trades_table(symbol, ts[at][executed], np.flatnonzero(executed), price, quantity, side, path.name)
    told = sum(f.volume for f in fills)
    verification = {
        "one_step_exact": one_step,
        "resync_exact": resync,
        "messages": len(ts),
        "messages_per_second": len(ts) / seconds,
        "crossed_states": shown.crossed,
        "stale_orders_removed": shown.removed,
        "prints": int(executed.sum()),
        "fills": len(fills),
        "fills_explained": sum(bool(f.partners) for f in fills),
        "explained": sum(f.volume for f in fills if f.partners) / told if told else None,
    }
    date = str(frames[0]["ts"][0].date())
    metadata = {
        "currency": "USD",
        "tick_size": float(grid.tick),
        "lot_size": float(grid.lot),
        "adjustment": "none",
        "date": date,
        "levels": request.config.book_levels,
        "raw_sha256": {path.name: sha256_of(path)},
        "repairs": {rule: count for rule, count in repairs.items() if count},
        "is_index": False,
        "synthetic": False,
        "verification": {k: v for k, v in verification.items() if not k.endswith("per_second")},
        "volume_base": "Bitstamp, trades inferred",
    }
    schemas = (BOOK_EVENTS, depth_schema(request.config.book_levels), TRADES)
    made = zip(schemas, (*frames, trades), strict=True)
    request.progress("bitstamp", 3, 3)
    tables = tuple(Table(schema, symbol, frame, metadata, date) for schema, frame in made if frame.height)
    return Fetched(tables, repairs, verification, raw_files=(path,))


def _times(table: CsvTable, file: str) -> Array:
    ts = utc_times(table.frame["timestamp"], table.rows, file).cast(pl.Int64).to_numpy()
    falls = np.flatnonzero(np.diff(ts) < 0)
    if len(falls):
        row = int(table.rows[falls[0] + 1])
        raise DataError(f"timestamp falls ({len(falls)} rows). Allowed: the order of receipt.", file=file, row=row)
    for column, allowed in (("action", ["created", "changed", "deleted"]), ("direction", ["bid", "ask"])):
        bad = (~table.frame[column].is_in(allowed)).arg_true()
        if len(bad):
            at = int(bad[0])
            given = table.frame[column][at]
            raise DataError(f"{column} must be one of {allowed}; got {given!r}.", file=file, row=int(table.rows[at]))
    return ts


# --- what became of each order -----------------------------------------------------------------------------------


def read_orders(
    table: CsvTable, ticks: Array, lots: Array, file: str
) -> tuple[dict[int, Resting], list[Fill], list[tuple[int, Resting, int]], dict[str, int]]:
    """Return orders by id, fills, cancellations (row, order, volume) and what was passed over."""
    orders: dict[int, Resting] = {}
    left: dict[int, int] = {}
    fills: list[Fill] = []
    cancels: list[tuple[int, Resting, int]] = []
    odd = dict.fromkeys(("order created twice passed over", "change without a loss of volume passed over"), 0)
    columns = (table.frame[c].to_list() for c in ("id", "action", "direction"))
    for row, (number, action, direction, price, volume) in enumerate(
        zip(*columns, ticks.tolist(), lots.tolist(), strict=True)
    ):
        side = 1 if direction == "bid" else 0
        order = orders.get(number)
        if order is not None and order.side != side:
            raise DataError(f"order {number} changes its side.", file=file, row=int(table.rows[row]))
        if action == "created":
            if order is not None:
                odd["order created twice passed over"] += 1
                continue
            orders[number], left[number] = Resting(number, side, price, volume, row, row), volume
            continue
        if order is None:
            order = orders[number] = Resting(number, side, price, volume, -1, row)
            left[number] = volume
            if action == "changed" or volume == 0:  # it lost something whose size its partner must tell
                fills.append(Fill(row, order, 0, price))
        order.last = row
        lost = left[number] - volume
        if lost > 0:
            fills.append(Fill(row, order, lost, price))
        elif (action == "changed" and order.created >= 0) or lost < 0:
            odd["change without a loss of volume passed over"] += 1
        left[number] = min(left[number], volume)
        if action == "deleted" and left[number] > 0:
            cancels.append((row, order, left[number]))
            left[number] = 0
    return orders, fills, cancels, odd


# --- who traded with whom ----------------------------------------------------------------------------------------


def match_fills(fills: list[Fill], ms: Array) -> None:
    """Join the two sides of trades: equal volumes first, then one fill with several, then those of unknown volume."""
    waiting: dict[tuple[int, int], list[Fill]] = defaultdict(list)
    for fill in fills:
        if not fill.volume:
            continue
        near = [waiting[1 - fill.order.side, fill.volume + off] for off in range(-ROUNDING, ROUNDING + 1)]
        partners = [f for own in near for f in own if _meet(fill, f, ms)]
        if partners:
            partner = max(partners, key=lambda f: f.row)  # the nearest in time
            _join(fill, [partner])
            waiting[partner.order.side, partner.volume].remove(partner)
        else:
            waiting[fill.order.side, fill.volume].append(fill)
    _each_open(fills, ms, _match_several)
    _each_open(fills, ms, _match_unknown)


def _each_open(fills: list[Fill], ms: Array, match: Any) -> None:
    for k, fill in enumerate(fills):
        if fill.partners:
            continue
        low = k
        while low and ms[fill.row] - ms[fills[low - 1].row] <= WINDOW_MS:
            low -= 1
        high = k
        while high < len(fills) and ms[fills[high].row] - ms[fill.row] <= WINDOW_MS:
            high += 1
        match(fill, [f for f in fills[low:high] if not f.partners and _meet(fill, f, ms)], ms)


def _match_several(fill: Fill, others: list[Fill], ms: Array) -> None:
    if not fill.volume:
        return
    others = [f for f in others if f.volume]
    for start in range(len(others)):
        total = 0
        for end in range(start, len(others)):
            total += others[end].volume
            if total >= fill.volume - ROUNDING:
                break
        if abs(total - fill.volume) <= ROUNDING:
            _join(fill, others[start : end + 1])
            return


def _match_unknown(fill: Fill, others: list[Fill], ms: Array) -> None:
    if fill.volume:
        return
    known = [f for f in others if f.volume]
    if known:
        nearest = min(known, key=lambda f: abs(int(ms[f.row] - ms[fill.row])))
        fill.volume = nearest.volume
        fill.order.volume += nearest.volume
        _join(fill, [nearest])


def _meet(one: Fill, other: Fill, ms: Array) -> bool:
    if one.order.side == other.order.side or abs(int(ms[one.row] - ms[other.row])) > WINDOW_MS:
        return False
    bid, ask = (one, other) if one.order.side == 1 else (other, one)
    return bid.price >= ask.price or bid.order.price >= ask.order.price


def _join(one: Fill, others: list[Fill]) -> None:
    one.partners = list(others)
    for other in others:
        other.partners = [one]


def is_taker(fill: Fill) -> bool:
    """Tell whether this side of a trade came later than the other."""
    return bool(fill.partners) and fill.order.id > max(f.order.id for f in fill.partners)


# --- events and book ---------------------------------------------------------------------------------------------

Event = tuple[int, int, int, int, Resting, int]  # row, rank within it, serial, kind, order, volume


def plan_events(orders: dict[int, Resting], fills: list[Fill], cancels: list[tuple[int, Resting, int]]) -> list[Event]:
    """Return all events in order: executions of makers, what is left of takers, cancellations."""
    events: list[Event] = []
    taken: dict[int, tuple[int, int]] = {}  # of a taker: volume, row of its first trade
    for fill in fills:
        if is_taker(fill):
            volume, first = taken.get(fill.order.id, (0, fill.row))
            first = min(first, fill.row, *(f.row for f in fill.partners))
            taken[fill.order.id] = volume + fill.volume, max(first, fill.order.created)
    for serial, fill in enumerate(fills):
        if is_taker(fill):
            first = taken[fill.order.id][1]
            for maker in fill.partners:
                row = first if maker.order.created < first else maker.row
                events.append((row, 1, serial, EXECUTION, maker.order, _share(maker, fill)))
        elif fill.partners and not any(is_taker(f) for f in fill.partners):
            # Of several partners some were there before and some came after: each loss stands where it was told.
            events.append((fill.row, 1, serial, EXECUTION, fill.order, fill.volume))
        elif not fill.partners and fill.volume:
            events.append((fill.row, 1, serial, PARTIAL_CANCEL, fill.order, fill.volume))
    for order in orders.values():
        volume, row = taken.get(order.id, (0, order.created))
        if order.created >= 0 and order.volume > volume:
            events.append((row, 2 if volume else 0, 0, NEW, order, order.volume - volume))
    events += [(row, 3, 0, DELETE, order, volume) for row, order, volume in cancels]
    return sorted(events, key=lambda e: e[:3])


def _share(maker: Fill, taker: Fill) -> int:
    """Return what a maker lost to one of its takers; the last bears what the venue rounded."""
    if taker is not maker.partners[-1]:
        return taker.volume
    return maker.volume - sum(f.volume for f in maker.partners[:-1])


@dataclass
class Shown:
    """The shown book and its record: (row, kind, side, price, lots), order id, and the best levels after each."""

    levels: int
    crossed: int = 0
    removed: int = 0

    def __post_init__(self) -> None:
        self.totals: list[dict[int, int]] = [{}, {}]
        self.keys: list[list[int]] = [[], []]  # sign * price, the best last
        self.alive: dict[int, tuple[Resting, int]] = {}
        self.at: list[dict[int, dict[int, None]]] = [{}, {}]  # ids by price
        self.events: list[tuple[int, int, int, int, int]] = []
        self.ids: list[int] = []
        self.depth: list[list[int]] = []

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Return events as `level2` has them, depth rows, the file's rows and the order ids."""
        rows = np.array(self.events, dtype=np.int64).reshape(-1, 5)
        depth = np.array(self.depth, dtype=np.int64).reshape(-1, 4 * self.levels)
        return rows, depth, rows[:, 0], np.array(self.ids, dtype=np.int64)

    def add(self, order: Resting, volume: int) -> None:
        """Let an order rest."""
        side, price = order.side, order.price
        if price not in self.totals[side]:
            bisect.insort(self.keys[side], (2 * side - 1) * price)
        self.totals[side][price] = self.totals[side].get(price, 0) + volume
        self.alive[order.id] = order, volume
        self.at[side].setdefault(price, {})[order.id] = None

    def take(self, order: Resting, volume: int) -> int:
        """Take volume from a resting order; return what it had, at most `volume`."""
        side, price = order.side, order.price
        had = self.alive[order.id][1]
        volume = min(volume, had)
        self.totals[side][price] -= volume
        if not self.totals[side][price]:
            del self.totals[side][price]
            del self.keys[side][bisect.bisect_left(self.keys[side], (2 * side - 1) * price)]
        if had > volume:
            self.alive[order.id] = order, had - volume
        else:
            del self.alive[order.id], self.at[side][price][order.id]
        return volume

    def crossing(self, order: Resting) -> list[Resting]:
        """Return the resting orders that an order would cross, the best level's."""
        other, sign = 1 - order.side, 2 * order.side - 1
        if not self.keys[other]:
            return []
        best = -sign * self.keys[other][-1]
        return [self.alive[i][0] for i in self.at[other][best]] if sign * order.price >= sign * best else []

    def record(self, row: int, kind: int, order: Resting, volume: int) -> None:
        """Write an event and the levels after it."""
        self.events.append((row, kind, order.side, order.price, volume))
        self.ids.append(order.id)
        depth = [0] * (4 * self.levels)
        for side in (0, 1):
            totals, sign = self.totals[side], 2 * side - 1
            for level, key in enumerate(reversed(self.keys[side][-self.levels :])):
                depth[4 * level + 2 * side] = price = sign * key
                depth[4 * level + 2 * side + 1] = totals[price]
        self.depth.append(depth)


def show(events: list[Event], orders: dict[int, Resting], levels: int) -> Shown:
    """Run the events through the book; the first record is the book with which the file begins."""
    book = Shown(levels)
    for order in orders.values():
        if order.created < 0 and order.volume > 0 and not book.crossing(order):
            book.add(order, order.volume)
    book.record(0, HALT, Resting(0, 0, 1, 0, 0, 0), 0)
    for row, _, _, kind, order, volume in events:
        if kind == NEW:
            for stale in [s for s in book.crossing(order) if s.last <= row]:
                while book.crossing(order) and stale.id in book.alive:
                    had = book.take(stale, book.alive[stale.id][1])
                    book.removed += 1
                    book.record(row, DELETE, stale, had)
            if book.crossing(order):
                book.crossed += 1  # its trades were not told: it is not shown
            else:
                book.add(order, volume)
                book.record(row, NEW, order, volume)
        elif order.id in book.alive:
            had = book.take(order, volume)
            gone = order.id not in book.alive
            book.record(row, DELETE if kind == PARTIAL_CANCEL and gone else kind, order, had)
    return book
