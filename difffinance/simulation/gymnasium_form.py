"""The market as a Gymnasium environment: one learner among scripted others, in one market or in many at a time.

Nothing is registered: make the classes directly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from difffinance.agents.factory import AgentFactory
from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market import play, reasons
from difffinance.market.book_session import BookSession
from difffinance.market.environment import MarketEnvironment
from difffinance.market.observation import STATE
from difffinance.market.options import whole
from difffinance.market.running_rewards import RunningRewards, market_money
from difffinance.market.utility import Utility
from difffinance.participants import counted_kinds
from difffinance.records import Array
from difffinance.simulation.learner import SEEN, Learner
from difffinance.simulation.players import SeatedAgents

OTHERS = ("market_maker", "speculator", "arbitrageur", "informed")


class _Markets:
    """M equal markets, scripted agents in all seats but the last, stepped by one compiled call."""

    def __init__(
        self, count: int, others: Sequence[str] | Mapping[str, int], kind: str, config: MarketConfig | None,
        accounts: AgentsConfig | None, num_steps: int | None, latency: float | Sequence[float],
        utility: Utility | None,
    ) -> None:  # fmt: skip
        others = counted_kinds(others)
        kinds = [*others, kind]
        env = MarketEnvironment(len(kinds), config, agents=accounts, kinds=kinds, num_steps=num_steps, latency=latency)
        if not isinstance(env.session, BookSession):
            raise InputError("the Gymnasium forms run the book mode. Allowed: market.mode=book.")
        self.seat, self.count, self.num_steps = len(others), count, env.num_steps
        self.sessions = [BookSession(env.config, env.session.seating) for _ in range(count)]
        for session in self.sessions:
            session.start(np.random.SeedSequence(0))
        self.agents = [[AgentFactory.create(o, i) for i, o in enumerate(others)] for _ in range(count)]
        self.tables = [SeatedAgents([*row, None]) for row in self.agents]
        for session, table in zip(self.sessions, self.tables, strict=True):
            session.market.watching[:] = table.watching
        self.markets = np.array([session.handle.address for session in self.sessions])
        self.players = np.array([table.handle.address for table in self.tables])
        self.seen, self.gains = np.zeros((count, SEEN)), np.zeros((count, 2))
        self.refused = np.zeros((count, len(reasons.NAMES)), np.int64)  # to the learner in the last step
        self.steps, self.started = np.full(count, self.num_steps), False
        self.tick, self.lot = env.config.tick_size, env.config.lot_size
        self.running = None if utility is None else RunningRewards(utility, count)

    def start(self, place: int, sequence: np.random.SeedSequence) -> None:
        """Begin an episode of one market."""
        session = self.sessions[place]
        session.start(sequence)
        for memory in self.tables[place].memories:
            memory[:] = 0.0
        for agent, stream in zip(self.agents[place], sequence.spawn(self.seat), strict=True):
            agent.rng.bit_generator.state = np.random.PCG64(stream).state
        play.show(session.handle, self.seat, self.seen[place])
        self.gains[place], self.refused[place] = (0.0, session.tables.wealth[self.seat]), 0
        self.steps[place], self.started = 0, True
        if self.running is not None:
            money, tables = market_money(session, self.tick, self.lot), session.tables
            self.running.begin(place, money, tables.wealth[self.seat], tables.state[self.seat], self._mid(session))

    def step(self, actions: Array, running: Array) -> None:
        """Take one step of the running markets; `seen` and `gains` are those of after it, and of the utility if any."""
        place = 0
        while True:
            place = play.play_learners(
                self.sessions[0].handle, self.tables[0].handle, self.markets, self.players, place, self.seat, actions,
                running, self.seen, self.gains, self.refused,
            )  # fmt: skip
            if place == self.count:
                break
            self.sessions[place].make_room()
        self.steps += running
        if self.running is not None:
            mid, ended = np.array([self._mid(session) for session in self.sessions]), self.steps >= self.num_steps
            self.gains[:, 0] = self.running.step(self.gains[:, 1], self.seen[:, : len(STATE)], mid, ended)

    def _mid(self, session: BookSession) -> float:
        return session.public().mid / self.tick

    def refusals(self) -> dict[str, Array]:
        """Return how much was refused to the learner in the last step, (M,) by reason."""
        if not self.refused.any():
            return {}
        return {reasons.NAMES[code]: self.refused[:, code].copy() for code in np.flatnonzero(self.refused.any(axis=0))}


class MarketGym(gymnasium.Env[Array, Array]):
    """One learner of `kind` (it decides which signal it is shown) in the last seat, `others` in the seats before.

    `learner` chooses the form of actions and rewards. An episode is truncated after `num_steps` (None: at the end of
    the session). A refused action or order costs nothing but itself: the market goes on, `info["refused"]` counts it by
    reason. `reset(options=)` takes none.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        others: Sequence[str] | Mapping[str, int] = OTHERS,
        *,
        kind: str = "diffusion",
        market: MarketConfig | None = None,
        accounts: AgentsConfig | None = None,
        num_steps: int | None = 1000,
        latency: float | Sequence[float] = 0.0,
        learner: Learner | None = None,
    ) -> None:
        self.learner = Learner.chosen(learner)
        self.action_space, self.observation_space = self.learner.action_space, self.learner.observation_space
        self._markets = _Markets(1, others, kind, market, accounts, num_steps, latency, self.learner.utility)
        self._running = np.ones(1, np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode; the same seed starts the same one."""
        super().reset(seed=None if seed is None else whole(seed, "seed"))
        _check_options(options)
        self._markets.start(0, _sequence(self.np_random))
        return self._markets.seen[0].copy(), {"wealth": float(self._markets.gains[0, 1]), "refused": {}}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Carry out the learner's action and those of the others, and let the market answer."""
        markets = self._markets
        if markets.steps[0] >= markets.num_steps:
            raise InputError(f"the episode of {markets.num_steps} steps is not running. Call reset() first.")
        try:
            orders, misshapen = self.learner.orders(action)[None], False
        except (TypeError, ValueError):
            orders, misshapen = np.zeros((1, 10)), True
        if orders.shape != (1, 10):
            orders, misshapen = np.zeros((1, 10)), True
        markets.step(orders, self._running)
        seen, gain, wealth = markets.seen[0].copy(), markets.gains[0, 0], markets.gains[0, 1]
        refused = {reason: int(counts[0]) for reason, counts in markets.refusals().items()}
        refused |= {"action_shape": 1} if misshapen else {}
        reward = float(self.learner.rewards(gain, wealth, seen))
        return seen, reward, False, bool(markets.steps[0] >= markets.num_steps), {"wealth": wealth, "refused": refused}


class MarketVectorGym(VectorEnv[Array, Array, Array]):
    """`num_envs` markets like `MarketGym`, stepped together; autoreset in the next step, as Gymnasium's default.

    A market whose episode has ended is reset by the next `step`, which ignores its action and rewards it with 0.
    `reset(seed=s)` starts market k as `MarketGym.reset(seed=s + k)` does. `info["refused"]` has the counts (M,) by
    reason.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        others: Sequence[str] | Mapping[str, int] = OTHERS,
        *,
        kind: str = "diffusion",
        market: MarketConfig | None = None,
        accounts: AgentsConfig | None = None,
        num_steps: int | None = 1000,
        latency: float | Sequence[float] = 0.0,
        learner: Learner | None = None,
    ) -> None:
        self.num_envs = num_envs = whole(num_envs, "num_envs", least=1)
        self.learner = Learner.chosen(learner)
        self.single_action_space = self.learner.action_space
        self.single_observation_space = self.learner.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._markets = _Markets(num_envs, others, kind, market, accounts, num_steps, latency, self.learner.utility)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode of every market."""
        _check_options(options)
        if isinstance(seed, Sequence | np.ndarray) or seed is None:
            seeds = seed
        else:
            seeds = [whole(seed, "seed") + k for k in range(self.num_envs)]
        if seeds is not None and len(seeds) != self.num_envs:
            raise InputError(f"seed must be one number or one for each of the {self.num_envs} markets; got {seeds}.")
        for place, one in enumerate([None] * self.num_envs if seeds is None else seeds):
            if one is not None:
                self._rngs[place] = gymnasium.utils.seeding.np_random(whole(one, "seed"))[0]
            self._markets.start(place, _sequence(self._rngs[place]))
        return self._markets.seen.copy(), {"wealth": self._markets.gains[:, 1].copy(), "refused": {}}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Carry out one action per market, `(M, A)`."""
        markets = self._markets
        if not markets.started:
            raise InputError("no episode has begun. Call reset() first.")
        try:
            orders = np.ascontiguousarray(self.learner.orders(actions))
        except (TypeError, ValueError):
            orders = np.empty(0)
        if orders.shape != (self.num_envs, 10):
            raise InputError(f"actions must be {self.action_space.shape}; got {np.shape(actions)}.")
        running = markets.steps < markets.num_steps
        for place in np.flatnonzero(~running):
            markets.start(int(place), _sequence(self._rngs[place]))
        markets.step(orders, running)
        seen, gain, wealth = (
            markets.seen.copy(),
            np.where(running, markets.gains[:, 0], 0.0),
            markets.gains[:, 1].copy(),
        )
        rewards = np.where(running, self.learner.rewards(gain, wealth, seen), 0.0)
        ended = markets.steps >= markets.num_steps
        info = {"wealth": wealth, "refused": markets.refusals()}
        return seen, rewards, np.zeros(self.num_envs, np.bool_), ended, info


def _sequence(rng: np.random.Generator) -> np.random.SeedSequence:
    return np.random.SeedSequence(int(rng.integers(2**63)))


def _check_options(options: dict[str, Any] | None) -> None:
    if options:
        raise InputError(f"reset takes no options; got {', '.join(options)}.")
