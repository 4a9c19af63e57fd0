"""The market that agents trade in, `book` mode: a limit order book, background flow, and seats that act in steps."""

from collections.abc import Sequence

import numpy as np

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.engine import FILLS
from difffinance.market.floor import EVENTS, LAST_ASK, LAST_BID, MID, act_all
from difffinance.market.flow import LOG_VALUE, NOW, activity
from difffinance.market.observation import ACTION, CONSTRAINTS, KINDS, NO_LIMIT, OPPONENTS, PARTICIPANTS, STATE
from difffinance.market.rules import session_rules
from difffinance.market.scale import WARM_UP_SECONDS, measure_flow
from difffinance.market.venue import Venue
from difffinance.market.views import History, Tables, observe, remember
from difffinance.records import Array, Instrument, MarketState, Step

LEVELS = 5
LOW = np.array([-NO_LIMIT, *[-NO_LIMIT, 0.0] * 4, 0.0])
HIGH = np.array([NO_LIMIT, *[NO_LIMIT, NO_LIMIT] * 4, 1.0])
_LARGEST_ACCOUNT = 1e15  # ticks times lots: far inside 64 bits, where accounts are counted
_ESTIMATE_MEMORY = 0.95  # of the public estimate's error, per step


class MarketEnvironment:
    """A market of `num_agents` seats beside the background flow.

    `kinds` names the kind of each seat (default: the order of `observation.KINDS`, repeating); it decides who sees
    which signal and in which pool the others see it (`observation.PARTICIPANTS`). An episode has `num_steps` steps of
    `config.step_seconds` (default: to the end of the session). `seed` makes every episode reproducible;
    `reset(seed)` starts a given one.

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
        kinds: Sequence[str] | None = None,
        num_steps: int | None = None,
    ) -> None:
        self.config, self.agents = config or MarketConfig(), agents or AgentsConfig()
        self.num_agents = num_agents
        self.kinds = tuple(kinds) if kinds is not None else tuple(KINDS[i % len(KINDS)] for i in range(num_agents))
        _check(num_agents, self.kinds, num_steps)
        _check_accounts(self.agents, self.config)
        self.num_steps = num_steps or max(int(self.config.session_seconds / self.config.step_seconds), 1)
        self.instrument = Instrument(self.config.symbol, self.config.tick_size, self.config.lot_size)
        self.rules = session_rules(self.config)
        self.scale = measure_flow(self.config)
        self._kinds = np.array([KINDS.index(PARTICIPANTS[k].pool) for k in self.kinds], np.int64)
        self._seeds = np.random.SeedSequence(seed)
        self._started = False

    def reset(self, seed: int | None = None) -> MarketState:
        """Start an episode: a fresh book filled by the background, accounts as configured."""
        sequence = self._seeds.spawn(1)[0] if seed is None else np.random.SeedSequence(seed)
        self._rng_flow, self._rng_signal, self._rng_turn = (np.random.default_rng(s) for s in sequence.spawn(3))
        n, lots = self.num_agents, self.instrument.to_lots(self.agents.inventory)
        self.venue = Venue(self.config, self.rules, np.full(n, self.agents.capital), np.full(n, lots, np.int64))
        self.venue.flow.clock[NOW] = -WARM_UP_SECONDS
        self.venue.run_flow(self._rng_flow, 0.0)
        self.venue.clear_step()
        self.venue.set_starting_wealth()
        mid = self.venue.floor.marks[MID]
        self._history = History(np.zeros(10), np.zeros(5), np.zeros(3), np.array([mid]), np.zeros((n, 3)))
        self._tables = Tables(
            np.zeros((n, len(STATE))), np.zeros((n, len(OPPONENTS))), np.zeros((n, len(CONSTRAINTS))),
            np.zeros((2, LEVELS, 2), np.int64), np.zeros(n),
        )  # fmt: skip
        self._estimate_error = self._rng_signal.standard_normal()
        self.refusals: dict[str, int] = {}
        self._step, self._started = 0, True
        return self._observe()

    def step(self, actions: Sequence[Array] | Array) -> Step:
        """Carry out one action per seat, `(N, 10)`, then `step_seconds` of background flow.

        Rewards are changes of wealth, quote currency. `info["refused"]` lists what was refused in this step with
        seat, reason and count; the market goes on without it.
        """
        if not self._started or self._step >= self.num_steps:
            raise InputError(f"the episode of {self.num_steps} steps is not running. Call reset() first.")
        venue, before = self.venue, self._tables.wealth.copy()
        venue.clear_step()
        table, valid, refused = self._read(actions)
        self.last_actions = table
        # Four quotes, a market order and every cancellation of each seat.
        venue.make_room(self.num_agents * (6 + self.config.max_resting_orders))
        now, turn = self._step * self.config.step_seconds, self._rng_turn.permutation(self.num_agents)
        act_all(venue.floor, round(now * 1e9), table, turn, valid, self.step_volume)
        venue.run_flow(self._rng_flow, (self._step + 1) * self.config.step_seconds)
        remember(venue.floor, self._history)
        self._step += 1
        state = self._observe()
        for seat, code in zip(*np.nonzero(venue.floor.refused), strict=True):
            refused.append((int(seat), reasons.NAMES[code], int(venue.floor.refused[seat, code])))
        for _, reason, count in refused:
            self.refusals[reason] = self.refusals.get(reason, 0) + count
        info = {
            "refused": [{"seat": s, "reason": r, "count": c} for s, r, c in refused],
            "trades": int(venue.floor.top[FILLS]),
            "seconds": self._step * self.config.step_seconds,
        }
        return Step(state, self._tables.wealth - before, self._step >= self.num_steps, info)

    @property
    def constraints(self) -> Array:
        """What each seat may do now, `(N, 20)`: `observation.CONSTRAINTS`."""
        return self._tables.constraints.copy()

    @property
    def step_volume(self) -> float:
        """Expected volume of the coming step, lots: the unit of actions."""
        return self.scale.volume * self._activity

    @property
    def wealth(self) -> Array:
        """Wealth of each seat, `(N,)` quote currency, inventory at the mid."""
        return self._tables.wealth.copy()

    @property
    def events(self) -> Array:
        """Messages of the last step in order, `floor.EVENT` rows: ticks, lots, nanoseconds since the opening."""
        return self.venue.floor.events[: self.venue.floor.counts[EVENTS]]

    @property
    def fills(self) -> Array:
        """Trades of the last step in order, `engine.FILL` rows: ids of maker and taker, ticks, lots."""
        return self.venue.floor.fills[: self.venue.floor.top[FILLS]]

    @property
    def value(self) -> float:
        """The fundamental value, quote currency. No seat is shown it; for pictures and tests."""
        return float(np.exp(self.venue.flow.clock[LOG_VALUE]) * self.config.tick_size)

    @property
    def _activity(self) -> float:
        # At the middle of the coming step.
        return float(activity(self.venue.flow.p, (self._step + 0.5) * self.config.step_seconds))

    @property
    def _reversion(self) -> float:
        # The part of the gap to the value that closes in a step grows with the activity of the flow that closes it.
        return min(self.scale.reversion * self._activity, 1.0)

    def _read(self, actions: Sequence[Array] | Array) -> tuple[Array, Array, list[tuple[int, str, int]]]:
        """Return the actions as a table, which seats have a good one, and the refusals (seat, reason, count)."""
        try:
            table = np.array(actions, float)
            if table.shape == (self.num_agents, len(ACTION)) and ((table >= LOW) & (table <= HIGH)).all():
                return table, np.ones(self.num_agents, np.bool_), []
        except (TypeError, ValueError):
            pass  # of several shapes: look at each
        table, valid = np.zeros((self.num_agents, len(ACTION))), np.zeros(self.num_agents, np.bool_)
        refused: list[tuple[int, str, int]] = []
        for seat in range(max(self.num_agents, len(actions))):
            try:
                action = np.asarray(actions[seat], float)
            except (TypeError, ValueError, IndexError):
                action = np.empty(0)
            reason = reasons.OK
            if seat >= self.num_agents or action.shape != (len(ACTION),):
                reason = reasons.ACTION_SHAPE
            elif not np.isfinite(action).all():
                reason = reasons.ACTION_NOT_FINITE
            elif ((action < LOW) | (action > HIGH)).any():
                reason = reasons.ACTION_OFF_RANGE
            else:
                table[seat], valid[seat] = action, True
            if reason != reasons.OK:
                refused.append((seat, reasons.NAMES[reason], 1))
        return table, valid, refused

    def _signals(self, sigma: float) -> Array:
        """Return each seat's forecast of the next return, sigmas: what closes of the gap to the value it estimates."""
        rng, floor = self._rng_signal, self.venue.floor
        gap = (self.venue.flow.clock[LOG_VALUE] - np.log(floor.marks[MID])) / sigma
        memory = _ESTIMATE_MEMORY
        self._estimate_error = memory * self._estimate_error + np.sqrt(1 - memory**2) * rng.standard_normal()
        private = rng.standard_normal(self.num_agents)
        signals = np.zeros(self.num_agents)
        for seat, kind in enumerate(self.kinds):
            if PARTICIPANTS[kind].signal == "private":
                signals[seat] = gap + self.agents.private_noise * private[seat]
            elif PARTICIPANTS[kind].signal == "public":
                signals[seat] = gap + self.agents.public_noise * self._estimate_error
        return signals * self._reversion

    def _observe(self) -> MarketState:
        floor, tables, scale, tick = self.venue.floor, self._tables, self.scale, self.config.tick_size
        sigma = scale.volatility * np.sqrt(self._activity)
        numbers = np.array([
            self.step_volume, sigma, self._activity, self._reversion, scale.temporary, scale.exponent, scale.permanent,
            1.0 - self._step / self.num_steps, self.agents.risk_aversion,
        ])  # fmt: skip
        observe(floor, self._history, self._kinds, self._signals(sigma), numbers, tables)
        bid, ask = floor.marks[LAST_BID] * tick, floor.marks[LAST_ASK] * tick
        return MarketState(
            self._step, float(floor.marks[MID] * tick), float(ask - bid), float(bid), float(ask),
            tables.depth * np.array([tick, self.config.lot_size]),
            float(self._history.volume[0] * self.config.lot_size), False,
            tuple(tables.state.copy()), tuple(tables.opponents.copy()), tuple(tables.constraints.copy()),
        )  # fmt: skip


def _check(num_agents: int, kinds: tuple[str, ...], num_steps: int | None) -> None:
    if num_agents < 1:
        raise InputError(f"num_agents is {num_agents}. Allowed: 1 or more.")
    if len(kinds) != num_agents:
        raise InputError(f"kinds must name each of the {num_agents} seats; got {len(kinds)} names.")
    unknown = [k for k in kinds if k not in PARTICIPANTS]
    if unknown:
        raise InputError(f"kind '{unknown[0]}' is not known. Allowed: {', '.join(PARTICIPANTS)}.")
    if num_steps is not None and num_steps < 1:
        raise InputError(f"num_steps is {num_steps}. Allowed: 1 or more.")


def _check_accounts(agents: AgentsConfig, config: MarketConfig) -> None:
    money = config.tick_size * config.lot_size
    for name, value in (("capital", agents.capital), ("inventory", agents.inventory * config.start_price)):
        if value / money > _LARGEST_ACCOUNT:
            raise InputError(
                f"agents.{name} is worth {value:g}, more than the accounts can count. Allowed: up to "
                f"{_LARGEST_ACCOUNT * money:g} at this tick and lot size."
            )
