import math

import pytest

from difffinance.agents.mean_reversion import MeanReversionTrader
from difffinance.errors import InputError
from tests.agents.views import action_of, check_twin, market_order


def twin(a, view, memory):
    keep, position = 0.5 ** (1 / a.half_life), view["position"]
    distance = memory["distance"] = keep * (memory.get("distance", 0.0) + view["return_1"])
    target = position
    if abs(distance) > max(a.entry * keep / math.sqrt(1 - keep**2), 2 * view["linear_cost"]):
        target = -math.copysign(min(abs(a.size * distance), a.max_position), distance)
        if target * position > 0 and abs(target) < abs(position):
            target = position
    elif distance * position >= 0:
        target = 0.0
    return market_order(view, max(-a.rate, min(target - position, a.rate)))


def test_policy_decides_as_its_plain_python_twin():
    check_twin(MeanReversionTrader(0), twin)


def test_it_sells_a_rise_and_closes_when_the_mid_is_back():
    trader = MeanReversionTrader(0, half_life=20.0)
    for _ in range(10):
        sold = action_of(trader, return_1=1.5)["participation"]
    assert sold == -trader.rate
    for _ in range(15):
        closing = action_of(trader, return_1=-1.5, position=-1.0)["participation"]
    assert closing == trader.rate


@pytest.mark.parametrize("name", ["half_life", "entry", "size", "max_position", "rate"])
def test_bad_parameters_are_refused(name):
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=name):
            MeanReversionTrader(0, **{name: bad})
