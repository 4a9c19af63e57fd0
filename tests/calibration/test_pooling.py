from dataclasses import replace

import numpy as np
import pytest

from difffinance.calibration.pooling import _sign_changes, fit_cross_impact, pool_days
from difffinance.errors import InputError, RefusedFit
from tests.calibration.conftest import make_day


def day_of(seed, *, gamma=0.5, n=400, symbol="TINY", effect=0.0, flow=None, cross=0.0, lam=4.0, date="2012-06-21"):
    """Orders every 5 s that move the mid by the law, plus `cross` times another symbol's flow, plus noise."""
    rng = np.random.default_rng([seed, 77])
    sign = rng.choice([-1, 1], n)
    size = np.ceil(np.exp(4.0 + rng.standard_normal(n)))
    q = sign * size
    move = lam * (1 + effect) * sign * size**gamma + 40.0 * rng.standard_normal(n)
    if flow is not None:
        move += cross * flow
    half_ticks = 200_000 + np.cumsum(np.round(move)).astype(int)
    rows = [(-1, "new", 1, 10, 99_900, 100_100)]
    for i in range(n):
        bid = half_ticks[i] // 2 - 100
        rows.append((i * 5_000_000_000, "execution", -int(sign[i]), float(size[i]), int(bid), int(half_ticks[i] - bid)))
    return replace(make_day(rows, symbol=symbol), date=date), q


@pytest.mark.parametrize(("count", "method"), [(7, "sign changes of day estimates"), (12, "cluster-robust")])
def test_days_pool_by_their_number(count, method):
    days = [day_of(seed, effect=0.2 * (-1) ** seed)[0] for seed in range(count)]
    found = pool_days(days, horizon_s=0.0)
    assert (found.method, found.clusters, len(found.by_day)) == (method, count, count)
    assert found.gamma_ci95[0] <= 0.5 <= found.gamma_ci95[1]
    assert found.gamma_ci95[1] - found.gamma_ci95[0] < 0.3
    assert found.y_ci95[0] <= found.y <= found.y_ci95[1]


def test_too_few_days_are_refused_and_told_why():
    with pytest.raises(RefusedFit, match="5 days are too few"):
        pool_days([day_of(seed)[0] for seed in range(5)])


def test_sign_changes_cover_with_few_days():
    covered = 0
    for seed in range(200):
        values = np.random.default_rng([seed, 5]).standard_normal(7) * np.array([1, 1, 1, 1, 1, 3, 3.0])
        low, high = _sign_changes(values)
        covered += low <= 0.0 <= high
    assert 0.95 * 200 - 3 * np.sqrt(200 * 0.95 * 0.05) <= covered


def test_what_is_common_to_a_day_widens_the_interval():
    alike = [day_of(seed, n=200)[0] for seed in range(10)]
    apart = [day_of(seed, n=200, gamma=0.5 + 0.15 * (-1) ** seed)[0] for seed in range(10)]
    width = [pool_days(days, horizon_s=0.0).gamma_ci95 for days in (alike, apart)]
    assert width[1][1] - width[1][0] > 1.3 * (width[0][1] - width[0][0])


def two_days(cross, back):
    first, q = day_of(1, gamma=1.0, symbol="ONE", lam=0.5, n=3000)
    second_flow = np.random.default_rng([2, 77])
    sign, size = second_flow.choice([-1, 1], 3000), np.ceil(np.exp(4.0 + second_flow.standard_normal(3000)))
    first, q = day_of(1, gamma=1.0, symbol="ONE", lam=0.5, n=3000, flow=sign * size, cross=cross)
    second, _ = day_of(2, gamma=1.0, symbol="TWO", lam=0.8, n=3000, flow=q, cross=back)
    return first, second


@pytest.mark.parametrize(("cross", "back", "symmetric"), [(0.2, 0.2, True), (0.4, 0.0, False)])
def test_cross_impact_is_found_and_its_symmetry_tested(cross, back, symmetric):
    found = fit_cross_impact(*two_days(cross, back), horizon_s=10.0)
    expected = 0.005 * np.array([[0.5, cross], [back, 0.8]])  # half ticks of a cent
    miss = (np.array(found.matrix) - expected) / np.array(found.standard_errors)
    assert np.abs(miss).max() < 4
    assert (found.symmetry_p_value > 0.01) is symmetric
    assert found.r2[0] > found.r2_without_cross[0]
    assert found.kind == "association" and found.symbols == ("ONE", "TWO")


def test_cross_impact_needs_two_symbols_of_one_day():
    first, _ = day_of(1)
    for other in (first, day_of(2, symbol="TWO", date="2012-06-22")[0]):
        with pytest.raises(InputError, match="two symbols of one day"):
            fit_cross_impact(first, other)


@pytest.mark.slow
def test_google_and_apple_move_each_other(real_days):
    found = fit_cross_impact(real_days["GOOG_10"], real_days["AAPL_1"], horizon_s=60.0)
    assert all(
        value > 2 * error for value, error in zip(*map(np.ravel, (found.matrix, found.standard_errors)), strict=True)
    )
    assert found.n_obs > 380
