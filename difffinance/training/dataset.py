"""Conditions from simulated bars, a plan of the teacher for each, and loaders that hand them out in batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.data.store import Progress, no_progress
from difffinance.diffusion.constraints import project
from difffinance.diffusion.model import MarketDiffusionModel, Prepared
from difffinance.diffusion.rules import plan_rules
from difffinance.errors import InputError
from difffinance.market.observation import STATE_INDEX
from difffinance.records import Array, Conditions
from difffinance.simulation.bars import BarParameters, BarSimulation, draw_scenarios, plan_response
from difffinance.training.plans import teach

_CAPITAL, _POSITION = STATE_INDEX["capital"], STATE_INDEX["position"]
_FARTHEST = 8.0  # plan units; the few conditions whose best plan is farther out have degenerate numbers
_LOOKS = (3, 7, 11, 15, 19)
_WORTH_ASKING = 1e6  # step volumes of capital or position beyond which a simulated price has run away


@dataclass(frozen=True)
class PlanData:
    """Conditions with the teacher's plans, one row each; plans and flows in step volumes, prices in sigma."""

    conditions: Conditions
    plan: Array  # (B, H, 1): one draw of the law of good plans
    optimum: Array  # (B, H)
    price_response: Array  # (B, H): what the drawn plan does to the price
    opponent_response: Array  # (B, H): and to the others' flow
    episode: Array  # (B,)

    def __len__(self) -> int:
        return len(self.plan)

    def rows(self, index: Array) -> "PlanData":
        """Return some of the rows."""
        c = self.conditions
        rest = (self.plan, self.optimum, self.price_response, self.opponent_response, self.episode)
        some = Conditions(c.state[index], c.opponents[index], c.constraints[index])
        return PlanData(some, *(a[index] for a in rest))


def make_plans(
    parameters: BarParameters,
    *,
    num_episodes: int,
    episode_length: int,
    horizon: int,
    rng: np.random.Generator,
    progress: Progress = no_progress,
) -> PlanData:
    """Simulate episodes with a trader who explores, and solve a plan for every bar of them."""
    conditions, episode = _explore(parameters, num_episodes, episode_length, rng)
    parts = []
    size = 4096
    for start in range(0, len(conditions), size):
        progress("plans", start, len(conditions))
        rows = slice(start, start + size)
        part = Conditions(conditions.state[rows], conditions.opponents[rows], conditions.constraints[rows])
        taught = teach(part, horizon, rng)
        unit = taught.problem.unit[:, None]
        keep = taught.settled & (np.abs(taught.optimum).max(axis=1) < _FARTHEST)
        plan = taught.drawn * unit
        responses = plan_response(part, plan)
        data = PlanData(part, plan[:, :, None], taught.optimum * unit, *responses, episode[rows])
        parts.append(data.rows(np.flatnonzero(keep)))
    progress("plans", len(conditions), len(conditions))
    return _join(parts)


