"""Whole days of the background flow alone through the real engine and rules, as order-book days."""

import numpy as np

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow_fits import FlowFit
from difffinance.market.flow_state import NOW
from difffinance.market.layout import FILLS
from difffinance.market.options import whole
from difffinance.market.rules import session_rules
from difffinance.market.scale import WARM_UP_SECONDS
from difffinance.market.settlement import EVENTS
from difffinance.market.venue import Venue
from difffinance.records import BookDay, Instrument
from difffinance.simulation.recorder import DayRecorder


def simulate_day(
    config: MarketConfig,
    seed: int,
    *,
    fit: FlowFit | None = None,
    levels: int = 10,
    date: str = "2020-01-02",
    seconds: float | None = None,
) -> BookDay:
    """Return a day of the flow that `config.flow_model` names (its first `seconds`), after a warm-up.

    `fit` takes the place of the fit that `config.flow_fit` names. The same seed gives the same day.
    """
    if config.mode != "book":
        raise InputError("a day of messages needs a book. Allowed: market.mode=book.")
    levels = whole(levels, "levels", least=1)
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds are {seconds}. Allowed: above 0, or none for the whole session.")
    rng = np.random.default_rng(whole(seed, "seed"))
    instrument = Instrument(config.symbol, config.tick_size, config.lot_size)
    venue = Venue(config, session_rules(config), np.zeros(0), np.zeros(0, np.int64), fit=fit)
    venue.flow.clock[NOW] = -WARM_UP_SECONDS
    venue.run_flow(rng, 0.0)
    recorder = DayRecorder(instrument, venue.floor.orders, levels=levels)
    end = config.session_seconds if seconds is None else min(seconds, config.session_seconds)
    for until in np.append(np.arange(60.0, end, 60.0), end):
        venue.clear_step()
        venue.run_flow(rng, float(until))
        floor = venue.floor
        recorder.record(floor.events[: floor.counts[EVENTS]], floor.fills[: floor.top[FILLS]])
    return recorder.book_day(date)
