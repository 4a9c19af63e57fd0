import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from difffinance.agents.gueant import GueantMarketMaker, gueant_depths, gueant_exact_depths
from difffinance.errors import InputError
from tests.agents.views import action_of, check_twin

PAPER = {"gamma": 0.01, "sigma": 0.3, "k": 0.3, "A": 0.9}  # the paper's section 5, ticks and seconds; Q = 30


def matrix(limit, gamma, sigma, k, A):
    q = np.arange(-limit, limit + 1)
    beside = A * (1 + gamma / k) ** -(1 + k / gamma) * np.ones(2 * limit)
    return np.diag(k * gamma * sigma**2 / 2 * q**2) - np.diag(beside, 1) - np.diag(beside, -1)


def bids(v):
    return math.log1p(PAPER["gamma"] / PAPER["k"]) / PAPER["gamma"] + np.log(v[:-1] / v[1:]) / PAPER["k"]


@pytest.mark.parametrize("time_left", [0.0, 5.0, 600.0])
def test_exact_quotes_are_those_of_the_matrix_exponential_and_of_the_ode(time_left):
    m, ones = matrix(30, **PAPER), np.ones(61)
    bid, ask = gueant_exact_depths(time_left, limit=30, **PAPER)
    assert bid[:-1] == pytest.approx(bids(expm(-m * time_left) @ ones), abs=1e-10)
    if 0 < time_left < 100:
        v = solve_ivp(lambda _, v: -m @ v, (0, time_left), ones, rtol=1e-11, atol=1e-13).y[:, -1]
        assert bid[:-1] == pytest.approx(bids(v), abs=1e-7)
    assert ask == pytest.approx(bid[::-1], abs=1e-9)  # the market is symmetric
    assert np.isinf(bid[-1]) and np.isinf(ask[0])


def test_far_from_the_end_the_closed_form_is_close_to_the_exact_quotes():
    late, never = gueant_exact_depths(3600.0, limit=30, **PAPER), gueant_exact_depths(np.inf, limit=30, **PAPER)
    assert late[0][:-1] == pytest.approx(never[0][:-1], abs=1e-9)
    q = np.arange(-30, 31)
    near = np.abs(q) <= 10
    for exact, approximate in zip(never, gueant_depths(q, **PAPER), strict=True):
        assert exact[near] == pytest.approx(approximate[near], abs=0.003)


def test_risk_aversion_near_zero_leaves_the_symmetric_quote():
    bid, ask = gueant_depths(np.array([-5, 0, 5]), gamma=1e-9, sigma=0.3, k=0.3, A=0.9)
    assert bid == pytest.approx(1 / 0.3, abs=1e-3) and ask == pytest.approx(1 / 0.3, abs=1e-3)


def twin(a, view, memory):
    sigma, q, action = 1 / view["tick"], view["position"] / a.quantity, {"cancel": 1.0}
    bid, ask = gueant_depths(np.array(q), gamma=a.gamma, sigma=sigma, k=a.k, A=a.A)
    least = 0.5 - 0.5 * view["spread"] * sigma
    for side, offset, room, after in (
        ("bid", bid, view["buyable"] + view["open_buys"], view["position"] + a.quantity),
        ("ask", ask, view["sellable"] + view["open_sells"], a.quantity - view["position"]),
    ):
        quantity = min(a.quantity, room, view["max_open"], view["max_order"])
        if after <= a.max_inventory and quantity > 0:
            action |= {f"{side}_offset_1": max(offset, least), f"{side}_quantity_1": quantity}
    return action


def test_policy_decides_as_its_plain_python_twin():
    check_twin(GueantMarketMaker(0, max_inventory=3.0), twin)


def test_it_never_quotes_beyond_its_inventory_limit():
    maker = GueantMarketMaker(0, quantity=0.5, max_inventory=2.0)
    assert action_of(maker, position=1.5)["bid_quantity_1"] == 0.5
    assert action_of(maker, position=1.6)["bid_quantity_1"] == 0.0 < action_of(maker, position=1.6)["ask_quantity_1"]


@pytest.mark.parametrize("bad", [{"gamma": 0.0}, {"k": -1.0}, {"A": math.nan}, {"sigma": math.inf}])
def test_quotes_outside_the_formula_are_refused(bad):
    with pytest.raises(InputError, match="not allowed"):
        gueant_depths(np.zeros(1), **{**PAPER, **bad})
    with pytest.raises(InputError, match="not allowed"):
        gueant_exact_depths(1.0, limit=2, **{**PAPER, **bad})


def test_bad_horizon_limit_and_parameters_are_refused():
    with pytest.raises(InputError, match="time_left"):
        gueant_exact_depths(math.nan, limit=2, **PAPER)
    with pytest.raises(InputError, match="limit"):
        gueant_exact_depths(1.0, limit=0, **PAPER)
    with pytest.raises(InputError, match="quantity"):
        GueantMarketMaker(0, quantity=math.nan)
