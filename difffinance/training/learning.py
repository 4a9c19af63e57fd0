"""Has the network learnt anything? Denoising loss and sample distances against answers in closed form."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from difffinance.diffusion.model import MarketDiffusionModel, Prepared
from difffinance.records import Array
from difffinance.training.dataset import PlanData
from difffinance.training.trainer import read_batch

_ROWS = 4000  # held-out rows that are looked at, at most
_RIDGE = 1e-3


def learning_report(
    model: MarketDiffusionModel, training: PlanData, held_out: PlanData, *, seed: int
) -> dict[str, float | int]:
    """Return how well held-out plans are denoised, and how close drawn plans come to the teacher's.

    `noise_loss` is the mean squared error of the predicted noise, at times drawn evenly, the same noise for everyone:
    the network (`model`), the same trained network with the conditions of held-out rows permuted
    (`shuffled_conditions`), and two closed-form denoisers fitted to the training plans: one Gaussian for all
    (`gaussian`), and Gaussian given linear regression on all inputs of the network (`gaussian_conditional`).
    """
    rng = np.random.default_rng(seed)
    seen, unseen = _units(model, _some(training, 5 * _ROWS, rng)), _units(model, _some(held_out, _ROWS, rng))
    x, prepared, optimum = unseen
    t = torch.from_numpy(rng.integers(0, len(model.schedule), len(x)))
    noise = torch.from_numpy(rng.standard_normal(tuple(x.shape))).float()
    level = model.noise_level[t][:, None]
    noisy = level.sqrt() * x + (1 - level).sqrt() * noise

    def loss(guess: Tensor) -> float:
        return float((guess - noise).square().mean())

    with torch.no_grad():
        losses: dict[str, Any] = {"model": loss(model(noisy, t, model.condition(prepared)))}
        permuted = prepared.rows(torch.from_numpy(rng.permutation(len(x))))
        losses["shuffled_conditions"] = loss(model(noisy, t, model.condition(permuted)))
    flat = torch.zeros(len(x), 1), torch.zeros(len(seen[0]), 1)
    inputs = _inputs(model, prepared), _inputs(model, seen[1])
    for name, (here, there) in {"gaussian": flat, "gaussian_conditional": inputs}.items():
        losses[name] = loss(gaussian_noise(noisy, level, *_regress(seen[0], there, here)))
    report = {f"noise_loss_{name}": value for name, value in losses.items()}
    return report | _samples(model, x, prepared, optimum, rng) | {"held_out_rows": len(x)}


def gaussian_noise(noisy: Tensor, level: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return the exact noise prediction for plans `N(mean, covariance)` (SCIENCE 7), `(B, d)`; `level` is alphabar."""
    values, vectors = torch.linalg.eigh(covariance)
    rest = (noisy - level.sqrt() * mean).double() @ vectors
    clean = rest * (level.sqrt() * values / (level * values + 1 - level)) @ vectors.T
    return ((noisy - level.sqrt() * (mean + clean)) / (1 - level).sqrt()).float()


def _regress(plans: Tensor, inputs: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ridge regression of plans on inputs evaluated `at`, and the covariance of its residuals."""
    ones = [torch.cat([a.double(), torch.ones(len(a), 1).double()], dim=1) for a in (inputs, at)]
    gram = ones[0].T @ ones[0] + _RIDGE * len(plans) * torch.eye(ones[0].shape[1]).double()
    weights = torch.linalg.solve(gram, ones[0].T @ plans.double())
    residual = plans.double() - ones[0] @ weights
    return ones[1] @ weights, residual.T @ residual / len(plans)


def _inputs(model: MarketDiffusionModel, prepared: Prepared) -> Tensor:
    with torch.no_grad():
        own = model.encoder.normalise(prepared.features)
        return torch.cat([own, model.opponents.normalise(prepared.opponents)], dim=1)


def _some(data: PlanData, count: int, rng: np.random.Generator) -> PlanData:
    return data.rows(np.sort(rng.permutation(len(data))[:count]))


def _units(model: MarketDiffusionModel, data: PlanData) -> tuple[Tensor, Prepared, Array]:
    c = data.conditions
    tables = {"plan": data.plan, "state": c.state, "opponents": c.opponents, "constraints": c.constraints}
    batch = read_batch(tables, model)
    return batch.x, batch.prepared, data.optimum / batch.prepared.unit.double().numpy()[:, None]


def _samples(
    model: MarketDiffusionModel, x: Tensor, prepared: Prepared, optimum: Array, rng: np.random.Generator
) -> dict[str, float]:
    """Return energy distances of (plan, inputs) and the first trade's distance from the teacher's, plan units."""
    from difffinance.diffusion.sampling import sample

    def draw(given: Prepared) -> Tensor:
        def denoise(noisy: Array, t: int, c: Any) -> Tensor:
            return model(torch.from_numpy(noisy).float(), torch.tensor([t]), c)

        made = sample(
            denoise,
            x.shape,
            schedule=model.schedule,
            method="ddim",
            steps=20,
            rng=rng,
            conditions=model.condition(given),
        )
        return torch.from_numpy(made).float()

    order = torch.from_numpy(rng.permutation(len(x)))
    with torch.no_grad():
        own, stray, again = draw(prepared), draw(prepared.rows(order)), draw(prepared)
    inputs = _inputs(model, prepared)[:, :19] / 3.0
    pairs = [torch.cat([plans, inputs], dim=1).double() for plans in (x, own, stray)]
    half = len(x) // 2
    spread = float(model.plan_spread[0, 0])
    error = spread * (own[:, 0] + again[:, 0]).numpy() / 2 - optimum[:, 0]
    return {
        "energy_distance": energy_distance(pairs[0][:half], pairs[1][half:]),
        "energy_distance_noise_floor": energy_distance(pairs[0][:half], pairs[0][half:]),
        "energy_distance_shuffled": energy_distance(pairs[0][:half], pairs[2][half:]),
        "first_trade_error": float(np.median(np.abs(error))),
        "first_trade_spread": float(optimum[:, 0].std()),
    }


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Return `2 E|X-Y| - E|X-X'| - E|Y-Y'|` between two samples, unbiased (it can be just below 0)."""
    own = [torch.cdist(s, s).sum() / (len(s) * (len(s) - 1)) for s in (a, b)]
    return float(2 * torch.cdist(a, b).mean() - own[0] - own[1])
