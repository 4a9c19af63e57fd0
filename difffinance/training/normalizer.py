"""Where inputs are centred and how wide they are: measured on training conditions, saved inside the checkpoint."""

import torch
from torch import Tensor

from difffinance.diffusion.encoder import Standardise
from difffinance.diffusion.model import MarketDiffusionModel, Prepared

_STILL = 1e-6  # a column that moves less than this says nothing


def fit_normalizer(model: MarketDiffusionModel, prepared: Prepared, plans: Tensor) -> None:
    """Set the model's normaliser from training conditions and `(B, H, A)` plans in step volumes.

    Plans are only scaled, step by step, to unit spread around 0: no trade must stay no trade.
    """
    with torch.no_grad():
        _measure(model.encoder.normalise, prepared.features)
        _measure(model.opponents.normalise, prepared.opponents)
        model.plan_spread.fill_(1.0)
        spread = model.to_units(plans, prepared).square().mean(dim=0).sqrt()
        model.plan_spread.copy_(spread.clamp_min(1e-6).view_as(model.plan_spread))
        model.fitted.fill_(1.0)


def _measure(layer: Standardise, table: Tensor) -> None:
    wide = table.double()
    spread = wide.std(dim=0)
    layer.location.copy_(wide.mean(dim=0).float())
    layer.spread.copy_(torch.where(spread > _STILL, spread, torch.zeros_like(spread)).float())
