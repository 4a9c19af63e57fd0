import math

import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.agents.options import check_not_negative, check_positive
from difffinance.errors import InputError


def test_the_first_bad_number_is_named():
    check_positive(rate=1e-9, size=1e9)
    check_not_negative(entry=0.0)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=f"size = {bad} is not allowed. Allowed: finite, above 0."):
            check_positive(rate=1.0, size=bad, other=-1.0)
    for bad in (-1e-9, math.inf, math.nan):
        with pytest.raises(InputError, match=f"entry = {bad} is not allowed. Allowed: finite, 0 or more."):
            check_not_negative(entry=bad)


@pytest.mark.parametrize("kind", ["mean_reversion", "pairs"])
@pytest.mark.parametrize("name", ["half_life", "size", "max_position", "rate", "entry"])
def test_options_of_traders_on_a_gap(kind, name):
    with pytest.raises(InputError, match=f"{name} = -1"):
        AgentFactory.create(kind, **{name: -1.0})
    assert AgentFactory.create(kind, entry=0.0).entry == 0.0
