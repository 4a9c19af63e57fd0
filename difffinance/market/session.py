"""What a mode of the market is to `MarketEnvironment`: a session that runs one market, step by step.

A mode is one file with a class of this form and one line in `SESSIONS`. The environment checks what comes from
outside (shapes, NaN, ranges), counts refusals, and starts, ends, saves and restores episodes; a session turns
actions into prices, trades and views.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.views import Tables
from difffinance.records import Array, CostLaw, MarketState

SESSIONS = {"book": "book_session.BookSession", "law": "law_session.LawSession"}


@dataclass(frozen=True)
class Seating:
    """Who sits in the market: the kind of each seat, the seconds its orders are on their way, steps of an episode."""

    kinds: tuple[str, ...]
    latency: tuple[float, ...]
    num_steps: int
    agents: AgentsConfig
    cost_laws: tuple[CostLaw, ...] = ()  # `law` mode: each episode is under one of them


@dataclass(frozen=True)
class Public:
    """What everybody sees: prices in quote currency, volume in units, depth (2, L, 2) of (price, quantity)."""

    mid: float
    bid: float
    ask: float
    depth: Array
    last_volume: float
    halted: bool


class Session(Protocol):
    """One running market. All arrays are live: copy what has to outlast the next call.

    `start` begins an episode and leaves the views of step 0 in `tables`. `advance` carries out one step: it reads
    `actions` (N, 10) and `valid` (N,), which the environment has checked, lets the market answer, and leaves the next
    views in `tables`, what it refused in `refused` and the changes of wealth in `rewards`. `save` returns every array
    and state of generators that the future depends on; `load` takes them back, and the future is the same to the byte.
    """

    actions: Array  # (N, 10)
    valid: Array  # (N,) bool

    @property
    def tables(self) -> Tables:
        """What every seat sees."""

    @property
    def refused(self) -> Array:
        """Orders refused in the last step, `(N, reasons)`."""

    @property
    def rewards(self) -> Array:
        """Changes of wealth of the last step, `(N,)` quote currency."""

    def start(self, sequence: np.random.SeedSequence) -> None:
        """Begin an episode; the same sequence gives the same episode."""

    def advance(self) -> None:
        """Carry out one step."""

    def public(self) -> Public:
        """Return what everybody sees now."""

    @property
    def steps_done(self) -> int:
        """Steps of the episode so far."""

    @property
    def trades(self) -> int:
        """Fills of the last step."""

    @property
    def phase(self) -> str:
        """What the venue does now: one of `supervision.PHASES`."""

    @property
    def special_quote(self) -> float | None:
        """The special quote that is shown now, quote currency (Tokyo)."""

    @property
    def step_volume(self) -> float:
        """Expected volume of the coming step, lots: the unit of actions."""

    @property
    def value(self) -> float:
        """The fundamental value, quote currency; no seat is shown it."""

    def save(self) -> dict[str, Any]:
        """Return arrays by name, and states of generators (dicts of plain numbers) by name."""

    def check(self, saved: dict[str, Any]) -> None:
        """Refuse what `save` cannot have returned; names, types and shapes are right."""

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to what `save` returned."""


def state_of(session: Session) -> MarketState:
    """Return what the market shows now (copies)."""
    shown, tables = session.public(), session.tables
    return MarketState(
        session.steps_done, shown.mid, shown.ask - shown.bid, shown.bid, shown.ask, shown.depth, shown.last_volume,
        shown.halted, tuple(tables.state.copy()), tuple(tables.opponents.copy()), tuple(tables.constraints.copy()),
    )  # fmt: skip


def open_session(mode: str, config: MarketConfig, seating: Seating) -> Any:
    """Return the session of a mode."""
    if mode not in SESSIONS:
        raise InputError(f"market.mode '{mode}' is not known. Allowed: {', '.join(SESSIONS)}.")
    module, name = SESSIONS[mode].split(".")
    make: Callable[[MarketConfig, Seating], Session] = getattr(import_module(f"difffinance.market.{module}"), name)
    return make(config, seating)
