"""The network that tells plan from noise."""

import math
from typing import Any

import torch
from torch import Tensor, nn

_TIMES = 64  # sines and cosines of the noise time


def time_features(t: Tensor, width: int) -> Tensor:
    """Return sines and cosines of the noise time at geometric frequencies, `(B, width)` (Ho et al. 2020)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(width // 2, dtype=torch.float32) / (width // 2))
    angle = t.float()[:, None] * rates
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


class _Block(nn.Module):
    """A residual block whose normalised input is shifted and scaled, and whose output is gated, by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = (width,)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, film: Tensor) -> Any:
        shift, scale, gate = film.chunk(3, dim=-1)
        inner = torch.addcmul(shift, torch.layer_norm(hidden, self.width), 1.0 + scale)
        return torch.addcmul(hidden, 1.0 + gate, self.second(nn.functional.silu(self.first(inner))))


class StrategyDenoiser(nn.Module):
    """Residual network on the flattened plan with adaptive layer normalisation (Peebles & Xie 2023).

    It sees the noisy plan, the price path that the plan causes, and the others' answer. It predicts
    `v = a noise - s plan` (Salimans & Ho 2022), from which the noise follows as `s x_t + a v`: a prediction that stays
    accurate where nearly nothing of the plan is left.
    """

    def __init__(self, horizon: int, action_dim: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.inlet = nn.Linear(horizon * action_dim + 2 * horizon, hidden_dim)
        self.blocks = nn.ModuleList(_Block(hidden_dim) for _ in range(num_layers))
        self.time = nn.Sequential(nn.Linear(_TIMES, _TIMES // 2), nn.SiLU())
        self.film_time = nn.Linear(_TIMES // 2, 3 * hidden_dim * num_layers)
        self.film_condition = nn.Linear(hidden_dim, 3 * hidden_dim * num_layers)
        self.norm = nn.LayerNorm(hidden_dim)
        self.outlet = nn.Linear(hidden_dim, horizon * action_dim)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def condition_film(self, condition: Tensor) -> Any:
        """Return the condition's part of every block's modulation; the same for all noise times."""
        return self.film_condition(nn.functional.silu(condition))

    def forward(self, plan: Tensor, t: Tensor, film: Tensor, impact: Tensor, response: Tensor) -> Any:
        """Return v for noisy plans `(B, H A)` at times t `(B,)` or `(1,)`, given `film = condition_film(...)`."""
        hidden = self.inlet(torch.cat([plan, impact, response], dim=-1))
        film = film + self.film_time(self.time(time_features(t, _TIMES)))
        for block, part in zip(self.blocks, film.chunk(len(self.blocks), dim=-1), strict=True):
            hidden = block(hidden, part)
        return self.outlet(self.norm(hidden))
