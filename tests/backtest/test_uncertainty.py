from dataclasses import replace

import numpy as np
import pytest

from difffinance.agents.naive import NaiveTrader
from difffinance.backtest.capacity import capacity_curve
from difffinance.backtest.reference import Charges, replay_orders
from difffinance.backtest.uncertainty import replay_band
from difffinance.backtest.walk_forward import run_walk_forward
from difffinance.config import BacktestConfig
from difffinance.errors import InputError
from difffinance.market.costs import draw_cost_laws
from difffinance.market.transient import transient_cost, transient_law
from difffinance.records import CostLaw
from tests.backtest.conftest import random_walk

PROPAGATOR = CostLaw(
    "propagator", 0.5, 1.0, 0.0, (0.3, 0.8), (1.0, 1.0), (0.0, 0.0), "test", decay=0.5, decay_ci=(0.4, 0.6)
)
FREE = {"fee_bps": 0.0, "half_spread_bps": 0.0}


def test_a_propagator_charges_what_its_kernel_says():
    """Flat prices: what the simulator takes from wealth is the exact cost of the programme in continuous time."""
    v = np.array([0.05, 0.0, 0.02, -0.04, -0.03])
    ones = np.ones(5)
    charges = Charges.of_law(PROPAGATOR, np.ones(1, dtype=bool), **FREE)
    ledger = replay_orders(
        v[:, None], 100 * ones, 100 * ones, 0.01 * ones, ones, capital=np.array([1e3]), charges=charges
    )
    cost = transient_cost(transient_law(PROPAGATOR), v, np.arange(6.0))[0]
    # To first order in the displacement: the simulator's own impact is a fraction of the moved price.
    assert 1e3 - ledger.cash[-1, 0] == pytest.approx(100 * 0.01 * cost, rel=0.02)
    assert ledger.position[-1, 0] == pytest.approx(0.0)
    assert abs(ledger.shift[-1, 0]) < abs(ledger.shift[0, 0])


def test_a_propagator_fades_and_a_permanent_part_does_not(law):
    v = np.zeros((300, 1))
    v[0] = 0.05
    flat = np.full(300, 100.0)
    for each, left in ((PROPAGATOR, 0.05), (law, 1.0)):
        charges = Charges.of_law(each, np.ones(1, dtype=bool), **FREE)
        shift = replay_orders(v, flat, flat, flat / 1e4, flat / 100, capital=np.array([1e3]), charges=charges).shift
        assert shift[-1, 0] / shift[0, 0] == pytest.approx(left, abs=0.03)


def test_draws_have_the_stated_errors(law):
    rng = np.random.default_rng(3)
    drawn = draw_cost_laws(law, rng, 4000)
    for name in ("temporary", "exponent", "permanent"):
        values = np.array([getattr(d, name) for d in drawn])
        low, high = getattr(law, name + "_ci")
        assert values.mean() == pytest.approx(getattr(law, name), abs=0.02 * (high - low))
        assert values.std() == pytest.approx((high - low) / 3.92, rel=0.05)
    fading = draw_cost_laws(replace(PROPAGATOR, correlation=-0.8), rng, 4000)
    found = np.corrcoef([np.log(d.temporary) for d in fading], [d.decay for d in fading])[0, 1]
    assert found == pytest.approx(-0.8, abs=0.03)
    assert np.std([d.decay for d in fading]) == pytest.approx(0.2 / 3.92, rel=0.05)
    assert {d.exponent for d in fading} == {1.0}


@pytest.mark.parametrize("fades", [False, True])
def test_band_holds_each_draw_replayed_alone(law, fades):
    law = PROPAGATOR if fades else law
    walk, rng = random_walk(80, 5), np.random.default_rng(4)
    quantity, sigma, volume = 2e3 * rng.standard_normal(80), np.full(80, 0.01), np.full(80, 1e6)
    drawn = draw_cost_laws(law, rng, 5)
    prices = (walk["open"], walk["close"], sigma, volume)
    band = replay_band(quantity, *prices, drawn, capital=1e6, periods_per_year=252, **FREE)
    for i, each in enumerate(drawn):
        charges = Charges.of_law(each, np.ones(1, dtype=bool), **FREE)
        alone = replay_orders(quantity[:, None], *prices, capital=np.array([1e6]), charges=charges)
        returns = np.diff(np.append(1e6, alone.equity[:, 0])) / np.append(1e6, alone.equity[:-1, 0])
        assert band.total_return[i] == pytest.approx(alone.equity[-1, 0] / 1e6 - 1)
        assert band.sharpe[i] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))
    assert band.ruined == 0
    with pytest.raises(InputError, match="all fade or all not"):
        Charges.of_laws([PROPAGATOR, replace(drawn[0], decay=None, kind="metaorder_prior")], **FREE)


def test_ruin_under_some_draws_is_counted(law):
    walk = random_walk(40, 6)
    quantity = np.where(np.arange(40) % 2 == 0, 1e5, -1e5)
    prices = (walk["open"], walk["close"], np.full(40, 0.01), np.full(40, 1e5))
    laws = [law, replace(law, temporary=60.0)]
    band = replay_band(quantity, *prices, laws, capital=1e7, periods_per_year=252, **FREE)
    assert band.ruined == 1 and len(band.sharpe) == 1


def test_capacity_curve_shows_the_band(bars, law):
    config = BacktestConfig(estimation_bars=320)
    laws = draw_cost_laws(law, np.random.default_rng(5), 40)
    run = run_walk_forward(
        {"naive": NaiveTrader()}, bars, costs=law, config=config, signals=("momentum",), capitals=(1e5, 1e8), draws=laws
    )
    table = capacity_curve(run).sort("capital")
    width = (table["sharpe_upper"] - table["sharpe_lower"]).to_list()
    assert width[1] > 3 * width[0] > 0  # what is not known of costs matters more, the more is traded
    inside = (table["sharpe_lower"] <= table["sharpe"]) & (table["sharpe"] <= table["sharpe_upper"])
    assert inside.all()
