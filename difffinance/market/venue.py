"""One running market: the book's arrays, the accounts, the background flow and the log, with room always made first."""

from typing import Any

import numpy as np

from difffinance.config import MarketConfig
from difffinance.market import reasons
from difffinance.market.enforcement import supervise
from difffinance.market.engine import Book
from difffinance.market.floor import SEALED
from difffinance.market.flow import new_flow, run_until
from difffinance.market.flow_fits import FlowFit
from difffinance.market.flow_state import Flow
from difffinance.market.handles import Handle
from difffinance.market.layout import BASE, FILLS, HIGHEST, LEVEL, LOWEST, WIDTH, lined_up, longer
from difffinance.market.observation import NO_LIMIT
from difffinance.market.rules import SessionRules
from difffinance.market.settlement import (
    CAPITAL,
    COUNTS,
    EVENT,
    EVENTS,
    MID,
    NEXT_ID,
    PHASE_ROWS,
    REFUSED,
    TAKEN,
    TRADED,
    Floor,
    roomy,
)
from difffinance.market.supervision import ACTIVE
from difffinance.records import Array

# What a message may change besides orders, levels and logs.
_SMALL = (
    "waiting", "top", "counts", "marks", "cash", "inventory", "fees", "resting", "bought_today", "own_count", "tally",
    "refused", "limits", "rates", "rules", "session",
)  # fmt: skip


