"""The market that agents trade in: seats that act in steps, in one of the modes of `market.session`."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.enforcement import episode_seconds, with_trading_day
from difffinance.market.observation import ACTION, MOST_SEATS, NO_LIMIT, mixed_kinds
from difffinance.market.options import whole
from difffinance.market.running_rewards import RunningRewards, check_rewards, market_money
from difffinance.market.session import Seating, open_session, state_of
from difffinance.market.snapshot import check_arrays, check_same_market, check_snapshot, fits_numbers, refuse_unless
from difffinance.market.utility import Utility
from difffinance.participants import counted_kinds
from difffinance.records import Array, CostLaw, MarketState, Step

LOW = np.array([-NO_LIMIT, *[-NO_LIMIT, 0.0] * 4, 0.0])
HIGH = np.array([NO_LIMIT, *[NO_LIMIT, NO_LIMIT] * 4, 1.0])
Refusal = tuple[int, str, int]  # seat, reason, count
_REAL = "fiub"  # kinds of numpy's types that are real numbers


class MarketEnvironment:
    """A market of `num_agents` seats beside the background flow.

    `kinds` names the kind of each seat, or how many there are of each (default: the order of `observation.KINDS`,
    repeating); it decides who sees which signal and in which pool the others see it (`participants.PARTICIPANTS`). An
    episode has `num_steps` steps of `config.step_seconds` (default: as many as end within the session: steps that do
    not divide it leave out its last part, a closing call too; beyond it the background goes on as at the close, where
    no rulebook ends the day). `seed` makes every episode reproducible; `reset(seed)` starts a given one. `latency` (one
    number or one per seat, seconds) is the time from a decision to the arrival of its orders: the background goes on
    meanwhile, what arrives earlier is served first, and an action may take several steps on its way. Its prices and
    quantities refer to what the seat knew when it decided.
    `cost_laws` (mode `law`), draws of a calibrated law (`market.costs.draw_cost_laws`), take the place of the impact in
    `config.law`: each episode is under one of them, drawn with its seed, so that episodes spread as the law's error.
    `rewards` are changes of wealth, or those of a utility per seat: `rewards=[agent.utility for agent in agents]`.

    After each step `events` and `fills` hold its log, `last_actions` (N, 10) what was understood (zeros where a seat's
    action was refused), and `refusals` counts refused orders and actions of the episode by reason.
    """

    def __init__(
        self,
        num_agents: int = 5,
        config: MarketConfig | None = None,
        seed: int = 0,
        *,
        agents: AgentsConfig | None = None,
        kinds: Sequence[str] | Mapping[str, int] | None = None,
        num_steps: int | None = None,
        latency: float | Sequence[float] = 0.0,
        cost_laws: Sequence[CostLaw] = (),
        rewards: str | Sequence[Utility] = "wealth",
    ) -> None:
        given = MarketConfig() if config is None else config, AgentsConfig() if agents is None else agents
        if not isinstance(given[0], MarketConfig) or not isinstance(given[1], AgentsConfig):
            raise InputError(f"config and agents are {config!r} and {agents!r}. Allowed: MarketConfig, AgentsConfig.")
        self.config, self.agents = with_trading_day(given[0]), given[1]
        self.num_agents = num_agents = seat_count(num_agents)
        self.kinds = tuple(mixed_kinds(num_agents) if kinds is None else counted_kinds(kinds))
        if len(self.kinds) != num_agents:
            raise InputError(f"kinds must name each of the {num_agents} seats; got {len(self.kinds)}.")
        self.utilities = check_rewards(rewards, num_agents)
        steps = max(int(episode_seconds(self.config) / self.config.step_seconds), 1)
        self.num_steps = steps if num_steps is None else whole(num_steps, "num_steps", least=1)
        self.latency = _latency(latency, num_agents, self.num_steps * self.config.step_seconds)
        seating = Seating(self.kinds, self.latency, self.num_steps, self.agents, tuple(cost_laws))
        self.session = open_session(self.config.mode, self.config, seating)
        self._running = [RunningRewards(utility, 1) for utility in self.utilities]
        self._seeds = np.random.SeedSequence(whole(seed, "seed"))
        self.refusals: dict[str, int] = {}
        self.started = False

    def reset(self, seed: int | None = None) -> MarketState:
        """Start an episode: a fresh market, accounts as configured."""
        self.begin(seed)
        return self.state()

    def begin(self, seed: int | None = None) -> None:
        """Do what `reset` does, for a caller who reads the session's tables himself."""
        self.session.start(self._seeds.spawn(1)[0] if seed is None else np.random.SeedSequence(whole(seed, "seed")))
        self.refusals = {}
        self.started = True
        if self._running:
            money = market_money(self.session, self.config.tick_size, self.config.lot_size)
            tables, mid = self.session.tables, self._mid()
            for running, wealth, view in zip(self._running, tables.wealth, tables.state, strict=True):
                running.begin(0, money, wealth, view, mid)

    def step(self, actions: Sequence[Array | Exception] | Array) -> Step:
        """Carry out one action per seat, `(N, 10)`, then `step_seconds` of background flow.

        Rewards are in quote currency. `info["refused"]` lists what was refused in this step with seat, reason and
        count; the market goes on without it. `info["phase"]` is the venue's phase (`supervision.PHASES`), with
        `info["special_quote"]` where one is shown. An exception in place of an action is an agent that failed: it is
        refused as `agent_raised`.
        """
        if not self.started or self.steps_done >= self.num_steps:
            raise InputError(f"the episode of {self.num_steps} steps is not running. Call reset() first.")
        session = self.session
        session.actions[:], session.valid[:], refused = read_actions(actions, self.num_agents)
        session.advance()
        if session.refused.any():
            for seat, code in zip(*np.nonzero(session.refused), strict=True):
                refused.append((int(seat), reasons.NAMES[code], int(session.refused[seat, code])))
        for _, reason, count in refused:
            self.refusals[reason] = self.refusals.get(reason, 0) + count
        info: dict[str, Any] = {
            "refused": [{"seat": s, "reason": r, "count": c} for s, r, c in refused],
            "trades": session.trades,
            "seconds": self.steps_done * self.config.step_seconds,
            "phase": session.phase,
        }
        if session.special_quote is not None:
            info["special_quote"] = session.special_quote
        done = self.steps_done >= self.num_steps
        return Step(self.state(), self._rewards(done), done, info)

    def _rewards(self, done: bool) -> Array:
        if not self._running:
            return self.session.rewards.copy()
        tables, mid, ended = self.session.tables, np.array([self._mid()]), np.array([done])
        told = zip(self._running, tables.wealth[:, None], tables.state[:, None], strict=True)
        return np.concatenate([running.step(wealth, view, mid, ended) for running, wealth, view in told])

    def _mid(self) -> float:
        return self.session.public().mid / self.config.tick_size

    def state(self) -> MarketState:
        """Return what the market shows now: the state that the last `reset` or `step` returned."""
        return state_of(self._running_session)

    @property
    def _running_session(self) -> Any:
        if not self.started:
            raise InputError("there is no market yet. Call reset() first.")
        return self.session

    def snapshot(self) -> dict[str, Any]:
        """Return the running market: arrays by name, and under `state` plain numbers (random generators included).

        `restore` on an environment of the same arguments goes on from it, the same to the byte. Agents keep their
        own memory and random numbers. `market.snapshot` writes it to a file.
        """
        saved = self._running_session.save()
        arrays = {name: held for name, held in saved.items() if isinstance(held, np.ndarray)}
        generators = {name: held for name, held in saved.items() if name not in arrays}
        state: dict[str, Any] = {
            "refusals": dict(self.refusals), "generators": generators, "fits": self._fits(),
            "seeds": {"entropy": self._seeds.entropy, "n_children_spawned": self._seeds.n_children_spawned},
        }  # fmt: skip
        if self._running:
            state["rewards"] = [running.save() for running in self._running]
        return {"state": state, "arrays": arrays}

    def restore(self, snapshot: dict[str, Any]) -> MarketState:
        """Go back to a `snapshot` and return its state."""
        state = check_snapshot(snapshot)
        check_same_market(state["fits"], self._fits())
        if not self.started:
            self.reset(seed=0)
        saved, rewards = snapshot["arrays"] | state["generators"], state.get("rewards", [])
        check_arrays(saved, self.session.save())
        self.session.check(saved)
        refuse_unless(fits_numbers(rewards, [running.save() for running in self._running]), "a seat's rewards")
        self.session.load(saved)
        self._seeds, self.refusals = np.random.SeedSequence(**state["seeds"]), dict(state["refusals"])
        for running, numbers in zip(self._running, rewards, strict=True):
            running.load(numbers)
        return self.state()

    def _fits(self) -> dict[str, Any]:
        laws = [str(law) for law in self.session.seating.cost_laws]
        rewards = [repr(utility) for utility in self.utilities]
        return ({"cost_laws": laws} if laws else {}) | ({"rewards": rewards} if rewards else {}) | {
            "kinds": list(self.kinds), "num_steps": self.num_steps, "latency": list(self.latency),
            "market": self.config.model_dump(mode="json"), "agents": self.agents.model_dump(mode="json"),
        }  # fmt: skip

    @property
    def steps_done(self) -> int:
        """Steps of the episode so far."""
        return self._running_session.steps_done

    @property
    def scale(self) -> Any:
        """What one step of the background amounts to (`market.scale.FlowScale`); `book` mode only."""
        return self.session.scale

    @property
    def last_actions(self) -> Array:
        """What was understood of the last step's actions, `(N, 10)`; zeros where one was refused."""
        return self.session.actions

    @property
    def constraints(self) -> Array:
        """What each seat may do now, `(N, 20)`: `observation.CONSTRAINTS`."""
        return self._running_session.tables.constraints.copy()

    @property
    def step_volume(self) -> float:
        """Expected volume of the coming step, lots: the unit of actions."""
        return self._running_session.step_volume

    @property
    def wealth(self) -> Array:
        """Wealth of each seat, `(N,)` quote currency, inventory at the mid."""
        return self._running_session.tables.wealth.copy()

    @property
    def value(self) -> float:
        """The fundamental value, quote currency. No seat is shown it; for pictures and tests."""
        return self._running_session.value

    @property
    def venue(self) -> Any:
        """The book with its accounts (`market.venue`); `book` mode only."""
        return self._running_session.venue

    @property
    def events(self) -> Array:
        """Messages of the last step in order, `settlement.EVENT` rows: ticks, lots, nanoseconds since the opening."""
        return self._running_session.events

    @property
    def fills(self) -> Array:
        """Trades of the last step in order, `engine.FILL` rows: ids of maker and taker, ticks, lots."""
        return self._running_session.fills


