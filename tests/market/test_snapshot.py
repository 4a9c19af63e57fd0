import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.settlement import BUY_FEE, LEVERAGE, MONEY, SELL_FEE
from difffinance.market.snapshot import load_snapshot, save_snapshot

ROOT = Path(__file__).resolve().parents[2]
GO_ON = """
import sys, hashlib, numpy as np
sys.path.insert(0, sys.argv[2])
from difffinance.market.environment import MarketEnvironment
from difffinance.market.snapshot import load_snapshot
def go_on(env, steps):
    rng, seen = np.random.default_rng(1), hashlib.sha256()
    for _ in range(steps):
        table = np.zeros((3, 10))
        table[:, 0], table[:, 1:5] = rng.normal(size=3), rng.random((3, 4))
        step = env.step(table)
        seen.update(np.array(step.state.views).tobytes() + step.rewards.tobytes() + env.events.tobytes())
    return seen.hexdigest()
if __name__ == "__main__":
    env = MarketEnvironment(3, num_steps=60, latency=(0.0, 4.0, 23.0))
    env.restore(load_snapshot(sys.argv[1]))
    print(go_on(env, 20))
"""


def make(seed=0):
    return MarketEnvironment(3, seed=seed, num_steps=60, latency=(0.0, 4.0, 23.0))


@pytest.fixture
def continued():
    space = {"__name__": "continuation"}
    exec(GO_ON.replace("sys.path.insert(0, sys.argv[2])", ""), space)
    return space["go_on"]


def test_a_restored_market_goes_on_the_same_to_the_byte(continued, tmp_path):
    env = make()
    env.reset(seed=2)
    continued(env, 15)
    snapshot = env.snapshot()
    path = save_snapshot(tmp_path / "market.npz", snapshot)
    expected = continued(env, 20)
    env.restore(snapshot)
    assert continued(env, 20) == expected
    other = make(seed=5)
    other.restore(load_snapshot(path))
    assert other.steps_done == 15 and continued(other, 20) == expected
    code = [sys.executable, "-c", GO_ON, str(path), str(ROOT)]
    fresh = subprocess.run(code, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert fresh.stdout.strip() == expected


def test_the_episodes_after_a_restored_one_are_those_of_the_first_environment():
    env, other = make(seed=1), make(seed=2)
    env.reset()
    snapshot = env.snapshot()
    following = env.reset().mid
    other.restore(snapshot)
    assert other.reset().mid == following


def test_what_is_no_snapshot_of_this_market_is_refused(tmp_path):
    env = make()
    with pytest.raises(InputError, match="reset"):
        env.snapshot()
    env.reset(seed=1)
    snapshot = env.snapshot()
    dear = MarketConfig(fee_bps=9.0)
    with pytest.raises(InputError, match=r"its latency is \[0\.0, 4\.0, 23\.0\], here it is \[0\.0, 0\.0, 0\.0\]"):
        MarketEnvironment(3, dear, num_steps=60).restore(snapshot)
    with pytest.raises(InputError, match=r"its market\.fee_bps is 0\.5, here it is 9\.0"):
        MarketEnvironment(3, dear, num_steps=60, latency=(0.0, 4.0, 23.0)).restore(snapshot)
    with pytest.raises(InputError, match="lacks arrays"):
        env.restore({**snapshot, "arrays": {}})
    short = {**snapshot["arrays"], "floor.session": snapshot["arrays"]["floor.session"][:-1]}
    with pytest.raises(InputError, match=r"floor\.session"):
        env.restore({**snapshot, "arrays": short})
    unseeded = {name: part for name, part in snapshot["state"].items() if name != "seeds"}
    for nothing in ({}, None, {"state": {}}, {"state": {}, "arrays": 3}, {**snapshot, "state": unseeded}):
        with pytest.raises(InputError, match="no snapshot"):
            env.restore(nothing)
        with pytest.raises(InputError, match="no snapshot"):
            save_snapshot(tmp_path / "nothing.npz", nothing)
    assert not list(tmp_path.iterdir())
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(InputError, match=r"bad\.npz"):
        load_snapshot(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz"):
        load_snapshot(tmp_path / "other.npz")
    with pytest.raises(InputError, match="does not exist"):
        load_snapshot(tmp_path / "none.npz")
    whole = save_snapshot(tmp_path / "whole.npz", snapshot).read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    for at, byte in ((directory + 6, 200), (directory + 8, 1), (directory + 10, 7), (40, 0)):
        bad = tmp_path / "damaged.npz"
        bad.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
        with pytest.raises(InputError, match=r"damaged\.npz"):
            load_snapshot(bad)


def _set(name, place, value, field=None):
    def damage(arrays):
        (arrays[name][field] if field else arrays[name])[place] = value

    return damage


def _cut(name):
    return lambda arrays: arrays.update({name: arrays[name][:8]})


@pytest.fixture(scope="module")
def saved():
    config = MarketConfig(rulebook="us.tier1")
    env = MarketEnvironment(3, config, num_steps=60, latency=(0.0, 4.0, 23.0))
    env.reset()
    for _ in range(3):
        env.step(np.tile([0.0, *[8.0, 1.0] * 4, 0.0], (3, 1)))
    return MarketEnvironment(3, config, num_steps=60, latency=(0.0, 4.0, 23.0)), env.snapshot()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_cut("floor.orders"), "number of orders"),
        (_cut("floor.events"), "number of messages"),
        (_cut("floor.paid_on"), "paid orders"),
        (_cut("flow.live"), "background's list"),
        (_cut("flow.agenda"), "length of the agenda"),
        (_set("floor.orders", 0, 4, "owner"), "owner"),
        (_set("floor.orders", slice(None), 1 << 40, "price"), "price"),
        (_set("floor.orders", 0, 1 << 51, "quantity"), "quantity"),
        (_set("floor.orders", slice(None), 2, "form"), "form"),
        (_set("floor.orders", slice(None), 2, "side"), "side"),
        (_set("floor.orders", slice(-40, None), 0, "owner"), "message|list of orders|background"),
        (_set("floor.top", 1, 1 << 40), "window"),
        (_set("floor.top", 3, 5), "daily price limits"),
        (_set("floor.marks", 0, np.nan), "last prices"),
        (_set("history.last_mid", 0, 0.0), "last mid"),
        (_set("floor.cash", 0, 0), "sum of money"),
        (_set("floor.inventory", 0, 5), "sum of inventories"),
        (_set("floor.capital", 0, 0.0), "first wealth"),
        (_set("floor.session", 0, 6), "venue's phase"),
        (_set("floor.session", 1, 0), "end of the phase"),
        (_set("floor.session", 3, -(1 << 60)), "second of the day"),
        (_set("floor.session", 4, 1 << 60), "last trade"),
        (_set("floor.session", 11, -1), "breaker's level"),
        (_set("floor.session", 6, -1), "moving band"),
        (_set("floor.session", 7, 1 << 50), "trades of five minutes"),
        (_set("floor.session", 33, 1 << 40), "trades of five minutes"),
        (_set("flow.clock", 0, -1e9), "background's time"),
        (_set("flow.clock", 14, 1e300), "background's value"),
        (_set("flow.clock", 7, 1e9), "background's activity"),
        (_set("flow.parents", 0, 5), "split order"),
        (_set("flow.live", 0, 1 << 30), "background's list"),
        (_set("flow.due", 0, 1 << 40), "agenda"),
        (_set("market.sent", 0, np.nan), "market.sent"),
        (_set("market.sent_at", 0, 1e300), "market.sent_at"),
        (_set("market.step", 0, 61), "number of steps"),
    ],
)
def test_a_snapshot_that_kernels_could_not_follow_is_refused(damage, named, saved):
    env, snapshot = saved
    arrays = {name: array.copy() for name, array in snapshot["arrays"].items()}
    damage(arrays)
    with pytest.raises(InputError, match=named):
        env.restore({**snapshot, "arrays": arrays})


