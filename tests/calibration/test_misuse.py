from dataclasses import replace

import numpy as np
import pytest

from difffinance.calibration.misuse import read_displacement, slice_displacement, trade_round_trip
from difffinance.calibration.order_flow import traded_volume
from difffinance.errors import InputError
from difffinance.market.impact import probe_law
from difffinance.records import ImpactParameters
from tests.calibration.conftest import make_day

LAW = ImpactParameters(
    lam=0.01, gamma=0.4, lam_se=1e-9, gamma_se=1e-9, lam_ci=(0.01, 0.01), gamma_ci=(0.4, 0.4), r2=0.3, n_obs=999,
    noise="gaussian", unit="aggregate", horizon_s=10.0, flow="visible",
)  # fmt: skip


@pytest.fixture(scope="module")
def walking_day():
    rng, minute = np.random.default_rng(5), 60_000_000_000
    bid = 1000 + np.cumsum(rng.integers(-1, 2, 300))
    kinds = ["execution" if k % 3 else "new" for k in range(300)]
    return make_day([(k * minute, kinds[k], 1, 10 + k, int(b), int(b) + 2) for k, b in enumerate(bid)])


def test_a_concave_permanent_law_pays_who_buys_in_pieces_and_sells_at_once():
    trip = trade_round_trip(LAW, quantity=10_000.0, pieces=100)
    one, all_at_once = 0.01 * 100**0.4, 0.01 * 10_000**0.4
    paid = sum((k + 0.5) * one * 100 for k in range(100))
    got = (100 * one - 0.5 * all_at_once) * 10_000
    assert trip["position"][-1] == pytest.approx(0.0, abs=1e-9)
    assert trip["cash"][-1] == pytest.approx(got - paid)
    assert trip["cash"][-1] > 0.0


@pytest.mark.parametrize(("gamma", "sign"), [(0.4, 1), (0.8, 1), (1.0, 0), (1.3, -1)])
def test_only_the_linear_law_pays_nobody(gamma, sign):
    law = replace(LAW, gamma=gamma)
    earned = trade_round_trip(law, quantity=5000.0, pieces=50)["cash"][-1]
    assert np.sign(round(earned, 6)) == sign
    found = probe_law(
        lambda q: np.sign(q) * np.abs(q) ** gamma, np.zeros_like, quantity=1.0, rng=np.random.default_rng(1)
    )
    assert found.free_money == (gamma != 1.0)


def test_displacement_is_in_daily_volatilities_and_grows_with_slices(walking_day):
    table = read_displacement(walking_day, [LAW, replace(LAW, horizon_s=60.0, gamma=0.6)])
    quantity = 0.05 * traded_volume(walking_day)
    assert table["quantity"].to_list() == [pytest.approx(quantity)] * 2
    assert table["displacement"][1] / table["displacement"][0] == pytest.approx(quantity**0.2)
    sliced = slice_displacement(walking_day, LAW, slices=[1, 780])
    assert sliced["displacement"][0] == pytest.approx(table["displacement"][0])
    assert sliced["displacement"][1] == pytest.approx(table["displacement"][0] * 780**0.6)


def test_questions_without_an_answer_are_refused(walking_day):
    with pytest.raises(InputError, match="share = 0"):
        read_displacement(walking_day, [LAW], share=0.0)
    with pytest.raises(InputError, match="slices"):
        slice_displacement(walking_day, LAW, slices=[])
    with pytest.raises(InputError, match="pieces 0"):
        trade_round_trip(LAW, quantity=1.0, pieces=0)
