"""The first programs of the README and the contract, as written."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def first_program(readme: str) -> str:
    return re.search(r"```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL).group(1)


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_first_program_is_short_and_runs(readme, capsys):
    program = first_program(readme)
    assert len([line for line in program.splitlines() if line.strip()]) <= 9
    exec(program, {})
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_training_program_runs():
    from difffinance import MarketDiffusionModel, Trainer
    from difffinance.simulation.bar_parameters import BarParameters
    from difffinance.training.dataset import PlanLoader, make_plans, split_by_episode

    model = MarketDiffusionModel(action_dim=1, state_dim=50, opponent_dim=40, constraint_dim=20)
    plans = make_plans(
        BarParameters(), num_episodes=20, episode_length=100, horizon=model.horizon, rng=np.random.default_rng(0)
    )
    split = split_by_episode(plans, 0.2, np.random.default_rng(0))
    train_loader, val_loader = (PlanLoader(model, part, batch_size=64, seed=0) for part in split)
    trainer = Trainer(model, train_loader, val_loader)
    history = trainer.train(num_epochs=2)
    assert history.train_loss[-1] < history.train_loss[0]


def test_the_seed_model_constructs_and_samples():
    from difffinance import MarketDiffusionModel
    from difffinance.market.observation import constraint_vector, opponent_vector, state_vector
    from difffinance.records import Conditions

    model = MarketDiffusionModel(action_dim=10, state_dim=50, opponent_dim=40, constraint_dim=20)
    state = state_vector(
        3, volatility=0.01, capital=1.0, risk_aversion=5.0, temporary_impact=0.1, temporary_exponent=0.6
    )
    conditions = Conditions(state, opponent_vector(3), constraint_vector(3, max_participation=0.1))
    plan = model.sample(conditions, np.random.default_rng(0), steps=3).plan
    assert plan.shape == (3, 10, 10)
    assert np.abs(plan[:, :, 0]).max() <= 0.1 + 1e-12
