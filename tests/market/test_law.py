import math

import numpy as np
import pytest

from difffinance.agents.almgren_chriss import almgren_chriss_schedule
from difffinance.agents.kyle import kyle_equilibrium
from difffinance.errors import CostLawError, InputError
from difffinance.market.law import ImpactLaw, LawMarket, check_law, execution_prices, expected_cost
from difffinance.market.transient import Kernel, TransientLaw, transient_cost

PAIR = ImpactLaw([[2e-3, 8e-4], [8e-4, 1e-3]], [0.01, 0.02], 0.6, half_spread=[0.005, 0.01])


def test_cost_and_variance_of_a_programme_are_almgren_and_chriss_():
    """The paper's case as a law: their eta less half a step's permanent impact is our temporary coefficient."""
    gamma, eta, tau, sigma, N, X = 2.5e-7, 2.5e-6, 1.0, 0.95, 5, 1e6
    plan = almgren_chriss_schedule(X, 5.0, N, sigma=sigma, eta=eta, gamma=gamma, risk=1e-6, epsilon=0.0625)
    law = check_law(ImpactLaw(gamma, eta - gamma * tau / 2, half_spread=0.0625))
    assert expected_cost(law, -plan.trades[:, None], tau) == pytest.approx(plan.expected_cost, rel=1e-12)
    # Variance: the derivative of the cost by each fundamental move is what is still held.
    rng, costs = np.random.default_rng(4), []
    for _ in range(4000):
        market = LawMarket(law, start=50.0, covariance=sigma**2, tau=tau, steps=N, checked=True)
        paid = [market.advance([-n], rng)[0] - 0.0625 for n in plan.trades]
        costs.append(X * 50.0 - plan.trades @ paid)
    assert np.mean(costs) == pytest.approx(plan.expected_cost, abs=3 * math.sqrt(plan.variance / 4000))
    assert np.var(costs) == pytest.approx(plan.variance, rel=3 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("transient", [None, TransientLaw(0.03, 0.6, Kernel("power", 0.5)),
                                       TransientLaw(0.03, 1.0, Kernel("exponential", 0.7)),
                                       TransientLaw(0.03, 1.0, Kernel("bounded", 0.4, 2.0))])  # fmt: skip
def test_without_noise_the_market_pays_the_programmes_expected_prices(transient):
    law = ImpactLaw(PAIR.permanent, PAIR.temporary, 0.6, transient=transient)
    trades = np.random.default_rng(1).normal(size=(9, 2))
    market = LawMarket(law, start=[100.0, 50.0], covariance=np.zeros((2, 2)), tau=0.5, steps=9, checked=True)
    paid = [market.advance(q, np.random.default_rng(0)) for q in trades]
    assert np.array(paid) - [100.0, 50.0] == pytest.approx(execution_prices(law, trades, 0.5), abs=1e-12)


@pytest.mark.parametrize("kernel", [Kernel("exponential", 0.7), Kernel("power", 0.4), Kernel("bounded", 0.5, 3.0)])
def test_linear_transient_cost_is_its_quadratic_form_and_the_mid_its_memory(kernel):
    """Cost = amplitude v' W v, W from the kernel by quadrature; the mid after the trades from the kernel itself."""
    amplitude, tau, v = 0.3, 0.5, np.array([1.0, -2.0, 0.5, 1.5])
    law = ImpactLaw(0.0, 0.0, transient=TransientLaw(amplitude, 1.0, kernel))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    inside, w = (nodes + 1) / 2 * tau, weights / 2 * tau
    W = np.zeros((4, 4))
    for k in range(4):
        for j in range(k):
            W[k, j] = w @ kernel(inside[:, None] + (k - j) * tau - inside[None, :]) @ w
        # Own step: integral over t of the integral from 0 to t of G(s) ds = integral of G(s) (tau - s) ds, with the
        # substitution s = u^4 that removes the singularity at 0.
        u = (nodes + 1) / 2 * tau**0.25
        W[k, k] = (weights / 2 * tau**0.25 * 4 * u**3) @ (kernel(u**4) * (tau - u**4))
    cost = expected_cost(law, (v * tau)[:, None], tau)
    assert cost == pytest.approx(amplitude * v @ W @ v, rel=2e-5)
    assert cost == pytest.approx(transient_cost(law.transient, v, tau * np.arange(5.0))[0], rel=1e-12)
    market = LawMarket(law, start=10.0, covariance=0.0, tau=tau, steps=8, checked=True)
    for rate in [*v, 0.0, 0.0]:
        market.advance([rate * tau], np.random.default_rng(0))
    lag = 6 * tau - (np.arange(4)[:, None] * tau + inside)
    assert market.mid[0] - 10.0 == pytest.approx(amplitude * v @ (kernel(lag) @ w), rel=1e-9)


def test_one_round_of_kyle():
    """A batch auction: everybody pays the price after the total flow; over a two-point grid the moments are exact."""
    S0, su2 = 1.7, 0.6
    kyle = kyle_equilibrium(1, S0, su2)
    lam, beta = kyle.lam[0], kyle.intensity[0]
    law = ImpactLaw(lam, lam / 2)  # half of the permanent part on the trade itself, the other half temporary
    profit, gap = [], []
    for v in (-math.sqrt(S0), math.sqrt(S0)):
        for u in (-math.sqrt(su2), math.sqrt(su2)):
            market = LawMarket(law, start=0.0, covariance=0.0, tau=1.0, steps=1)
            x = beta * v
            price = market.advance([x + u], np.random.default_rng(0))[0]
            assert price == pytest.approx(market.mid[0], abs=1e-14)
            profit.append(x * (v - price)), gap.append((v - price) ** 2)
    assert np.mean(profit) == pytest.approx(math.sqrt(S0 * su2) / 2, rel=1e-12)
    assert np.mean(gap) == pytest.approx(S0 / 2, rel=1e-12)


def test_permanent_impact_costs_half_its_square_at_any_pace_and_round_trips_nothing():
    law = check_law(ImpactLaw(PAIR.permanent, 0.0))
    rng = np.random.default_rng(2)
    trades = rng.normal(size=(50, 12, 2))
    total = trades.sum(axis=1)
    expected = 0.5 * np.einsum("bi,ij,bj->b", total, PAIR.permanent, total)
    assert expected_cost(law, trades, 0.1) == pytest.approx(expected, abs=1e-12)


def test_admissible_laws_pass():
    for law in (
        PAIR,
        ImpactLaw(0.0, 0.1, 0.5),
        ImpactLaw(1e-3, 0.0, transient=TransientLaw(0.1, 1.0, Kernel("power", 0.45))),
        ImpactLaw(1e-3, 0.0, transient=TransientLaw(0.1, 1.0, Kernel("exponential", 2.0))),
    ):
        assert check_law(law) is law


def test_a_round_trip_through_two_instruments_milks_an_asymmetric_matrix():
    law = ImpactLaw([[1.0, 0.5], [0.2, 1.0]], 0.0)
    trip = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], float)
    assert min(expected_cost(law, trip, 1.0), expected_cost(law, trip[:, ::-1], 1.0)) == pytest.approx(-0.3)
    with pytest.raises(CostLawError, match="symmetric"):
        check_law(law)
    assert check_law(ImpactLaw([[1.0, 0.35], [0.35, 1.0]], 0.0))


