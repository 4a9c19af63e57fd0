"""Counterfactual twins: the same market with and without the orders of one seat, under the same random numbers.

Both twins start from the same running market. In each step they share: the value's own move (at the start of the step;
what a value learns from orders differs),
the background's random numbers (its generator is set anew for each step, so what the reaction shifts in one step does
not shift the next), the errors of the signals, the order of arrival, and the random numbers of every agent. What
differs is what the seat's orders did and what the others and the background made of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from difffinance.agents.base import Agent, ScriptedAgent
from difffinance.errors import InputError
from difffinance.market import play, reasons
from difffinance.market.book_session import BookSession
from difffinance.market.environment import MarketEnvironment, read_actions
from difffinance.market.flow import LOG_VALUE, VALUE_SD
from difffinance.market.observation import ACTION
from difffinance.market.options import whole
from difffinance.market.session import state_of
from difffinance.market.settlement import BOUGHT, BOUGHT_VALUE, MID, SOLD, SOLD_VALUE
from difffinance.records import Array, MarketState
from difffinance.simulation.learner import SEEN
from difffinance.simulation.players import SeatedAgents, check_seated

_WITH, _WITHOUT = 0, 1
_FAR = 1 << 64  # random numbers between the starts of two steps


@dataclass(frozen=True)
class Twins:
    """R replications of T steps. Prices and money in quote currency, quantities in units of the asset.

    `cost` is what the seat paid, fees included, above the mids that the steps would have begun at without it.
    """

    seat: int
    mid_with: Array = field(repr=False)  # (R, T+1)
    mid_without: Array = field(repr=False)  # (R, T+1)
    traded_with: Array = field(repr=False)  # (R, T, N) signed
    traded_without: Array = field(repr=False)  # (R, T, N) signed
    cost: Array = field(repr=False)  # (R,)

    @property
    def impact(self) -> tuple[Array, Array]:
        """Mean and standard error over replications of the mid with less the mid without, (T+1,) each."""
        return _mean(self.mid_with - self.mid_without)

    @property
    def reaction(self) -> tuple[Array, Array]:
        """Mean and standard error of what each seat traded more because of the orders, (T, N) each, summed signed."""
        return _mean(self.traded_with - self.traded_without)

    @property
    def own_cost(self) -> tuple[float, float]:
        """Mean and standard error of `cost`."""
        mean, error = _mean(self.cost)
        return float(mean), float(error)

    def __str__(self) -> str:
        (impact, impact_error), (cost, cost_error) = self.impact, self.own_cost
        return (
            f"seat {self.seat}, {len(self.cost)} replications: after {len(impact) - 1} steps its orders have moved the "
            f"mid by {impact[-1]:.4g} +/- {impact_error[-1]:.2g} and cost {cost:.4g} +/- {cost_error:.2g}"
        )


def counterfactual(
    env: MarketEnvironment,
    agents: Sequence[Agent],
    seat: int,
    *,
    orders: Array | None = None,
    steps: int | None = None,
    replications: int = 100,
    seed: int = 0,
) -> Twins:
    """Run the market of `env` on from where it stands, with and without the orders of `seat`; `env` is left alone.

    The seat sends `orders` (T, 10) or, without them, what its agent decides in the market with its orders. The others
    are scripted `agents`, one per seat (that of `seat` may be any), with the memory they have. Without its orders the
    seat does nothing; what it had resting stays. Each replication draws another future.
    """
    steps, orders = _check(env, agents, seat, orders, steps, replications)
    scripted = [None if i == seat else agent for i, agent in enumerate(agents)]
    decides = agents[seat] if orders is None else None
    twins = _Twins(env, scripted, decides if isinstance(decides, ScriptedAgent) else None, seat)
    outside = None if isinstance(decides, ScriptedAgent) else decides
    n = env.num_agents
    mids, traded = np.zeros((2, replications, steps + 1)), np.zeros((2, replications, steps, n))
    cost = np.zeros(replications)
    for r, sequence in enumerate(np.random.SeedSequence(whole(seed, "seed")).spawn(replications)):
        twins.begin(sequence, steps)
        if outside is not None:
            outside.reset(np.random.default_rng(sequence.spawn(1)[0]))
        mids[:, r, 0] = twins.mids()
        for t in range(steps):
            action = orders[t] if orders is not None else _ask(outside, twins.state(_WITH)) if outside else None
            paid = twins.step(t, action)
            mids[:, r, t + 1], traded[:, r, t] = twins.mids(), twins.traded()
            cost[r] += paid - traded[_WITH, r, t, seat] * mids[_WITHOUT, r, t]
    return Twins(seat, mids[_WITH], mids[_WITHOUT], traded[_WITH], traded[_WITHOUT], cost)


class _Twins:
    """Two copies of a running market in one compiled list."""

    def __init__(
        self, env: MarketEnvironment, others: list[Agent | None], own: ScriptedAgent | None, seat: int
    ) -> None:
        self.saved, self.seat, self.done = env.session.save(), seat, env.steps_done
        self.volatility = float(env.venue.flow.p[VALUE_SD])
        self.tick, self.lot = env.config.tick_size, env.config.lot_size
        self.sessions = [BookSession(env.config, env.session.seating) for _ in range(2)]
        for session in self.sessions:
            session.start(np.random.SeedSequence(0))
        self.rngs = [[np.random.default_rng(0) for _ in others] for _ in self.sessions]
        # In the market without the orders nobody sits in the seat.
        seated = [[own if i == seat else agent for i, agent in enumerate(others)], list(others)]
        self.tables = [SeatedAgents(row, rngs) for row, rngs in zip(seated, self.rngs, strict=True)]
        self.memories = [[memory.copy() for memory in table.memories] for table in self.tables]
        self.markets = np.array([session.handle.address for session in self.sessions])
        self.players = np.array([table.handle.address for table in self.tables])
        self.seen, self.gains, self.running = np.zeros((2, SEEN)), np.zeros((2, 2)), np.ones(2, np.bool_)
        self.refused = np.zeros((2, len(reasons.NAMES)), np.int64)
        self.orders, self.fees = np.zeros((2, len(ACTION))), 0.0

    def begin(self, sequence: np.random.SeedSequence, steps: int) -> None:
        """Go back to the start with the random numbers of a replication."""
        flow, signal, turn, value, *agents = sequence.spawn(4 + len(self.rngs[0]))
        self.flow = np.random.PCG64(flow)
        for session, rngs, table, kept in zip(self.sessions, self.rngs, self.tables, self.memories, strict=True):
            session.load(self.saved)
            market = session.market
            market.rng_signal.bit_generator.state = np.random.PCG64(signal).state
            market.rng_turn.bit_generator.state = np.random.PCG64(turn).state
            for rng, stream in zip(rngs, agents, strict=True):
                rng.bit_generator.state = np.random.PCG64(stream).state
            for memory, before in zip(table.memories, kept, strict=True):
                memory[:] = before
            session.venue.flow.p[VALUE_SD] = 0.0
        seconds = float(self.sessions[0].config.step_seconds)
        moves = np.random.default_rng(value).standard_normal(steps) * self.volatility * np.sqrt(seconds)
        self.moves = moves
        self.fees = float(self.saved["floor.fees"][self.seat])

    def step(self, t: int, action: Array | None) -> float:
        """Take step t in both markets; return what the seat paid, fees included."""
        state = self.flow.state
        self.flow.advance(_FAR)
        for session in self.sessions:
            session.venue.flow.clock[LOG_VALUE] += self.moves[t]
            session.market.rng_flow.bit_generator.state = state
        self.orders[_WITH] = 0.0 if action is None else action
        place = 0
        while True:
            place = play.play_learners(
                self.sessions[0].handle, self.tables[0].handle, self.markets, self.players, place, self.seat,
                self.orders, self.running, self.seen, self.gains, self.refused,
            )  # fmt: skip
            if place == len(self.sessions):
                break
            self.sessions[place].make_room()
        floor = self.sessions[_WITH].venue.floor
        tally, fees = floor.tally[self.seat], float(floor.fees[self.seat])
        paid = float(tally[BOUGHT_VALUE] - tally[SOLD_VALUE]) * self.tick * self.lot + fees - self.fees
        self.fees = fees
        return paid

    def mids(self) -> list[float]:
        """Return the mids with and without."""
        return [float(session.venue.floor.marks[MID]) * self.tick for session in self.sessions]

    def traded(self) -> Array:
        """Return what each seat traded in the step, (2, N) signed units."""
        tallies = np.array([session.venue.floor.tally[:-1] for session in self.sessions])
        return (tallies[:, :, BOUGHT] - tallies[:, :, SOLD]) * self.lot

    def state(self, place: int) -> MarketState:
        """Return what one of the markets shows."""
        return state_of(self.sessions[place])


def _ask(agent: Agent, state: MarketState) -> Array | None:
    action, valid, _ = read_actions([agent.act(state)], 1)
    return action[0] if valid[0] else None


def _check(
    env: MarketEnvironment, agents: Sequence[Agent], seat: int, orders: Array | None, steps: int | None,
    replications: int,
) -> tuple[int, Array | None]:  # fmt: skip
    if not isinstance(env.session, BookSession):
        raise InputError("twins run in the book mode. Allowed: market.mode=book.")
    if not env.started or env.steps_done >= env.num_steps:
        raise InputError("the market of the twins is not running. Call env.reset() first.")
    check_seated(agents, env.kinds)
    if whole(seat, "seat") >= env.num_agents:
        raise InputError(f"seat is {seat}. Allowed: 0 to {env.num_agents - 1}.")
    whole(replications, "replications", least=1)
    left = env.num_steps - env.steps_done
    if orders is not None:
        orders, valid, refused = read_actions(orders, len(orders))
        if not valid.all():
            raise InputError(
                f"orders: row {refused[0][0]} is refused as {refused[0][1]}. Allowed: good actions, (T, 10)."
            )
        steps = len(orders) if steps is None else min(steps, len(orders))
    steps = left if steps is None else whole(steps, "steps")
    if not 1 <= steps <= left:
        raise InputError(f"steps is {steps}. Allowed: 1 to {left}, what is left of the episode.")
    return steps, orders


def _mean(values: Array) -> tuple[Array, Array]:
    count = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.full(values.shape[1:], np.nan)
    return values.mean(axis=0), error
