"""What is seen at a glance (`supervision.set_calm`, `set_due`) is what a close look finds, on random streams."""

import numpy as np
import pytest

from difffinance.market import supervision as s
from difffinance.market.floor import withdraw
from difffinance.market.settlement import EVENTS
from difffinance.market.supervision import SECOND_NS
from tests.market.desk import Desk

MARKETS = {
    "us.tier1": {"start_price": 100.0},
    "us.tier2": {"start_price": 0.5, "access_fee": 0.001},
    "us.indexed": {"rulebook": "us.tier1", "start_price": 100.0, "index_path": ((0.0, 1.0), (3000.0, 0.92))},
    "cn.main": {"start_price": 10.0},
    "cn.listing": {"rulebook": "cn.bse", "start_price": 10.0, "listing_day": 1},
    "cn.breaker": {"rulebook": "cn.main", "start_price": 10.0, "date": "2016-01-04"},
    "hk.futures": {"start_price": 25_000.0, "tick_size": 1.0},
    "jp": {"start_price": 2990.0, "tick_size": 1.0},
}  # fmt: skip


def draw(name, count, seed):
    """Return `count` messages that trade through a day and lean on its bands."""
    fields, rng = MARKETS[name], np.random.default_rng(seed)
    start = round(fields["start_price"] / fields.get("tick_size", 0.01))
    waits = rng.exponential(22_000 / count, count) * np.where(rng.random(count) < 0.8, 0.001, 5.0)
    drift = np.repeat(rng.normal(0, 0.001, -(-count // 50)), 50)[:count]
    centre = np.clip(start * np.cumprod(1 + rng.normal(0, 0.0025, count) + drift), 0.6 * start, 1.6 * start)
    for wait, middle in zip(waits, centre, strict=True):
        side, distance = int(rng.choice([-1, 1])), abs(rng.normal()) * rng.choice([0.002, 0.02]) * start
        price, lots = max(round(middle - side * distance), 1), int(rng.choice([1, 100, 100, 137, 3000]))
        yield int(wait * 1e9), rng.random(), side, price, lots, int(rng.integers(0, 2))


def send(desk, message, glance):
    """Send one message; without `glance` everything is looked at closely."""
    wait, kind, side, price, lots, seat = message
    desk.ts += wait
    if not glance:
        session = desk.floor.session
        session[[s.TAKEN_LOW, s.TAKEN_HIGH, s.CALM_LOW]] = s.FOREVER, -1, s.FOREVER
    if kind < 0.6:
        desk.limit(side, price, lots, seat)
    elif kind < 0.85:
        desk.market(side, lots, seat)
    elif desk.floor.own_count[seat] > 0:
        withdraw(desk.venue.floor_handle, desk.ts, desk.floor.own_orders[seat, desk.floor.own_count[seat] - 1], 0)
        desk.floor.own_count[seat] -= 1


def open_desk(name):
    fields = {"rulebook": name, "date": "2025-06-02", "short_allowed": True, "max_resting_orders": 5000}
    fields |= MARKETS[name]
    start = round(fields["start_price"] / fields.get("tick_size", 0.01))
    desk = Desk(start // 2, 2 * start, **fields)
    desk.venue.make_room(3000)
    desk.floor = desk.venue.floor
    return desk


@pytest.mark.parametrize("name", MARKETS)
def test_a_glance_finds_what_a_close_look_does(name):
    quick, close = open_desk(name), open_desk(name)
    rules, session, phases, glances = quick.floor.rules, quick.floor.session, set(), 0
    derived = [s.DUE, s.TAKEN_LOW, s.TAKEN_HIGH, s.CALM_LOW, s.CALM_HIGH]
    for message in draw(name, 1200, 3):
        send(quick, message, True)
        send(close, message, False)
        fresh = session.copy()
        s.set_due.py_func(rules, fresh)
        s.set_calm.py_func(rules, fresh)
        assert fresh[derived].tolist() == session[derived].tolist(), quick.ts / SECOND_NS
        phases.add(quick.phase)
        glances += session[s.TAKEN_LOW] < session[s.TAKEN_HIGH]
    for field in ("fills", "cash", "inventory", "fees", "refused", "resting"):
        assert getattr(quick.floor, field).tobytes() == getattr(close.floor, field).tobytes(), field
    assert quick.events.tobytes() == close.events.tobytes() and quick.floor.counts[EVENTS] > 1000
    same = [place for place in range(s.SESSION) if place not in derived]
    assert session[same].tolist() == close.floor.session[same].tolist()
    assert len(phases) > 1 and (glances > 50 or name == "jp")