def test_a_market_checks_its_law():
    with pytest.raises(CostLawError, match="eigenvalue"):
        LawMarket(ImpactLaw(-1.0, 0.1), start=1.0, covariance=1.0, tau=1.0, steps=2)


def milked(kind, decay):
    """Concave impact with a kernel that forgets too slowly at first."""
    return ImpactLaw(0.0, 0.0, transient=TransientLaw(0.1, 0.6, Kernel(kind, decay)))


@pytest.mark.parametrize(
    ("law", "reason"),
    [
        (ImpactLaw(1.0, 0.1, permanent_exponent=0.5), "a round trip earns"),
        (ImpactLaw(1.0, 0.1, permanent_exponent=1.5), "a round trip earns"),
        (ImpactLaw([[1.0, 2.0], [2.0, 1.0]], 0.0), "eigenvalue"),
        (ImpactLaw(-1.0, 0.1), "eigenvalue"),
        (milked("power", 0.3), "cannot be charged"),
        (milked("power", 0.6), "cannot be charged"),
        (milked("exponential", 1.0), "cannot be charged"),
        (milked("bounded", 0.5), "cannot be charged"),
    ],
)
def test_laws_that_can_be_milked_are_refused_with_the_reason(law, reason):
    with pytest.raises(CostLawError, match=reason):
        check_law(law)


@pytest.mark.parametrize("bad", [{"permanent": np.ones((2, 3))}, {"permanent": math.nan}, {"temporary": -1.0},
                                 {"temporary": [1.0, 2.0]}, {"exponent": 0.0}, {"exponent": math.nan},
                                 {"half_spread": math.inf}, {"permanent_exponent": -1.0}])  # fmt: skip
def test_laws_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        ImpactLaw(**{"permanent": 1.0, "temporary": 1.0, **bad})


def test_bad_programmes_and_markets_are_refused():
    with pytest.raises(InputError, match="trades"):
        expected_cost(PAIR, np.ones((3, 3)), 1.0)
    with pytest.raises(InputError, match="tau"):
        expected_cost(PAIR, np.ones((3, 2)), 0.0)
    good = {"start": [1.0, 1.0], "covariance": np.eye(2), "tau": 1.0, "steps": 1}
    for bad in ({"start": math.nan}, {"covariance": np.eye(3)}, {"covariance": [[1, 2], [2, 1]]}, {"tau": math.inf},
                {"steps": 0}, {"covariance": [[1.0, 0.5], [0.0, 1.0]]}):  # fmt: skip
        with pytest.raises(InputError):
            LawMarket(PAIR, **{**good, **bad})
    market = LawMarket(PAIR, **good)
    with pytest.raises(InputError, match="finite"):
        market.advance([math.nan, 0.0], np.random.default_rng(0))
    market.advance([1.0, 0.0], np.random.default_rng(0))
    with pytest.raises(InputError, match="over"):
        market.advance([1.0, 0.0], np.random.default_rng(0))
