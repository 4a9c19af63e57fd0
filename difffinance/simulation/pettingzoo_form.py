"""The market as a PettingZoo `ParallelEnv`: every seat is played from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment, seat_count
from difffinance.market.utility import Utility
from difffinance.records import Array, MarketState
from difffinance.simulation.learner import Learner


class MarketParallelEnv(ParallelEnv[str, Array, Array]):
    """Agents are named by kind and seat (`informed_3`). All start together and are truncated after `num_steps`.

    `learner` chooses the form of actions and rewards of all; `rewards` are those of `MarketEnvironment`: a utility per
    seat rewards each by its own. An agent without an action, or with a bad one, does nothing in the step and is told
    why in `infos[agent]["refused"]`. An action for an agent that is not there is a surplus one of the `market`, which
    counts it in its `refusals`.
    """

    metadata: dict[str, Any] = {"name": "difffinance_market_v0", "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_agents: int = 5,
        *,
        kinds: Sequence[str] | Mapping[str, int] | None = None,
        market: MarketConfig | None = None,
        accounts: AgentsConfig | None = None,
        num_steps: int | None = 1000,
        latency: float | Sequence[float] = 0.0,
        learner: Learner | None = None,
        rewards: str | Sequence[Utility] = "wealth",
    ) -> None:
        self.learner = Learner.chosen(learner)
        if rewards != "wealth" and self.learner.reward != "wealth":
            raise InputError("rewards are those of the learner or of `rewards`; got both. Allowed: one of them.")
        if self.learner.utility is not None:
            rewards = [self.learner.utility] * seat_count(num_agents)
        self.market = MarketEnvironment(
            num_agents, market, agents=accounts, kinds=kinds, num_steps=num_steps, latency=latency, rewards=rewards
        )
        self.possible_agents = [f"{kind}_{seat}" for seat, kind in enumerate(self.market.kinds)]
        self.agents: list[str] = []
        # A space of its own for each agent: it is seeded and drawn from by itself.
        self._action_spaces = {agent: self.learner.action_space for agent in self.possible_agents}  # noqa: C420
        self._observation_spaces = {agent: self.learner.observation_space for agent in self.possible_agents}  # noqa: C420

    def observation_space(self, agent: str) -> spaces.Box:
        """Return the space of one agent, the same object each time."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Box:
        """Return the space of one agent, the same object each time."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """Start an episode; the same seed starts the same one. There are no `options`: what is given is ignored."""
        self.agents = list(self.possible_agents)
        return self._seen(self.market.reset(seed)), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Array]
    ) -> tuple[
        dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:  # fmt: skip
        """Carry out the actions of all agents at once."""
        if not self.agents:
            raise InputError("no agent is left: the episode has ended. Call reset() first.")
        if not isinstance(actions, Mapping):
            raise InputError(f"actions are of {type(actions)}. Allowed: a dict of one action by agent's name.")
        orders = [self._orders(actions.get(agent)) for agent in self.agents]
        surplus = [np.empty(0)] * len(actions.keys() - set(self.agents))
        state, gains, done, info = self.market.step([*orders, *surplus])
        seen, wealth = self._seen(state), self.market.wealth
        rewards = self.learner.rewards(gains, wealth, np.array(list(seen.values())))
        told: dict[str, dict[str, Any]] = {agent: {"refused": {}} for agent in self.agents}
        for refusal in info["refused"]:
            if refusal["seat"] < len(self.agents):
                told[self.agents[refusal["seat"]]]["refused"][refusal["reason"]] = refusal["count"]
        agents = self.agents
        self.agents = [] if done else agents
        return (
            seen, dict(zip(agents, rewards.tolist(), strict=True)), dict.fromkeys(agents, False),
            dict.fromkeys(agents, done), told,
        )  # fmt: skip

    def render(self) -> None:
        """There is no picture here: see `difffinance.reporting`."""

    def _orders(self, action: Array | None) -> Array:
        try:
            return self.learner.orders(np.empty(0) if action is None else action)
        except (TypeError, ValueError):
            return np.empty(0)  # refused by the market as `action_shape`

    def _seen(self, state: MarketState) -> dict[str, Array]:
        tables = zip(self.possible_agents, state.views, state.opponents, state.constraints, strict=True)
        return {agent: np.concatenate([view, others, limits]) for agent, view, others, limits in tables}
