import numpy as np
import polars as pl
import pytest

from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.errors import InputError
from difffinance.market.costs import almgren_prior, draw_cost_laws
from difffinance.records import Conditions
from difffinance.simulation.bars import (
    BarParameters,
    BarSimulation,
    charge_scenarios,
    draw_scenarios,
    estimate_bar_parameters,
    plan_response,
    quadratic_scenarios,
)

CALM = BarParameters(volatility_variation=0.0, volume_variation=0.0)


def test_estimates_find_planted_volatility_volume_and_their_memory():
    rng = np.random.default_rng(0)
    n, kept = 40_000, 0.99
    log_sigma, log_volume = np.zeros(n), np.zeros(n)
    for t in range(1, n):
        log_sigma[t] = kept * log_sigma[t - 1] + np.sqrt(1 - kept**2) * 0.4 * rng.normal()
        log_volume[t] = kept * log_volume[t - 1] + np.sqrt(1 - kept**2) * 0.3 * rng.normal()
    close = 100 * np.exp(np.cumsum(0.01 * np.exp(log_sigma) * rng.normal(size=n)))
    found = estimate_bar_parameters(pl.DataFrame({"ts": range(n), "close": close, "volume": 1e6 * np.exp(log_volume)}))
    assert found.volatility == pytest.approx(0.01, rel=0.1)
    assert found.volatility_variation == pytest.approx(0.4, abs=0.08)
    assert found.volume_variation == pytest.approx(0.3, abs=0.05)
    assert 0.97 < found.volatility_persistence < 0.999 and 0.97 < found.volume_persistence < 0.999
    assert found.signal_strength < 0.02  # no trend was planted; what is left is the standard error
    assert (found.bars, found.start, found.end) == (n, "0", str(n - 1))


def test_estimates_find_a_planted_trend():
    rng = np.random.default_rng(1)
    drift, returns = 0.0, []
    for _ in range(30_000):
        drift = 0.99 * drift + np.sqrt(1 - 0.99**2) * 0.1 * rng.normal()
        returns.append(0.01 * (drift + rng.normal()))
    bars = pl.DataFrame({"ts": range(30_001), "close": np.exp(np.cumsum([0.0, *returns])), "volume": 1.0})
    found = estimate_bar_parameters(bars)
    assert 0.03 < found.signal_strength < 0.1 and found.volume_variation == 0.0


@pytest.mark.parametrize(
    ("close", "words"),
    [(np.ones(50), "400"), (np.ones(500), "does not move"), (np.r_[np.nan, np.ones(499)], "finite")],
)
def test_bars_that_say_nothing_are_refused(close, words):
    frame = pl.DataFrame({"ts": range(len(close)), "close": close, "volume": 1.0})
    with pytest.raises(InputError, match=words):
        estimate_bar_parameters(frame)


def test_signal_volatility_and_volume_have_the_laws_they_claim():
    scenario = draw_scenarios(BarParameters(), 4000, np.random.default_rng(0))
    market = BarSimulation(BarParameters(), scenario, np.random.default_rng(1), 60)
    for _ in range(60):
        market.step(np.zeros(4000))
    assert (market.signal / scenario.signal_strength).std() == pytest.approx(1.0, abs=0.05)
    assert market.log_volatility.std() == pytest.approx(BarParameters().volatility_variation, rel=0.05)
    assert market.log_volume.std() == pytest.approx(BarParameters().volume_variation, rel=0.05)


def test_the_signal_and_the_others_forecast_the_return():
    scenario = draw_scenarios(BarParameters(), 60_000, np.random.default_rng(0))
    market = BarSimulation(BarParameters(), scenario, np.random.default_rng(1), 8)
    for _ in range(7):
        market.step(np.zeros(60_000))
    signal, sigma = market.signal.copy(), market.volatility.copy()
    scaled = market.step(np.zeros(60_000)).price_return / sigma
    slope = (signal @ scaled) / (signal @ signal)
    assert slope == pytest.approx(1.0, abs=3 / np.sqrt(signal @ signal))


