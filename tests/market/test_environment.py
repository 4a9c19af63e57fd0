import numpy as np
import pytest

from difffinance.config import AgentsConfig, FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.enforcement import with_trading_day
from difffinance.market.environment import MarketEnvironment, read_actions
from difffinance.market.observation import (
    ACTION_INDEX,
    CONSTRAINT_INDEX,
    KINDS,
    OPPONENT_INDEX,
    STATE_INDEX,
)
from difffinance.market.rules import UNLIMITED, session_rules


def actions(n, **numbers):
    table = np.zeros((n, 10))
    for name, value in numbers.items():
        table[:, ACTION_INDEX[name]] = value
    return table


def number(state, seat, name):
    return state.views[seat][STATE_INDEX[name]]


@pytest.fixture
def env():
    env = MarketEnvironment(num_agents=5, seed=3, num_steps=40)
    env.reset()
    return env


def random_actions(rng, n):
    table = actions(n)
    table[:, 0] = rng.normal(size=n)
    table[:, [1, 3, 5, 7]] = rng.integers(-3, 8, (n, 4))
    table[:, [2, 4, 6, 8]] = rng.random((n, 4)) * 0.5
    table[:, 9] = rng.random(n)
    return table


def test_cash_and_inventory_are_conserved_to_the_unit(env):
    rng, floor = np.random.default_rng(0), env.venue.floor
    cash, inventory = floor.cash.sum(), floor.inventory.sum()
    for _ in range(40):
        env.step(random_actions(rng, 5))
        floor = env.venue.floor
        assert (floor.cash.sum(), floor.inventory.sum()) == (cash, inventory)
    assert np.abs(floor.inventory[:5]).sum() > 0


def test_rewards_add_up_to_the_change_of_wealth(env):
    rng, start, total = np.random.default_rng(0), env.wealth, np.zeros(5)
    for _ in range(20):
        total += env.step(random_actions(rng, 5)).rewards
    assert total == pytest.approx(env.wealth - start, abs=1e-6)


def test_resting_quantities_agree_with_the_book(env):
    rng = np.random.default_rng(1)
    for _ in range(20):
        state = env.step(random_actions(rng, 5)).state
    orders = env.venue.floor.orders
    for seat in range(5):
        for column, side in enumerate((1, -1)):
            mine = (orders["owner"] == seat) & (orders["side"] == side)
            assert env.venue.floor.resting[seat, column] == orders["quantity"][mine].sum()
        assert number(state, seat, "open_buys") == pytest.approx(env.venue.floor.resting[seat, 0] / env.step_volume)


def test_the_book_never_crosses_and_levels_are_ordered(env):
    rng = np.random.default_rng(2)
    for _ in range(40):
        depth = env.step(random_actions(rng, 5)).state.depth
        assert depth[0, 0, 0] < depth[1, 0, 0]
        bids, asks = depth[0, depth[0, :, 1] > 0, 0], depth[1, depth[1, :, 1] > 0, 0]
        assert (np.diff(bids) < 0).all() and (np.diff(asks) > 0).all()


def test_same_seed_same_bytes_and_other_seed_other_market():
    def play(seed):
        env, rng = MarketEnvironment(num_agents=3, num_steps=20), np.random.default_rng(0)
        env.reset(seed=seed)
        steps = [env.step(random_actions(rng, 3)) for _ in range(20)]
        return b"".join(np.array(s.state.views).tobytes() + s.rewards.tobytes() for s in steps)

    assert play(1) == play(1)
    assert play(1) != play(2)


@pytest.mark.parametrize(
    "config",
    [MarketConfig(price_limit=None), MarketConfig(rulebook="us.tier1", session_seconds=14400),
     MarketConfig(flow_model="fitted")],
)  # fmt: skip
def test_an_episode_after_others_is_that_of_a_new_market(config):
    used, new = (MarketEnvironment(num_agents=3, config=config, num_steps=8) for _ in range(2))
    used.reset(seed=1)
    used.venue.book.cover(1, 30_000)  # a window of prices of another width, and arrays of another length
    used.venue.make_room(20_000)
    rng = np.random.default_rng(0)
    for _ in range(8):
        used.step(random_actions(rng, 3))
    states = [env.reset(seed=2) for env in (used, new)]
    for table in (random_actions(rng, 3) for _ in range(8)):
        for name in ("views", "opponents", "constraints", "depth"):
            assert np.array_equal(*(getattr(state, name) for state in states))
        steps = [env.step(table) for env in (used, new)]
        assert np.array_equal(steps[0].rewards, steps[1].rewards) and steps[0].info == steps[1].info
        assert used.events.tobytes() == new.events.tobytes() and used.fills.tobytes() == new.fills.tobytes()
        states = [step.state for step in steps]
    assert used.venue.book.levels.shape == new.venue.book.levels.shape


