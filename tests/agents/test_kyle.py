import math

import numpy as np
import pytest

from difffinance.agents.kyle import kyle_equilibrium
from difffinance.errors import InputError


def test_one_auction_is_the_closed_form():
    S0, su2 = 1.7, 0.3
    one = kyle_equilibrium(1, S0, su2)
    assert one.lam[0] == pytest.approx(math.sqrt(S0 / su2) / 2, rel=1e-12)
    assert one.intensity[0] == pytest.approx(math.sqrt(su2 / S0), rel=1e-12)
    assert one.variance[0] == pytest.approx(S0 / 2, rel=1e-12)
    assert one.profit == pytest.approx(math.sqrt(S0 * su2) / 2, rel=1e-12)


@pytest.mark.parametrize("n", [2, 4, 20, 200])
def test_the_recursion_holds_forwards(n):
    S0, su2 = 2.0, 3.0
    found = kyle_equilibrium(n, S0, su2)
    dt, before = 1 / n, np.append(S0, found.variance[:-1])
    beta = found.intensity / dt
    assert found.lam == pytest.approx(beta * found.variance / su2, rel=1e-10)
    assert found.variance == pytest.approx((1 - beta * found.lam * dt) * before, rel=1e-10)
    a, lam = found.alpha, found.lam
    assert a[-1] == found.delta[-1] == 0
    assert a[:-1] == pytest.approx((1 / (4 * lam * (1 - a * lam)))[1:], rel=1e-10)
    assert found.delta[:-1] == pytest.approx((found.delta + a * lam**2 * su2 * dt)[1:], rel=1e-10)
    assert (lam * (1 - a * lam) > 0).all()  # second-order condition


def test_the_market_maker_is_right_and_the_insider_cannot_do_better():
    """Prices are regressions of the value on flow, and scaling the orders of any auction loses."""
    n, S0, su2 = 4, 1.0, 2.0
    found = kyle_equilibrium(n, S0, su2)

    def play(scale):
        """Variances of gap and flow, and the insider's profit, by propagating the gap's variance."""
        variance, profit, impacts = S0, 0.0, []
        for k in range(n):
            b, lam = found.intensity[k] * scale[k], found.lam[k]
            impacts.append(b * variance / (b**2 * variance + su2 / n))
            profit += b * (1 - lam * b) * variance
            variance = (1 - lam * b) ** 2 * variance + lam**2 * su2 / n
        return profit, impacts

    best, impacts = play(np.ones(n))
    assert impacts == pytest.approx(found.lam, rel=1e-10) and best == pytest.approx(found.profit, rel=1e-10)
    for k in range(n):
        for factor in (0.9, 1.1):
            assert play(np.where(np.arange(n) == k, factor, 1.0))[0] < best


def test_many_auctions_approach_continuous_trading():
    found = kyle_equilibrium(2000, 4.0, 9.0)
    assert found.lam[1000] == pytest.approx(math.sqrt(4 / 9), rel=0.005)
    assert found.profit == pytest.approx(math.sqrt(4 * 9), rel=0.005)
    assert found.variance[999] == pytest.approx(2.0, rel=0.01)  # information comes out at a constant rate


@pytest.mark.parametrize("bad", [(0,), (1.5,), (True,), (3, -1.0), (3, math.nan), (3, 1.0, math.inf), (3, 1.0, 0.0)])
def test_bad_input_is_refused(bad):
    with pytest.raises(InputError, match=r"not allowed|a whole number, 1 or more"):
        kyle_equilibrium(*bad)
