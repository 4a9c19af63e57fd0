import math

import pytest

from difffinance.agents.kyle import kyle_equilibrium
from difffinance.agents.kyle_informed import KyleInformedTrader
from difffinance.errors import InputError
from tests.agents.views import action_of, check_twin, market_order


def twin(a, view, memory):
    gap = view["signal"] / view["signal_decay"] if view["signal_decay"] > 0 else 0.0
    at = memory["at"] = memory.get("at", -1) + 1
    wish = kyle_equilibrium(a.auctions, a.prior_sd**2, a.auctions * a.noise**2).intensity[at % a.auctions] * gap
    return market_order(view, max(-a.max_position, min(view["position"] + wish, a.max_position)) - view["position"])


def test_policy_decides_as_its_plain_python_twin():
    check_twin(KyleInformedTrader(0, auctions=7), twin)


def test_orders_are_the_intensity_of_the_recursion_round_after_round():
    trader = KyleInformedTrader(0, auctions=5, noise=0.4, prior_sd=6.0, max_position=100.0)
    expected = kyle_equilibrium(5, 36.0, 5 * 0.16).intensity * 3.0
    sent = [action_of(trader, signal=0.3, signal_decay=0.1)["participation"] for _ in range(10)]
    assert sent == pytest.approx([*expected, *expected], rel=1e-12)
    assert expected[0] < expected[-1] / 2  # it hides until the last auction


@pytest.mark.parametrize("bad", [{"auctions": 0}, {"noise": math.nan}, {"prior_sd": -1.0}, {"max_position": 0.0}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        KyleInformedTrader(0, **bad)
