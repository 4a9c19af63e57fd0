import json

import numpy as np
import pytest
import torch

from difffinance.diffusion.checkpoint import load_model, save_model
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import CheckpointError


@pytest.fixture
def saved(lake):
    torch.manual_seed(0)
    model = MarketDiffusionModel(1, hidden_dim=16, num_layers=1, noise_steps=100, schedule="linear")
    model.plan_spread.fill_(0.3)
    return model, save_model(model, lake.folder("checkpoints") / "latest", provenance={"seed": 7, "loss": np.nan})


def test_a_model_comes_back_to_the_bit_by_name_and_by_path(saved, lake):
    model, folder = saved
    for again in (load_model(lake=lake), load_model(folder)):
        assert again.shape == model.shape
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor)
    card = json.loads((folder / "model.json").read_text())
    assert card["provenance"] == {"seed": 7, "loss": None}
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_an_unknown_name_says_what_there_is(saved, lake):
    with pytest.raises(CheckpointError, match=r"'newest' is not there.*latest"):
        load_model("newest", lake=lake)


def damage_weights(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_shape(folder):
    card = json.loads((folder / "model.json").read_text())
    card["shape"]["hidden_dim"] = 24
    (folder / "model.json").write_text(json.dumps(card))


def change_sizes_of_tables(folder):
    card = json.loads((folder / "model.json").read_text())
    card["shape"]["state_dim"] = 12
    (folder / "model.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_weights, "damaged"),
        (change_shape, "does not fit"),
        (change_sizes_of_tables, "does not fit"),
        (lambda f: (f / "weights.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "model.json").write_text('{"format": 99}'), "format"),
    ],
)
def test_harm_is_noticed(saved, harm, words):
    _, folder = saved
    harm(folder)
    with pytest.raises(CheckpointError, match=words):
        load_model(folder)


def test_an_interrupted_write_leaves_the_old_checkpoint(saved, lake, monkeypatch):
    model, folder = saved
    monkeypatch.setattr("difffinance.diffusion.checkpoint.write_json", lambda *a: (_ for _ in ()).throw(RuntimeError))
    other = MarketDiffusionModel(1, hidden_dim=24, num_layers=1)
    with pytest.raises(RuntimeError):
        save_model(other, folder)
    assert load_model(folder).shape == model.shape and len(list(folder.parent.iterdir())) == 1