def test_episodes_without_a_seed_differ_but_are_reproducible():
    mids = [[env.reset().mid for _ in range(3)] for env in (MarketEnvironment(2, seed=5), MarketEnvironment(2, seed=5))]
    assert mids[0] == mids[1]
    assert len(set(mids[0])) > 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.zeros(9), "action_shape"),
        ("text", "action_shape"),
        (["1"] * 10, "action_shape"),
        (np.zeros(10, complex), "action_shape"),
        (np.array(["1"] * 10, object), "action_shape"),
        ([10**400, *[0] * 9], "action_shape"),
        (np.full(10, np.nan), "action_not_finite"),
        (np.full(10, -5.0), "action_off_range"),
        (np.r_[2e3, np.zeros(9)], "action_off_range"),
    ],
)
def test_bad_actions_are_refused_by_name_and_the_market_goes_on(env, bad, reason):
    good = actions(5, participation=0.5)
    info = env.step([good[0], bad, *good[2:]]).info
    assert info["refused"] == [{"seat": 1, "reason": reason, "count": 1}]
    assert env.refusals == {reason: 1}
    assert env.venue.floor.inventory[1] == 0 and env.venue.floor.inventory[0] > 0
    assert info["trades"] > 0


def test_missing_and_surplus_actions_are_refused(env):
    assert [r["seat"] for r in env.step(actions(3)).info["refused"]] == [3, 4]
    assert [r["seat"] for r in env.step(actions(6)).info["refused"]] == [5]


@pytest.mark.parametrize(
    ("config", "numbers", "reason"),
    [
        ({"price_limit": 0.001}, {"bid_offset_1": 500, "bid_quantity_1": 1}, "price_limit"),
        ({"max_position": 100}, {"participation": 2}, "position_limit"),
        ({"max_order": 100}, {"participation": -2}, "max_order"),
        ({"max_open": 100}, {"ask_offset_1": 5, "ask_quantity_1": 2}, "max_open"),
        ({"short_allowed": False}, {"participation": -1}, "position_limit"),
        ({"max_leverage": 0.01}, {"participation": 2}, "leverage"),
        ({"max_resting_orders": 1}, {"bid_quantity_1": 0.1, "bid_offset_1": 90, "bid_quantity_2": 0.1,
                                     "bid_offset_2": 90}, "too_many_orders"),
    ],
)  # fmt: skip
def test_each_rule_refuses_by_name(config, numbers, reason):
    env = MarketEnvironment(1, MarketConfig(**config), num_steps=5)
    env.reset(seed=1)
    info = env.step(actions(1, **numbers)).info
    assert [r["reason"] for r in info["refused"]] == [reason]


def test_t_plus_one_lets_only_yesterdays_shares_go():
    env = MarketEnvironment(1, MarketConfig(t_plus_one=True), agents=AgentsConfig(inventory=400), num_steps=5)
    env.reset(seed=1)
    unit = env.step_volume
    env.step(actions(1, participation=300 / unit))
    assert env.venue.floor.inventory[0] == 700
    assert env.constraints[0, CONSTRAINT_INDEX["sellable"]] == pytest.approx(400 / env.step_volume)
    info = env.step(actions(1, participation=-401 / env.step_volume)).info
    assert info["refused"][0]["reason"] == "not_sellable"
    assert env.step(actions(1, participation=-400 / env.step_volume)).info["refused"] == []
    assert env.venue.floor.inventory[0] == 300


def test_fees_are_bps_of_value():
    def wealth(fee):
        env = MarketEnvironment(1, MarketConfig(fee_bps=fee), num_steps=5)
        env.reset(seed=1)
        env.step(actions(1, participation=1.0))
        return env, env.wealth[0]

    (env, with_fee), (_, without) = wealth(10.0), wealth(0.0)
    value = sum(f["price"] * f["quantity"] for f in env.fills if f["taker"] == env.fills[0]["taker"]) * 0.01
    assert without - with_fee == pytest.approx(value * 10 / 1e4)


def test_signals_are_private_and_stay_in_their_own_view():
    env = MarketEnvironment(5, num_steps=5)
    state = env.reset(seed=1)
    seen = [number(state, seat, "signal") for seat in range(5)]
    assert seen[KINDS.index("market_maker")] == seen[KINDS.index("speculator")] == 0
    assert seen[KINDS.index("arbitrageur")] == seen[KINDS.index("diffusion")]  # one public estimate
    private = seen[KINDS.index("informed")]
    assert private not in (0, seen[KINDS.index("arbitrageur")])
    for seat in range(4):
        if seat != KINDS.index("informed"):
            view = state.view(seat)
            assert not np.isclose(np.concatenate([view.state, view.opponents, view.constraints]), private).any()