def test_constants_are_those_of_the_market_that_restores(saved):
    env, snapshot = saved
    constants = {
        "limits",
        "rates",
        "rules",
        "p",
        "tables",
        "distance_edges",
        "pools",
        "shown",
        "delay",
        "late",
        "settings",
    }
    derived = {"levels", "bits", "waiting", "own_orders", "own_count", "resting", "turn"}
    assert not {name.partition(".")[2] for name in snapshot["arrays"]} & (constants | derived)
    env.restore(snapshot)
    others = [BUY_FEE, SELL_FEE, LEVERAGE, MONEY]
    assert (env.venue.floor.rates[:, others] == env.venue.start["rates"][:, others]).all()


def test_queues_and_lists_are_built_as_they_were(saved):
    env, snapshot = saved
    first = MarketEnvironment(3, env.config, num_steps=60, latency=(0.0, 4.0, 23.0))
    first.reset()
    for _ in range(3):
        first.step(np.tile([0.0, *[8.0, 1.0] * 4, 0.0], (3, 1)))
    env.restore(snapshot)
    theirs, ours = first.venue.floor, env.venue.floor
    rests = theirs.orders["quantity"] > 0
    assert (rests == (ours.orders["quantity"][: len(rests)] > 0)).all() and rests.sum() > 30
    for name in ("next", "previous"):
        assert (theirs.orders[name][rests] == ours.orders[name][: len(rests)][rests]).all()
    taken = theirs.levels["quantity"] > 0
    assert (theirs.levels[taken] == ours.levels[taken]).all() and not ours.levels["quantity"][~taken].any()
    for name in ("bits", "top", "resting", "own_count"):
        assert (getattr(theirs, name) == getattr(ours, name)).all()
    assert theirs.own_count.min() > 0
    for seat, count in enumerate(theirs.own_count):
        assert (theirs.own_orders[seat, :count] == ours.own_orders[seat, :count]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"generators": {"market.rng_flow": {"bit_generator": "MT19937", "state": {}, "has_uint32": 0, "uinteger": 0}}},
        {"seeds": {"entropy": -1, "n_children_spawned": 0}},
        {"seeds": {"entropy": 1, "n_children_spawned": 0, "pool_size": 1 << 40}},
        {"refusals": {"market.fee": 3}},
        {"refusals": {"tick_size": -1}},
    ],
)
def test_generators_seeds_and_refusals_that_are_none_are_refused(change, saved):
    env, snapshot = saved
    state = {**snapshot["state"], **change}
    with pytest.raises(InputError, match="no snapshot"):
        env.restore({**snapshot, "state": state})
    with pytest.raises(InputError, match="a seat's rewards"):
        env.restore({**snapshot, "state": {**snapshot["state"], "rewards": [1]}})
