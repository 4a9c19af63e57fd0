"""The `book` mode: orders match in a limit order book beside the background flow."""

from typing import Any

import numpy as np

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market import steps
from difffinance.market.flow import LOG_VALUE, NOW, activity
from difffinance.market.handles import Handle
from difffinance.market.layout import FILLS
from difffinance.market.observation import ACTION, CONSTRAINTS, KINDS, NO_LIMIT, OPPONENTS, STATE
from difffinance.market.rules import session_rules
from difffinance.market.saved_venue import check_venue, load_venue, save_venue
from difffinance.market.scale import measure_flow, warm_up_seconds
from difffinance.market.session import Public, Seating
from difffinance.market.settlement import EVENTS, LAST_ASK, LAST_BID, MID
from difffinance.market.snapshot import inside, refuse_unless
from difffinance.market.steps import Market
from difffinance.market.supervision import PHASE, PHASES, QUOTE, SPECIAL_QUOTE
from difffinance.market.venue import Venue
from difffinance.market.views import History, Tables, halted, pools
from difffinance.participants import PARTICIPANTS
from difffinance.records import Array, Instrument

LEVELS = 5
_SIGNALS = {"none": steps.NO_SIGNAL, "public": steps.PUBLIC_SIGNAL, "private": steps.PRIVATE_SIGNAL}
_ROOM = 1024  # messages that room is made for at a time
# What a step leaves in a `Market` for later ones, besides the floor, the flow, the history and the views.
_SCRATCH = ("progress", "scale", "signals", "estimate", "rewards", "sent", "sent_valid", "sent_at", "turn")
# What a step leaves in a `Market` and its views for a snapshot; the rest are constants and what a step begins with.
_DECISIONS = ("scale", "signals", "estimate", "rewards", "actions", "valid", "sent", "sent_valid", "sent_at")
_SEEN = ("state", "opponents", "constraints", "depth", "wealth")
_GENERATORS = ("rng_flow", "rng_signal", "rng_turn")
_FAR = 1e17  # no number of a market is larger
_LARGEST_ACCOUNT = 1e15  # ticks times lots: far inside 64 bits, where accounts are counted


