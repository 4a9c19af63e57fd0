"""The training loop: a generator that yields after every step, and a class that drains it."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from difffinance.data.store import Progress, no_progress
from difffinance.diffusion.model import MarketDiffusionModel, Prepared
from difffinance.diffusion.opponent import FLOW_UNIT
from difffinance.errors import InputError
from difffinance.records import Conditions
from difffinance.training.normalizer import fit_normalizer

_TABLES = ("plan", "state", "opponents", "constraints", "price_response", "opponent_response")
_RESPONSE_WEIGHT = 0.1
_EMA_KEPT = 0.999


@dataclass(frozen=True)
class Batch:
    """A batch in the model's units."""

    x: Tensor  # (B, H A)
    prepared: Prepared
    price_response: Tensor | None  # (B, H), impact units
    opponent_response: Tensor | None  # (B, H), flow units


def read_batch(batch: Any, model: MarketDiffusionModel) -> Batch:
    """Return a published batch in the model's units.

    A dict with `plan` (B, H, A) in step volumes, `state` (B, 50), `opponents` (B, 40), `constraints` (B, 20) and,
    if the twin was run, `price_response` and `opponent_response` (B, H); or a tuple in that order.
    """
    if not isinstance(batch, dict):
        batch = dict(zip(_TABLES, batch, strict=False))
    missing = [name for name in _TABLES[:4] if name not in batch]
    if missing:
        raise InputError(f"a batch needs plan, state, opponents, constraints; missing: {', '.join(missing)}.")
    plan = torch.as_tensor(batch["plan"], dtype=torch.float32)
    if tuple(plan.shape[1:]) != (model.horizon, model.action_dim):
        raise InputError(f"plans must be (B, {model.horizon}, {model.action_dim}); got {tuple(plan.shape)}.")
    prepared = batch.get("prepared")
    if prepared is None:
        prepared = model.prepare(Conditions(*(np.asarray(batch[n], dtype=float) for n in _TABLES[1:4])))
    price, flow = batch.get("price_response"), batch.get("opponent_response")
    return Batch(
        model.to_units(plan, prepared),
        prepared,
        None if price is None else torch.as_tensor(price).float() / prepared.impact_unit[:, None],
        None if flow is None else torch.as_tensor(flow).float() / (FLOW_UNIT * prepared.unit[:, None]),
    )


def training_loss(model: MarketDiffusionModel, batch: Batch, rng: torch.Generator) -> Tensor:
    """Return the denoising loss plus those of self-impact and opponent response, where the twin was run."""
    t = torch.randint(len(model.schedule), (len(batch.x),), generator=rng)
    noise = torch.randn(batch.x.shape, generator=rng)
    level = model.noise_level[t][:, None]
    conditioned = model.condition(batch.prepared)
    v = model.velocity(level.sqrt() * batch.x + (1 - level).sqrt() * noise, t, conditioned)
    loss = nn.functional.mse_loss(v, level.sqrt() * noise - (1 - level).sqrt() * batch.x)
    impact, response = model.responses(batch.x, conditioned)
    for guess, truth in ((impact, batch.price_response), (response, batch.opponent_response)):
        if truth is not None:
            loss = loss + _RESPONSE_WEIGHT * nn.functional.mse_loss(guess, truth)
    return loss


@torch.no_grad()
def noise_loss(model: MarketDiffusionModel, batches: Iterable[Any], seed: int = 0) -> float:
    """Return the mean squared error of the predicted noise at evenly drawn times; the same draws for every model."""
    rng = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    for raw in batches:
        batch = read_batch(raw, model)
        t = torch.randint(len(model.schedule), (len(batch.x),), generator=rng)
        noise = torch.randn(batch.x.shape, generator=rng)
        level = model.noise_level[t][:, None]
        guess = model(level.sqrt() * batch.x + (1 - level).sqrt() * noise, t, model.condition(batch.prepared))
        total += float((guess - noise).square().sum())
        count += noise.numel()
    return total / max(count, 1)


@dataclass
class History:
    """What training went through."""

    train_loss: list[float] = field(default_factory=list)  # mean of each epoch
    val_loss: list[float] = field(default_factory=list)  # noise loss of the averaged weights after each epoch
    steps: int = 0


class Trainer:
    """Trains a model on batches of conditions and plans (see `read_batch` for what a loader yields).

    AdamW with a cosine learning rate; the weights that stay are an exponential average. The same seed gives the
    same weights on one machine.
    """

    def __init__(
        self,
        model: MarketDiffusionModel,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any] | None = None,
        *,
        learning_rate: float = 1e-3,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> None:
        self.model, self.train_loader, self.val_loader = model, train_loader, val_loader
        self.learning_rate, self.progress, self.history = learning_rate, progress, History()
        self.rng = torch.Generator().manual_seed(seed)

    def train(self, num_epochs: int = 50) -> History:
        """Train for `num_epochs` passes and return the history; the model then holds the averaged weights."""
        for _ in self.steps(num_epochs):
            pass
        return self.history

    def steps(self, num_epochs: int) -> Iterator[tuple[float, int, MarketDiffusionModel]]:
        """Yield (loss, step, model) after each step; stop early by not asking for more."""
        model, average = self._ready(), copy.deepcopy(self.model)
        count = self._batches()
        optimiser = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=1e-4)
        total, step = max(num_epochs * count, 1), 0
        try:
            for epoch in range(num_epochs):
                losses = []
                for raw in self.train_loader:
                    pace = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
                    for group in optimiser.param_groups:
                        group["lr"] = self.learning_rate * max(pace, 1e-3)
                    loss = training_loss(model, read_batch(raw, model), self.rng)
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimiser.step()
                    step += 1
                    _average(average, model, min(_EMA_KEPT, (1 + step) / (10 + step)))
                    losses.append(float(loss.detach()))
                    yield losses[-1], step, model
                self.history.train_loss.append(float(np.mean(losses)))
                self.history.steps = step
                if self.val_loader is not None:
                    self.history.val_loss.append(noise_loss(average, self.val_loader))
                self.progress("epochs", epoch + 1, num_epochs)
        finally:
            model.load_state_dict(average.state_dict())
            model.eval()

    def _ready(self) -> MarketDiffusionModel:
        """Fit the normaliser on the training conditions unless the model brings one."""
        if not bool(self.model.fitted):
            batches = [b if isinstance(b, dict) else dict(zip(_TABLES, b, strict=False)) for b in self.train_loader]
            if not batches:
                raise InputError("the training loader is empty: no plans to train on.")
            tables = [np.concatenate([np.asarray(b[n], dtype=float) for b in batches]) for n in _TABLES[:4]]
            prepared = self.model.prepare(Conditions(*tables[1:]))
            fit_normalizer(self.model, prepared, torch.as_tensor(tables[0], dtype=torch.float32))
        return self.model.train()

    def _batches(self) -> int:
        try:
            return len(self.train_loader)  # type: ignore[arg-type]
        except TypeError:
            return sum(1 for _ in self.train_loader)


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, kept: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - kept)
