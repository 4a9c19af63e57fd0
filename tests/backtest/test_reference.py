import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from difffinance.backtest.reference import Charges, ReferenceMarket, replay_orders
from difffinance.errors import CostLawError, InputError
from difffinance.records import ImpactParameters
from tests.backtest.conftest import random_walk

FEES = {"fee_bps": 0.5, "half_spread_bps": 0.7}


def random_case(seed, columns=4, count=60):
    rng = np.random.default_rng(seed)
    walk = random_walk(count, seed)
    sigma, volume = rng.uniform(0.005, 0.02, count), rng.uniform(0.5e6, 2e6, count)
    capital = rng.uniform(1e6, 1e8, columns)
    quantity = rng.normal(0, 0.1, (count, columns)) * capital / walk["open"][:, None] / 5
    quantity[rng.random(quantity.shape) < 0.3] = 0.0
    return walk["open"], walk["close"], sigma, volume, capital, quantity


def plain_twin(quantity, raw_open, raw_close, sigma, volume, capital, law, fee, half_spread):
    """One column with plain numbers, cash counted in another order than the simulator does."""
    cash, position, shift, wealth = capital, 0.0, 0.0, []
    for q, o, c, s, v in zip(quantity, raw_open, raw_close, sigma, volume, strict=True):
        base = o * (1 + shift)
        rate = abs(q) / v
        worse = base * (half_spread + law.temporary * s * rate**law.exponent) + o * law.permanent * s * rate / 2
        fill = base + worse if q > 0 else base - worse
        cash -= fill * q + abs(q) * fill * fee
        position += q
        shift += law.permanent * s * q / v
        wealth.append(cash + position * c * (1 + shift))
    return np.array(wealth)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_plain_twin(seed, law):
    raw_open, raw_close, sigma, volume, capital, quantity = random_case(seed)
    charges = Charges.of_law(law, np.ones(4, dtype=bool), **FEES)
    ledger = replay_orders(quantity, raw_open, raw_close, sigma, volume, capital=capital, charges=charges)
    for j in range(4):
        twin = plain_twin(quantity[:, j], raw_open, raw_close, sigma, volume, capital[j], law, 0.5e-4, 0.7e-4)
        assert ledger.equity[:, j] == pytest.approx(twin, rel=1e-12)
    assert (ledger.quantity == quantity).all()


def test_wealth_lost_to_impact_is_the_sum_of_its_parts(law):
    raw_open, raw_close, sigma, volume, capital, quantity = random_case(11, columns=1)
    both = np.repeat(quantity, 2, axis=1)
    charges = Charges.of_law(law, np.array([True, False]), **FEES)
    ledger = replay_orders(both, raw_open, raw_close, sigma, volume, capital=np.repeat(capital, 2), charges=charges)
    lost = ledger.equity[:, 1] - ledger.equity[:, 0]

    def extra(name):
        return np.cumsum(getattr(ledger, name)[:, 0] - getattr(ledger, name)[:, 1])

    costs = extra("fees") + extra("spread_cost") + extra("temporary_cost") + extra("permanent_cost")
    assert lost == pytest.approx(costs - ledger.paper_gain(raw_open, raw_close)[:, 0], abs=1e-9 * capital[0])
    assert ledger.temporary_cost[:, 1].sum() == ledger.permanent_cost[:, 1].sum() == 0.0


def test_wealth_without_impact_is_profit_less_fees_and_spread():
    raw_open, raw_close, sigma, volume, capital, quantity = random_case(12, columns=2)
    charges = Charges.of_law(None, np.zeros(2, dtype=bool), **FEES)
    ledger = replay_orders(quantity, raw_open, raw_close, sigma, volume, capital=capital, charges=charges)
    profit = ledger.position * raw_close[:, None] - np.cumsum(quantity * raw_open[:, None], axis=0)
    costs = np.cumsum(ledger.fees + ledger.spread_cost, axis=0)
    assert ledger.equity == pytest.approx(capital + profit - costs, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_no_round_trip_pays_and_the_path_comes_back(seed, law):
    rng = np.random.default_rng(seed)
    count = 30
    quantity = rng.normal(0, 2e4, (count, 1))
    quantity[-1] -= quantity.sum()
    price, flat = np.full(count, 50.0), np.ones(count)
    free = dataclasses.replace(law, temporary=0.0)
    for charged in (law, free):
        charges = Charges.of_law(charged, np.array([True]), fee_bps=0, half_spread_bps=0)
        ledger = replay_orders(
            quantity, price, price, 0.01 * flat, 1e6 * flat, capital=np.array([1e9]), charges=charges
        )
        gain = ledger.equity[-1, 0] - 1e9
        assert ledger.shift[-1, 0] == pytest.approx(0.0, abs=1e-15)
        assert gain < -1.0 if charged is law else abs(gain) < 1e-5


def test_finer_slicing_converges(law):
    """The cost of a fixed programme falls towards its permanent half as the slices get finer."""
    costs = []
    for slices in (1, 4, 16, 64):
        quantity = np.full((slices, 1), 1e5 / slices)
        price, flat = np.full(slices, 50.0), np.ones(slices)
        charges = Charges.of_law(law, np.array([True]), fee_bps=0, half_spread_bps=0)
        ledger = replay_orders(
            quantity, price, price, 0.01 * flat, 1e6 * flat, capital=np.array([1e9]), charges=charges
        )
        costs.append(float(np.sum(quantity * (ledger.fill_price - 50.0))))
    limit = 1e5 * 50 * 0.314 * 0.01 * 0.1 / 2
    assert all(a > b > limit for a, b in pairwise(costs))


def test_an_order_moves_the_path_by_the_law(law):
    charges = Charges.of_law(law, np.array([True, False]), fee_bps=0, half_spread_bps=0)
    market = ReferenceMarket(np.array([100.0]), np.array([101.0]), capital=np.array([1e9, 1e9]), charges=charges)
    market.trade(np.array([5e4, 5e4]), sigma=0.02, volume=1e6)
    assert market.ledger.path_close[0] == pytest.approx([101 * (1 + 0.314 * 0.02 * 0.05), 101])
    worse = 0.142 * 0.02 * 0.05**0.6 + 0.314 * 0.02 * 0.05 / 2
    assert market.ledger.fill_price[0] == pytest.approx([100 * (1 + worse), 100])


def test_only_price_lists_are_charged(law):
    fit = ImpactParameters(1, 0.5, 0.1, 0.1, (0, 2), (0, 1), 0.3, 100, "gaussian")
    with pytest.raises(CostLawError, match="load_costs"):
        Charges.of_law(fit, np.array([True]), **FEES)  # type: ignore[arg-type]
    with pytest.raises(CostLawError):
        Charges.of_law(dataclasses.replace(law, kind="aggregate"), np.array([True]), **FEES)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Charges.of_law(None, np.array([True]), **FEES)


def test_ruin_is_an_error(law):
    charges = Charges.of_law(law, np.array([True]), **FEES)
    market = ReferenceMarket(np.array([100.0]), np.array([80.0]), capital=np.array([1e6]), charges=charges)
    with pytest.raises(InputError, match="ruined"):
        market.trade(np.array([6e4]), sigma=0.01, volume=1e7)
