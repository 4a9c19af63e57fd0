import numpy as np
import pytest
import torch

from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.errors import InputError
from difffinance.market.observation import CONSTRAINT_INDEX, NO_LIMIT, STATE_INDEX
from difffinance.simulation.bars import BarParameters, plan_response
from difffinance.training.dataset import PlanLoader, make_plans, split_by_episode


def test_conditions_cover_what_an_agent_may_meet(plans):
    state, rules = plans.conditions.state, plans.conditions.constraints
    capital = state[:, STATE_INDEX["capital"]]
    assert capital.min() < 3e-5 and capital.max() > 30
    exponent = state[:, STATE_INDEX["temporary_exponent"]]
    assert (exponent == 1.0).mean() > 0.1 and (exponent < 0.65).mean() > 0.2 and exponent.min() >= 0.5
    for flag in ("short_allowed", "t_plus_one"):
        assert 0.2 < rules[:, CONSTRAINT_INDEX[flag]].mean() < 0.8
    assert 0.1 < (rules[:, CONSTRAINT_INDEX["max_participation"]] == NO_LIMIT).mean() < 0.5
    assert 0.4 < plans.conditions.opponents.any(axis=1).mean() < 0.6
    assert all(np.isfinite(t).all() for t in vars(plans.conditions).values())


def test_plans_are_of_order_one_in_their_own_units(plans):
    from difffinance.diffusion.features import read_problem

    size = np.abs(plans.optimum[:, 0]) / read_problem(plans.conditions).unit
    assert 0.3 < np.sqrt((size**2).mean()) < 1.5 and np.percentile(size, 99) < 4


def test_responses_are_those_of_the_drawn_plans(plans):
    prices, flows = plan_response(plans.conditions, plans.plan[:, :, 0])
    np.testing.assert_array_equal(prices, plans.price_response)
    np.testing.assert_array_equal(flows, plans.opponent_response)


def test_no_episode_is_on_both_sides_of_the_split(plans, halves):
    own, held_out = halves
    assert not set(own.episode) & set(held_out.episode)
    assert len(own) + len(held_out) == len(plans) and 0.2 < len(held_out) / len(plans) < 0.4


def test_a_split_that_leaves_nothing_to_train_on_is_refused(plans):
    few = plans.rows(np.flatnonzero(np.isin(plans.episode, np.unique(plans.episode)[:4])))
    with pytest.raises(InputError, match="leave none to train on"):
        split_by_episode(few, 0.89, np.random.default_rng(0))
    own, held_out = split_by_episode(few, 0.6, np.random.default_rng(0))
    assert len(own) and len(held_out)


def test_the_same_seed_gives_the_same_plans():
    one, two = (
        make_plans(BarParameters(), num_episodes=2, episode_length=20, horizon=4, rng=np.random.default_rng(3))
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.plan, two.plan)
    np.testing.assert_array_equal(one.conditions.state, two.conditions.state)


def test_loader_shuffles_anew_each_pass_from_its_seed_and_leaves_no_row_out(halves):
    model = MarketDiffusionModel(1, hidden_dim=16, num_layers=1)
    loaders = [PlanLoader(model, halves[1], batch_size=50, seed=4) for _ in range(2)]
    first, again = ([batch["plan"] for batch in loader] for loader in loaders)
    second = [batch["plan"] for batch in loaders[0]]
    assert len(first) == len(loaders[0])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first).sort(0)[0], torch.cat(second).sort(0)[0])
