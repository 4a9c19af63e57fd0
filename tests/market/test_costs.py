import numpy as np
import pytest

from difffinance.errors import CostLawError, InputError
from difffinance.market.costs import (
    almgren_prior,
    permanent_impact,
    square_root_prior,
    temporary_impact,
    trade_cost_bps,
    trailing_volatility_and_volume,
)
from difffinance.market.impact import check_admissible
from difffinance.records import ImpactParameters

LAW = almgren_prior()


def test_impact_of_the_papers_example():
    """Almgren et al. 2005, their example of IBM: I 20 bps; J 32, 25, 18 bps over .1, .2, .5 days."""
    law = almgren_prior(inverse_turnover_days=263.0)
    assert 1e4 * permanent_impact(law, 0.1, 0.0157) == pytest.approx(20, abs=0.5)
    for days, bps in ((0.1, 32), (0.2, 25), (0.5, 18)):
        assert trade_cost_bps(law, 0.1, 0.0157, duration=days) == pytest.approx(bps, abs=0.6)


def test_impacts_are_odd_and_arrays():
    v, sigma = np.array([-0.1, 0.0, 0.1]), np.array([0.01, 0.02, 0.01])
    for impact in (temporary_impact, permanent_impact):
        found = impact(LAW, v, sigma)
        assert found[0] == -found[2] < 0
        assert found[1] == 0
    assert temporary_impact(LAW, 0.1, 0.01) == pytest.approx(0.142 * 0.01 * 0.1**0.6)
    assert trade_cost_bps(LAW, v, sigma)[0] == trade_cost_bps(LAW, v, sigma)[2] > 0


FIT = ImpactParameters(0.01, 0.4, 0.001, 0.03, (0.0, 0.02), (0.3, 0.5), 0.3, 1000, "gaussian", unit="aggregate")


@pytest.mark.parametrize("law", [FIT, None, 0.1, {"kind": "metaorder_prior"}])
@pytest.mark.parametrize("charge", [temporary_impact, permanent_impact, trade_cost_bps])
def test_only_a_cost_law_can_be_charged(law, charge):
    with pytest.raises(CostLawError, match="not a price list"):
        charge(law, 0.1, 0.01)
    charge(LAW, 0.1, 0.01)


def test_trailing_figures_against_a_plain_loop():
    rng = np.random.default_rng(71)
    close, volume = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(60))), rng.uniform(1, 2, 60)
    sigma, mean = trailing_volatility_and_volume(close, volume, 20)
    assert np.isnan(sigma[:20]).all() and np.isnan(mean[:19]).all()
    for t in range(20, 60):
        returns = [close[i] / close[i - 1] - 1 for i in range(t - 19, t + 1)]
        assert sigma[t] == pytest.approx(np.std(returns, ddof=1))
        assert mean[t] == pytest.approx(np.mean(volume[t - 19 : t + 1]))


def test_future_bars_change_nothing():
    rng = np.random.default_rng(72)
    close, volume = 100 + rng.random(50), rng.random(50)
    before = trailing_volatility_and_volume(close[:30], volume[:30])
    close[30:], volume[30:] = 1e6, 1e6
    after = trailing_volatility_and_volume(close, volume)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b[:30])


def test_too_few_bars_are_all_unknown():
    sigma, mean = trailing_volatility_and_volume([1.0, 2.0], [1.0, 1.0])
    assert np.isnan(sigma).all() and np.isnan(mean).all()
    with pytest.raises(InputError, match="equal length"):
        trailing_volatility_and_volume([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="window"):
        trailing_volatility_and_volume([1.0], [1.0], window=1)


def test_square_root_prior_is_the_published_one():
    law = square_root_prior()
    assert trade_cost_bps(law, 0.01, 0.02) == pytest.approx(1e4 / 1.489 * 0.02 * 0.01**0.489)
    assert law.exponent_ci == pytest.approx((0.489 - 1.96 * 0.0015, 0.489 + 1.96 * 0.0015), abs=1e-6)
    assert check_admissible(law) == law
