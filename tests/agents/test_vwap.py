import numpy as np
import pytest
from scipy.integrate import quad

from difffinance.agents.vwap import VwapAgent, u_shape
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow import activity, parameters


def test_the_u_shape_is_the_background_flows():
    config = MarketConfig()
    p, day = parameters(config), config.session_seconds
    expected = [quad(lambda t: activity(p, t), i * day / 7, (i + 1) * day / 7)[0] / (day / 7) for i in range(7)]
    assert u_shape(7, config.flow.intraday) == pytest.approx(expected, rel=1e-9)


def test_parts_are_proportional_to_the_profile():
    agent = VwapAgent(0, quantity=4.0, profile=[1.0, 0.0, 2.0, 5.0])
    assert np.diff(agent.done_by, prepend=0) == pytest.approx(np.array([1, 0, 2, 5]) / 8)
    assert np.diff(VwapAgent(0, steps=6).done_by, prepend=0) == pytest.approx(u_shape(6, 0.4) / 6)


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [[1.0]]])
def test_bad_profiles_are_refused(bad):
    with pytest.raises(InputError, match="profile"):
        VwapAgent(0, profile=bad)


def test_a_bad_depth_is_refused():
    with pytest.raises(InputError, match="depth"):
        u_shape(5, 1.0)
