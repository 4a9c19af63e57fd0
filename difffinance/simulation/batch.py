"""Many episodes of scripted agents in compiled code: what each seat earned, and paths on request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from difffinance.agents.base import Agent
from difffinance.agents.factory import AgentFactory, agent_streams
from difffinance.config import AgentsConfig, MarketConfig
from difffinance.data.store import Progress, no_progress
from difffinance.errors import InputError
from difffinance.market import play, reasons
from difffinance.market.book_session import LEVELS, BookSession
from difffinance.market.engine import FILL
from difffinance.market.environment import MarketEnvironment
from difffinance.market.handles import Handle
from difffinance.market.layout import longer
from difffinance.market.observation import ACTION, CONSTRAINTS, OPPONENTS, STATE
from difffinance.market.options import whole
from difffinance.market.play import Paths, Sums
from difffinance.market.running_rewards import check_rewards, episode_rewards, market_money
from difffinance.market.settlement import EVENT
from difffinance.market.utility import Utility
from difffinance.participants import counted_kinds
from difffinance.records import Array
from difffinance.simulation.players import RNG, SeatedAgents, check_seated, reads

PATHS = (
    "marks", "value", "depth", "wealth", "inventory", "cash", "fees", "tally", "rewards", "unit", "states",
    "opponents", "constraints", "actions",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """What E episodes of N seats came to. Money in quote currency, quantities in units of the asset.

    `impact_bps` is that of `market.footprint`, NaN for a seat without fills. `refused[e, seat]` counts by
    `market.reasons.NAMES`. `paths` holds what was asked for, as `market.play.Paths` with the episodes in front.
    """

    kinds: tuple[str, ...]
    pnl: Array  # (E, N)
    rewards: Array  # (E, N) summed over the episode: `pnl`, or what the seat's utility came to
    inventory: Array  # (E, N) at the end
    inventory_mean: Array  # (E, N)
    asked: Array  # (E, N) in accepted orders
    bought: Array  # (E, N)
    sold: Array  # (E, N)
    bought_value: Array  # (E, N)
    sold_value: Array  # (E, N)
    fees: Array  # (E, N)
    impact_bps: Array  # (E, N)
    trades: Array  # (E,)
    refused: Array = field(repr=False)  # (E, N, reasons)
    paths: dict[str, Array] = field(repr=False)

    def __len__(self) -> int:
        return len(self.trades)

    @property
    def refusals(self) -> dict[str, int]:
        """Refused orders and actions by reason, over all."""
        return by_reason(self.refused)


def by_reason(refused: Array) -> dict[str, int]:
    """Return the counts of the last axis by name, those that are not 0."""
    counts = refused.reshape(-1, refused.shape[-1]).sum(axis=0)
    return {name: int(count) for name, count in zip(reasons.NAMES, counts, strict=True) if count}


def simulate_batch(
    agents: Sequence[str] | Mapping[str, int] | Sequence[Agent],
    *,
    episodes: int,
    num_steps: int | None = 1000,
    seed: int = 7,
    market: MarketConfig | None = None,
    accounts: AgentsConfig | None = None,
    latency: float | Sequence[float] = 0.0,
    rewards: str | Sequence[Utility] = "wealth",
    paths: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Batch:
    """Play `episodes` of scripted `agents` (or their kinds, or how many of each) and return what each seat came to.

    Without `num_steps` an episode ends with the session. Episode k is the k-th `reset()` of
    `MarketEnvironment(seed=seed)` with agents that take the k-th of `agent_streams(seed, episodes, N)`: the same
    numbers as the step API, to the bit. `rewards` are those of `MarketEnvironment`: changes of wealth, or a utility
    per seat. `paths` names what is written down at each step, of `PATHS`.
    """
    episodes = whole(episodes, "episodes", least=1)
    unknown = [name for name in paths if name not in PATHS]
    if unknown:
        raise InputError(f"path '{unknown[0]}' is not known. Allowed: {', '.join(PATHS)}.")
    given = counted_kinds(agents) if isinstance(agents, str | Mapping) else agents
    population: list[Any] = [AgentFactory.create(a, i) if isinstance(a, str) else a for i, a in enumerate(given)]
    kinds = [agent.kind for agent in population]
    check_seated(population, kinds)
    env = MarketEnvironment(
        len(kinds), market, seed, agents=accounts, kinds=kinds, num_steps=num_steps, latency=latency
    )
    if not isinstance(env.session, BookSession):
        raise InputError("batches run in the book mode. Allowed: market.mode=book; the step API runs the law mode too.")
    table, num_steps = SeatedAgents(population), env.num_steps
    n, utilities = len(kinds), check_rewards(rewards, len(kinds))
    needed = [*paths, *(name for name in ("marks", "wealth", "states") if utilities and name not in paths)]
    sums = np.zeros((episodes, n, 8))
    refused, trades = np.zeros((episodes, n, len(reasons.NAMES)), np.int64), np.zeros((episodes, 1), np.int64)
    pnl, ends, fees = np.zeros((episodes, n)), np.zeros((episodes, n)), np.zeros((episodes, n))
    earned = pnl if not utilities else np.zeros((episodes, n))
    # What was not asked for and rewards need is written over by the next episode.
    written: dict[str, Array] = {
        name: np.zeros((episodes if name in paths else 1, *shape), kind)
        for name, (shape, kind) in _shapes(num_steps, n, needed).items()
    }
    none = empty_paths(num_steps, n)
    added, noted = Handle(Sums(sums[0], refused[0], trades[0])), Handle(none)
    drawing = [seat for seat, kind in enumerate(map(type, population)) if reads(kind, RNG)]
    for k, streams in enumerate(agent_streams(seed, episodes, n, drawing)):
        progress("simulate", k, episodes)
        for seat, rng in zip(drawing, streams, strict=True):
            population[seat].rng.bit_generator.state = rng.bit_generator.state
        for memory in table.memories:
            memory[:] = 0.0
        env.begin()
        if "opponents" not in paths:
            env.session.market.watching[:] = table.watching
        wealth = env.wealth
        added.bind(Sums(sums[k], refused[k], trades[k]))
        money = market_money(env.session, env.config.tick_size, env.config.lot_size) if utilities else 0.0
        episode = {name: array[k if name in paths else 0] for name, array in written.items()}
        noted.bind(none._replace(**episode))
        run_session(env.session, table, added, noted, num_steps)
        pnl[k], ends[k], fees[k] = env.wealth - wealth, env.venue.floor.inventory[:n], env.venue.floor.fees[:n]
        if utilities:
            by_step = _utility_rewards(utilities, env, money, episode)
            earned[k] = by_step.sum(axis=0)
            if "rewards" in paths:
                episode["rewards"][:] = by_step
    progress("simulate", episodes, episodes)
    lot, unit = env.config.lot_size, env.config.lot_size * env.config.tick_size
    moved, traded = sums[:, :, play.SUM_MOVED], sums[:, :, play.SUM_TRADED]
    return Batch(
        tuple(kinds), pnl, earned, ends * lot, sums[:, :, play.SUM_HELD] / num_steps * lot,
        sums[:, :, play.SUM_ASKED] * lot, sums[:, :, play.SUM_BOUGHT] * lot, sums[:, :, play.SUM_SOLD] * lot,
        sums[:, :, play.SUM_BOUGHT_VALUE] * unit, sums[:, :, play.SUM_SOLD_VALUE] * unit, fees,
        np.divide(1e4 * moved, traded, out=np.full_like(moved, np.nan), where=traded > 0), trades[:, 0], refused,
        {name: written[name] for name in paths},
    )  # fmt: skip


def _utility_rewards(
    utilities: Sequence[Utility], env: MarketEnvironment, money: float, episode: dict[str, Array]
) -> Array:
    """Return the rewards (T, N) of the episode that `env` has just played, from what was written down of it."""
    views = np.concatenate([episode["states"], env.session.tables.state[None]])
    mid = episode["marks"][:, 0] * env.config.tick_size / env.config.tick_size  # as `MarketEnvironment` reads it
    each = [
        episode_rewards(utility, money, episode["wealth"][:, seat], views[:, seat], mid)
        for seat, utility in enumerate(utilities)
    ]
    return np.stack(each, axis=1)


def run_session(session: BookSession, table: SeatedAgents, sums: Handle, paths: Handle, until: int) -> None:
    """Play to step `until`, making room where it is needed; the logs of `paths` may grow. Handles: `Sums`, `Paths`."""
    while not play.play(session.handle, table.handle, sums, paths, until):
        session.make_room()
        floor, held, step = session.venue.floor, paths.held, session.steps_done
        if len(held.ends):
            used = held.ends[step]
            paths.bind(
                held._replace(
                    events=longer(held.events, int(used[0]) + 2 * len(floor.events)),
                    fills=longer(held.fills, int(used[1]) + 2 * len(floor.fills)),
                )
            )


def empty_paths(num_steps: int, seats: int) -> Paths:
    """Return paths of length 0: nothing is written down."""
    shapes = _shapes(num_steps, seats, PATHS)
    arrays: dict[str, Array] = {name: np.zeros((0, *shape[1:]), kind) for name, (shape, kind) in shapes.items()}
    return Paths(events=np.zeros(0, EVENT), fills=np.zeros(0, FILL), ends=np.zeros((0, 2), np.int64), **arrays)


def full_paths(num_steps: int, seats: int) -> Paths:
    """Return paths that write down everything of one episode, the log of messages and trades included."""
    shapes = _shapes(num_steps, seats, PATHS)
    arrays: dict[str, Array] = {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()}
    return Paths(
        events=np.zeros(8192, EVENT), fills=np.zeros(8192, FILL), ends=np.zeros((num_steps + 1, 2), np.int64), **arrays
    )


def _shapes(t: int, n: int, names: Sequence[str]) -> dict[str, tuple[tuple[int, ...], type]]:
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "marks": ((t + 1, 3), float), "value": ((t + 1,), float), "depth": ((t + 1, 2, LEVELS, 2), np.int64),
        "wealth": ((t + 1, n), float), "inventory": ((t + 1, n), np.int64), "cash": ((t + 1, n), np.int64),
        "fees": ((t + 1, n), float), "tally": ((t, n, 6), np.int64), "rewards": ((t, n), float), "unit": ((t,), float),
        "states": ((t, n, len(STATE)), float), "opponents": ((t, n, len(OPPONENTS)), float),
        "constraints": ((t, n, len(CONSTRAINTS)), float), "actions": ((t, n, len(ACTION)), float),
    }  # fmt: skip
    return {name: shapes[name] for name in names}