def test_a_bar_charges_the_cost_law_to_the_last_digit():
    rng = np.random.default_rng(0)
    scenario = draw_scenarios(CALM, 500, rng)
    alone = scenario.rows(np.flatnonzero(scenario.speculators == 0))
    market = BarSimulation(CALM, alone, rng, 1)
    trade = rng.normal(size=len(alone)) * 0.1
    cost = market.step(trade).cost
    law = alone.temporary * np.abs(trade) ** alone.exponent + alone.permanent * np.abs(trade) / 2 + alone.linear_cost
    np.testing.assert_allclose(cost, np.abs(trade) / alone.capital * 0.01 * law)


def test_the_response_to_a_plan_is_the_difference_between_two_runs():
    rng = np.random.default_rng(0)
    scenario = draw_scenarios(CALM, 300, rng)
    plan = rng.normal(size=(300, 6)) * 0.05
    runs = []
    for trades in (plan, np.zeros((300, 6))):
        market = BarSimulation(CALM, scenario, np.random.default_rng(1), 6)
        first = market.conditions()
        outcomes = [market.step(trades[:, k]) for k in range(6)]
        runs.append((np.stack([o.opponent_flow for o in outcomes], 1), np.stack([o.displacement for o in outcomes], 1)))
    prices, flows = plan_response(first, plan)
    np.testing.assert_allclose(flows, runs[0][0] - runs[1][0], atol=1e-12)
    # What a trade meets: the displacement before it (less what followers let go), half its own, and temporary impact
    permanent = scenario.permanent[:, None]
    after = runs[0][1] - runs[1][1]
    np.testing.assert_allclose(after, permanent * (np.cumsum(plan, 1) + np.cumsum(flows, 1)), atol=1e-12)
    alone = scenario.speculators == 0
    before = np.concatenate([np.zeros((300, 1)), after[:, :-1]], axis=1)
    own = scenario.temporary[:, None] * np.sign(plan) * np.abs(plan) ** scenario.exponent[:, None]
    np.testing.assert_allclose(prices[alone], (before + permanent * plan / 2 + own)[alone], atol=1e-12)


def test_two_traders_meet_the_same_noise_and_the_same_seed_gives_the_same_bars():
    scenario = quadratic_scenarios(CALM, 50, np.random.default_rng(0))
    runs = []
    for pace in (0.0, 0.0, 1.0):
        market = BarSimulation(BarParameters(), scenario, np.random.default_rng(7), 20)
        for _ in range(20):
            market.step(pace * GarleanuPedersenTrader().participation(market.conditions(), np.random.default_rng(0)))
        runs.append((market.signal, market.volatility, market.price))
    np.testing.assert_array_equal(runs[0][2], runs[1][2])
    np.testing.assert_array_equal(runs[0][0], runs[2][0])
    np.testing.assert_array_equal(runs[0][1], runs[2][1])
    assert (runs[0][2] != runs[2][2]).any()


def test_unknown_opponents_are_an_all_zero_table():
    scenario = draw_scenarios(BarParameters(), 500, np.random.default_rng(0))
    market = BarSimulation(BarParameters(), scenario, np.random.default_rng(1), 5)
    for _ in range(4):
        market.step(np.full(500, 0.01))
    unknown = scenario.makers + scenario.speculators + scenario.arbitrageurs + scenario.informed == 0
    conditions: Conditions = market.conditions()
    assert (conditions.opponents[unknown] == 0).all() and 0.4 < unknown.mean() < 0.6
    assert (conditions.opponents[~unknown] != 0).any(axis=1).all()


def test_draws_of_a_cost_law_are_what_episodes_are_charged():
    """The spread of the temporary cost over episodes of one trader is that of the draws."""
    rng = np.random.default_rng(8)
    laws = draw_cost_laws(almgren_prior(), rng, 50)
    scenario = charge_scenarios(draw_scenarios(CALM, 100, rng), laws)
    assert scenario.temporary[:50].tolist() == scenario.temporary[50:].tolist() == [law.temporary for law in laws]
    assert scenario.exponent[7] == laws[7].exponent and scenario.permanent[93] == laws[43].permanent
    with pytest.raises(InputError, match="one cost law"):
        charge_scenarios(scenario, [])
