"""How will the others respond: the pooled flow with which they answer a plan."""

from typing import Any

import torch
from torch import Tensor, nn

from difffinance.diffusion.encoder import Standardise
from difffinance.market.observation import KINDS, OPPONENTS

OPPONENT_NUMBERS = 3 * len(KINDS) + len(OPPONENTS)  # `features.opponent_features` and the published table


FLOW_UNIT = 0.05  # plan units: what answers are like, so that the loss sees them


class OpponentResponseModule(nn.Module):
    """Embeds the opponent table, and predicts the pooled flow with which the others answer a plan.

    An all-zero table means unknown opponents: half of the training conditions have one, and then the answer is
    that of the cost law, no extra flow. Supervised by the counterfactual twin of the simulated market.
    """

    def __init__(self, horizon: int, hidden_dim: int) -> None:
        super().__init__()
        width = max(hidden_dim // 2, 16)
        self.normalise = Standardise(OPPONENT_NUMBERS)
        self.embed = nn.Sequential(nn.Linear(OPPONENT_NUMBERS, width), nn.SiLU(), nn.Linear(width, hidden_dim))
        self.plan = nn.Linear(horizon, width)
        self.context = nn.Linear(2 * hidden_dim, width)
        self.inner = nn.Linear(width, width)
        self.flow = nn.Linear(width, horizon)

    def embedding(self, features: Tensor) -> Any:
        """Return the embedded table, `(B, hidden_dim)`."""
        return self.embed(self.normalise(features))

    def forward(self, plan: Tensor, context: Tensor) -> Any:
        """Return the others' flow `(B, H)` in units of `FLOW_UNIT`; `context` is that of `joined` embeddings."""
        hidden = nn.functional.silu(self.plan(plan) + context)
        return self.flow(nn.functional.silu(self.inner(hidden)))


def joined(condition: Tensor, opponents: Tensor) -> Tensor:
    """Return both embeddings side by side."""
    return torch.cat([condition, opponents], dim=-1)
