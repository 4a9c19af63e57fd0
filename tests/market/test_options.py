import math
from importlib import import_module
from inspect import signature

import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.errors import InputError
from difffinance.market.options import check_count, check_not_negative, check_positive, whole
from difffinance.participants import PARTICIPANTS


def options_of(kind):
    module, _, name = PARTICIPANTS[kind].agent.rpartition(".")
    return [o for o in signature(getattr(import_module(module), name)).parameters if o not in ("seat", "model")]


@pytest.mark.parametrize("kind", PARTICIPANTS)
def test_no_option_of_any_kind_takes_what_is_no_number(kind):
    for option in options_of(kind):
        for bad in (math.nan, "x", [[1.0]]):
            with pytest.raises(InputError, match=r"is not allowed|is not known|profile|a whole number"):
                AgentFactory.create(kind, **{option: bad})


@pytest.mark.parametrize("kind", ["market_maker", "speculator", "arbitrageur", "informed"])
def test_no_option_of_the_first_kinds_is_negative(kind):
    for option in options_of(kind):
        with pytest.raises(InputError, match=f"{option} (=|is) -1.0"):
            AgentFactory.create(kind, **{option: -1.0})


def test_a_trend_is_no_longer_than_what_a_view_shows():
    assert AgentFactory.create("speculator", lookback=10).lookback == 10
    with pytest.raises(InputError, match=r"lookback = 11 .* up to 10"):
        AgentFactory.create("speculator", lookback=11)


def test_counts_are_whole():
    assert check_count(3.0, "steps") == 3
    for bad in (0, 1.5, True, math.inf, "3"):
        with pytest.raises(InputError, match=r"steps is .* a whole number, 1 or more"):
            check_count(bad, "steps")
    assert whole(np.int8(0), "seed") == 0 and whole(2**70, "seed") == 2**70


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
