import math

import numpy as np
import pytest

from difffinance.agents.noise_trader import NoiseTrader
from difffinance.errors import InputError
from tests.agents.views import action_of


def orders(trader, n=4000, seed=1, **numbers):
    trader.reset(np.random.default_rng(seed))
    return np.array([action_of(trader, **numbers)["participation"] for _ in range(n)])


def test_it_trades_as_often_and_as_much_as_it_says_without_a_side():
    trader = NoiseTrader(0, rate=0.3, size=0.5, log_sd=0.6, max_position=1e9)
    sent = orders(trader)
    traded = sent[sent != 0]
    assert len(traded) / len(sent) == pytest.approx(0.3, abs=3 * math.sqrt(0.21 / 4000))
    log = np.log(np.abs(traded))
    assert log.mean() == pytest.approx(math.log(0.5), abs=3 * 0.6 / math.sqrt(len(log)))
    assert log.std() == pytest.approx(0.6, abs=3 * 0.6 / math.sqrt(2 * len(log)))
    assert abs(np.sign(traded).mean()) < 3 / math.sqrt(len(traded))


def test_same_seed_same_orders_and_no_order_beyond_its_limit():
    trader = NoiseTrader(0, rate=1.0, size=2.0, max_position=1.0)
    assert np.array_equal(orders(trader, 50), orders(trader, 50))
    assert (orders(trader, 200, position=0.9) <= 0.1 + 1e-12).all()


@pytest.mark.parametrize("bad", [{"rate": 1.5}, {"rate": math.nan}, {"size": 0.0}, {"log_sd": -1.0},
                                 {"max_position": math.inf}])  # fmt: skip
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        NoiseTrader(0, **bad)
