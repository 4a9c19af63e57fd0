import numpy as np
import pytest
from scipy import stats

from difffinance.errors import InputError
from difffinance.simulation.book_scores import Score
from difffinance.simulation.distances import (
    all_distances,
    l1,
    l1_edges,
    resample_blocks,
    score_distances,
    wasserstein,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("discrete", [False, True])
def test_wasserstein_is_scipys_after_pooled_standardisation(rng, discrete):
    a, b = rng.gamma(2.0, 3.0, 700), rng.gamma(3.0, 2.0, 450)
    if discrete:
        a, b = np.floor(a), np.floor(b)
    pooled = np.concatenate([a, b])
    a0, b0 = ((x - pooled.mean()) / pooled.std() for x in (a, b))
    assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a0, b0), abs=1e-12)
    assert wasserstein(a, b, scale="real") == pytest.approx(stats.wasserstein_distance(a, b) / a.std(), abs=1e-12)


def test_identical_samples_are_no_distance_apart(rng):
    a = rng.standard_normal(300)
    assert wasserstein(a, rng.permutation(a)) == 0.0
    assert l1(a, rng.permutation(a)) == 0.0
    assert wasserstein(np.ones(5), np.ones(9)) == 0.0


def test_l1_of_shares_worked_by_hand():
    real, generated = np.array([1.0, 1, 2, 2]), np.array([1.0, 2, 3, 3])
    # Shares 1/2, 1/2, 0 against 1/4, 1/4, 1/2 beyond the last real value.
    assert l1(real, generated, discrete=True) == pytest.approx(0.5)
    assert l1(real, np.array([9.0]), discrete=True) == 1.0


def test_bins_come_from_the_real_sample_alone(rng):
    real = rng.standard_normal(1000)
    edges = l1_edges(real)
    assert edges[0] == real.min() and edges[-1] == pytest.approx(real.max())
    width = 2 * np.subtract(*np.quantile(real, [0.75, 0.25])) / 10.0
    assert np.diff(edges)[0] == pytest.approx(width, rel=0.1)


def blocked(rng, shift=0.0):
    return Score(np.round(rng.standard_normal(4000) + shift, 1), np.repeat(np.arange(20), 200))


def test_resamples_with_every_block_once_are_the_distance(rng):
    real, other, blocks, once = blocked(rng), blocked(rng, 0.5), np.arange(20), np.ones((1, 20))
    for metric in score_distances(real, other, discrete=False, draws=(once, once), blocks=(blocks, blocks)).values():
        assert metric.resamples[0] == pytest.approx(metric.value, abs=1e-9)


def test_resamples_of_blocks_are_those_taken_by_hand(rng):
    real, other, blocks = blocked(rng), blocked(rng, 0.5), np.arange(20)
    draws = (resample_blocks(20, 3, rng), resample_blocks(20, 3, rng))
    found = score_distances(real, other, discrete=False, draws=draws, blocks=(blocks, blocks))["wasserstein_real"]
    for k in range(3):
        a, b = (np.concatenate([np.tile(s.values[s.blocks == i], int(n)) for i, n in enumerate(d[k])])
                for s, d in ((real, draws[0]), (other, draws[1])))  # fmt: skip
        assert found.resamples[k] == pytest.approx(stats.wasserstein_distance(a, b) / real.values.std(), abs=1e-9)


def test_the_interval_of_a_real_difference_leaves_zero_out(rng):
    real, other = {"spread": blocked(rng)}, {"spread": blocked(rng, 0.5)}
    draws = (resample_blocks(20, 200, rng), resample_blocks(20, 200, rng))
    distance = all_distances(real, other, np.arange(20), np.arange(20), draws)["wasserstein"]["spread"]
    low, high = distance.interval()
    assert 0.3 < low < distance.value < high < 0.7


@pytest.mark.parametrize("bad", [np.zeros(0), np.array([1.0, np.nan]), np.zeros((2, 2))])
def test_samples_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match="not empty"):
        wasserstein(np.ones(3), bad)
    with pytest.raises(InputError, match="pooled, real"):
        wasserstein(np.arange(3.0), np.arange(4.0), scale="other")
