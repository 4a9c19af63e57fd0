"""The tables of a fitted flow that are counts and quantiles: places, sizes, takes, lives, rates by state."""

import numpy as np

from difffinance.calibration.excitation import AGE_EDGES
from difffinance.calibration.order_lives import LIFE_EDGES, OrderLives, behind_touch, spread_before
from difffinance.calibration.visible_day import ADD, LEAVE, TAKE, VisibleDay
from difffinance.market.flow_state import SIZE_PARTS
from difffinance.records import Array

QUANTILES = 13
TAKE_STATE = 4  # place of market orders among the rates of a state
PICK_AGES = np.array([1.0, 10.0, 60.0])  # seconds: waves of cancellations take the young far more often
DISTANCE_EDGES = np.array([1, 4, 7, 10, 13, 16, 20, 25, 30, 36, 42, 48, 55, 63, 72, 85, 100, 125, 160, 200, 301])


def levels(values: Array, count: int, weights: Array | None = None) -> Array:
    """Return `count` quantiles at the middles of equal shares; zeros where there are no values."""
    if len(values) == 0:
        return np.zeros(count)
    order = np.argsort(values, kind="stable")
    weights = np.ones(len(values)) if weights is None else weights
    reached = np.cumsum(weights[order])
    at = (np.arange(count) + 0.5) / count * reached[-1]
    return np.asarray(values[order][np.minimum(np.searchsorted(reached, at), len(values) - 1)])


def size_levels(sizes: Array, weights: Array) -> Array:
    """Return quantiles of sizes as `flow_state.pick` draws them; the very last is the mean of the largest."""
    order = np.argsort(sizes, kind="stable")
    order = order[weights[order] > 0.0]
    sizes, weights = sizes[order], weights[order]
    beyond = np.cumsum(weights[::-1])[::-1]  # of this one and the larger ones
    tail, last = (beyond * parts <= weights.sum() for parts in (SIZE_PARTS, SIZE_PARTS**2))
    for few in (tail, last):
        few[-1:] = True
    found = np.concatenate([levels(sizes, SIZE_PARTS, weights)[:-1], levels(sizes[tail], SIZE_PARTS, weights[tail])])
    if len(sizes):
        found[-1] = np.average(sizes[last], weights=weights[last])
    return found


def knots(values: Array, count: int, weights: Array) -> Array:
    """Return quantiles between which the inverse distribution is linear, from the 0.5% to the 99.5% one."""
    if len(values) == 0:
        return np.zeros(count)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = np.clip(np.linspace(0.0, 1.0, count), 0.005, 0.995) * reached[-1]
    return np.asarray(values[order][np.minimum(np.searchsorted(reached, at), len(values) - 1)], float)


def place_tables(day: VisibleDay, rows: Array, weights: Array, edges: Array) -> dict[str, Array]:
    """Return where new orders go, by the spread before them; `rows` are new orders, each with a weight."""
    behind, spread = behind_touch(day)[rows], spread_before(day)[rows]
    state = np.searchsorted(edges, spread, side="right")
    shapes = {"place": (2,), "improve": (), "inside": (QUANTILES,), "behind": (2 * QUANTILES,)}
    tables = {name: np.zeros((len(edges) + 1, *shape)) for name, shape in shapes.items()}
    for b in range(len(edges) + 1):
        here = state == b
        x, w, room = behind[here], weights[here], spread[here]
        total = max(w.sum(), 1e-12)
        tables["place"][b] = np.cumsum([w[x < 0].sum() / total, w[x == 0].sum() / total])
        inside, one = (x < 0) & (room > 1), (x == -1) & (room > 1)
        tables["improve"][b] = w[one].sum() / max(w[inside].sum(), 1e-12)
        deep = inside & (x < -1) & (room > 2)
        tables["inside"][b] = knots((-x[deep] - 2.0) / (room[deep] - 2.0), QUANTILES, w[deep])
        tables["behind"][b] = knots(x[x > 0], 2 * QUANTILES, w[x > 0])
    return tables


def size_tables(day: VisibleDay, rows: Array, weights: Array) -> Array:
    """Return quantiles of the sizes of new orders inside, at and behind the touch, each order with a weight, (3, Q)."""
    behind = behind_touch(day)[rows]
    where = np.where(behind < 0, 0, np.where(behind == 0, 1, 2))
    return np.stack([size_levels(day.quantity[rows][where == k], weights[where == k]) for k in range(3)])


def take_tables(size: Array, queue: Array) -> dict[str, Array]:
    """Return how market orders are sized against the queue they meet."""
    edges = np.quantile(queue, [1 / 3, 2 / 3])
    edges = np.array([edges[0] + 0.5, max(edges[1], edges[0] + 1.0) + 0.5])
    state = np.searchsorted(edges, queue, side="right")
    take = np.array([[(size == queue)[state == k].mean(), (size <= queue)[state == k].mean()] if (state == k).any()
                     else [1.0, 1.0] for k in range(3)])  # fmt: skip
    others = size[size != queue]
    return {"queue_edges": edges, "take": take, "take_size": size_levels(others, np.ones(len(others)))}


