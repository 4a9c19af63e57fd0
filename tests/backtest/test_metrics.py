import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from difffinance.backtest.metrics import (
    compare_sharpe,
    compute_metrics,
    deflated_sharpe_ratio,
    drawdowns,
    expected_maximum_sharpe,
    lo_annual_factor,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    sharpe_standard_error,
    superior_predictive_ability,
)
from difffinance.backtest.selection import _bootstrap_variance, stationary_indices
from difffinance.errors import InputError

CONTRACT_KEYS = {
    *("total_return", "cagr", "sharpe", "sharpe_se", "probabilistic_sharpe", "deflated_sharpe", "sortino", "calmar"),
    *("max_drawdown", "longest_drawdown", "win_rate", "profit_factor", "volatility", "skew", "kurtosis", "var95"),
    *("cvar95", "turnover", "fees", "slippage_bps", "impact_bps", "trades", "exposure", "periods_per_year", "n_obs"),
}
MISSING_IN_A_SERIES = {"turnover", "fees", "slippage_bps", "impact_bps", "trades"}


@pytest.fixture
def returns():
    return stats.t(4).rvs(1500, random_state=np.random.default_rng(3)) * 0.008 + 0.0004


def test_probabilistic_sharpe_reproduces_the_paper():
    assert probabilistic_sharpe_ratio(0.458, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe_ratio(0.458, 24) == pytest.approx(0.982, abs=5e-4)


def test_deflated_sharpe_reproduces_the_paper():
    sharpe, variance = 2.5 / np.sqrt(250), 0.5 / 250
    assert expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe_ratio(sharpe, 1250, -3, 10, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe_ratio(sharpe, 1250, -3, 10, 46, variance) == pytest.approx(0.9505, abs=5e-5)


@pytest.mark.parametrize(("periods", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_reproduces_the_paper(periods, years):
    needed = minimum_track_record_length(2 / np.sqrt(periods), benchmark=1 / np.sqrt(periods))
    assert needed / periods == pytest.approx(years, abs=5e-3)
    back = probabilistic_sharpe_ratio(2 / np.sqrt(periods), needed, benchmark=1 / np.sqrt(periods))
    assert back == pytest.approx(0.95, abs=1e-12)


def test_one_trial_needs_no_deflation(returns):
    metrics = compute_metrics(returns, 252)
    assert metrics["deflated_sharpe"] == metrics["probabilistic_sharpe"]
    assert compute_metrics(returns, 252, n_trials=50, trial_variance=1e-3)["deflated_sharpe"] < 0.9


def test_a_series_has_every_key_and_null_costs(returns):
    metrics = compute_metrics(returns, 252)
    assert set(metrics) >= CONTRACT_KEYS
    assert {k for k in CONTRACT_KEYS if metrics[k] is None} == MISSING_IN_A_SERIES
    json.dumps(metrics, allow_nan=False)


@pytest.mark.slow
def test_metrics_agree_with_quantstats(returns):
    pd, qs = pytest.importorskip("pandas"), pytest.importorskip("quantstats")
    series = pd.Series(returns, index=pd.date_range("2010-01-01", periods=len(returns)))
    ours = compute_metrics(returns, 252)
    theirs = {
        "sharpe": qs.stats.sharpe(series, periods=252),
        "sortino": qs.stats.sortino(series, periods=252),
        "max_drawdown": -qs.stats.max_drawdown(series),
        "total_return": qs.stats.comp(series),
        "volatility": qs.stats.volatility(series, periods=252),
        "win_rate": qs.stats.win_rate(series),
        "profit_factor": qs.stats.profit_factor(series),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-10), name


@pytest.mark.slow
def test_metrics_agree_with_vectorbt(returns):
    pd = pytest.importorskip("pandas")
    from difffinance.backtest.engine import load_vectorbt

    load_vectorbt()
    series = pd.Series(returns, index=pd.date_range("2010-01-04", periods=len(returns), freq="B"))
    accessor = series.vbt.returns(freq="1D")
    ours = compute_metrics(returns, 252)
    assert ours["sharpe"] == pytest.approx(accessor.sharpe_ratio(), rel=1e-10)
    assert ours["max_drawdown"] == pytest.approx(-accessor.max_drawdown(), rel=1e-10)
    assert ours["cagr"] == pytest.approx(accessor.annualized(), rel=1e-10)
    assert ours["sortino"] == pytest.approx(accessor.sortino_ratio(), rel=1e-10)
    assert ours["calmar"] == pytest.approx(accessor.calmar_ratio(), rel=1e-10)


def test_the_starting_value_counts_in_a_drawdown():
    assert drawdowns([-0.1, 0.05]) == pytest.approx([0.1, 1 - 0.9 * 1.05])
    metrics = compute_metrics([-0.1, 0.05], 252)
    assert metrics["max_drawdown"] == pytest.approx(0.1)
    assert metrics["longest_drawdown"] == 2


def test_small_series_by_hand():
    metrics = compute_metrics([0.1, 0.0, -0.05, 0.02], 4)
    wealth = 1.1 * 0.95 * 1.02
    assert metrics["total_return"] == metrics["cagr"] == pytest.approx(wealth - 1)
    assert metrics["win_rate"] == pytest.approx(2 / 3)
    assert metrics["profit_factor"] == pytest.approx(0.12 / 0.05)
    assert metrics["sortino"] == pytest.approx(0.0175 / np.sqrt(0.05**2 / 4) * 2)
    assert metrics["calmar"] == pytest.approx((wealth - 1) / 0.05)
    assert metrics["cvar95"] == -0.05
    assert metrics["longest_drawdown"] == 2


@pytest.mark.parametrize("series", [[0.01], [0.01] * 50, [0.0] * 50])
def test_degenerate_series_have_no_sharpe(series):
    metrics = compute_metrics(series, 252)
    assert metrics["sharpe"] is None and metrics["probabilistic_sharpe"] is None
    assert set(metrics) >= CONTRACT_KEYS
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("series", [[], [0.1, np.nan], [np.inf], [-1.5], [[0.1]], ["a"], None])
def test_bad_returns_are_refused(series):
    with pytest.raises(InputError):
        compute_metrics(series, 252)


def test_sharpe_error_covers_the_truth():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.05, 1.0, (4000, 500))
    sharpe = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    assert sharpe.std() == pytest.approx(sharpe_standard_error(0.05, 500), rel=0.03)
    assert sharpe_standard_error(0.05, 500, periods_per_year=252) == pytest.approx(
        np.sqrt(252) * sharpe_standard_error(0.05, 500)
    )


def test_lo_factor_against_an_autoregression():
    rng = np.random.default_rng(1)
    noise, rho = rng.normal(size=200_000), 0.3
    series = np.zeros_like(noise)
    for t in range(1, len(noise)):
        series[t] = rho * series[t - 1] + noise[t]
    k = np.arange(1, 12)
    exact = 12 / np.sqrt(12 + 2 * np.sum((12 - k) * rho**k))
    assert lo_annual_factor(series, 12) == pytest.approx(exact, rel=0.01)
    assert lo_annual_factor(noise, 12) == pytest.approx(np.sqrt(12), rel=0.02)


def test_sharpe_difference_error_is_memmels_for_normal_returns():
    rng = np.random.default_rng(2)
    rho, n = 0.6, 400_000
    a = rng.normal(size=n)
    b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=n)
    a, b = a + 0.3, b + 0.5
    exact = 2 - 2 * rho + 0.5 * (0.3**2 + 0.5**2 - 2 * 0.3 * 0.5 * rho**2)
    found = compare_sharpe(a, b, periods_per_year=1, lags=0)
    assert found.se == pytest.approx(np.sqrt(exact / n), rel=0.01)
    assert found.difference == pytest.approx(-0.2, abs=4 * found.se)
    assert found.smallest_detectable / found.se == pytest.approx(1.959964 + 0.841621, rel=1e-6)


def test_the_detectable_difference_is_detected_four_times_in_five():
    rng = np.random.default_rng(4)
    common = rng.normal(size=(600, 1000))
    pairs = [(x + rng.normal(size=1000), x + rng.normal(size=1000)) for x in common]
    needed = np.mean([compare_sharpe(a, b, periods_per_year=1, lags=0).smallest_detectable for a, b in pairs])
    shift = needed * np.sqrt(2)  # each series has variance 2
    hits = [compare_sharpe(a + shift, b, periods_per_year=1, lags=0).p_value < 0.05 for a, b in pairs]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.06)


def brute_force_pbo(returns, blocks):
    parts = np.array_split(returns, blocks)
    bad = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        winner = np.argmax(inside.mean(0) / inside.std(0, ddof=1))
        sharpe = outside.mean(0) / outside.std(0, ddof=1)
        rank = 1 + np.sum(sharpe < sharpe[winner])
        w = rank / (returns.shape[1] + 1)
        bad.append(np.log(w / (1 - w)) <= 0)
    return np.mean(bad)


@pytest.mark.parametrize("blocks", [4, 6, 8])
def test_pbo_agrees_with_brute_force(blocks):
    rng = np.random.default_rng(blocks)
    for strategies in (2, 5, 8):
        table = rng.normal(0.02, 1, (blocks * 15, strategies))
        assert probability_of_backtest_overfitting(table, blocks) == brute_force_pbo(table, blocks)


def test_pbo_of_sixteen_blocks_tells_skill_from_noise():
    rng = np.random.default_rng(5)
    table = rng.normal(0, 1, (1600, 10))
    assert probability_of_backtest_overfitting(table) > 0.2
    table[:, 3] += 0.3
    assert probability_of_backtest_overfitting(table) == 0.0


@pytest.mark.parametrize(("shape", "blocks"), [((100, 1), 4), ((100, 3), 5), ((3, 3), 4), ((100,), 4)])
def test_pbo_refuses_what_it_cannot_split(shape, blocks):
    with pytest.raises(InputError):
        probability_of_backtest_overfitting(np.ones(shape), blocks)


def test_stationary_bootstrap_variance_is_the_one_it_draws():
    rng = np.random.default_rng(6)
    series = np.convolve(rng.normal(size=220), np.ones(5), "valid")
    means = [series[stationary_indices(len(series), 8.0, rng)].mean() for _ in range(20_000)]
    exact = _bootstrap_variance(series[:, None], 1 / 8.0)[0] / len(series)
    assert np.var(means) == pytest.approx(exact, rel=0.05)


@pytest.mark.slow
def test_reality_check_agrees_with_arch():
    bootstrap = pytest.importorskip("arch.bootstrap")
    rng = np.random.default_rng(7)
    base = rng.normal(size=300)
    table = 0.6 * base[:, None] + rng.normal(size=(300, 5)) + np.array([-0.9, -0.1, 0.0, 0.05, 0.1])
    theirs = bootstrap.SPA(-base, -table, block_size=10, reps=4000, seed=1)
    theirs.compute()
    # arch 8.0 computes variances but its statistic is not studentized: that is our `studentize=False`.
    ours = superior_predictive_ability(table, base, block=10, replications=4000, studentize=False, rng=rng)
    losses = superior_predictive_ability(
        -table, -base, kind="losses", block=10, replications=4000, studentize=False, rng=np.random.default_rng(8)
    )
    for found in (ours, losses):
        assert [found.lower, found.consistent, found.upper] == pytest.approx(list(theirs.pvalues), abs=0.04)


def test_superior_ability_keeps_its_level_and_finds_skill():
    rng = np.random.default_rng(9)
    found = []
    for _ in range(150):
        base = rng.normal(size=200)
        found.append(superior_predictive_ability(rng.normal(size=(200, 4)), base, block=3, replications=150, rng=rng))
    assert 0.0 <= np.mean([f.consistent < 0.1 for f in found]) <= 0.18
    assert all(f.lower <= f.consistent <= f.upper for f in found)
    skilled = rng.normal(size=(400, 4)) + np.array([0, 0, 0.4, 0])
    assert superior_predictive_ability(skilled, rng.normal(size=400), rng=rng).consistent < 0.01


def test_superior_ability_refuses_bad_input():
    with pytest.raises(InputError, match="benchmark"):
        superior_predictive_ability(np.ones((20, 2)), np.ones(19))
    with pytest.raises(InputError, match="equals"):
        superior_predictive_ability(np.ones((20, 2)), np.ones(20))
    with pytest.raises(InputError, match="kind"):
        superior_predictive_ability(np.eye(20), np.ones(20), kind="profits")


def test_metrics_of_real_prices(shared_data: Path):
    close = np.genfromtxt(shared_data / "yahoo_csv" / "SPY.csv", delimiter=",", skip_header=1, usecols=5)
    metrics = compute_metrics(close[1:] / close[:-1] - 1, 252)
    assert metrics["total_return"] == pytest.approx(close[-1] / close[0] - 1, rel=1e-10)
    assert metrics["max_drawdown"] == pytest.approx(0.5519, abs=1e-3)
