"""Makes the participants of a market by kind.

A new kind is one file and one line in `participants.PARTICIPANTS`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence

from difffinance.agents.base import Agent
from difffinance.errors import InputError
from difffinance.market.environment import seat_count
from difffinance.market.observation import mixed_kinds
from difffinance.market.options import whole
from difffinance.participants import counted_kinds, participant


class AgentFactory:
    """Builds populations reproducibly: same arguments, same agents, same random numbers."""

    @staticmethod
    def create(kind: str, seat: int = 0, *, model: Any = None, **options: Any) -> Agent:
        """Return one agent of `kind` for `seat`; a diffusion agent without `model` loads the shipped sample model."""
        module, _, name = participant(kind).agent.rpartition(".")
        agent_class = getattr(import_module(module), name)
        for option in options:
            allowed = [name for name in signature(agent_class).parameters if name not in ("seat", "model")]
            if option not in allowed:
                raise InputError(f"kind '{kind}' has no option '{option}'. Allowed: {', '.join(allowed) or 'none'}.")
        if kind == "diffusion":
            return agent_class(_sample_model() if model is None else model, seat=seat, **options)
        return agent_class(seat, **options)

    @staticmethod
    def create_population(
        kinds: Sequence[str] | Mapping[str, int],
        *,
        seed: int = 0,
        model: Any = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[Agent]:
        """Return one agent per kind, in seats 0, 1, ...; a mapping says how many of each.

        `options[kind]` are the arguments of every agent of that kind. The agents' random numbers are the first of
        `agent_streams`, so that none of them is one of a market's of the same seed.
        """
        kinds, options, seed = counted_kinds(kinds), options or {}, whole(seed, "seed")
        unknown = [kind for kind in options if kind not in kinds]
        if unknown:
            raise InputError(f"options for '{unknown[0]}' are given, but no agent of that kind. Kinds: {kinds}.")
        for kind, given in options.items():
            if not isinstance(given, Mapping) or {"seat", "model"} & given.keys():
                raise InputError(
                    f"options of '{kind}' are {given!r}. Allowed: its arguments by name, but seat and model."
                )
        if model is None and "diffusion" in kinds:
            model = _sample_model()
        agents = [
            AgentFactory.create(kind, seat, model=model, **options.get(kind, {})) for seat, kind in enumerate(kinds)
        ]
        for agent, stream in zip(agents, next(agent_streams(seed, 1, len(agents))), strict=True):
            agent.reset(stream)
        return agents

    @staticmethod
    def create_mixed_population(num_agents: int, *, seed: int = 0, model: Any = None) -> list[Agent]:
        """Return `num_agents` agents in the order of `observation.KINDS`, repeating."""
        return AgentFactory.create_population(mixed_kinds(seat_count(num_agents)), seed=seed, model=model)


_WORDS = 4  # of 64 bits: what a PCG64 begins with


def agent_streams(
    seed: int, episodes: int, seats: int, wanted: Sequence[int] | None = None
) -> Iterator[list[np.random.Generator]]:
    """Yield the generators of the agents, episode by episode; none of them is one of the market's of this seed.

    `wanted` are the seats whose generators are made (all, if not given).

    A market of `seed` draws from what `SeedSequence(seed)` spawns; these come of other entropy. One sequence gives
    the words of all seats of an episode: one for each of them would cost as much as a hundred steps of the market.
    """
    for k in range(episodes):
        words = np.random.SeedSequence((seed, 1), spawn_key=(k,)).generate_state(_WORDS * seats, np.uint64)
        rows = words.reshape(seats, _WORDS)
        seeds: Any = [_Seed(row) for row in (rows if wanted is None else rows[wanted])]  # numpy knows no such type
        yield [np.random.Generator(np.random.PCG64(one)) for one in seeds]


class _Seed(ISpawnableSeedSequence):
    """The words that a generator begins with; children come of them as of any entropy."""

    def __init__(self, words: np.ndarray) -> None:
        self._words = words

    @cached_property
    def _sequence(self) -> np.random.SeedSequence:
        return np.random.SeedSequence(self._words.tolist())

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return the words themselves where they are what is asked for."""
        if (n_words, np.dtype(dtype)) == (_WORDS, np.uint64):
            return self._words
        return self._sequence.generate_state(n_words, dtype)

    def spawn(self, n_children: int) -> list[Any]:
        """Return independent sequences."""
        return self._sequence.spawn(n_children)


def _sample_model() -> Any:
    from difffinance.diffusion.checkpoint import load_model

    return load_model("sample")