def life_table(hazard: Array, count: int = 25) -> Array:
    """Return quantiles of the log of lives (places, sizes, count) for hazards by age; the last holds for good."""
    widths, shape = np.diff(AGE_EDGES), hazard.shape[:-1]
    table = np.zeros((*shape, count))
    for c in np.ndindex(shape):
        rates = np.maximum(hazard[c], 1e-6)
        reached = np.concatenate([[0.0], np.cumsum(rates[:-1] * widths)])
        for k, u in enumerate(np.clip(np.linspace(0.0, 1.0, count), 0.002, 0.998)):
            target = -np.log1p(-u)
            j = min(int(np.searchsorted(reached, target, side="right")) - 1, len(rates) - 1)
            table[(*c, k)] = np.log(AGE_EDGES[j] + (target - reached[j]) / rates[j])
    return table


def picked_table(day: VisibleDay, lives: OrderLives, rows: Array, caused: Array, size_edges: Array) -> Array:
    """Return how likely a wave of cancellations picks an order, over the likeliest, (places, sizes, ages).

    `caused` is the chance of each message in `rows` that another one set it off. Each such cancellation picks among
    the orders of its side that are known and stand then; places are as then: at the touch, behind by `LIFE_EDGES`;
    ages by `PICK_AGES`. Sizes are those at birth, where the market takes what is left: on GOOG's training blocks that
    is another class for 0.2% of the orders picked and of those that stood beside them.
    """
    gone = (day.kind[rows] == LEAVE) & (lives.order_of[rows] >= 0) & (caused > 0.0)
    rows, caused = rows[gone], caused[gone]
    side, price, birth = day.side[lives.birth], day.price[lives.birth], day.seconds[lives.birth]
    size = np.searchsorted(size_edges, day.quantity[lives.birth], side="right")
    edges, shape = np.concatenate([[1.0], LIFE_EDGES]), (len(LIFE_EDGES) + 2, len(size_edges) + 1, len(PICK_AGES) + 1)
    standing, picked = np.zeros((len(rows), np.prod(shape))), np.zeros(len(rows), int)
    alive, births = {1: np.zeros(0, int), -1: np.zeros(0, int)}, np.searchsorted(lives.birth, rows)
    for i, (row, first, last) in enumerate(zip(rows, np.append(0, births)[:-1], births, strict=True)):
        new, own = np.arange(first, last), int(day.side[row])
        alive = {s: np.append(orders, new[side[new] == s]) for s, orders in alive.items()}
        here = alive[own] = alive[own][lives.end[alive[own]] >= day.seconds[row]]
        touch = day.prices[row - 1, 0 if own > 0 else 1, 0]
        place = np.searchsorted(edges, own * (touch - price[here]), side="right")
        age = np.searchsorted(PICK_AGES, day.seconds[row] - birth[here], side="right")
        kinds = np.ravel_multi_index((place, size[here], age), shape)
        standing[i] = np.bincount(kinds, minlength=standing.shape[1])
        picked[i] = kinds[np.searchsorted(here, lives.order_of[row])]
    taken = np.bincount(picked, caused, minlength=standing.shape[1])
    return choice_chances(taken, standing, caused).reshape(shape)


def choice_chances(taken: Array, standing: Array, weights: Array, iterations: int = 50) -> Array:
    """Return how likely each kind is chosen over the likeliest: maximum likelihood of Luce's choices.

    `taken` (K,) is how often each kind was, `standing` (n, K) what there was to choose from. The algorithm is Hunter's
    (2004). One choice more of each kind, at the mean chance, keeps kinds that hardly occur near the others.
    """
    chances = np.ones(len(taken))
    for _ in range(iterations):
        there = (weights / np.maximum(standing @ chances, 1e-12)) @ standing
        mean = taken.sum() / max(there.sum(), 1e-12)
        rate = (taken + 1.0) / (there + 1.0 / max(mean, 1e-12))
        chances = rate / rate.max()
    return np.asarray(chances)


