"""The checkpoint that is shipped: small, honest about its data, and as good as its recipe should make it."""

import numpy as np
import pytest

from difffinance.agents.diffusion_agent import DiffusionAgent
from difffinance.diffusion.checkpoint import find_checkpoint, load_model, read_card
from difffinance.simulation.bars import BarParameters
from difffinance.training import sample_agent
from difffinance.training.yardstick import compare_with_garleanu_pedersen, compare_with_solver


@pytest.fixture(scope="module")
def card():
    return read_card(find_checkpoint("sample"))


def test_it_is_what_the_recipe_makes_and_saw_no_test_bar(card):
    bars = BarParameters(**card["provenance"]["bars"])
    assert (bars.bars, bars.start[:10], bars.end[:10]) == (sample_agent.FIRST_BARS, "1999-01-04", "2004-01-07")
    assert card["provenance"]["model"] == sample_agent.MODEL.model_dump()
    assert card["provenance"]["training"] == sample_agent.TRAINING.model_dump()
    assert sum(p.stat().st_size for p in find_checkpoint("sample").iterdir()) < 1_000_000


def test_it_has_learnt(card):
    learning = card["provenance"]["learning"]
    for other in ("gaussian", "gaussian_conditional", "shuffled_conditions"):
        assert learning["noise_loss_model"] < 0.85 * learning[f"noise_loss_{other}"], other


def test_its_gap_to_the_closed_form_is_small(card):
    agent, bars = DiffusionAgent(load_model("sample")), BarParameters(**card["provenance"]["bars"])
    report = compare_with_garleanu_pedersen(agent, bars, episodes=100, bars=40, rng=np.random.default_rng(1))
    assert abs(report["gap"]) < 0.02 and report["gap_se"] < 0.01


@pytest.mark.slow
def test_its_gap_to_the_solver_is_small_in_the_whole_world(card):
    agent, bars = DiffusionAgent(load_model("sample")), BarParameters(**card["provenance"]["bars"])
    report = compare_with_solver(agent, bars, episodes=150, bars=20, rng=np.random.default_rng(2))
    assert report["gap"] < 0.10 and report["gap"] < report["gap_garleanu_pedersen"]
