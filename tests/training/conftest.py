"""A small set of taught plans and a small trained model that the tests here share."""

import numpy as np
import pytest
import torch

from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.simulation.bars import BarParameters
from difffinance.training.dataset import PlanLoader, make_plans, split_by_episode
from difffinance.training.trainer import Trainer


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plans():
    return make_plans(BarParameters(), num_episodes=20, episode_length=100, horizon=10, rng=np.random.default_rng(0))


@pytest.fixture(scope="session")
def halves(plans):
    return split_by_episode(plans, 0.3, np.random.default_rng(0))


def make_model(seed=0, hidden_dim=32, num_layers=2):
    torch.manual_seed(seed)
    return MarketDiffusionModel(1, hidden_dim=hidden_dim, num_layers=num_layers)


@pytest.fixture(scope="session")
def trained(halves):
    model = make_model()
    loader = PlanLoader(model, halves[0], batch_size=64, seed=0)
    Trainer(model, loader, learning_rate=3e-3).train(15)
    return model
