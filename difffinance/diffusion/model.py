"""The diffusion model of strategies: four modules, and plans that obey the rules before they leave.

Inside, a plan is in natural units: participation over `Problem.unit` (fraction of wealth times the scale of the
decision, `diffusion.features`), every step over its spread in training. So wealth of 1e6 or 1e10 is one problem.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from difffinance.diffusion.constraints import project
from difffinance.diffusion.denoiser import StrategyDenoiser
from difffinance.diffusion.encoder import MarketConditionEncoder, compress
from difffinance.diffusion.features import decision_features, opponent_features, read_problem
from difffinance.diffusion.opponent import OpponentResponseModule, joined
from difffinance.diffusion.rules import plan_rules
from difffinance.diffusion.sampling import sample
from difffinance.diffusion.schedule import NoiseSchedule
from difffinance.diffusion.self_impact import SelfImpactModule, impact_unit
from difffinance.errors import InputError
from difffinance.market.observation import ACTION, CONSTRAINTS, OPPONENTS, STATE, STATE_INDEX
from difffinance.records import Conditions, Strategy


@dataclass(frozen=True)
class Prepared:
    """Conditions as the network takes them, one row each; made by `MarketDiffusionModel.prepare`."""

    features: Tensor  # (B, CONDITION_NUMBERS)
    opponents: Tensor  # (B, OPPONENT_NUMBERS)
    unit: Tensor  # (B,) step volumes per plan unit
    impact_unit: Tensor  # (B,) sigma

    def __len__(self) -> int:
        return len(self.unit)

    def rows(self, index: Any) -> "Prepared":
        """Return some of the rows."""
        return Prepared(self.features[index], self.opponents[index], self.unit[index], self.impact_unit[index])


@dataclass(frozen=True)
class Conditioned:
    """What the four modules have made of the conditions; computed once for all noise times and draws."""

    film: Tensor
    impact: Tensor
    response: Tensor

    def repeat(self, times: int) -> "Conditioned":
        """Return every row `times` times in a row."""
        return Conditioned(*(a.repeat_interleave(times, 0) for a in (self.film, self.impact, self.response)))


class MarketDiffusionModel(nn.Module):
    """Plans of H steps given state, opponents and constraints (the published tables of `market.observation`).

    `action_dim` takes the first columns of the action table: 1 is signed participation, what the agent trades with.
    """

    plan_spread: Tensor
    noise_level: Tensor
    fitted: Tensor  # 1 once the normaliser has seen training conditions

    def __init__(
        self,
        action_dim: int = 1,
        state_dim: int = len(STATE),
        opponent_dim: int = len(OPPONENTS),
        constraint_dim: int = len(CONSTRAINTS),
        *,
        horizon: int = 10,
        hidden_dim: int = 128,
        num_layers: int = 3,
        noise_steps: int = 1000,
        schedule: str = "cosine",
    ) -> None:
        super().__init__()
        published = (len(STATE), len(OPPONENTS), len(CONSTRAINTS))
        if (state_dim, opponent_dim, constraint_dim) != published or not 1 <= action_dim <= len(ACTION):
            raise InputError(
                f"state_dim, opponent_dim, constraint_dim, action_dim = {state_dim}, {opponent_dim}, {constraint_dim}, "
                f"{action_dim} are not the published tables. Allowed: 50, 40, 20, and an action_dim of 1 to 10."
            )
        if schedule not in ("linear", "cosine"):
            raise InputError(f"noise schedule '{schedule}' is not known. Allowed: linear, cosine.")
        self.shape = {
            "action_dim": action_dim, "state_dim": state_dim, "opponent_dim": opponent_dim,
            "constraint_dim": constraint_dim, "horizon": horizon, "hidden_dim": hidden_dim,
            "num_layers": num_layers, "noise_steps": noise_steps, "schedule": schedule,
        }  # fmt: skip
        self.horizon, self.action_dim = horizon, action_dim
        self.provenance: dict[str, Any] = {}  # what a checkpoint says of its training
        linear = schedule == "linear"
        beta = 1e-4 * 1000 / noise_steps, min(0.02 * 1000 / noise_steps, 0.999)
        self.schedule = NoiseSchedule.linear(*beta, noise_steps) if linear else NoiseSchedule.cosine(noise_steps)
        self.encoder = MarketConditionEncoder(hidden_dim)
        self.self_impact = SelfImpactModule(horizon, hidden_dim)
        self.opponents = OpponentResponseModule(horizon, hidden_dim)
        self.denoiser = StrategyDenoiser(horizon, action_dim, hidden_dim, num_layers)
        self.register_buffer("plan_spread", torch.ones(horizon, action_dim))
        self.register_buffer("fitted", torch.zeros(1))
        self.register_buffer("noise_level", torch.from_numpy(self.schedule.alphabar).float(), persistent=False)

    def prepare(self, conditions: Conditions) -> Prepared:
        """Return the conditions in natural units; raises `InputError` for tables of another shape or with NaN."""
        tables = (conditions.state, conditions.opponents, conditions.constraints)
        for name, table, width in zip(("state", "opponents", "constraints"), tables, (50, 40, 20), strict=True):
            if np.ndim(table) != 2 or np.shape(table)[1] != width or not np.isfinite(table).all():
                raise InputError(f"{name} must be (B, {width}) and finite; got shape {np.shape(table)}.")
        problem = read_problem(conditions)
        decision = decision_features(conditions, problem, self.horizon)
        tensors = [torch.as_tensor(np.asarray(a), dtype=torch.float32) for a in (*tables, decision, problem.unit)]
        state, others, rules, numbers, unit = tensors
        pooled = torch.as_tensor(opponent_features(conditions, problem), dtype=torch.float32)
        law = {
            name: state[:, STATE_INDEX[f"{name}_impact" if name != "exponent" else "temporary_exponent"]]
            for name in ("temporary", "exponent", "permanent")
        }
        features = torch.cat([numbers, compress(state), compress(rules)], dim=1)
        return Prepared(features, torch.cat([pooled, compress(others)], dim=1), unit, impact_unit(unit, **law))

    def to_units(self, plan: Tensor, prepared: Prepared) -> Tensor:
        """Return `(B, H, A)` plans in step volumes as the network sees them, `(B, H A)`."""
        first = plan[:, :, :1] / prepared.unit[:, None, None]
        return (torch.cat([first, plan[:, :, 1:]], dim=2) / self.plan_spread).flatten(1)

    def from_units(self, x: Tensor, unit: Tensor) -> Tensor:
        """Undo `to_units`."""
        plan = x.unflatten(1, (self.horizon, self.action_dim)) * self.plan_spread
        return torch.cat([plan[:, :, :1] * unit[:, None, None], plan[:, :, 1:]], dim=2)

    def condition(self, prepared: Prepared) -> Conditioned:
        """Run what does not depend on the noisy plan."""
        embedding = self.encoder(prepared.features)
        others = self.opponents.embedding(prepared.opponents)
        return Conditioned(
            self.denoiser.condition_film(embedding + others),
            self.self_impact.context(embedding),
            self.opponents.context(joined(embedding, others)),
        )

    def responses(self, x: Tensor, conditioned: Conditioned) -> tuple[Tensor, Tensor]:
        """Return price path (impact units) and others' flow (flow units), `(B, H)`, that a plan causes."""
        participation = x.unflatten(1, (self.horizon, self.action_dim))[:, :, 0] * self.plan_spread[:, 0]
        return self.self_impact(participation, conditioned.impact), self.opponents(participation, conditioned.response)

    def velocity(self, x: Tensor, t: Tensor, conditioned: Conditioned) -> Any:
        """Return the denoiser's v for noisy plans; the modules judge the plan as far as it shows, `a_t x_t`."""
        seen = self.noise_level[t].sqrt()[:, None] * x
        impact, response = self.responses(seen, conditioned)
        return self.denoiser(x, t, conditioned.film, impact, response)

    def forward(self, x: Tensor, t: Tensor, conditioned: Conditioned) -> Any:
        """Return the predicted noise for `(B, H A)` noisy plans in network units at times t `(B,)` or `(1,)`."""
        level = self.noise_level[t][:, None]
        return (1.0 - level).sqrt() * x + level.sqrt() * self.velocity(x, t, conditioned)

    @torch.inference_mode()
    def draw(
        self,
        conditions: Conditions,
        rng: np.random.Generator,
        *,
        method: str = "dpmsolver++2m",
        steps: int = 5,
        draws: int = 1,
        antithetic: bool = False,
    ) -> np.ndarray:
        """Return plans as the network draws them, before the rules, `(B, draws, H, A)` in step volumes.

        With `antithetic` every second draw of a condition starts from minus the noise of the one before it.
        """
        prepared = self.prepare(conditions)
        conditioned = self.condition(prepared).repeat(draws)
        size = (len(prepared) * draws, self.horizon * self.action_dim)

        def denoise(x: np.ndarray, t: int, given: Conditioned) -> np.ndarray:
            return self(torch.from_numpy(x).float(), torch.tensor([t]), given).double().numpy()

        source = _Antithetic(rng) if antithetic else rng
        x = sample(
            denoise, size, schedule=self.schedule, method=method, steps=steps, rng=source, conditions=conditioned
        )
        plan = self.from_units(torch.from_numpy(x), prepared.unit.repeat_interleave(draws).double())
        return plan.numpy().reshape(len(prepared), draws, self.horizon, self.action_dim)

    def sample(
        self, conditions: Conditions, rng: np.random.Generator, *, method: str = "dpmsolver++2m", steps: int = 10
    ) -> Strategy:
        """Return one plan per condition, `(B, H, A)` in step volumes, projected on the rules."""
        plan = self.draw(conditions, rng, method=method, steps=steps)[:, 0]
        plan[:, :, 0] = project(plan[:, :, 0], plan_rules(conditions, self.horizon))
        return Strategy(plan)


class _Antithetic(np.random.Generator):
    """Draws normal numbers in pairs of rows of opposite sign."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng.bit_generator)

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return `size` numbers whose odd rows are minus the even rows."""
        half = super().standard_normal(((size[0] + 1) // 2, *size[1:]))
        return np.stack([half, -half], axis=1).reshape(-1, *size[1:])[: size[0]]
