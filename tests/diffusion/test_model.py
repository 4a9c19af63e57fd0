import numpy as np
import pytest
import torch

from difffinance.diffusion.features import read_problem
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.diffusion.rules import plan_rules
from difffinance.errors import InputError
from difffinance.market.observation import STATE_INDEX
from difffinance.records import Conditions
from difffinance.simulation.bars import BarParameters, BarSimulation, draw_scenarios


@pytest.fixture(scope="module")
def conditions():
    rng = np.random.default_rng(0)
    market = BarSimulation(BarParameters(), draw_scenarios(BarParameters(), 64, rng), rng, 3)
    market.step(rng.normal(size=64) * 0.01)
    return market.conditions()


def small(**options):
    torch.manual_seed(0)
    model = MarketDiffusionModel(1, hidden_dim=32, num_layers=2, **options)
    torch.nn.init.normal_(model.denoiser.outlet.weight, std=0.05)  # a fresh model predicts v = 0 whatever it sees
    return model.eval()


def test_the_first_call_of_the_contract_constructs_and_samples(conditions):
    model = MarketDiffusionModel(action_dim=10, state_dim=50, opponent_dim=40, constraint_dim=20)
    plan = model.sample(conditions, np.random.default_rng(0)).plan
    assert plan.shape == (64, 10, 10) and np.isfinite(plan).all()


@pytest.mark.parametrize("method", ["ddpm", "ddim", "dpmsolver++2m"])
def test_plans_leave_within_the_rules_and_the_same_seed_gives_the_same_plans(conditions, method):
    model = small()
    plans = [model.sample(conditions, np.random.default_rng(3), method=method, steps=4).plan for _ in range(2)]
    np.testing.assert_array_equal(*plans)
    rules, plan = plan_rules(conditions, 10), plans[0][:, :, 0]
    sums = np.cumsum(plan, axis=1)
    slack = 1e-12 * (1 + np.abs(sums))
    assert (plan >= rules.lower - slack).all() and (plan <= rules.upper + slack).all()
    assert (sums >= rules.prefix_lower - slack).all() and (sums <= rules.prefix_upper + slack).all()


def test_what_the_modules_say_reaches_the_denoiser(conditions):
    model, x = small(), torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    t = torch.full((64,), 100)
    with torch.no_grad():
        given = model.condition(model.prepare(conditions))
        before = model(x, t, given)
        for module in (model.self_impact.path, model.opponents.flow):
            module.bias += 1.0
            changed = model(x, t, given)
            assert (changed - before).abs().max() > 1e-4
            before = changed


def test_every_part_of_the_tables_reaches_the_noise(conditions):
    model, x = small(), torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        before = model(x, torch.tensor([500]), model.condition(model.prepare(conditions)))
        for name in ("state", "opponents", "constraints"):
            tables = {n: getattr(conditions, n).copy() for n in ("state", "opponents", "constraints")}
            tables[name] = np.abs(tables[name] * rng.uniform(0.5, 1, tables[name].shape)) + 0.01
            after = model(x, torch.tensor([500]), model.condition(model.prepare(Conditions(**tables))))
            assert (after - before).abs().max() > 1e-5, name


def test_only_the_product_of_risk_aversion_and_volatility_counts(conditions):
    problem = read_problem(conditions)
    state = conditions.state.copy()
    state[:, STATE_INDEX["risk_aversion"]] *= 2.0
    state[:, STATE_INDEX["volatility"]] /= 2.0
    same = read_problem(Conditions(state, conditions.opponents, conditions.constraints))
    for name in ("scale", "signal", "temporary", "linear", "rate"):
        np.testing.assert_allclose(getattr(same, name), getattr(problem, name))


def test_antithetic_draws_come_in_pairs_around_the_centre(conditions):
    model = MarketDiffusionModel(1, hidden_dim=16, num_layers=1)  # v = 0: x0 = a x_t, linear in the noise
    plans = model.draw(conditions, np.random.default_rng(0), method="ddim", steps=5, draws=4, antithetic=True)
    np.testing.assert_allclose(plans[:, 0], -plans[:, 1], atol=1e-6 * np.abs(plans).max())
    assert (plans[:, 0] != plans[:, 2]).any()


def test_tables_of_another_shape_and_models_of_another_world_are_refused(conditions):
    with pytest.raises(InputError, match="state must be"):
        small().sample(Conditions(conditions.state[:, :49], conditions.opponents, conditions.constraints), None)
    broken = conditions.state.copy()
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        small().prepare(Conditions(broken, conditions.opponents, conditions.constraints))
    with pytest.raises(InputError, match="50, 40, 20"):
        MarketDiffusionModel(1, state_dim=12)
    with pytest.raises(InputError, match="linear, cosine"):
        MarketDiffusionModel(1, schedule="square")