def _explore(
    parameters: BarParameters, episodes: int, length: int, rng: np.random.Generator
) -> tuple[Conditions, Array]:
    """Return the conditions that roughly sensible traders meet, who sometimes jump to a random position.

    What decides a plan most (costs, capital, risk aversion, rules) does not change within one trader's life, so an
    episode is handed from trader to trader: each lives 20 bars and is looked at every fourth.
    """
    episodes = max(episodes * length // len(_LOOKS), 1)
    scenario = draw_scenarios(parameters, episodes, rng)
    market = BarSimulation(parameters, scenario, rng, max(_LOOKS) + 1)
    trader, pace = GarleanuPedersenTrader(), rng.uniform(0.1, 1.5, episodes)
    usual = np.minimum(3.0 * scenario.signal_strength / (scenario.risk_aversion * parameters.volatility), 2.0)
    seen = []
    for bar in range(max(_LOOKS) + 1):
        conditions = market.conditions()
        if bar in _LOOKS:
            seen.append(conditions)
        trade = pace * trader.participation(conditions, rng)
        jump = rng.random(episodes) < 0.05
        anywhere = rng.uniform(-1.0, 1.0, episodes) * np.where(jump, 1.0, 0.02) * usual * conditions.state[:, _CAPITAL]
        trade = np.where(
            jump, anywhere - conditions.state[:, _POSITION] * rng.random(episodes), trade + 0.05 * anywhere
        )
        # An explorer need not keep the participation cap, only what can be held at all.
        rules = plan_rules(conditions, 1)
        trade = np.clip(trade, rules.prefix_lower[:, 0], rules.prefix_upper[:, 0])
        far = np.abs(trade) > 1.0
        trade = np.where(far, project(trade[:, None], rules)[:, 0], trade)
        market.step(np.clip(trade, -3.0, 3.0))
    episode = np.tile(np.arange(episodes), len(_LOOKS))
    tables = [np.concatenate([getattr(c, name) for c in seen]) for name in ("state", "opponents", "constraints")]
    sane = np.isfinite(tables[0]).all(axis=1) & (np.abs(tables[0][:, [_CAPITAL, _POSITION]]) < _WORTH_ASKING).all(
        axis=1
    )
    return Conditions(*(table[sane] for table in tables)), episode[sane]


def _join(parts: list[PlanData]) -> PlanData:
    names = ("state", "opponents", "constraints")
    conditions = Conditions(*(np.concatenate([getattr(p.conditions, n) for p in parts]) for n in names))
    fields = ("plan", "optimum", "price_response", "opponent_response", "episode")
    return PlanData(conditions, *(np.concatenate([getattr(p, n) for p in parts]) for n in fields))


def split_by_episode(data: PlanData, fraction: float, rng: np.random.Generator) -> tuple[PlanData, PlanData]:
    """Return training and held-out rows; no episode is in both."""
    episodes = rng.permutation(np.unique(data.episode))
    held_out = episodes[: max(1, round(fraction * len(episodes)))]
    if len(held_out) >= len(episodes):
        raise InputError(
            f"{len(episodes)} episodes with {fraction:g} of them held out leave none to train on. Allowed: more "
            "training.num_episodes, a longer training.episode_length, or a smaller training.validation_fraction."
        )
    out = np.isin(data.episode, held_out)
    return data.rows(np.flatnonzero(~out)), data.rows(np.flatnonzero(out))


class PlanLoader:
    """Hands out batches as dicts of tensors; shuffled anew each time it is run through, from its seed.

    Keys: `plan` (B, H, A), `state`, `opponents`, `constraints`, `price_response`, `opponent_response` (B, H), and
    `prepared`, the conditions already in the model's units so that no batch computes them again.
    """

    def __init__(
        self, model: MarketDiffusionModel, data: PlanData, *, batch_size: int, seed: int, shuffle: bool = True
    ) -> None:
        self.prepared: Prepared = model.prepare(data.conditions)
        arrays = {
            "plan": data.plan,
            "state": data.conditions.state,
            "opponents": data.conditions.opponents,
            "constraints": data.conditions.constraints,
            "price_response": data.price_response,
            "opponent_response": data.opponent_response,
        }
        self.tensors = {name: torch.as_tensor(a, dtype=torch.float32) for name, a in arrays.items()}
        self.batch_size, self.seed, self.shuffle, self._passes = batch_size, seed, shuffle, 0

    def __len__(self) -> int:
        return -(-len(self.prepared) // self.batch_size)

    def __iter__(self) -> Iterator[dict]:
        order = np.arange(len(self.prepared))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self._passes]).permutation(order)
            self._passes += 1
        for start in range(0, len(order), self.batch_size):
            rows = torch.from_numpy(order[start : start + self.batch_size])
            yield {name: table[rows] for name, table in self.tensors.items()} | {"prepared": self.prepared.rows(rows)}
