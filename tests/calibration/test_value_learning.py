import numpy as np
import pytest

from difffinance.calibration.flow_tables import state_news
from difffinance.calibration.value_learning import HALF_LIVES, learn_value, past_means, worth_of
from difffinance.calibration.visible_day import TAKE, VisibleDay


def planted_day(worth, noise, *, n=40_000, memory=0.6, seed=1):
    """Market orders half a second apart; a sign repeats the last with a chance; the mid learns what is unexpected."""
    rng = np.random.default_rng(seed)
    repeat = rng.random(n) < (1.0 + memory) / 2.0
    sign = np.cumprod(np.where(repeat, 1.0, -1.0))
    surprise = sign - memory * np.concatenate([[0.0], sign[:-1]])
    log_mid = np.log(50_000.0) + np.cumsum(worth * surprise + noise * rng.standard_normal(n))
    seconds, mid = 0.5 * np.arange(1, n + 1), np.exp(log_mid)
    prices = np.stack([mid - 1.0, mid + 1.0], axis=1)[:, :, None]
    none = np.ones(n)
    return VisibleDay(seconds, np.full(n, TAKE), -sign, none, none, np.arange(n), prices, np.ones((n, 2, 1)),
                      (seconds // 300.0).astype(int))  # fmt: skip


def test_a_planted_worth_and_the_noise_beside_it_come_back():
    worth, noise = 1e-4, 1e-4
    day = planted_day(worth, noise)
    found = learn_value(day, np.arange(len(day.kind)), np.unique(day.blocks))
    # Means of past signs stand in for the last sign alone: the prediction is a little short, and the news worth more.
    assert found.worth == pytest.approx(worth, rel=0.2)
    assert found.volatility == pytest.approx(noise / np.sqrt(0.5), rel=0.15)
    assert 0.4 < found.weight.sum() <= 1.0 and (found.weight >= 0.0).all()


def test_signs_that_move_nothing_are_worth_nothing():
    day = planted_day(0.0, 1e-4)
    found = learn_value(day, np.arange(len(day.kind)), np.unique(day.blocks))
    assert found.worth < 5e-6 and found.volatility == pytest.approx(1e-4 / np.sqrt(0.5), rel=0.1)


def test_signs_in_runs_are_worth_more_to_a_model_that_knows_no_runs():
    day = planted_day(1e-4, 1e-4)
    rows, blocks = np.arange(len(day.kind)), np.unique(day.blocks)
    told = worth_of(day, rows, -day.side, blocks)
    # Runs of repeated signs: the sum of n varies like n (1 + memory) / (1 - memory), and moves by 1 - memory of it.
    assert told.worth == pytest.approx(0.4 * 1e-4, rel=0.1)
    assert told.alone == pytest.approx(0.4 * 1e-4 * np.sqrt(1.6 / 0.4), rel=0.1)
    assert told.total**2 == pytest.approx(told.rest**2 + told.alone**2 / 0.5, rel=0.02)  # two orders a second
    single = planted_day(1e-4, 1e-4, memory=0.0)
    told = worth_of(single, rows, -single.side, blocks)
    assert told.alone == pytest.approx(1e-4, rel=0.1) and told.worth == pytest.approx(1e-4, rel=0.1)


def test_signs_that_the_state_foretells_are_no_news():
    """Three market orders after states of spread 2 and queues (bid 5, ask 50), then of spread 20."""
    prices = np.array([[[100.0], [102.0]]] * 2 + [[[100.0], [120.0]]] * 2)
    day = VisibleDay(
        np.arange(4.0), np.full(4, TAKE), np.array([1, 1, -1, 1]), np.full(4, 100.0), np.ones(4), np.arange(4),
        prices, np.array([[[5.0], [50.0]]] * 4), np.zeros(4, int),
    )  # fmt: skip
    rates = np.zeros((2, 2, 5))
    rates[0, :, 4], rates[1, :, 4] = [3.0, 1.0], [1.0, 1.0]  # by the queue: a short bid is hit three times as often
    tables = {"spread_edges": np.array([10.0]), "queue_edges": np.array([20.0]), "state_rates": rates}
    assert state_news(day, np.array([1, 2, 3]), tables).tolist() == [-0.5, 1.5, -1.0]


def test_means_look_back_only():
    decay = 0.5 ** (1.0 / HALF_LIVES)
    means = past_means(np.array([1.0, 1.0, -1.0]), decay)
    assert (means[0] == 0.0).all() and means[1] == pytest.approx(1.0 - decay)
    assert means[2] == pytest.approx((1.0 - decay) * (1.0 + decay))
