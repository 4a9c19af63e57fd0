"""One episode of the market with its agents, written down step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from difffinance.agents.base import Agent, ScriptedAgent
from difffinance.market import reasons
from difffinance.market.book_session import BookSession
from difffinance.market.environment import MarketEnvironment
from difffinance.market.handles import Handle
from difffinance.market.law_session import LawSession
from difffinance.market.observation import ACTION_INDEX
from difffinance.market.play import Sums
from difffinance.market.settlement import ASKED, BOUGHT, BOUGHT_VALUE, SOLD, SOLD_VALUE
from difffinance.records import Array, MarketState
from difffinance.schemas import TRAJECTORIES
from difffinance.simulation.batch import by_reason, full_paths, run_session
from difffinance.simulation.law_log import LawLog
from difffinance.simulation.players import SeatedAgents, are_scripted, check_seated


@dataclass(frozen=True)
class Episode:
    """T steps of N agents. Prices and money in quote currency, quantities in units of the asset.

    Arrays with T + 1 rows hold the state before the first step too. `depth[t]` is (2, L, 2): bid and ask, level,
    (price, quantity), 0 where there is no level. `trades` has one row per fill: seconds, price, quantity, side of
    the taker. `opening`, `events` and `fills` are the raw log in ticks and lots.
    """

    kinds: tuple[str, ...]
    step_seconds: float
    mid: Array  # (T+1,)
    spread: Array  # (T+1,)
    value: Array  # (T+1,) the fundamental, which no agent was shown
    depth: Array = field(repr=False)  # (T+1, 2, L, 2)
    wealth: Array = field(repr=False)  # (T+1, N)
    inventory: Array = field(repr=False)  # (T+1, N)
    cash: Array = field(repr=False)  # (T+1, N) net of fees
    asked: Array = field(repr=False)  # (T, N) units in accepted orders
    bought: Array = field(repr=False)  # (T, N)
    sold: Array = field(repr=False)  # (T, N)
    fill_price: Array = field(repr=False)  # (T, N) mean, NaN without fills
    at_market: Array = field(repr=False)  # (T, N) signed units asked at the market
    rewards: Array = field(repr=False)  # (T, N)
    states: Array = field(repr=False)  # (T, N, 50), as are the next three with 10, 40, 20
    actions: Array = field(repr=False)
    opponents: Array = field(repr=False)
    constraints: Array = field(repr=False)
    trades: pl.DataFrame = field(repr=False)
    refusals: dict[str, int]
    opening: Array = field(repr=False)
    events: list[Array] = field(repr=False)  # T of (messages,)
    fills: list[Array] = field(repr=False)  # T of (fills,)
    fees: Array = field(repr=False)  # (N,)

    def __len__(self) -> int:
        return len(self.rewards)

    def frame(self, run: str, episode: int) -> pl.DataFrame:
        """Return the episode as a `Trajectories` table."""
        steps, n = self.rewards.shape
        filled = self.bought - self.sold
        wide = {"state": self.states, "action": self.actions, "opponents": self.opponents}
        columns = {
            "run": pl.Series([run]).new_from_index(0, steps * n),
            "episode": np.full(steps * n, episode),
            "step": np.repeat(np.arange(steps), n),
            "agent": np.tile(np.arange(n), steps),
            "agent_kind": list(self.kinds) * steps,
            "mid": np.repeat(self.mid[:-1], n),
            "spread": np.repeat(self.spread[:-1], n),
            "inventory": self.inventory[1:].ravel(),
            "cash": self.cash[1:].ravel(),
            "wealth": self.wealth[1:].ravel(),
            "side": np.sign(self.at_market).ravel(),
            "price": np.repeat(self.mid[:-1], n),
            "quantity": np.abs(self.at_market).ravel(),
            "filled": filled.ravel(),
            "fill_price": pl.Series(self.fill_price.ravel()).fill_nan(None),
            "impact": np.repeat(np.diff(self.mid), n),
            "reward": self.rewards.ravel(),
            "done": np.repeat(np.arange(steps) == steps - 1, n),
        }
        for name, table in {**wide, "constraints": self.constraints}.items():
            columns[name] = pl.Series(table.reshape(steps * n, -1)).cast(pl.List(pl.Float64))
        return pl.DataFrame(columns).cast({c: TRAJECTORIES.columns[c].dtype for c in ("side", "episode")})


def opening_orders(env: MarketEnvironment) -> Array:
    """Return the orders that rest in the book, oldest first: columns id, side, price, quantity, owner."""
    orders = env.venue.floor.orders
    ids = np.flatnonzero(orders["quantity"])
    return np.stack([ids, *(orders[ids][name] for name in ("side", "price", "quantity", "owner"))], axis=1)


def record_episode(env: MarketEnvironment, agents: Sequence[Agent], *, seed: int | None = None) -> Episode:
    """Run one episode of `env` with `agents` in its seats and write everything down; `seed` starts that episode."""
    check_seated(agents, env.kinds)
    if are_scripted(agents) and isinstance(env.session, BookSession) and not env.utilities:
        return _record_compiled(env, [agent for agent in agents if isinstance(agent, ScriptedAgent)], seed)
    return record_in_python(env, agents, seed)


def record_in_python(env: MarketEnvironment, agents: Sequence[Agent], seed: int | None = None) -> Episode:
    """Do what `record_episode` does, with the step API: any agent may sit here.

    An agent that raises does nothing in that step; its failure is counted as `agent_raised`.
    """
    state, log = env.reset(seed), LawLog(env) if isinstance(env.session, LawSession) else _BookLog(env)
    info: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    first, opening, done = log.snapshot(state), log.opening(), False
    while not done:
        actions = [_ask(agent, state, info) for agent in agents]
        before, unit = state, env.step_volume
        state, rewards, done, info = env.step(actions)
        note = log.note(before, rewards, unit)
        notes.append(note | log.snapshot(state))
    return _assemble(env, log, first, notes, opening)


def _ask(agent: Agent, state: MarketState, info: dict[str, Any]) -> Array | Exception:
    try:
        return agent.act(state, info)
    except Exception as failure:
        return failure


def _record_compiled(env: MarketEnvironment, agents: Sequence[ScriptedAgent], seed: int | None) -> Episode:
    env.reset(seed)
    n, steps = env.num_agents, env.num_steps
    opening, table = opening_orders(env), SeatedAgents(agents)
    sums = Sums(np.zeros((n, 8)), np.zeros((n, len(reasons.NAMES)), np.int64), np.zeros(1, np.int64))
    written = Handle(full_paths(steps, n))
    run_session(env.session, table, Handle(sums), written, steps)
    paths = written.held
    env.refusals.update(by_reason(sums.refused))
    tick, lot = env.config.tick_size, env.config.lot_size
    ends, tally = paths.ends, paths.tally
    events = [paths.events[a:b] for a, b in pairwise(ends[:, 0])]
    fills = [paths.fills[a:b] for a, b in pairwise(ends[:, 1])]
    bid, ask = paths.marks[:, 1] * tick, paths.marks[:, 2] * tick
    market = paths.actions[:, :, ACTION_INDEX["participation"]] * paths.unit[:, None]
    return Episode(
        kinds=env.kinds,
        step_seconds=env.config.step_seconds,
        mid=paths.marks[:, 0] * tick,
        spread=ask - bid,
        value=np.exp(paths.value) * tick,
        depth=paths.depth * np.array([tick, lot]),
        wealth=paths.wealth,
        inventory=paths.inventory * lot,
        cash=paths.cash * env.venue.money - paths.fees,
        asked=tally[:, :, ASKED] * lot,
        bought=tally[:, :, BOUGHT] * lot,
        sold=tally[:, :, SOLD] * lot,
        fill_price=_fill_price(tally, tick),
        at_market=_whole_lots(market) * lot,
        rewards=paths.rewards,
        states=paths.states,
        actions=paths.actions,
        opponents=paths.opponents,
        constraints=paths.constraints,
        trades=_trades(env, events, fills),
        refusals=dict(env.refusals),
        opening=opening,
        events=events,
        fills=fills,
        fees=paths.fees[-1].copy(),
    )


def _fill_price(tally: Array, tick: float) -> Array:
    traded = tally[..., BOUGHT] + tally[..., SOLD]
    value = tally[..., BOUGHT_VALUE] + tally[..., SOLD_VALUE]
    return np.where(traded > 0, value / np.maximum(traded, 1) * tick, np.nan)


def _whole_lots(market: Array) -> Array:
    return np.sign(market) * np.floor(np.abs(market) + 1e-6)


class _BookLog:
    """The log of a running `book` market; `law_log.LawLog` is that of the other mode."""

    def __init__(self, env: MarketEnvironment) -> None:
        self.env = env

    def opening(self) -> Array:
        return opening_orders(self.env)

    def snapshot(self, state: MarketState) -> dict[str, Any]:
        env = self.env
        floor, n = env.venue.floor, env.num_agents
        return {
            "mid": state.mid,
            "spread": state.spread,
            "value": env.value,
            "depth": state.depth,
            "wealth": env.wealth,
            "inventory": floor.inventory[:n] * env.config.lot_size,
            "cash": floor.cash[:n] * env.venue.money - floor.fees[:n],
        }

    def note(self, before: MarketState, rewards: Array, unit: float) -> dict[str, Any]:
        env = self.env
        tally, lot = env.venue.floor.tally[: env.num_agents], env.config.lot_size
        market = env.last_actions[:, ACTION_INDEX["participation"]] * unit
        return {
            "asked": tally[:, ASKED] * lot,
            "bought": tally[:, BOUGHT] * lot,
            "sold": tally[:, SOLD] * lot,
            "fill_price": _fill_price(tally, env.config.tick_size),
            "at_market": _whole_lots(market) * lot,
            "rewards": rewards,
            "states": np.array(before.views),
            "opponents": np.array(before.opponents),
            "constraints": np.array(before.constraints),
            "actions": env.last_actions.copy(),
            "events": env.events.copy(),
            "fills": env.fills.copy(),
        }

    def trades(self, notes: list[dict[str, Any]]) -> pl.DataFrame:
        return _trades(self.env, [note["events"] for note in notes], [note["fills"] for note in notes])

    def fees(self) -> Array:
        return self.env.venue.floor.fees[: self.env.num_agents].copy()


def _assemble(
    env: MarketEnvironment, log: _BookLog | LawLog, first: dict[str, Any], notes: list[dict[str, Any]], opening: Array
) -> Episode:
    logs = ("events", "fills")
    arrays = {name: np.array([note[name] for note in notes]) for name in notes[0] if name not in logs}
    arrays |= {name: np.concatenate([[first[name]], arrays[name]]) for name in first}
    return Episode(
        kinds=env.kinds,
        step_seconds=env.config.step_seconds,
        trades=log.trades(notes),
        refusals=dict(env.refusals),
        opening=opening,
        events=[note["events"] for note in notes],
        fills=[note["fills"] for note in notes],
        fees=log.fees(),
        **arrays,
    )


def _trades(env: MarketEnvironment, logged: list[Array], traded: list[Array]) -> pl.DataFrame:
    # The last message of a step before which no later trade was written is the one that traded.
    rows = [
        events[np.searchsorted(events["first_fill"], np.arange(len(fills)), side="right") - 1]
        for events, fills in zip(logged, traded, strict=True)
    ]
    events, fills = np.concatenate(rows), np.concatenate(traded)
    return pl.DataFrame(
        {
            "seconds": events["ts"] / 1e9,
            "price": fills["price"] * env.config.tick_size,
            "quantity": fills["quantity"] * env.config.lot_size,
            "side": events["side"],
        }
    )
