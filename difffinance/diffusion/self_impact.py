"""What will my orders do to the price: the path that a plan itself causes."""

from typing import Any

import torch
from torch import Tensor, nn


class SelfImpactModule(nn.Module):
    """Predicts the price path that a plan itself causes, from the plan and the embedded conditions.

    In and out in natural units: plan in plan units, path over the impact of one such trade. Supervised by the
    counterfactual twin of the simulated market (the same bars with and without the plan).
    """

    def __init__(self, horizon: int, hidden_dim: int) -> None:
        super().__init__()
        width = max(hidden_dim // 2, 16)
        self.plan = nn.Linear(horizon, width)
        self.context = nn.Linear(hidden_dim, width)
        self.inner = nn.Linear(width, width)
        self.path = nn.Linear(width, horizon)

    def forward(self, plan: Tensor, context: Tensor) -> Any:
        """Return the path `(B, H)` for plans `(B, H)` and `context = self.context(embedding)`."""
        hidden = nn.functional.silu(self.plan(plan) + context)
        return self.path(nn.functional.silu(self.inner(hidden)))


def impact_unit(unit: Tensor, *, temporary: Tensor, exponent: Tensor, permanent: Tensor) -> Tensor:
    """Return the cost law's price move of one plan unit of trade, sigma: what paths are measured in."""
    return torch.clamp(temporary.abs() * unit**exponent + permanent.abs() * unit, min=1e-12)
