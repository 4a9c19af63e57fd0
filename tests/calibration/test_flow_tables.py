import numpy as np
import pytest

from difffinance.calibration.flow_tables import size_levels
from difffinance.market.flow_state import SIZE_PARTS, SIZES

WEIGHTS = np.append(np.full(SIZE_PARTS - 1, 1 / SIZE_PARTS), np.full(SIZE_PARTS, 1 / SIZE_PARTS**2))  # of the entries


def share_of(table, sizes):
    return np.array([WEIGHTS[table == size].sum() for size in sizes])


def test_planted_atoms_and_a_planted_tail_come_back():
    """Round lots are most orders; one in a hundred comes from a Pareto tail far above them."""
    rng, n = np.random.default_rng(2), 400_000
    large = rng.random(n) < 0.01
    sizes = np.where(
        large, 500.0 * (1.0 - rng.random(n)) ** (-1 / 1.8), rng.choice([1.0, 100.0, 200.0], n, p=[0.3, 0.6, 0.1])
    )
    table = size_levels(sizes, np.ones(n))
    assert table.shape == (SIZES,) and WEIGHTS.sum() == pytest.approx(1.0)
    assert share_of(table, [1.0, 100.0, 200.0]) == pytest.approx(0.99 * np.array([0.3, 0.6, 0.1]), abs=0.01)
    assert WEIGHTS @ table == pytest.approx(sizes.mean(), rel=0.02)
    for far in (700.0, 1500.0, 3000.0):  # one in 180, in 720 and in 2,500 orders
        assert WEIGHTS[table > far].sum() == pytest.approx((sizes > far).mean(), abs=1.2 / SIZE_PARTS**2)


def test_orders_count_by_their_weight():
    sizes, weights = np.repeat([10.0, 20.0, 30.0], 100), np.repeat([1.0, 3.0, 0.0], 100)
    assert share_of(size_levels(sizes, weights), [10.0, 20.0, 30.0]) == pytest.approx([0.25, 0.75, 0.0], abs=0.01)


def test_few_sizes_give_a_table_too():
    assert (size_levels(np.zeros(0), np.zeros(0)) == np.zeros(SIZES)).all()
    assert (size_levels(np.array([7.0]), np.ones(1)) == 7.0).all()
    assert size_levels(np.arange(1.0, 6.0), np.ones(5))[[0, SIZE_PARTS - 2, -1]].tolist() == [1.0, 5.0, 5.0]