class Venue:
    """What the kernels of `floor` and `flow` work on. `capital` (quote currency) and `inventory` (lots) are (N,).

    Kernels take `floor_handle` and `flow_handle`; their arrays are those of `floor` and `flow`.
    `fit` takes the place of the fit that `config.flow_fit` names.
    """

    def __init__(
        self,
        config: MarketConfig,
        rules: SessionRules,
        capital: Array,
        inventory: Array,
        *,
        fit: FlowFit | None = None,
    ) -> None:
        start = config.start_price / config.tick_size
        self.seats, self.money = len(capital), config.tick_size * config.lot_size
        self.reach = int(NO_LIMIT) + config.flow.placement_max  # farthest price from the mid that anybody sends
        self.book = Book(low=rules.lower_ticks, high=rules.upper_ticks, capacity=4096)
        self.accounts = _accounts(config, rules, capital, inventory, start)
        self.accounts |= supervise(config) | SEALED
        self.accounts["events"] = lined_up(4096, EVENT)
        self.accounts["counts"] = np.zeros(COUNTS, np.int64)
        self.accounts["marks"] = np.array([start, np.ceil(start) - 1, np.floor(start) + 1])
        self.flow = new_flow(config, start, self.reach, fit)
        self.floor = self._floor()
        self.floor_handle, self.flow_handle = Handle(self.floor), Handle(self.flow)
        self.make_room(1)
        self.start = _copies(self.floor, _SMALL) | _copies(self.flow, ("clock", "parents", "live_count", "p", "due"))
        self._window, self.agenda_room = self.book.levels.shape[1], len(self.flow.agenda)

    def restart(self) -> None:
        """Go back to before the first message; arrays keep the room that they have grown to."""
        book, floor, used = self.book, self.floor, int(self.floor.counts[NEXT_ID])
        for array in (floor.orders, floor.paid_on):  # nobody here sends icebergs: reserves are untouched
            array[:used].view(np.uint8).fill(0)
        if book.levels.shape[1] == self._window:
            # Only prices that were seen have left something: the whole window is larger than the nearest caches.
            first, last = (int(book.top[place]) - int(book.top[BASE]) for place in (LOWEST, HIGHEST))
            book.levels[:2, max(first, 0) : last + 1].view(np.uint8).fill(0)
            book.bits.fill(0)
        else:  # the window decides which prices are taken: that of the start
            book.levels, book.bits = np.zeros((4, self._window), LEVEL), np.zeros((4, self._window >> 6), np.uint64)
        # So does the room of the agenda, where a fitted flow answers many seats.
        self.flow = self.flow._replace(agenda=self.flow.agenda[: self.agenda_room])
        for name, array in self.start.items():
            getattr(floor if name in floor._fields else self.flow, name)[:] = array
        self.bind()

    def bind(self) -> None:
        """Point the handles to the arrays of now."""
        self.floor = self._floor()
        self.floor_handle.bind(self.floor)
        self.flow_handle.bind(self.flow)

    def _floor(self) -> Floor:
        book = self.book
        return Floor(*book.tables, **self.accounts)

    def adopt(self, floor: Floor, flow: Flow) -> None:
        """Go on with these arrays, those of this venue at another time."""
        book = self.book
        book.orders, book.reserves, book.levels, book.bits = floor.orders, floor.reserves, floor.levels, floor.bits
        book.waiting, book.top, book.fills_buffer, book.log_buffer = floor.waiting, floor.top, floor.fills, floor.log
        self.accounts = {name: getattr(floor, name) for name in self.accounts}
        self.floor, self.flow = floor, flow
        self.floor_handle.bind(floor)
        self.flow_handle.bind(flow)

    def make_room(self, messages: int) -> None:
        """Grow whatever that many more messages could need: log, orders, fills, window of prices."""
        book, counts = self.book, self.floor.counts
        if not roomy(self.floor_handle, messages):
            rows = 3 * messages + PHASE_ROWS  # as `roomy` counts
            self.accounts["events"] = longer(self.accounts["events"], int(counts[EVENTS]) + rows)
            book.grow(int(counts[NEXT_ID]) + messages, 2 * messages + 2)
            if self.floor.rules[ACTIVE]:
                self.accounts["paid_on"] = longer(self.accounts["paid_on"], len(book.orders))
        flow = self.flow
        self.flow = flow._replace(
            live=longer(flow.live, int(flow.live_count[0]) + messages + 1),
            born=longer(flow.born, int(flow.live_count[0]) + messages + 1),
            agenda=longer(flow.agenda, int(flow.due[0]) + messages + 256),
        )
        mid = int(self.floor.marks[MID])
        low, high = max(mid - 2 * self.reach, 1), mid + 2 * self.reach
        if low < book.top[BASE] or high >= book.top[BASE] + book.top[WIDTH]:
            book.cover(low, high)
        self.bind()

    def run_flow(self, rng: np.random.Generator, until: float) -> None:
        """Let the background trade up to `until` seconds after the opening."""
        while not run_until(self.floor_handle, self.flow_handle, rng, until, self.seats):
            self.make_room(1024)

    def clear_step(self) -> None:
        """Forget the log and the tally of the last step."""
        floor = self.floor
        floor.counts[[EVENTS, REFUSED, TRADED, TAKEN]] = floor.top[FILLS] = 0
        floor.tally[:] = floor.refused[:] = 0

    def wealth(self) -> Array:
        """Return the wealth of each seat, (N,) quote currency, inventory at the mid."""
        floor, n = self.floor, self.seats
        return (floor.cash[:n] + floor.inventory[:n] * floor.marks[MID]) * self.money - floor.fees[:n]

    def set_starting_wealth(self) -> None:
        """Profit is counted from the wealth of now."""
        self.floor.rates[:, CAPITAL] = self.wealth()


def _copies(held: Any, names: tuple[str, ...]) -> dict[str, Array]:
    return {name: getattr(held, name).copy() for name in names}


def _accounts(
    config: MarketConfig, rules: SessionRules, capital: Array, inventory: Array, start: float
) -> dict[str, Any]:
    seats, money = len(capital), config.tick_size * config.lot_size
    limits = [rules.min_position, rules.max_position, rules.max_order, rules.max_open, rules.max_resting_orders]
    rates = [rules.buy_fee, rules.sell_fee, rules.max_leverage, 0.0, money]
    return {
        "cash": np.append(np.round(capital / money), 0).astype(np.int64),
        "inventory": np.append(inventory, -inventory.sum()).astype(np.int64),
        "fees": np.zeros(seats + 1),
        "resting": np.zeros((seats + 1, 2), np.int64),
        "bought_today": np.zeros(seats + 1, np.int64),
        "own_orders": np.zeros((seats, config.max_resting_orders), np.int64),
        "own_count": np.zeros(seats, np.int64),
        "tally": np.zeros((seats + 1, 6), np.int64),
        "refused": np.zeros((seats, len(reasons.NAMES)), np.int64),
        "limits": np.tile(np.array([*limits, int(rules.t_plus_one)], np.int64), (seats, 1)),
        "rates": np.tile(np.array(rates), (seats, 1)),
    }
