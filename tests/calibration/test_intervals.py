import numpy as np
import pytest

from difffinance.calibration.intervals import long_run_covariance, optimal_block


def autoregression(rng, n, phi):
    series = rng.standard_normal(n)
    for t in range(1, n):
        series[t] += phi * series[t - 1]
    return series


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, -0.4])
def test_block_length_is_that_of_arch(phi):
    from arch.bootstrap import optimal_block_length

    for seed in range(5):
        series = autoregression(np.random.default_rng([seed, 31]), 1000, phi)
        theirs = float(optimal_block_length(series)["circular"].iloc[0])
        assert abs(optimal_block(series) - max(theirs, 1.0)) <= 0.5 + 0.02 * theirs


def test_constant_series_needs_no_blocks():
    assert optimal_block(np.ones(100)) == 1


def test_long_run_variance_is_that_of_the_process():
    phi, n = 0.6, 200_000
    series = autoregression(np.random.default_rng(32), n, phi)[:, None]
    assert long_run_covariance(series, 100)[0, 0] / n == pytest.approx(1 / (1 - phi) ** 2, rel=0.1)
    assert long_run_covariance(series, 1)[0, 0] / n == pytest.approx(1 / (1 - phi**2), rel=0.05)
