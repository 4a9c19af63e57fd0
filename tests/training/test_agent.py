import json
from pathlib import Path

import pytest

from difffinance import load_model, train_agent
from difffinance.config import ModelConfig, TrainingConfig
from difffinance.errors import CheckpointError

MODEL = ModelConfig(hidden_dim=16, num_layers=1)
TRAINING = TrainingConfig(num_episodes=10, episode_length=40, num_epochs=4, learning_rate=3e-3)


@pytest.fixture(scope="module")
def trained_lake(tmp_path_factory):
    from difffinance.data.store import Lake

    lake = Lake(tmp_path_factory.mktemp("lake"))
    return lake, train_agent(model=MODEL, training=TRAINING, lake=lake, seed=3, num_threads=1)


def test_the_answer_is_what_the_contract_says_and_fits_json(trained_lake):
    lake, answer = trained_lake
    keys = "checkpoint parameters train_loss val_loss val_baseline seconds samples_per_second"
    assert set(keys.split()) <= set(answer)
    json.dumps(answer, allow_nan=False)
    assert Path(answer["checkpoint"]) == lake.folder("checkpoints") / "latest"
    assert answer["parameters"] == sum(p.numel() for p in load_model(lake=lake).parameters())


def test_the_same_seed_gives_the_same_file(trained_lake, lake):
    _, answer = trained_lake
    again = train_agent(model=MODEL, training=TRAINING, lake=lake, seed=3, num_threads=1)
    for name in ("weights.safetensors", "model.json"):
        assert (Path(answer["checkpoint"]) / name).read_bytes() == (Path(again["checkpoint"]) / name).read_bytes()


def test_resume_goes_on_from_the_weights(trained_lake):
    lake, answer = trained_lake
    more = TRAINING.model_copy(update={"num_epochs": 2})
    resumed = train_agent(
        model=MODEL, training=more, lake=lake, seed=4, name="more", resume=Path(answer["checkpoint"]), num_threads=1
    )
    fresh = train_agent(model=MODEL, training=more, lake=lake, seed=4, name="fresh", num_threads=1)
    assert resumed["train_loss"] < fresh["train_loss"]


def test_resume_refuses_another_shape(trained_lake):
    lake, _ = trained_lake
    wider = ModelConfig(hidden_dim=24, num_layers=1)
    with pytest.raises(CheckpointError, match="asks for"):
        train_agent(model=wider, training=TRAINING, lake=lake, seed=0, resume=Path("latest"))
