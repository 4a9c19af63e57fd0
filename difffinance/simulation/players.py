"""Scripted agents as the compiled loop takes them."""

import dis
from collections.abc import Sequence
from functools import cache

import numpy as np

from difffinance.agents.base import Agent, ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.handles import Handle
from difffinance.market.play import Players, Seat, wait

OPPONENTS, RNG = 1, 5  # places among a policy's arguments


def check_seated(agents: Sequence[Agent], kinds: Sequence[str]) -> None:
    """Refuse agents of other kinds than the seats', and one who would look from another seat than its own."""
    given = [getattr(agent, "kind", type(agent).__name__) for agent in agents]
    if given != list(kinds):
        raise InputError(f"agents must fit the seats {list(kinds)}; got {given}.")
    seats = [getattr(agent, "seat", k) for k, agent in enumerate(agents)]  # one without a seat looks as it likes
    if seats != list(range(len(agents))):
        raise InputError(f"agents must sit in the seats 0 to {len(agents) - 1}, in their order; got {seats}.")


def are_scripted(agents: Sequence[Agent | None]) -> bool:
    """Return whether every agent decides by a compiled policy (an empty seat does not decide)."""
    return all(agent is None or isinstance(agent, ScriptedAgent) for agent in agents)


@cache
def reads(agent: type[ScriptedAgent], argument: int) -> bool:
    """Return whether the policy of a kind of agent looks at an argument: whether its code names it."""
    code = agent.policy.py_func
    name = code.__code__.co_varnames[argument]
    return any(name == read.argval or name in _names(read.argval) for read in dis.get_instructions(code))


def _names(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()  # newer interpreters load two variables at once


class SeatedAgents:
    """The seats of one market, as the compiled loop takes them.

    `handle` is for the loop, `memories` are the agents' own arrays (N of (M,)), and `watching` (N,) says whose
    opponents are read: by a policy that looks at them, or outside, where a seat is played from there.
    """

    def __init__(self, agents: Sequence[Agent | None], rngs: Sequence[np.random.Generator] | None = None) -> None:
        """Seat `agents`; None is a seat that is played from outside. `rngs` take the place of the agents' own.

        Memories are copied where `rngs` are given, and the agents' own where not.
        """
        seats: list[Handle] = []
        self.memories: list[np.ndarray] = []
        addresses = np.zeros(len(agents), np.int64)
        for k, agent in enumerate(agents):
            if agent is None:
                continue
            if not isinstance(agent, ScriptedAgent):
                raise InputError(
                    f"the agent in seat {k} ({agent.kind}) decides in Python and cannot be compiled. Allowed in a "
                    "batch: scripted agents. Use simulate_market or the step API for it."
                )
            memory, rng = (agent.memory, agent.rng) if rngs is None else (agent.memory.copy(), rngs[k])
            self.memories.append(memory)
            seats.append(Handle(Seat(type(agent).policy, agent.parameters, memory, rng)))
            addresses[k] = seats[-1].address
        self.watching = np.array([agent is None or reads(type(agent), OPPONENTS) for agent in agents])
        self._seats = seats or [Handle(Seat(wait, np.zeros(0), np.zeros(0), np.random.default_rng(0)))]
        self.handle = Handle(Players(addresses, self._seats[0], np.zeros(len(agents), np.int64)))
