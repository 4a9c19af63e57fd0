import numpy as np
import pytest

from difffinance.market.footprint import impact_bps


def test_impact_is_the_value_weighted_move_in_the_direction_of_own_fills():
    filled, before, after = np.array([10.0, -5.0, 0.0]), np.array([100.0, 101.0, 99.0]), np.array([101.0, 100.0, 80.0])
    assert impact_bps(filled, before, after) == pytest.approx(1e4 * (10 * 1 + 5 * 1) / (1000 + 505))


def test_without_fills_there_is_none():
    assert impact_bps(np.zeros(3), np.ones(3), np.ones(3)) is None
