"""The loop against a direct simulation of what its distance and its p-value claim."""

import math
from dataclasses import replace

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError, RefusedFit
from difffinance.records import ImpactParameters
from difffinance.simulation.closed_loop import close_loop, compare_laws, joint_region, law_covariance, law_point
from difffinance.simulation.simulated_day import simulate_day

REAL = ImpactParameters(
    lam=0.01, gamma=0.4, lam_se=0.002, gamma_se=0.036, lam_ci=(0.006, 0.015), gamma_ci=(0.33, 0.47), r2=0.35,
    n_obs=1324, noise="both", unit="aggregate", horizon_s=10.0, flow="visible", lam_gamma_corr=-0.97,
)  # fmt: skip


def drawn(rng, centre=REAL):
    log_lam, gamma = rng.multivariate_normal(law_point(centre), law_covariance(REAL))
    return replace(REAL, lam=math.exp(log_lam), gamma=gamma, lam_se=0.2 * math.exp(log_lam))


def test_the_region_holds_what_its_confidence_says():
    rng = np.random.default_rng(1)
    loop = compare_laws(REAL, [drawn(rng) for _ in range(4000)], [])
    assert np.mean(loop.distances <= loop.radius) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))
    assert loop.inside
    edge = joint_region(REAL)
    on_edge = compare_laws(REAL, [replace(REAL, lam=lam, gamma=gamma) for lam, gamma in edge[::20]], [])
    assert on_edge.distances == pytest.approx(on_edge.radius)


def test_the_p_value_is_uniform_where_the_flow_has_the_real_law():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(400):
        truth = drawn(rng)  # the real fit errs about the truth as the simulated days do
        found.append(compare_laws(REAL, [drawn(rng, truth) for _ in range(30)], []).p_value)
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_a_law_that_is_off_is_said_to_be():
    twice = [replace(REAL, lam=0.02, gamma=0.4 + 0.01 * k) for k in range(5)]
    loop = compare_laws(REAL, twice, ["one day was refused"])
    assert not loop.inside
    assert loop.p_value < 0.001
    assert "OUTSIDE" in str(loop)
    assert loop.refused == ("one day was refused",)
    assert loop.table().height == 6


def test_a_day_without_a_law_is_counted_and_none_at_all_is_refused():
    untold = replace(REAL, gamma_ci=(-math.inf, math.inf))
    assert len(compare_laws(REAL, [REAL, untold], []).refused) == 1
    with pytest.raises(RefusedFit, match="no law on one side"):
        compare_laws(REAL, [untold], [])
    with pytest.raises(InputError, match="no seeds"):
        close_loop(None, MarketConfig(), [])


def test_a_flow_meets_its_own_day():
    config = MarketConfig(session_seconds=3600.0)
    day = simulate_day(config, 3, levels=1)
    loop = close_loop(day, config, [3, 4, 5], horizon_s=5.0)
    assert loop.distances[0] == pytest.approx(0.0, abs=1e-6)  # the same seed is the same day
    assert loop.mean_distance < 2 * loop.radius