def state_tables(
    day: VisibleDay, lives: OrderLives, takes: Array, edges: Array, queue_edges: Array, inside_blocks: Array, u: Array
) -> dict[str, Array]:
    """Return the rates of the queue-reactive model; `takes` are the first rows of market orders."""
    duration = np.append(np.diff(day.seconds), 0.0) * np.append(np.diff(day.blocks) == 0, False) * u
    spread = np.searchsorted(edges, day.spread, side="right")
    before = np.searchsorted(edges, spread_before(day), side="right")
    behind, buckets = behind_touch(day), len(edges) + 1
    time, counts = np.zeros((buckets, 3)), np.zeros((buckets, 3, 5))
    deep_time, deep = np.zeros(buckets), np.zeros(buckets)
    chosen = np.isin(day.blocks, inside_blocks)
    take = np.zeros(len(day.kind), bool)
    take[takes] = True
    event = np.select(
        [(day.kind == ADD) & (behind < 0), (day.kind == ADD) & (behind == 0), day.kind == ADD,
         (day.kind == LEAVE) & (behind == 0), take], [0, 1, 2, 3, 4], default=-1)  # fmt: skip
    for column, sign in ((0, 1), (1, -1)):
        queue = np.searchsorted(queue_edges, day.depth[:, column, 0], side="right")
        np.add.at(time, (spread[chosen], queue[chosen]), duration[chosen])
        rows = np.flatnonzero(chosen & (day.side == sign) & (event >= 0))
        rows = rows[rows > 0]
        np.add.at(counts, (before[rows], queue[rows - 1], event[rows]), 1.0)
        rows = np.flatnonzero(chosen & (day.side == sign) & (day.kind == LEAVE) & (behind > 0))
        np.add.at(deep, before[rows], 1.0)
    orders = _open_orders(day, lives)
    np.add.at(deep_time, spread[chosen], (orders * duration)[chosen])
    return {
        "state_rates": counts / np.maximum(time, 1.0)[..., None],
        "deep_cancel": deep / np.maximum(deep_time, 1.0),
    }


def state_news(day: VisibleDay, takes: Array, tables: dict[str, Array]) -> Array:
    """Return the signs of market orders less what the rates of the queue-reactive model expect in the state before."""
    state = np.searchsorted(tables["spread_edges"], spread_before(day)[takes], side="right")
    queue = np.searchsorted(tables["queue_edges"], day.depth[np.maximum(takes - 1, 0), :, 0], side="right")
    sells, buys = (tables["state_rates"][state, queue[:, column], TAKE_STATE] for column in (0, 1))
    return np.asarray(-np.sign(day.side[takes]) - (buys - sells) / np.maximum(buys + sells, 1e-12))


def _open_orders(day: VisibleDay, lives: OrderLives) -> Array:
    """Return the visible orders of both sides after each message."""
    born = np.searchsorted(lives.birth, np.arange(len(day.kind)), side="right")
    ended = np.searchsorted(np.sort(lives.end), day.seconds, side="right")
    return np.maximum(born - ended, 1.0)


def unit_tables(day: VisibleDay, blocks: Array) -> dict[str, Array]:
    """Return the model of Cont, Stoikov & Talreja as LOB-Bench fits it: sizes in mean limit orders, rates per side.

    Rates by distance from the opposite best price are constant inside `DISTANCE_EDGES`, neighbours joined until each
    has one in fifty of the cancelled units.
    """
    chosen = np.isin(day.blocks, blocks)
    duration = (np.append(np.diff(day.seconds), 0.0) * np.append(np.diff(day.blocks) == 0, False))[chosen]
    span, width = float(duration.sum()), int(DISTANCE_EDGES[-1]) - 1
    away = np.clip(spread_before(day) + behind_touch(day), 1, width)
    add, gone, done = (chosen & (day.kind == k) for k in (ADD, LEAVE, TAKE))
    unit = float(day.quantity[add].mean())

    edges = _joined(away[gone], day.quantity[gone])

    def by_distance(values: Array, weights: Array) -> Array:
        return np.histogram(values, edges, weights=weights)[0]

    limit = by_distance(away[add], np.ones(add.sum())) / np.diff(edges)
    cancelled = by_distance(away[gone], day.quantity[gone])
    standing = np.zeros(len(edges) - 1)
    for column, other, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        distance = sign * (day.prices[chosen, other, :1] - day.prices[chosen, column])
        known = np.isfinite(distance)
        standing += by_distance(distance[known], (day.depth[chosen, column] * duration[:, None])[known])
    rates = cancelled / np.maximum(standing, 1e-9)
    ticks = np.searchsorted(edges, np.arange(1, width + 1), side="right") - 1
    shares = np.cumsum(limit[ticks] / max(limit[ticks].sum(), 1e-12))
    market = day.quantity[done].sum() / unit
    return {
        "unit_limit": shares,
        "unit_cancel": rates[ticks],
        "unit": np.array([add.sum() / span / 2.0, market / span / 2.0, unit]),
    }


def _joined(away: Array, units: Array) -> Array:
    """Return those of `DISTANCE_EDGES` that leave enough cancelled units between two."""
    found = np.histogram(away, DISTANCE_EDGES, weights=units)[0]
    edges, since = [DISTANCE_EDGES[0]], 0.0
    for units_here, edge in zip(found.tolist(), DISTANCE_EDGES[1:].tolist(), strict=True):
        since += units_here
        if since >= 0.02 * found.sum():
            edges.append(edge)
            since = 0.0
    edges[-1 if len(edges) > 1 else len(edges) :] = [DISTANCE_EDGES[-1]]
    return np.array(edges)
