import numpy as np
import pytest

from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.settlement import EVENT

MARKET_ORDER = 2


def arrivals(env, steps, seats=None):
    """(seat, seconds) of each market order that a seat sent; everyone buys one step volume in the first step only."""
    found = []
    for k in range(steps):
        table = np.zeros((env.num_agents, 10))
        table[:, 0] = 0.5 if k == 0 else 0.0
        env.step(table)
        mine = env.events[(env.events["owner"] < env.num_agents) & (env.events["kind"] == MARKET_ORDER)]
        found += [(int(e["owner"]), round(e["ts"] / 1e9, 6)) for e in mine]
    return found


def test_orders_arrive_when_their_latency_is_over_and_in_that_order():
    env = MarketEnvironment(5, num_steps=8, latency=(0.0, 2.5, 0.0, 10.0, 34.0))
    env.reset(seed=1)
    found = arrivals(env, 6)
    assert sorted(found[:2]) == [(0, 0.0), (2, 0.0)]
    assert found[2:] == [(1, 2.5), (3, 10.0), (4, 34.0)]
    assert env.events.dtype == EVENT


def test_the_background_trades_while_an_order_is_on_its_way():
    env = MarketEnvironment(1, num_steps=4, latency=9.0)
    env.reset(seed=1)
    env.step(np.r_[0.5, np.zeros(9)][None])
    owner, ts = env.events["owner"], env.events["ts"]
    at = int(np.flatnonzero(owner == 0)[0])
    assert at > 5 and (np.diff(ts) >= 0).all() and ts[at - 1] <= 9e9 <= ts[at + 1]


def test_prices_and_sizes_refer_to_the_moment_of_the_decision():
    env = MarketEnvironment(1, num_steps=20, latency=35.0)
    state, unit = env.reset(seed=2), env.step_volume
    table = np.zeros((1, 10))
    table[0, [1, 2]] = 30.0, 0.5
    env.step(table)
    for _ in range(3):
        env.step(np.zeros((1, 10)))
    sent = env.events[env.events["owner"] == 0]
    assert sent["price"].tolist() == [int(np.floor(round(state.mid / 0.01, 6) - 30.0 + 1e-6))]
    assert sent["quantity"].tolist() == [int(0.5 * unit + 1e-6)]


def test_no_latency_is_the_market_as_it_was():
    def play(**options):
        env = MarketEnvironment(3, num_steps=10, **options)
        env.reset(seed=4)
        rng = np.random.default_rng(0)
        return [env.step(rng.normal(size=(3, 10)) * np.r_[1, np.zeros(9)]).state.mid for _ in range(10)]

    assert play() == play(latency=0.0) == play(latency=(0.0, 0.0, 0.0))
    assert play() != play(latency=5.0)


@pytest.mark.parametrize("bad", [-1.0, np.nan, (1.0, 2.0), 1e9, "soon"])
def test_wrong_latencies_say_what_is_allowed(bad):
    with pytest.raises(InputError, match="latency"):
        MarketEnvironment(3, num_steps=10, latency=bad)