class BookSession:
    """A `session.Session`. `venue` holds the book, `market` everything, `handle` the same for the compiled step."""

    handle: Handle

    def __init__(self, config: MarketConfig, seating: Seating) -> None:
        if seating.cost_laws:
            raise InputError("cost laws belong to mode 'law': in a book impact is what happens. Allowed: none.")
        self.config, self.seating = config, seating
        _check_accounts(config, seating)
        self.instrument = Instrument(config.symbol, config.tick_size, config.lot_size)
        self.rules, self.scale = session_rules(config), measure_flow(config)
        n = len(seating.kinds)
        self.actions, self.valid = np.zeros((n, len(ACTION))), np.zeros(n, np.bool_)

    def start(self, sequence: np.random.SeedSequence) -> None:
        """Begin an episode: a fresh book filled by the background, accounts as configured."""
        streams = sequence.spawn(3)
        if hasattr(self, "market"):
            self._restart(streams)
        else:
            self._open(streams)
        self.venue.flow.clock[NOW] = -warm_up_seconds(self.config)
        while not steps.open_market(self.handle, 0.0):
            self.make_room()
        self.venue.set_starting_wealth()
        self.market.history.last_mid[0] = self.venue.floor.marks[MID]
        self.market.estimate[0] = self.market.rng_signal.standard_normal()
        steps.look(self.handle)

    def _open(self, streams: list[np.random.SeedSequence]) -> None:
        agents, n = self.seating.agents, len(self.seating.kinds)
        lots = self.instrument.to_lots(agents.inventory)
        self.venue = Venue(self.config, self.rules, np.full(n, agents.capital), np.full(n, lots, np.int64))
        self.venue.make_room(_ROOM)
        self.market = self._market([np.random.default_rng(stream) for stream in streams])
        self.handle = Handle(self.market)

    def _restart(self, streams: list[np.random.SeedSequence]) -> None:
        """Go back to before the episode in the same arrays: new ones would cost more than the first 100 steps."""
        market = self.market
        self.venue.restart()
        for name in _SCRATCH:
            getattr(market, name)[:] = 0
        for part in (market.history, market.tables):
            for array in part:
                array[:] = 0
        for name, stream in zip(_GENERATORS, streams, strict=True):
            getattr(market, name).bit_generator.state = np.random.PCG64(stream).state

    def advance(self) -> None:
        """Carry out one step."""
        while not steps.advance(self.handle):
            self.make_room()

    def make_room(self) -> None:
        """Grow the arrays by what the next step could need."""
        self.venue.make_room(max(_ROOM, int(self.venue.floor.own_count.sum()) + 6 * len(self.valid)))

    def _market(self, generators: list[np.random.Generator]) -> Market:
        n, config, scale, kinds = len(self.seating.kinds), self.config, self.scale, self.seating.kinds
        latency = np.array(self.seating.latency)
        delay = (latency / config.step_seconds).astype(np.int64)
        rows = 1 + int(delay.max())
        settings = [
            config.step_seconds, self.seating.num_steps, scale.volume, scale.volatility, scale.reversion,
            scale.temporary, scale.exponent, scale.permanent, self.seating.agents.risk_aversion,
            self.seating.agents.public_noise, self.seating.agents.private_noise, self.venue.reach,
        ]  # fmt: skip
        return Market(
            floor=self.venue.floor_handle, flow=self.venue.flow_handle,
            history=History(np.zeros(10), np.zeros(5), np.zeros(3), np.zeros(1), np.zeros((n, 3))),
            tables=Tables(
                np.zeros((n, len(STATE))), np.zeros((n, len(OPPONENTS))), np.zeros((n, len(CONSTRAINTS))),
                np.zeros((2, LEVELS, 2), np.int64), np.zeros(n), *pools(),
            ),
            pools=np.array([KINDS.index(PARTICIPANTS[k].pool) for k in kinds]),
            shown=np.array([_SIGNALS[PARTICIPANTS[k].signal] for k in kinds]), watching=np.ones(n, np.bool_),
            delay=delay, late=latency % config.step_seconds, settings=np.array(settings, float),
            progress=np.zeros(4, np.int64), scale=np.zeros(9),
            signals=np.zeros(n), estimate=np.zeros(1), rewards=np.zeros(n), actions=self.actions, valid=self.valid,
            sent=np.zeros((rows, n, len(ACTION))), sent_valid=np.zeros((rows, n), np.bool_),
            sent_at=np.zeros((rows, n, 2)), turn=np.zeros(n, np.int64),
            rng_flow=generators[0], rng_signal=generators[1], rng_turn=generators[2],
        )  # fmt: skip

    def public(self) -> Public:
        """Return what everybody sees now."""
        marks, tick, lot = self.venue.floor.marks, self.config.tick_size, self.config.lot_size
        bid, ask = marks[LAST_BID] * tick, marks[LAST_ASK] * tick
        return Public(
            float(marks[MID] * tick), float(bid), float(ask), self.tables.depth * np.array([tick, lot]),
            float(self.market.history.volume[0] * lot), bool(halted(self.venue.floor_handle)),
        )  # fmt: skip

    @property
    def tables(self) -> Tables:
        """The views, live."""
        return self.market.tables

    @property
    def refused(self) -> Array:
        """Orders refused in the last step, `(N, reasons)`."""
        return self.venue.floor.refused

    @property
    def rewards(self) -> Array:
        """Changes of wealth of the last step, `(N,)` quote currency."""
        return self.market.rewards

    @property
    def steps_done(self) -> int:
        """Steps of the episode so far."""
        return int(self.market.progress[steps.STEP])

    @property
    def trades(self) -> int:
        """Fills of the last step."""
        return int(self.venue.floor.top[FILLS])

    @property
    def events(self) -> Array:
        """Messages of the last step in order, `settlement.EVENT` rows."""
        return self.venue.floor.events[: self.venue.floor.counts[EVENTS]]

    @property
    def fills(self) -> Array:
        """Trades of the last step in order, `engine.FILL` rows."""
        return self.venue.floor.fills[: self.venue.floor.top[FILLS]]

    @property
    def phase(self) -> str:
        """What the venue does now."""
        return PHASES[self.venue.floor.session[PHASE]]

    @property
    def special_quote(self) -> float | None:
        """The special quote that is shown now, quote currency."""
        session = self.venue.floor.session
        return float(session[QUOTE] * self.config.tick_size) if session[PHASE] == SPECIAL_QUOTE else None

    @property
    def step_volume(self) -> float:
        """Expected volume of the coming step, lots."""
        middle = (self.steps_done + 0.5) * self.config.step_seconds
        return self.scale.volume * float(activity(self.venue.flow.p, middle))

    @property
    def value(self) -> float:
        """The fundamental value, quote currency."""
        return float(np.exp(self.venue.flow.clock[LOG_VALUE]) * self.config.tick_size)

    def save(self) -> dict[str, Any]:
        """Return arrays and states of generators by name, as they are now (copies)."""
        saved: dict[str, Any] = {name: array.copy() for name, array in self._arrays().items()}
        saved |= {name: getattr(self.market, name).bit_generator.state for name in _GENERATORS}
        return saved | save_venue(self.venue) | {"market.step": self.market.progress[[steps.STEP]]}

    def check(self, saved: dict[str, Any]) -> None:
        """Refuse what `save` cannot have returned."""
        step = int(saved["market.step"][0])
        refuse_unless(0 <= step <= self.seating.num_steps, "the number of steps")
        for name, array in self._arrays().items():
            if array.dtype.kind == "f" and not name.startswith("tables."):
                most = NO_LIMIT if name in ("market.actions", "market.sent") else _FAR
                refuse_unless(inside(saved[name], -most, most), name)
        refuse_unless(saved["history.last_mid"][0] > 0, "the last mid")
        check_venue(self.venue, saved, step * self.config.step_seconds)

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to what `save` returned."""
        load_venue(self.venue, saved)
        for name, array in self._arrays().items():
            array[:] = saved[name]
        for name in _GENERATORS:
            getattr(self.market, name).bit_generator.state = saved[name]
        self.market.progress[:] = 0
        self.market.progress[steps.STEP] = saved["market.step"][0]

    def _arrays(self) -> dict[str, Array]:
        market = self.market
        parts = {
            "market": (market, _DECISIONS), "history": (market.history, History._fields),
            "tables": (market.tables, _SEEN),
        }  # fmt: skip
        return {f"{part}.{name}": getattr(held, name) for part, (held, names) in parts.items() for name in names}


def _check_accounts(config: MarketConfig, seating: Seating) -> None:
    money, agents = config.tick_size * config.lot_size, seating.agents
    if agents.capital < money:
        raise InputError(
            f"agents.capital is {agents.capital:g}, less than a tick on a lot ({money:g}). Allowed: from there on; or "
            "take a smaller market.lot_size."
        )
    for name, value in (("capital", agents.capital), ("inventory", agents.inventory * config.start_price)):
        if value / money > _LARGEST_ACCOUNT:
            raise InputError(
                f"agents.{name} is worth {value:g}, more than the accounts can count. Allowed: up to "
                f"{_LARGEST_ACCOUNT * money:g} at this tick and lot size."
            )
