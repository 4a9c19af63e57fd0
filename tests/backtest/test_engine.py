import numpy as np
import pytest

from difffinance.backtest.engine import largest_gap, load_vectorbt, run_vectorbt
from difffinance.backtest.reference import Charges, replay_orders
from difffinance.errors import InputError
from tests.backtest.test_reference import FEES, random_case

pytestmark = pytest.mark.slow  # importing vectorbt takes seconds


def run(ledger, capital, **more):
    return run_vectorbt(
        ledger.quantity, ledger.path_open, ledger.path_close, ledger.slippage, 0.5e-4, capital=capital, **more
    )


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_reference(seed, law):
    raw_open, raw_close, sigma, volume, capital, quantity = random_case(seed, columns=6, count=250)
    charges = Charges.of_law(law, np.arange(6) % 2 == 0, **FEES)
    ledger = replay_orders(quantity, raw_open, raw_close, sigma, volume, capital=capital, charges=charges)
    found = run(ledger, capital, credit=3 * capital)
    assert largest_gap(found.equity, ledger.equity) < 1e-9
    assert found.position == pytest.approx(ledger.position, rel=1e-9, abs=1e-6)
    assert found.cash == pytest.approx(ledger.cash, rel=1e-9, abs=1e-3)


def test_an_order_that_cash_does_not_cover_is_an_error():
    price = np.full((3, 1), 100.0)
    quantity = np.array([[0.0], [20.0], [0.0]])
    with pytest.raises(InputError, match=r"filled 10 of an order of 20 in bar 1"):
        run_vectorbt(quantity, price, price, 0 * price, 0.0, capital=np.array([1e3]))
    found = run_vectorbt(quantity, price, price, 0 * price, 0.0, capital=np.array([1e3]), credit=np.array([1e3]))
    assert found.cash[-1] == pytest.approx([-1e3])
    assert found.equity[-1] == pytest.approx([1e3])


def test_an_order_at_a_missing_price_is_an_error():
    price = np.array([[100.0], [np.nan], [100.0]])
    close = np.full((3, 1), 100.0)
    with pytest.raises(InputError, match="bar 1"):
        run_vectorbt(np.ones((3, 1)), price, close, 0 * close, 0.0, capital=np.array([1e4]))


def test_times_that_run_backwards_are_refused():
    price = np.full((2, 1), 100.0)
    ts = np.array(["2020-01-02", "2020-01-01"], dtype="datetime64[ns]")
    with pytest.raises(InputError, match="backwards"):
        run_vectorbt(0 * price, price, price, 0 * price, 0.0, capital=np.array([1e4]), ts=ts)


def test_a_year_has_252_days():
    vbt = load_vectorbt()
    assert vbt.settings["returns"]["year_freq"] == "252 days"
    price = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, (300, 1)), axis=0))
    quantity = np.zeros((300, 1))
    quantity[0] = 0.5
    found = run_vectorbt(quantity, price, price, 0 * price, 0.0, capital=np.array([1.0]))
    returns = np.diff(np.concatenate([[1.0], found.equity[:, 0]])) / np.concatenate([[1.0], found.equity[:-1, 0]])
    ours = returns.mean() / returns.std(ddof=1) * np.sqrt(252)
    assert found.portfolio.sharpe_ratio().to_numpy()[0] == pytest.approx(ours, rel=1e-10)
