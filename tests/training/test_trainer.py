import numpy as np
import pytest
import torch

from difffinance import Trainer
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import InputError
from difffinance.training.dataset import PlanLoader
from difffinance.training.normalizer import fit_normalizer
from difffinance.training.trainer import noise_loss, read_batch


def small_model():
    torch.manual_seed(0)
    return MarketDiffusionModel(1, hidden_dim=16, num_layers=1)


def test_steps_yield_loss_step_and_model_and_all_four_modules_learn(halves):
    model = small_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, PlanLoader(model, halves[1], batch_size=64, seed=0), learning_rate=3e-3)
    seen = [(loss, step, m is model) for loss, step, m in trainer.steps(2)]
    assert [s for _, s, _ in seen] == list(range(1, len(seen) + 1)) and all(same for *_, same in seen)
    assert np.mean([x for x, *_ in seen[-5:]]) < np.mean([x for x, *_ in seen[:5]])
    for part in ("encoder", "self_impact", "opponents", "denoiser"):
        assert any((p != before[n]).any() for n, p in model.named_parameters() if n.startswith(part)), part


def test_the_same_seed_gives_the_same_weights(halves):
    weights = []
    for _ in range(2):
        model = small_model()
        loader = PlanLoader(model, halves[1], batch_size=128, seed=1)
        Trainer(model, loader, loader, seed=5).train(1)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_the_call_of_the_contract_trains_on_plain_tuples_of_all_ten_actions(halves):
    data, rng = halves[1], np.random.default_rng(0)
    plan = np.concatenate([data.plan, rng.normal(size=(len(data), 10, 9))], axis=2)
    tables = (plan, data.conditions.state, data.conditions.opponents, data.conditions.constraints)
    batches = [tuple(torch.as_tensor(t[i : i + 64]) for t in tables) for i in range(0, 256, 64)]
    model = MarketDiffusionModel(action_dim=10, state_dim=50, opponent_dim=40, constraint_dim=20)
    history = Trainer(model, batches, batches).train(num_epochs=2)
    assert bool(model.fitted) and len(history.train_loss) == len(history.val_loss) == 2 and history.steps == 8
    assert model.sample(data.conditions, rng).plan.shape == (len(data), 10, 10)


def test_units_and_back_are_the_same_plans(halves):
    model, data = small_model(), halves[1]
    prepared, plan = model.prepare(data.conditions), torch.as_tensor(data.plan, dtype=torch.float32)
    fit_normalizer(model, prepared, plan)
    x = model.to_units(plan, prepared)
    np.testing.assert_allclose(x.square().mean(0), 1.0, rtol=1e-4)
    torch.testing.assert_close(model.from_units(x, prepared.unit), plan)


def test_columns_that_never_moved_in_training_say_nothing_later(halves):
    model, data = small_model(), halves[1]
    prepared = model.prepare(data.conditions)
    fit_normalizer(model, prepared, torch.as_tensor(data.plan).float())
    still = prepared.features.std(0) < 1e-6
    assert still.any()
    far = model.encoder.normalise(prepared.features + 100.0)
    assert (far[:, still] == 0).all() and (far[:, ~still] == 4).all()


def test_the_noise_loss_of_a_model_that_knows_nothing_is_that_of_shrinking(halves):
    """v = 0 predicts the noise as s x_t, whose error is a^2 times that of v: E a^2 (a^2 + s^2 x^2)."""
    model, data = small_model(), halves[1]
    loader = PlanLoader(model, data, batch_size=4096, seed=0, shuffle=False)
    fit_normalizer(model, loader.prepared, loader.tensors["plan"])
    level = model.noise_level.double()
    expected = float((level * (level + (1 - level))).mean())  # plans have unit spread
    assert noise_loss(model, loader) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.zeros(2, 10, 1), torch.zeros(2, 50)), "missing: opponents, constraints"),
        ((torch.zeros(2, 7, 1), torch.zeros(2, 50), torch.zeros(2, 40), torch.zeros(2, 20)), "plans must be"),
        ((torch.zeros(2, 10, 1), torch.zeros(2, 49), torch.zeros(2, 40), torch.zeros(2, 20)), "state must be"),
    ],
)
def test_batches_of_another_format_are_refused(batch, words):
    with pytest.raises(InputError, match=words):
        read_batch(batch, small_model())


def test_an_empty_loader_is_refused():
    with pytest.raises(InputError, match="empty"):
        Trainer(small_model(), []).train(1)
