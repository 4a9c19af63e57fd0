"""From what a trader sees to what the network is conditioned on."""

from typing import Any

import torch
from torch import Tensor, nn

from difffinance.market.observation import CONSTRAINTS, STATE

DECISION_NUMBERS = 19  # columns of `features.decision_features`
CONDITION_NUMBERS = DECISION_NUMBERS + len(STATE) + len(CONSTRAINTS)
_FAR = 4.0  # standardised inputs are held here: beyond what training has seen, nothing is learnt


def compress(table: Tensor) -> Tensor:
    """Return `sign(x) log(1 + 1e4 |x|)`: from 1e-4 to 1e3 every decade weighs the same."""
    return torch.sign(table) * torch.log1p(1e4 * table.abs())


class Standardise(nn.Module):
    """Subtracts the training mean and divides by the training spread; columns that never moved become 0."""

    location: Tensor
    spread: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(columns))
        self.register_buffer("spread", torch.ones(columns))

    def forward(self, table: Tensor) -> Tensor:
        """Return the standardised `(B, columns)`."""
        inverse = torch.where(self.spread > 0, 1.0 / self.spread.clamp_min(1e-12), torch.zeros_like(self.spread))
        return ((table - self.location) * inverse).clamp(-_FAR, _FAR)


class MarketConditionEncoder(nn.Module):
    """Embeds state and constraints: the decision in natural units (`features`) beside the published tables."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.normalise = Standardise(CONDITION_NUMBERS)
        self.network = nn.Sequential(
            nn.Linear(CONDITION_NUMBERS, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
        )

    def forward(self, features: Tensor) -> Any:
        """Return the embedding, `(B, hidden_dim)`."""
        return self.network(self.normalise(features))