def test_the_value_and_signals_do_not_leak_through_info(env):
    assert set(env.step(actions(5)).info) == {"refused", "trades", "seconds", "phase"}


def test_informed_signal_forecasts_the_next_return():
    env, forecasts, moves = MarketEnvironment(4), [], []
    for seed in range(3):
        state = env.reset(seed=seed)
        for _ in range(env.num_steps):
            forecasts.append(number(state, 3, "signal"))
            after = env.step(actions(4)).state
            moves.append(np.log(after.mid / state.mid) / number(state, 3, "volatility"))
            state = after
    slope = np.polyfit(forecasts, moves, 1)[0]
    assert 0.7 < slope < 1.3  # a forecast, not only a correlate


def test_state_numbers_agree_with_an_independent_reckoning(env):
    rng = np.random.default_rng(4)
    mids = [env.state().mid]
    for _ in range(12):
        state = env.step(random_actions(rng, 5)).state
        mids.append(state.mid)
    unit, sigma, mid = env.step_volume, number(state, 0, "volatility"), state.mid
    returns = np.diff(np.log(mids))[::-1][:10] / sigma
    assert [number(state, 2, f"return_{i}") for i in range(1, 11)] == pytest.approx(returns.tolist())
    signed = sum(int(f["quantity"]) * int(env.venue.floor.orders[f["taker"]]["side"]) for f in env.fills)
    assert number(state, 0, "flow_1") == pytest.approx(signed / unit)
    assert number(state, 0, "volume_1") == pytest.approx(state.last_volume / unit)
    assert number(state, 1, "position") == pytest.approx(env.venue.floor.inventory[1] / unit)
    assert number(state, 1, "profit") == pytest.approx(env.wealth[1] / env.venue.floor.rates[1, 3] - 1)
    assert number(state, 1, "capital") == pytest.approx(env.wealth[1] / (unit * mid))
    assert number(state, 0, "spread") == pytest.approx(state.spread / mid / sigma)
    bid, ask = state.depth[0, 0], state.depth[1, 0]
    micro = (bid[0] * ask[1] + ask[0] * bid[1]) / (bid[1] + ask[1])
    assert number(state, 0, "microprice") * state.spread == pytest.approx(micro - mid, abs=1e-9)
    assert number(state, 0, "upper_limit") == pytest.approx((110 - mid) / mid / sigma)
    assert state.constraints[0][CONSTRAINT_INDEX["tick"]] == pytest.approx(0.01 / mid / sigma)


def test_opponents_are_pooled_by_kind_without_oneself():
    kinds = ("market_maker", "market_maker", "speculator")
    env = MarketEnvironment(3, kinds=kinds, num_steps=5)
    env.reset(seed=1)
    table = actions(3)
    table[:, 0] = [1.0, -2.0, 0.5]
    state = env.step(table).state
    unit, tally = env.step_volume, env.venue.floor.tally

    def opponent(seat, name):
        return state.opponents[seat][OPPONENT_INDEX[name]]

    assert [opponent(s, "market_maker_count") for s in range(3)] == [1, 1, 2]
    assert [opponent(s, "speculator_count") for s in range(3)] == [1, 1, 0]
    assert opponent(0, "market_maker_sell_volume") == pytest.approx(tally[1, 1] / unit)
    assert opponent(2, "market_maker_buy_volume") == pytest.approx((tally[0, 0] + tally[1, 0]) / 2 / unit)


def test_growth_without_price_limits_loses_nothing():
    env = MarketEnvironment(2, MarketConfig(price_limit=None), num_steps=300)
    env.reset(seed=1)
    for _ in range(300):
        env.step(actions(2, participation=3.0))  # buy until leverage stops it
    assert env.venue.floor.cash.sum() == round(2e6 / 0.01)
    assert env.venue.floor.inventory.sum() == 0


@pytest.mark.parametrize(("lives", "cancel_rate", "filled"), [(0.5, 0.013, 0.5), (5.0, 0.013, 5.0), (5.0, 0.001, 0.9)])
def test_the_background_fills_the_book_for_that_many_lives(lives, cancel_rate, filled):
    """Orders that arrive at one rate and leave at another are Poisson in number (M/M/inf queue); 900 s at most."""
    flow = FlowConfig(market_rate=0.0, cancel_rate=cancel_rate, intraday=0.0, warm_up_lives=lives)
    env, counts = MarketEnvironment(1, MarketConfig(flow=flow), num_steps=1), []
    for seed in range(60):
        env.reset(seed=seed)
        counts.append((env.session.venue.floor.orders["quantity"] > 0).sum())
    mean = flow.limit_rate / flow.cancel_rate * (1 - np.exp(-filled * (1 - flow.partial_cancels)))
    assert np.mean(counts) == pytest.approx(mean / (1 - flow.partial_cancels), abs=4 * (mean / 60) ** 0.5)


