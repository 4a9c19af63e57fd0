import numpy as np
import pytest
from scipy import stats

from difffinance.calibration.visible_day import visible_day
from difffinance.config import MarketConfig
from difffinance.simulation.simulated_day import simulate_day
from difffinance.simulation.stylized_facts import (
    autocorrelation,
    excess_kurtosis,
    facts_table,
    hill,
    power_exponent,
    stylized_facts,
)


def test_estimators_find_what_was_planted():
    rng = np.random.default_rng(3)
    assert hill(rng.pareto(3.0, 200_000) + 1.0) == pytest.approx(3.0, rel=0.05)
    lags = np.array([1, 2, 5, 10])
    assert power_exponent(lags, 0.4 * lags**-0.6) == pytest.approx(0.6)
    assert np.isnan(power_exponent(lags, np.array([0.1, -0.2, -0.1, 0.0])))
    x = rng.standard_t(5, 5000)
    assert excess_kurtosis(x) == pytest.approx(stats.kurtosis(x))
    walk = np.zeros(50_000)
    for k, shock in enumerate(rng.standard_normal(len(walk) - 1)):
        walk[k + 1] = 0.5 * walk[k] + shock
    assert autocorrelation(walk, 2) == pytest.approx(0.25, abs=0.03)


def test_facts_of_a_market_without_memory():
    config = MarketConfig(flow_model="santa_fe", start_price=572.0, price_limit=None)
    day = visible_day(simulate_day(config, 2, seconds=4000.0))
    facts = stylized_facts(day)
    assert facts["inter_arrival_cv"] == pytest.approx(1.0, abs=0.1)
    assert abs(facts["sign_autocorrelation_1"]) < 0.12
    shares = [facts[f"orders_{name}_queue"] for name in ("below", "equal", "above")]
    assert sum(shares) == pytest.approx(1.0)
    assert facts_table({"day": day}).shape == (len(facts), 2)
