import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
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


def _short(arrays, name):
    arrays[name] = arrays[name][:8]


def _far(arrays, name, field):
    arrays[name][field].flat[0] = 1 << 30


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda a: _short(a, "floor.orders"), "number of orders"),
        (lambda a: _short(a, "floor.events"), "number of messages"),
        (lambda a: _short(a, "flow.live"), "background's list"),
        (lambda a: _far(a, "floor.orders", "next"), "queue"),
        (lambda a: _far(a, "floor.levels", "first"), "queue"),
        (lambda a: _far(a, "floor.orders", "owner"), "owner"),
        (lambda a: a["floor.orders"]["price"].__setitem__(a["floor.orders"]["quantity"] > 0, 1 << 40), "price"),
        (lambda a: a["floor.top"].__setitem__(0, 1 << 20), "best levels"),
        (lambda a: a["market.turn"].__setitem__(0, 3), "order of arrival"),
        (lambda a: a["floor.own_count"].__setitem__(0, 1 << 20), "seat's list"),
    ],
)
def test_a_snapshot_that_points_beyond_its_arrays_is_refused(damage, named):
    env = make()
    env.reset()
    for _ in range(3):
        env.step(np.zeros((3, 10)))
    snapshot = env.snapshot()
    damage(snapshot["arrays"])
    with pytest.raises(InputError, match=named):
        make().restore(snapshot)