def read_actions(actions: Sequence[Any] | Array, seats: int) -> tuple[Array, Array, list[Refusal]]:
    """Return the actions as a table (N, 10), which seats have a good one (N,), and the refusals."""
    try:
        table = np.array(actions)
        fits = table.shape == (seats, len(ACTION)) and table.dtype.kind in _REAL
        if fits and ((table >= LOW) & (table <= HIGH)).all():
            return table.astype(float, copy=False), np.ones(seats, np.bool_), []
    except (TypeError, ValueError):
        pass  # of several shapes: look at each
    table, valid, refused = np.zeros((seats, len(ACTION))), np.zeros(seats, np.bool_), []
    try:
        given = [actions[k] for k in range(len(actions))]
    except (TypeError, LookupError):
        raise InputError(f"actions are of {type(actions)}. Allowed: a list or table of one action per seat.") from None
    for seat in range(max(seats, len(given))):
        action, reason = _read_action(given[seat] if seat < len(given) else None, seat < seats)
        if reason == reasons.OK:
            table[seat], valid[seat] = action, True
        else:
            refused.append((seat, reasons.NAMES[reason], 1))
    return table, valid, refused


def _read_action(given: Any, seated: bool) -> tuple[Array, int]:
    if isinstance(given, Exception):
        return np.empty(0), reasons.AGENT_RAISED
    try:
        raw = np.asarray(given)
        real = raw.dtype.kind in _REAL or (raw.dtype.kind == "O" and all(isinstance(n, Real) for n in raw.flat))
        action = raw.astype(float) if real else np.empty(0)
    except (TypeError, ValueError, OverflowError):
        return np.empty(0), reasons.ACTION_SHAPE
    if not seated or action.shape != (len(ACTION),):
        return action, reasons.ACTION_SHAPE
    if not np.isfinite(action).all():
        return action, reasons.ACTION_NOT_FINITE
    return action, reasons.ACTION_OFF_RANGE if ((action < LOW) | (action > HIGH)).any() else reasons.OK


def seat_count(value: Any) -> int:
    """Return a number of seats that one market can have."""
    number = whole(value, "num_agents", least=1)
    if number > MOST_SEATS:
        raise InputError(f"num_agents is {number}. Allowed: 1 to {MOST_SEATS}.")
    return number


def _latency(latency: float | Sequence[float], seats: int, longest: float) -> tuple[float, ...]:
    try:
        each = np.broadcast_to(np.asarray(latency, float), seats)
    except (TypeError, ValueError):
        raise InputError(f"latency must be one number or one for each of the {seats} seats; got {latency}.") from None
    if not ((each >= 0) & (each <= longest)).all():
        raise InputError(f"latency is {latency}. Allowed: 0 to {longest:g}, the seconds of an episode.")
    return tuple(each.tolist())
