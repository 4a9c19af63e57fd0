"""Fit the background flow models on random five-minute blocks of an order-book day."""

from dataclasses import replace

import numpy as np
import polars as pl

from difffinance.calibration.excitation import DECAYS, EventStream, Excitation, fit_excitation
from difffinance.calibration.flow_tables import (
    PICK_AGES,
    life_table,
    picked_table,
    place_tables,
    size_tables,
    state_news,
    state_tables,
    take_tables,
    unit_tables,
)
from difffinance.calibration.order_lives import (
    LIFE_EDGES,
    OrderLives,
    ages,
    exposure_by_age,
    life_sizes,
    order_lives,
    spread_before,
)
from difffinance.calibration.requotes import fit_requotes
from difffinance.calibration.value_learning import learn_value, worth_of
from difffinance.calibration.visible_day import ADD, BLOCK_SECONDS, LEAVE, TAKE, VisibleDay, visible_day
from difffinance.errors import RefusedFit
from difffinance.market.bursts import PARTIAL
from difffinance.market.flow_fits import SIZE_EDGES, SIZE_TABLES, FlowFit
from difffinance.market.flow_state import GAPS, SPREADS
from difffinance.records import Array, BookDay, Instrument

SESSION_SECONDS = 23_400.0
_FEWEST_EVENTS, _FEWEST_LEVELS = 2000, 5
_FAR, _FINEST_LOT = 1e6, 1e-4
_SPREAD_QUANTILES = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0.95)
_TAKE_QUANTILES, _GAP_QUANTILES = (0.06, 0.14, 0.25, 0.4, 0.6, 0.8), (0.4, 0.7, 0.9)
VALUE_LEAN, VALUE_PULL, VALUE_FOLLOW = 0.5, 0.0003, 0.5
# Priors from metaorders (`market.seat_lessons`), not fitted. The background's answer to an order adds to what stays;
# the queue-reactive one gives none, and its value keeps more. The parts kept were chosen with the table of metaorders
# in sight.
WORTH_FADE, WORTH_KEPT, STATE_KEPT = 0.5, 0.005, 0.012
# A prior too: of 0.3 to 0.9, simulated days come the nearer to the training blocks the larger it is. At 1 nobody quotes
# on one side when the value is far away, and the book can stand still.
STATE_LEAN = 0.8