def test_price_limit_holds_against_one_sided_pressure():
    config = MarketConfig(price_limit=0.005, max_leverage=1e6)
    env = MarketEnvironment(2, config, agents=AgentsConfig(capital=1e9), num_steps=60)
    env.reset(seed=1)
    for _ in range(60):
        state = env.step(actions(2, participation=6.0)).state
        assert len(env.fills) == 0 or (env.fills["price"] <= 10050).all()
    assert state.constraints[0][CONSTRAINT_INDEX["can_buy"]] in (0.0, 1.0)
    assert state.ask <= 100.50 + 1e-9


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: MarketEnvironment(2.5), "num_agents is 2.5"),
        (lambda: MarketEnvironment(2, seed=1.5), "seed is 1.5"),
        (lambda: MarketEnvironment(2, seed=-1), "seed is -1"),
        (lambda: MarketEnvironment(2, num_steps=1.5), "num_steps is 1.5"),
        (lambda: MarketEnvironment(2, num_steps=0), "num_steps is 0"),
        (lambda: MarketEnvironment(2).reset(seed=-1), "seed is -1"),
        (lambda: MarketEnvironment(2, MarketConfig(mode="law")).scale, "no book"),
        (lambda: MarketEnvironment(2, {"tick_size": 0.01}), "Allowed: MarketConfig"),
        (lambda: MarketEnvironment(2, {}), "Allowed: MarketConfig"),
        (lambda: MarketEnvironment(2, agents=0), "Allowed: MarketConfig, AgentsConfig"),
        (lambda: MarketEnvironment(2, rewards=5), "got int"),
        (lambda: MarketEnvironment(2, MarketConfig(lot_size=1e9)), "less than a tick on a lot"),
        (lambda: MarketEnvironment(2).state(), "Call reset"),
        (lambda: MarketEnvironment(2).wealth, "Call reset"),
        (lambda: MarketEnvironment(2).steps_done, "Call reset"),
        (lambda: MarketEnvironment(2).step_volume, "Call reset"),
        (lambda: MarketEnvironment(2).venue, "Call reset"),
        (lambda: MarketEnvironment(2).reset().view(2), "seat 2 .* Allowed: 0 to 1"),
        (lambda: MarketEnvironment(2).reset().view(-1), "seat -1"),
        (lambda: MarketEnvironment(2).reset().view("0"), "seat 0 .* Allowed: 0 to 1"),
        (lambda: read_actions(None, 2), "NoneType"),
        (lambda: read_actions(5, 2), "one action per seat"),
        (lambda: read_actions((action for action in actions(2)), 2), "generator"),
        (lambda: read_actions({"a": 1}, 2), "dict"),
    ],
)
def test_what_is_no_number_or_no_table_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


@pytest.mark.parametrize(("rulebook", "seconds"), [("cn.main", 14400), ("hk.large", 20400), ("jp", 19800)])
def test_a_rulebook_brings_its_day_unless_another_is_set(rulebook, seconds):
    assert with_trading_day(MarketConfig(rulebook=rulebook)).session_seconds == seconds
    assert with_trading_day(MarketConfig(rulebook=rulebook, session_seconds=3600)).session_seconds == 3600


def test_whole_numbers_and_yes_or_no_are_actions():
    for kind in (np.int64, np.bool_, np.float32, object):
        table, valid, refused = read_actions([np.ones(10, kind), np.zeros(10)], 2)
        assert table.dtype == float and table[0].tolist() == [1.0] * 10 and valid.all() and not refused


def test_kinds_may_be_counted():
    assert MarketEnvironment(3, kinds={"noise": 2, "twap": 1}).kinds == ("noise", "noise", "twap")
    assert MarketEnvironment(2).refusals == {}


def test_limits_beyond_counting_are_none():
    rules = session_rules(MarketConfig(max_open=1e300, max_order=1e300, max_position=0.3, lot_size=0.1))
    assert (rules.max_open, rules.max_order, rules.max_position) == (UNLIMITED, UNLIMITED, 3)


def test_wrong_arguments_say_what_is_allowed():
    with pytest.raises(InputError, match="1 or more"):
        MarketEnvironment(0)
    for unknown in (["whale"], [["noise"]], [None]):
        with pytest.raises(InputError, match="not known"):
            MarketEnvironment(1, kinds=unknown)
    for other in (["informed"], {"informed": 3}):
        with pytest.raises(InputError, match="each of the 2 seats"):
            MarketEnvironment(2, kinds=other)
    with pytest.raises(InputError, match="a list of names or a mapping"):
        MarketEnvironment(2, kinds=2)
    with pytest.raises(InputError, match="reset"):
        MarketEnvironment(1).step(actions(1))
