from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from difffinance.errors import CostLawError, InputError
from difffinance.market.costs import almgren_prior, temporary_impact
from difffinance.market.impact import check_admissible
from difffinance.market.transient import (
    Kernel,
    TransientLaw,
    check_transient,
    nearest_admissible,
    period_kernels,
    probe_transient,
    transient_cost,
    transient_displacement,
    transient_law,
)
from difffinance.records import CostLaw

KERNELS = [
    Kernel("power", 0.4), Kernel("power", 0.0), Kernel("exponential", 3.0), Kernel("exponential", 1e-3),
    Kernel("bounded", 0.5, 0.1), Kernel("bounded", 1.0, 0.1), Kernel("bounded", 2.0, 0.1), Kernel("bounded", 0.5, 90.0),
]  # fmt: skip


def propagator(decay=0.6, exponent=1.0, **changes):
    interval = (0.0, 1.0)
    fields = {"temporary": 0.5, "permanent": 0.0, "kind": "propagator", "source": "test"} | changes
    return CostLaw(
        exponent=exponent, decay=decay, temporary_ci=interval, exponent_ci=interval, permanent_ci=interval, **fields
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("lag", [1e-4, 0.0009, 0.0011, 0.7, 5.0])
def test_integrals_against_quadrature(kernel, lag):
    assert kernel.integral(lag) == pytest.approx(quad(kernel, 0.0, lag, epsabs=0.0)[0], rel=1e-6)
    assert kernel.double_integral(lag) == pytest.approx(quad(kernel.integral, 0.0, lag, epsabs=0.0)[0], rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_displacement_and_cost_against_fine_sums(kernel):
    law, rates, edges = TransientLaw(0.7, 0.6, kernel), np.array([2.0, -1.0, 0.5]), np.array([0.0, 0.3, 0.4, 1.0])
    width = 1.0 / 2000
    ends = width * np.arange(1, 2001)
    rate = rates[np.searchsorted(edges, ends - 0.5 * width) - 1]
    pushes = 0.7 * np.sign(rate) * np.abs(rate) ** 0.6
    passed = np.diff(kernel.integral(np.append(0.0, ends)))
    price = np.convolve(pushes, passed)[:2000]
    found = transient_displacement(law, rates, edges)[0]
    np.testing.assert_allclose(found, price[np.round(edges[1:] / width).astype(int) - 1], rtol=1e-9)
    middle = 0.5 * (price + np.append(0.0, price[:-1]))
    assert transient_cost(law, rates, edges)[0] == pytest.approx(np.sum(rate * middle) * width, rel=0.01)


def pulsed(pulses, duty, length):
    """Widths and quantities of one unit in pulses that fill 1 / duty of their slots."""
    slot = length / pulses
    return np.tile([slot / duty, slot * (1 - 1 / duty)], pulses), np.tile([1.0 / pulses, 0.0], pulses)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gamma", [0.6, 1.0, 1.3])
def test_a_programme_in_fine_pulses_costs_and_leaves_a_power_of_the_duty_cycle(kernel, gamma):
    law = TransientLaw(1.0, gamma, kernel)
    width, quantity = pulsed(2000, 4.0, 1.0)
    edges = np.concatenate([[0.0], np.cumsum(width)])
    cost = transient_cost(law, quantity / width, edges)[0] / transient_cost(law, [1.0], [0.0, 1.0])[0]
    left = (
        transient_displacement(law, quantity / width, edges)[0, -1]
        / transient_displacement(law, [1.0], [0.0, 1.0])[0, -1]
    )
    assert (cost, left) == pytest.approx((4.0 ** (gamma - 1.0),) * 2, rel=0.03)


@pytest.mark.parametrize(("gamma", "decay", "pulses", "length"), [
    (0.5, 0.3, 256, 0.01), (0.5, 0.5, 256, 0.01), (0.57, 0.43, 256, 0.01), (0.88, 0.15, 64, 0.3), (0.8, 0.0, 16, 0.1),
    (1.2, 0.2, 64, 1.0),
])  # fmt: skip
def test_nonlinear_laws_are_milked_by_a_programme_that_can_be_traded(gamma, decay, pulses, length):
    """gamma + decay of 1 is not enough: one leg even, the other in pulses that take a thousandth of its time."""
    law = TransientLaw(1.0, gamma, Kernel("power", decay))
    width, quantity = pulsed(pulses, 1e3, length if gamma < 1.0 else 1.0)
    if gamma < 1.0:
        width, quantity = np.append(1.0, width), np.append(1.0, -quantity)
    else:
        width, quantity = np.append(width, length), np.append(quantity, -1.0)
    edges = np.concatenate([[0.0], np.cumsum(width)])
    profit = -transient_cost(law, quantity / width, edges)[0]
    found = probe_transient(law)
    assert quantity.sum() == pytest.approx(0.0, abs=1e-12)
    assert profit > 0.02 * transient_cost(law, [1.0], [0.0, 1.0])[0]
    assert found.round_trip_share == pytest.approx(1.0 - decay) and found.free_money
    assert not found.slicing_converges and not found.admissible


def test_what_an_even_and_a_free_leg_earn_is_the_limit_of_programmes():
    law = TransientLaw(1.0, 0.5, Kernel("power", 0.2))
    earned = []
    for pulses, length in ((16, 0.1), (256, 0.01), (2048, 0.001)):
        width, quantity = pulsed(pulses, 30.0, length)
        width, quantity = np.append(1.0, width), np.append(1.0, -quantity)
        cost = transient_cost(law, quantity / width, np.concatenate([[0.0], np.cumsum(width)]))[0]
        earned.append(-cost / transient_cost(law, [1.0], [0.0, 1.0])[0])
    limit = probe_transient(law).round_trip_share
    assert earned[0] < earned[1] < earned[2] < limit and earned[2] > 0.85 * limit


@pytest.mark.parametrize("kernel", KERNELS)
def test_linear_impact_with_a_falling_kernel_passes(kernel):
    found = probe_transient(TransientLaw(1.0, 1.0, kernel))
    assert found.admissible and found.round_trip_share <= 1e-6
    for gamma in (0.5, 0.99, 1.01):
        assert not probe_transient(TransientLaw(1.0, gamma, kernel)).admissible


@pytest.mark.parametrize("decay", [-0.05, -0.4])
def test_linear_impact_that_grows_is_milked(decay):
    law = TransientLaw(1.0, 1.0, Kernel("power", decay))
    found = probe_transient(law)
    assert found.free_money and not found.admissible
    rates = np.array(found.round_trip)
    even, shrinking = np.linspace(0.0, 1.0, 17), np.cumsum(np.concatenate([[0.0], 0.5 ** np.arange(16)]))
    edges = even if abs(np.sum(rates * np.diff(even))) < 1e-9 else shrinking / shrinking[-1]
    assert np.sum(rates * np.diff(edges)) == pytest.approx(0.0, abs=1e-9)
    assert transient_cost(law, rates, edges)[0] == pytest.approx(-found.round_trip_profit)


@pytest.mark.parametrize("kernel", [Kernel("power", 0.2), Kernel("exponential", 5.0), Kernel("bounded", 0.5, 0.01)])
def test_replacement_passes_both_tests_at_the_same_price(kernel):
    law = TransientLaw(0.8, 0.6, kernel)
    other = nearest_admissible(law)
    assert check_transient(other) is other
    assert transient_cost(other, [[0.01]], [0, 1]) == pytest.approx(transient_cost(law, [[0.01]], [0, 1]))
    assert nearest_admissible(other) == other
    assert (other.gamma, other.kernel) == (1.0, kernel)


def test_a_law_that_moves_nothing_passes_and_one_that_pays_the_taker_does_not():
    nothing = TransientLaw(0.0, 0.5, Kernel("exponential", 0.5))
    assert check_transient(nothing) is nothing
    with pytest.raises(CostLawError, match="amplitude"):
        check_transient(TransientLaw(-0.1, 1.0, Kernel("power", 0.5)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_sliced_cost_is_that_of_the_programme(kernel):
    law = TransientLaw(0.7, 0.6, kernel)
    found = probe_transient(law).slicing_costs[1]
    rates = np.array([2.0, 0.0] * 4)
    assert found == pytest.approx(transient_cost(law, rates, np.linspace(0.0, 1.0, 9))[0])


def test_what_has_no_neighbour_is_told():
    with pytest.raises(CostLawError, match="neighbour"):
        nearest_admissible(TransientLaw(-1.0, 0.6, Kernel("power", 0.3)))
    with pytest.raises(CostLawError, match="cannot be charged"):
        check_transient(TransientLaw(1.0, 0.5, Kernel("power", 0.3)))
    for bad in (
        {"decay": 1.0},
        {"decay": -1.0},
        {"kind": "exponential", "decay": -0.1},
        {"kind": "cubic", "decay": 0.1},
        {"decay": 0.5, "scale": 0.0},
    ):
        with pytest.raises(InputError, match="not allowed"):
            Kernel(**{"kind": "power"} | bad)
    with pytest.raises(InputError, match="increasing"):
        transient_cost(TransientLaw(1.0, 1.0, Kernel("power", 0.3)), [1.0, 2.0], [0.0, 1.0])


def test_cost_law_of_a_propagator_is_its_transient_law():
    law = propagator()
    part = transient_law(law)
    for v, days in ((0.1, 1.0), (0.02, 0.25)):
        cost = transient_cost(part, [v / days], [0.0, days])[0] / v
        assert temporary_impact(law, v, 1.0, duration=days) == pytest.approx(cost)
    during, after = period_kernels(law, 4)
    rates, edges = np.array([0.3, 0.0, 0.0, 0.0]), np.arange(5.0)
    shown = transient_displacement(part, rates, edges)[0]
    np.testing.assert_allclose(0.5 * 0.3 * after, shown)
    for k in range(4):
        probe = np.where(np.arange(4) == k, 1e-9, 0.0)
        extra = (transient_cost(part, rates + probe, edges) - transient_cost(part, rates, edges))[0]
        if k:
            own = transient_cost(part, probe, edges)[0]
            assert 0.5 * 0.3 * during[k] == pytest.approx((extra - own) / 1e-9, rel=1e-4)
    assert during[0] == pytest.approx(1.0)
    assert period_kernels(almgren_prior(), 3)[0].tolist() == [0.0] * 3


def test_propagators_are_charged_only_when_admissible():
    assert check_admissible(propagator()) == propagator()
    for bad in (
        propagator(exponent=0.5, decay=0.5),
        propagator(decay=None),
        propagator(temporary=-0.1),
        propagator(temporary=np.nan),
        propagator(decay=1.2),
        replace(almgren_prior(), exponent=0.0),
        replace(almgren_prior(), permanent=np.inf),
        propagator(permanent=0.1),
        propagator(kind="metaorder_prior"),
    ):
        with pytest.raises(CostLawError):
            check_admissible(bad)
