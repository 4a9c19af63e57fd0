"""Several instruments: K order books with the same seats, values that move together, and flow that crosses over.

Each book is a `MarketEnvironment` of its own with its own background. What ties them:

- Values. At the start of each step the K fundamental values move by correlated normal steps, in place of each book's
  own diffusion.
- Cross-impact. The net volume q_j that takers traded in book j in the last step moves the value that the background of
  book i believes in by `cross_impact[i, j] * q_j`, price per unit: linear and symmetric, so that no round trip through
  two books is paid by it (`market.law`); the diagonal must be 0, for a book has its own impact.
- Arbitrage, as far as the seats do it.

A seat's capital is split equally over the books, and each book's rules see that part; wealth is the sum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.flow import LOG_VALUE, VALUE_SD
from difffinance.market.options import whole
from difffinance.records import Array, MarketState


class InstrumentsStep(NamedTuple):
    """One step: the K states, rewards (N,) summed over the books, whether it was the last, and K infos."""

    states: tuple[MarketState, ...]
    rewards: Array
    done: bool
    info: dict[str, Any]


class InstrumentsEnvironment:
    """K books with `num_agents` common seats; `correlation` and `cross_impact` are (K, K), symmetric.

    `configs` has one market each; the steps must be equally long. The rest is as in `MarketEnvironment`.
    """

    def __init__(
        self,
        num_agents: int,
        configs: Sequence[MarketConfig],
        seed: int = 0,
        *,
        correlation: ArrayLike,
        cross_impact: ArrayLike = 0.0,
        agents: AgentsConfig | None = None,
        kinds: Sequence[str] | None = None,
        num_steps: int | None = None,
    ) -> None:
        k = _check_configs(configs)
        self.correlation = _symmetric("correlation", correlation, k)
        values, vectors = np.linalg.eigh(self.correlation)
        if values[0] < -1e-9 or np.abs(np.diag(self.correlation) - 1.0).max() > 1e-12:
            raise InputError("correlation must have 1 on its diagonal and no negative eigenvalue.")
        self._root = vectors * np.sqrt(np.clip(values, 0.0, None))
        given = np.zeros((k, k)) if np.ndim(cross_impact) == 0 and cross_impact == 0 else cross_impact
        self.cross_impact = _symmetric("cross_impact", given, k)
        if np.diag(self.cross_impact).any():
            raise InputError("cross_impact must have 0 on its diagonal: a book makes its own impact.")
        agents = agents or AgentsConfig()
        share = agents.model_copy(update={"capital": agents.capital / k})
        self.num_agents, self.num_instruments = num_agents, k
        self.books = [
            MarketEnvironment(num_agents, config, agents=share, kinds=kinds, num_steps=num_steps) for config in configs
        ]
        self.kinds, self.num_steps = self.books[0].kinds, min(book.num_steps for book in self.books)
        self._seconds = configs[0].step_seconds
        self._seeds = np.random.SeedSequence(whole(seed, "seed"))
        self._done = self.num_steps

    def reset(self, seed: int | None = None) -> tuple[MarketState, ...]:
        """Start an episode in all books; the same seed gives the same episode."""
        sequence = self._seeds.spawn(1)[0] if seed is None else np.random.SeedSequence(whole(seed, "seed"))
        *books, values = sequence.spawn(self.num_instruments + 1)
        self._rng = np.random.default_rng(values)
        states = tuple(
            book.reset(int(s.generate_state(1, np.uint64)[0])) for book, s in zip(self.books, books, strict=True)
        )
        self._volatility = np.empty(self.num_instruments)
        for i, book in enumerate(self.books):
            p = book.venue.flow.p
            self._volatility[i], p[VALUE_SD] = p[VALUE_SD], 0.0
        self._done = 0
        return states

    def step(self, actions: Sequence[Any] | Array) -> InstrumentsStep:
        """Move the values, then carry out one step in every book; `actions` is (N, K, 10).

        A seat's action that is none, or an exception in its place, is refused by every book.
        """
        if self._done >= self.num_steps:
            raise InputError(f"the episode of {self.num_steps} steps is not running. Call reset() first.")
        by_book = self._by_book(actions)
        self._move_values()
        steps = [book.step(own) for book, own in zip(self.books, by_book, strict=True)]
        self._done += 1
        rewards = np.sum([s.rewards for s in steps], axis=0)
        return InstrumentsStep(
            tuple(s.state for s in steps), rewards, self._done >= self.num_steps, {"books": [s.info for s in steps]}
        )

    @property
    def wealth(self) -> Array:
        """Wealth of each seat over all books, `(N,)` quote currency."""
        return np.sum([book.wealth for book in self.books], axis=0)

    @property
    def flows(self) -> Array:
        """Net volume that takers traded in each book in the last step, `(K,)` units, buys positive."""
        if not self.books[0].started:
            raise InputError("there is no market yet. Call reset() first.")
        return np.array([book.session.market.history.flow[0] * book.config.lot_size for book in self.books])

    @property
    def values(self) -> Array:
        """The fundamental values, `(K,)` quote currency; no seat is shown them."""
        return np.array([book.value for book in self.books])

    def _move_values(self) -> None:
        normal = self._root @ self._rng.standard_normal(self.num_instruments)
        moves = self._volatility * np.sqrt(self._seconds) * normal
        # As a fraction of the value; the exponential keeps it above 0 whatever the flow.
        moves += self.cross_impact @ self.flows / self.values
        for book, move in zip(self.books, moves, strict=True):
            book.venue.flow.clock[LOG_VALUE] += move

    def _by_book(self, actions: Sequence[Any] | Array) -> list[list[Any]]:
        try:
            each = [_split(actions[seat], self.num_instruments) for seat in range(len(actions))]
        except (TypeError, LookupError):
            raise InputError(f"actions are of {type(actions)}. Allowed: one action (K, 10) per seat.") from None
        return [[own[book] for own in each] for book in range(self.num_instruments)]


def _split(action: Any, books: int) -> list[Any]:
    """Return a seat's action in each book; what is none goes to all of them."""
    if not isinstance(action, Exception):
        try:
            if len(action) == books:
                return [action[book] for book in range(books)]
        except (TypeError, LookupError):
            pass
        action = None
    return [action] * books


def _check_configs(configs: Sequence[MarketConfig]) -> int:
    if len(configs) < 2:
        raise InputError(f"several instruments need 2 markets or more; got {len(configs)}.")
    for config in configs:
        if config.mode != "book":
            raise InputError("several instruments trade in books. Allowed: market.mode=book; see market.law otherwise.")
        if config.step_seconds != configs[0].step_seconds:
            raise InputError("the steps of all instruments must be equally long.")
        if config.flow_model == "santa_fe":
            raise InputError(
                "market.flow_model is santa_fe, whose orders follow no value: nothing would tie the books. Allowed: "
                "zero_intelligence, fitted, queue_reactive."
            )
    return len(configs)


def _symmetric(name: str, given: ArrayLike, k: int) -> Array:
    try:
        matrix = np.array(given, float)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers, {(k, k)}; got {given!r}.") from None
    if matrix.shape != (k, k) or not np.isfinite(matrix).all():
        raise InputError(f"{name} must be finite and {(k, k)}; got {matrix.shape}.")
    if np.abs(matrix - matrix.T).max() > 1e-9 * np.abs(matrix).max():
        raise InputError(f"{name} must be symmetric; otherwise a round trip through two instruments pays.")
    return matrix