def split_blocks(blocks: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return two random halves of the blocks, each sorted."""
    mixed = rng.permutation(np.unique(blocks))
    half = len(mixed) // 2
    return np.sort(mixed[:half]), np.sort(mixed[half:])


def calibrate_flow(
    day: BookDay, rng: np.random.Generator, *, blocks: Array | None = None, session_seconds: float = SESSION_SECONDS
) -> FlowFit:
    """Return the fit on `blocks` (default: a random half of the day's five-minute blocks, drawn with `rng`).

    Nothing of the other blocks enters. Refused below 2000 messages or 5 levels, or without market orders: of one level
    nobody knows what stands behind it, and the market that comes of it has a spread of a tick where the day has 15.
    """
    if day.levels < _FEWEST_LEVELS:
        raise RefusedFit(
            f"a background flow needs {_FEWEST_LEVELS} levels of the book, for what stands behind the best prices; the "
            f"day of {day.instrument.symbol} has {day.levels}. Fetch the day with more levels."
        )
    visible, lot = visible_day(day), day.instrument.lot_size
    chosen = split_blocks(visible.blocks, rng)[0] if blocks is None else np.unique(blocks)
    lots = replace(visible, quantity=np.rint(visible.quantity / lot), depth=np.rint(visible.depth / lot))
    fit = fit_flow(lots, chosen, day.instrument, session_seconds)
    return in_lots(fit, lot / market_lot(day))


def market_lot(day: BookDay) -> float:
    """Return the lot of a market for the day's flow, units: the day's own or, of a coin, a 10,000th of an order."""
    median = float(np.median(day.events.filter(pl.col("kind") == "new")["quantity"].to_numpy()))
    return max(day.instrument.lot_size, 10.0 ** np.floor(np.log10(median * _FINEST_LOT)))


def in_lots(fit: FlowFit, factor: float) -> FlowFit:
    """Return the fit with quantities times `factor`, none below one lot."""
    tables = {name: np.array(table) for name, table in fit.tables_by_name.items()}
    for name in SIZE_TABLES:
        tables[name] = np.maximum(np.rint(tables[name] * factor), 1.0) if factor != 1.0 else tables[name]
    for name in SIZE_EDGES:
        tables[name] = tables[name] * factor
    tables["unit"][2] = max(tables["unit"][2] * factor, 1.0)
    rounded = {name: np.round(table, 10).tolist() for name, table in tables.items()}
    return replace(fit, order_size=fit.order_size * factor, tables_by_name=rounded)


def fit_flow(day: VisibleDay, blocks: Array, instrument: Instrument, session_seconds: float) -> FlowFit:
    """Return the fit of all models on the given blocks; quantities are whole lots."""
    inside = np.isin(day.blocks, blocks)
    everything = market_rows(day)
    takes = everything[inside[everything]]
    if inside.sum() < _FEWEST_EVENTS or len(takes) < 50:
        raise RefusedFit(
            f"a background flow needs {_FEWEST_EVENTS} messages and 50 market orders in its five-minute blocks; "
            f"got {inside.sum()} and {len(takes)} in {len(blocks)} blocks, half of those of the day."
        )
    intraday = intraday_shape(day, blocks, session_seconds)
    edges = spread_edges(spread_before(day)[inside])
    take_edges, gap_edges = take_states(day, takes)
    new = np.flatnonzero(inside & (day.kind == ADD))
    sizes = life_sizes(day.quantity[new])
    lives = order_lives(day, sizes)
    u = activity_at(day.seconds / session_seconds, intraday)
    states = np.stack([np.repeat(np.searchsorted(edges, day.spread, side="right")[:, None], 2, axis=1),
                       np.zeros((len(day.kind), 2), int), take_cell(day, take_edges, gap_edges)], axis=2)  # fmt: skip
    size, queue = take_sizes(day, takes)
    source = day.kind.astype(int)
    source[takes[takes > 0][size < queue]] = PARTIAL
    stream, rows = event_stream(day, lives, takes, blocks, states, source, u)
    found = fit_excitation(stream, exposure_by_age(day, lives, blocks, BLOCK_SECONDS), SPREADS * GAPS)
    children = np.zeros((2, len(day.kind)))  # of a cancellation, of a new order of the same side
    children[:, rows] = found.causes[:, [1 + 2 * LEAVE, 1 + 2 * ADD]].T
    requotes = fit_requotes(day, children[0], children[1], inside)
    learned = learn_value(day, everything, blocks)
    tables = {
        "spread_edges": edges,
        **place_tables(day, new, np.where(requotes.near[new], 0.0, 1.0), edges),
        "size": size_tables(day, new, np.ones(len(new))),
        "own_size": size_tables(day, new, requotes.own_size[new]),
        **take_tables(size, queue),
        "life_edges": LIFE_EDGES,
        "life_sizes": sizes,
        "life": life_table(found.hazard),
        **excitation_tables(found),
        **requotes.tables,
        "take_edges": take_edges,
        "gap_edges": gap_edges,
        "follow": np.array([VALUE_FOLLOW]),
        "worth": np.array([learned.worth]),
        "sign_decay": learned.decay,
        "sign_weight": learned.weight,
        "pick_ages": PICK_AGES,
        "picked": picked_table(day, lives, rows, found.causes.sum(axis=1), sizes),
        "window": np.array([np.median(_window(day)[inside])]),
        **unit_tables(day, blocks),
    }
    tables |= state_tables(day, lives, takes, edges, tables["queue_edges"], blocks, u)
    told = worth_of(day, everything, state_news(day, everything, tables), blocks)
    gap = 0.5 * float(np.mean(day.spread[inside]) / np.mean(day.mid[inside]))
    tables["state_value"] = np.array([STATE_LEAN, gap, told.total * np.sqrt(session_seconds), told.alone, STATE_KEPT])
    return FlowFit(
        instrument.symbol, intraday, learned.volatility * np.sqrt(session_seconds), VALUE_LEAN, VALUE_PULL,
        float(np.median(day.mid[inside]) * instrument.tick_size), float(np.mean(size)), WORTH_FADE, WORTH_KEPT,
        f"{len(blocks)} blocks of {BLOCK_SECONDS:g} s, {inside.sum()} messages, "
        f"branching ratio {found.branching_ratio:.2f}",
        {name: np.round(table, 10).tolist() for name, table in tables.items()},
    )  # fmt: skip


def spread_edges(spread: Array) -> Array:
    """Return the edges between spreads, ticks: quantiles, far away where there are fewer different ones."""
    edges = np.unique(np.floor(np.quantile(spread, _SPREAD_QUANTILES))) + 0.5
    return np.concatenate([edges, _FAR + np.arange(len(_SPREAD_QUANTILES) - len(edges))])


def take_states(day: VisibleDay, takes: Array) -> tuple[Array, Array]:
    """Return the edges between spreads and between gaps behind the queue, ticks: quantiles over market orders.

    Closer together where quotes stand out: at tight spreads and wide gaps market orders come by far the fastest.
    """
    rows = takes[takes > 0]
    gap = _gaps(day)[rows - 1, np.where(day.side[rows] > 0, 0, 1)]
    found = []
    for values, quantiles in ((spread_before(day)[rows], _TAKE_QUANTILES), (gap, _GAP_QUANTILES)):
        edges = np.unique(np.floor(np.quantile(values, quantiles))) + 0.5
        found.append(np.concatenate([edges, _FAR + np.arange(len(quantiles) - len(edges))]))
    return found[0], found[1]


def take_cell(day: VisibleDay, take_edges: Array, gap_edges: Array) -> Array:
    """Return the state for market orders against bids and offers after each message, (n, 2)."""
    spread = np.searchsorted(take_edges, day.spread, side="right")[:, None]
    return np.asarray(spread * GAPS + np.searchsorted(gap_edges, _gaps(day), side="right"))


def _gaps(day: VisibleDay) -> Array:
    """Return ticks from best to second price of bids and offers, (n, 2); 1 where no second one is known."""
    if day.prices.shape[2] < 2:
        return np.ones((len(day.kind), 2))
    return np.nan_to_num(np.abs(day.prices[:, :, 1] - day.prices[:, :, 0]), nan=1.0)


def market_rows(day: VisibleDay) -> Array:
    """Return the first row of each market order: executions of one moment on one side follow each other."""
    done = day.kind == TAKE
    again = np.zeros(len(done), bool)
    again[1:] = done[1:] & done[:-1] & (np.diff(day.seconds) == 0) & (day.side[1:] == day.side[:-1])
    return np.flatnonzero(done & ~again)


def take_sizes(day: VisibleDay, first: Array) -> tuple[Array, Array]:
    """Return the size of each market order and the queue it met."""
    everything = market_rows(day)
    done = np.flatnonzero(day.kind == TAKE)
    number = np.searchsorted(everything, done, side="right") - 1
    size = np.bincount(number, day.quantity[done], minlength=len(everything))
    first = first[first > 0]
    column = np.where(day.side[first] > 0, 0, 1)
    return size[np.searchsorted(everything, first)], day.depth[first - 1, column, 0]


def _window(day: VisibleDay) -> Array:
    """Return how far the deepest visible level of either side is from its touch, ticks."""
    bid = day.prices[:, 0, 0] - np.nanmin(day.prices[:, 0], axis=1)
    return np.asarray(np.maximum(bid, np.nanmax(day.prices[:, 1], axis=1) - day.prices[:, 1, 0]))


def activity_at(x: Array, intraday: float) -> Array:
    """Return the U-shape at a fraction of the session, mean 1 (`market.flow_state.activity`)."""
    return np.asarray(1.0 + intraday * (12.0 * (np.clip(x, 0.0, 1.0) - 0.5) ** 2 - 1.0))


def intraday_shape(day: VisibleDay, blocks: Array, session_seconds: float) -> float:
    """Return the depth of the U-shape: least squares of messages by block on it, from 0 to 0.9."""
    x = (np.asarray(blocks) + 0.5) * BLOCK_SECONDS / session_seconds
    counts = np.array([(day.blocks == b).sum() for b in blocks], float)
    shape = 12.0 * (x - 0.5) ** 2 - 1.0
    design = np.stack([np.ones(len(x)), shape], axis=1)
    level, slope = np.linalg.lstsq(design, counts, rcond=None)[0]
    return float(np.clip(slope / max(level, 1e-12), 0.0, 0.9))


def event_stream(
    day: VisibleDay, lives: OrderLives, takes: Array, blocks: Array, states: Array, source: Array, u: Array
) -> tuple[EventStream, Array]:
    """Return the events of the blocks, market orders once each, and the rows of the day that they are.

    `states` (n, 2, 3) are those after each message by side and kind.
    """
    first = np.zeros(len(day.kind), bool)
    first[takes] = True
    rows = np.flatnonzero(np.isin(day.blocks, blocks) & ((day.kind != TAKE) | first))
    age, life_class = ages(day, lives)
    ends = {int(b): (b + 1) * BLOCK_SECONDS for b in blocks}
    previous, last = np.maximum(rows - 1, 0), np.append(rows[1:] - 1, len(day.kind) - 1)
    stream = EventStream(
        day.seconds[rows], day.kind[rows], source[rows], day.side[rows], day.blocks[rows],
        states[previous, np.where(day.side[rows] > 0, 0, 1), day.kind[rows]], states[last], u[rows],
        lives.beside[rows], age[rows], life_class[rows], ends,
    )  # fmt: skip
    return stream, rows


def excitation_tables(found: Excitation) -> dict[str, Array]:
    """Return the tables of the branching process."""
    mean = found.alpha.sum(axis=(1, 2, 3))
    shares = found.alpha.reshape(len(mean), -1) / np.maximum(mean, 1e-12)[:, None]
    return {"base": found.mu, "mean": mean, "partial": np.array([found.partial]),
            "children": np.cumsum(shares, axis=1), "decay": DECAYS,
            "met": found.met, "add_factor": found.factor[ADD, :SPREADS],
            "take_factor": found.factor[TAKE].reshape(SPREADS, GAPS)}  # fmt: skip
