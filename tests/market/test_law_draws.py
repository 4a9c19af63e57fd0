"""Law mode under a calibrated cost law and under draws of it."""

from dataclasses import replace

import numpy as np
import pytest

from difffinance.config import LawConfig, MarketConfig
from difffinance.errors import CostLawError, InputError
from difffinance.market.costs import almgren_prior, draw_cost_laws, trade_cost_bps
from difffinance.market.environment import MarketEnvironment
from difffinance.market.law import expected_cost
from difffinance.market.law_session import law_of, law_of_costs

PRIOR = almgren_prior()
FADING = replace(PRIOR, kind="propagator", temporary=2.0, exponent=1.0, permanent=0.0, decay=0.3, correlation=0.5)
MARKET = MarketConfig(
    mode="law", law=LawConfig(volatility=0.0004, volume=500.0, half_spread_bps=0.0), step_seconds=60.0,
    session_seconds=23400.0, fee_bps=0.0, price_limit=None,
)  # fmt: skip
STEPS = 390


@pytest.mark.parametrize("law", [PRIOR, FADING], ids=["prior", "propagator"])
def test_an_even_programme_over_the_session_costs_what_the_law_says(law):
    config = MARKET.model_copy(update={"law": law_of_costs(law, MARKET)})
    share = 0.05
    trades = np.full((STEPS, 1), share * 500.0)
    cost = float(expected_cost(law_of(config), trades, 1.0)) / (trades.sum() * MARKET.start_price)
    assert 1e4 * cost == pytest.approx(float(trade_cost_bps(law, share, 0.0004 * STEPS**0.5)), rel=1e-6)


def buy(env, seed):
    env.reset(seed)
    action = np.zeros((1, 10))
    action[0, 0] = 0.3
    return float(sum(env.step(action).rewards[0] for _ in range(5)))


def test_episodes_spread_as_the_draws_and_a_seed_gives_its_draw():
    quiet = MARKET.model_copy(update={"law": MARKET.law.model_copy(update={"volatility": 1e-5})})
    laws = draw_cost_laws(PRIOR, np.random.default_rng(1), 3)

    def market(cost_laws):
        return MarketEnvironment(1, quiet, kinds=["speculator"], num_steps=10, cost_laws=cost_laws)

    mixed, single = market(laws), [market([law]) for law in laws]
    which = []
    for seed in range(12):
        earned = buy(mixed, seed)
        assert earned == buy(mixed, seed)
        which.append([earned == buy(env, seed) for env in single].index(True))
    assert set(which) == {0, 1, 2}


def test_a_snapshot_goes_on_under_its_own_law():
    laws = draw_cost_laws(FADING, np.random.default_rng(2), 4)
    first, second = (MarketEnvironment(1, MARKET, kinds=["speculator"], num_steps=10, cost_laws=laws) for _ in range(2))
    buy(first, 1)
    saved = first.snapshot()
    for seed in range(2, 6):
        buy(second, seed)
        second.restore(saved)
        state = second.step(np.full((1, 10), 0.0))
        first.restore(saved)
        assert first.step(np.full((1, 10), 0.0)).state.mid == state.state.mid


def test_only_laws_that_may_be_charged_and_only_without_a_book():
    with pytest.raises(CostLawError):
        law_of_costs(replace(PRIOR, kind="association"), MARKET)
    with pytest.raises(InputError, match="mode 'law'"):
        MarketEnvironment(1, cost_laws=[PRIOR])
