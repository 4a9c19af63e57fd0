import math

import numpy as np
import pytest

from difffinance.agents.pairs_arbitrageur import PairsArbitrageur
from difffinance.config import AgentsConfig, FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.instruments import InstrumentsEnvironment

BOTH = (MarketConfig(fee_bps=0.0), MarketConfig(fee_bps=0.0))
COUPLING = 2e-5  # price per unit


def coupled(impact=0.0, *, configs=BOTH, correlation=0.0, num_steps=30, seats=1, **options):
    return InstrumentsEnvironment(
        seats, configs, correlation=[[1.0, correlation], [correlation, 1.0]], kinds=["pairs"] * seats,
        cross_impact=[[0.0, impact], [impact, 0.0]], num_steps=num_steps, **options,
    )  # fmt: skip


def push(env, book, seed, participation=0.5, steps=15):
    """Mids (2,) and the units traded in `book` at the end of an episode in which one seat buys there."""
    env.reset(seed)
    for t in range(env.num_steps):
        actions = np.zeros((1, 2, 10))
        actions[0, book, 0] = participation * (t < steps)
        states = env.step(actions).states
    return np.array([s.mid for s in states]), env.books[book].venue.floor.inventory[0]


def test_without_coupling_one_book_never_feels_the_other():
    env = coupled(0.0)
    for book in (0, 1):
        other = 1 - book
        assert push(env, book, 3)[0][other] == push(env, book, 3, participation=0.0)[0][other]


@pytest.mark.slow
def test_measured_cross_impact_is_symmetric_and_of_the_size_that_was_put_in():
    env, crossed = coupled(COUPLING), []
    for book in (0, 1):
        sample = []
        for seed in range(16):
            (up, bought), (down, sold) = push(env, book, seed), push(env, book, seed, participation=-0.5)
            sample.append((up - down)[1 - book] / (bought - sold))
        crossed.append((np.mean(sample), np.std(sample, ddof=1) / math.sqrt(len(sample))))
    (first, first_se), (second, second_se) = crossed
    assert min(first - 3 * first_se, second - 3 * second_se) > 0
    assert abs(first - second) < 3 * math.hypot(first_se, second_se)
    # The value moves by the coupling times the flow that the order makes; the price follows part of the way at first.
    assert 0.3 * COUPLING < (first + second) / 2 < 2 * COUPLING


def test_values_move_together_as_the_correlation_says():
    env = coupled(correlation=0.8, num_steps=400)
    env.reset(1)
    values = [env.values]
    for _ in range(400):
        env.step(np.zeros((1, 2, 10)))
        values.append(env.values)
    moves = np.diff(np.log(values), axis=0)
    assert np.corrcoef(moves.T)[0, 1] == pytest.approx(0.8, abs=3 * (1 - 0.8**2) / 20)
    day = moves.std() * math.sqrt(BOTH[0].session_seconds / BOTH[0].step_seconds)
    assert day == pytest.approx(BOTH[0].flow.fundamental_volatility, rel=0.1)


@pytest.mark.slow
def test_pairs_arbitrageurs_tighten_the_gap_and_are_paid_for_it():
    """One value, two books that are slow to find it: with arbitrageurs the ratio of the prices strays less."""
    slow = MarketConfig(fee_bps=0.0, flow=FlowConfig(pull_scale=0.004, value_lean=0.3))
    env = coupled(configs=(slow, slow), correlation=1.0, num_steps=1200, seats=4)
    options = {"size": 0.3, "rate": 0.1, "max_position": 10.0, "entry": 3.0, "half_life": 1000.0}
    agents = [PairsArbitrageur(i, **options) for i in range(4)]
    strays, gains = np.zeros((2, 8)), []
    for seed in range(8):
        for trade in (0, 1):
            states, done, ratio = env.reset(seed), False, []
            for agent in agents:
                agent.reset(np.random.default_rng(0))
            while not done:
                actions = [agent.act(states) if trade else np.zeros((2, 10)) for agent in agents]
                states, _, done, _ = env.step(actions)
                ratio.append(math.log(states[0].mid / states[1].mid))
            strays[trade, seed] = np.std(ratio)
        gains.append(env.wealth.sum() - 4e6)
    tighter = strays[0] - strays[1]  # the same days with and without them
    assert tighter.mean() > 2 * tighter.std(ddof=1) / math.sqrt(8)
    assert np.mean(gains) > 0


def test_wealth_is_summed_capital_is_shared_and_rewards_add_up():
    env = coupled(seats=2, agents=AgentsConfig(capital=3e6))
    env.reset(1)
    assert env.wealth == pytest.approx([3e6, 3e6])
    total = np.zeros(2)
    for t in range(10):
        actions = np.zeros((2, 2, 10))
        actions[:, :, 0] = 0.3 if t < 5 else -0.2
        total += env.step(actions).rewards
    assert env.wealth - 3e6 == pytest.approx(total)
    assert total[0] != 0


def test_same_seed_same_bytes():
    env = coupled(COUPLING, correlation=0.5)
    first, second = (push(env, 0, 7)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, push(env, 0, 8)[0])


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"configs": BOTH[:1]}, "2 markets"),
        ({"configs": (BOTH[0], MarketConfig(mode="law"))}, "book"),
        ({"configs": (BOTH[0], MarketConfig(step_seconds=5.0))}, "equally long"),
        ({"configs": (BOTH[0], MarketConfig(flow_model="santa_fe"))}, "nothing would tie"),
        ({"correlation": [[1.0, 0.5], [0.4, 1.0]]}, "symmetric"),
        ({"correlation": [[1.0, 1.5], [1.5, 1.0]]}, "eigenvalue"),
        ({"correlation": [[1.0, math.nan], [math.nan, 1.0]]}, "finite"),
        ({"correlation": np.eye(3)}, "correlation"),
        ({"cross_impact": [[0.0, 1.0], [0.5, 0.0]]}, "symmetric"),
        ({"cross_impact": [[1.0, 0.0], [0.0, 0.0]]}, "diagonal"),
        ({"cross_impact": math.nan}, "cross_impact"),
        ({"correlation": "high"}, "correlation must be numbers"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_bad_markets_are_refused(bad, what):
    with pytest.raises(InputError, match=what):
        InstrumentsEnvironment(1, **{"configs": BOTH, "correlation": np.eye(2), "kinds": ["pairs"], **bad})


def test_bad_actions_are_refused_by_every_book_and_the_market_goes_on():
    env = coupled(num_steps=4)
    for call in (lambda: env.step(np.zeros((1, 2, 10))), lambda: env.flows, lambda: env.wealth):
        with pytest.raises(InputError, match="reset"):
            call()
    env.reset(0)
    for bad, reasons in (
        ([np.zeros(10)], ["action_shape"] * 2),
        ([ValueError("no")], ["agent_raised"] * 2),
        ([[np.full(10, np.nan), np.zeros(9)]], ["action_not_finite", "action_shape"]),
        ([[np.zeros(10), "x"]], [None, "action_shape"]),
    ):
        books = env.step(bad).info["books"]
        assert [book["refused"][0]["reason"] if book["refused"] else None for book in books] == reasons
    with pytest.raises(InputError, match="reset"):
        env.step(np.zeros((1, 2, 10)))
    env.reset(0)
    with pytest.raises(InputError, match="actions are of"):
        env.step(None)
    with pytest.raises(InputError, match="seed"):
        env.reset(-1)
