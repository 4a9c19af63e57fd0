"""`train`: from what bars are like to a checkpoint of the diffusion agent."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from difffinance.config import ModelConfig, TrainingConfig
from difffinance.data.store import Lake, Progress, check_writable, no_progress
from difffinance.diffusion.checkpoint import find_checkpoint, load_model, save_model
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import CheckpointError
from difffinance.simulation.bar_parameters import BarParameters
from difffinance.training.dataset import PlanLoader, make_plans, split_by_episode
from difffinance.training.learning import learning_report
from difffinance.training.normalizer import fit_normalizer
from difffinance.training.trainer import Trainer


def train_agent(
    *,
    model: ModelConfig,
    training: TrainingConfig,
    lake: Lake,
    seed: int,
    name: str = "latest",
    bars: BarParameters | None = None,
    resume: Path | None = None,
    num_threads: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Simulate, solve plans, train, judge on held-out episodes, and write `checkpoints/<name>/`; return the answer.

    `bars` are parameters estimated before the first test bar; without them a plain daily stock index is simulated.
    `resume` goes on from a checkpoint's weights and normaliser (the optimiser starts afresh); its shape must be the
    one asked for. `num_threads` is torch's, for the length of this call.
    """
    check_writable(lake.root)
    start, before = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        answer = _train(model, training, lake, seed, name, bars or BarParameters(), resume, progress)
    finally:
        torch.set_num_threads(before)
    return answer | {"seconds": time.perf_counter() - start}


def _train(
    shape: ModelConfig, training: TrainingConfig, lake: Lake, seed: int, name: str,
    bars: BarParameters, resume: Path | None, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    network = _start(shape, seed, resume, lake)
    rng = np.random.default_rng([seed, 1])
    plans = make_plans(
        bars,
        num_episodes=training.num_episodes,
        episode_length=training.episode_length,
        horizon=shape.horizon,
        rng=rng,
        progress=progress,
    )
    own, held_out = split_by_episode(plans, training.validation_fraction, rng)
    if not bool(network.fitted):
        fit_normalizer(network, network.prepare(own.conditions), torch.as_tensor(own.plan).float())
    trainer = Trainer(
        network,
        PlanLoader(network, own, batch_size=training.batch_size, seed=seed),
        learning_rate=training.learning_rate,
        seed=seed,
        progress=progress,
    )
    begun = time.perf_counter()
    history = trainer.train(training.num_epochs)
    took = time.perf_counter() - begun
    learning = learning_report(network, own, held_out, seed=seed)
    provenance = {
        "seed": seed,
        "bars": bars.as_dict(),
        "model": shape.model_dump(),
        "training": training.model_dump(),
        "resumed_from": None if resume is None else Path(resume).name,
        "plans": len(own),
        "steps": history.steps,
        "learning": learning,
    }
    folder = save_model(network, lake.folder("checkpoints") / name, provenance=provenance)
    return {
        "checkpoint": str(folder),
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_loss": history.train_loss[-1],
        "val_loss": learning["noise_loss_model"],
        "val_baseline": learning["noise_loss_gaussian"],
        "samples_per_second": len(own) * training.num_epochs / max(took, 1e-9),
        "learning": learning,
    }


def _start(shape: ModelConfig, seed: int, resume: Path | None, lake: Lake) -> MarketDiffusionModel:
    wanted = {"action_dim": 1, **shape.model_dump()}
    if resume is not None:
        network = load_model(find_checkpoint(resume, lake=lake))
        given = {key: network.shape[key] for key in wanted}
        if given != wanted:
            raise CheckpointError(f"checkpoint {resume} has shape {given}; this training asks for {wanted}.")
        return network
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        return MarketDiffusionModel(**wanted)
    finally:
        torch.random.set_rng_state(state)
