import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from difffinance.config import FlowConfig, MarketConfig
from difffinance.errors import ConfigError
from difffinance.market import seat_lessons
from difffinance.market.floor import submit, withdraw
from difffinance.market.flow_state import ANSWERED, FADES, FADING, LOG_VALUE, VALUE_SD
from difffinance.market.flow_state import UNIT as PLACE
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from difffinance.market.rules import session_rules
from difffinance.market.seat_lessons import (
    NOTICED,
    RATES,
    fading_weights,
    forget,
    hear_seats,
    learn_from_seat,
    lessons,
    near_expm1,
)
from difffinance.market.settlement import EVENT, EVENTS
from difffinance.market.venue import Venue

UNIT, WORTH, FADE, KEPT = 120.0, 1e-4, 0.5, 0.03
WINDOW = 2048  # market orders over which the part of seats is known


@pytest.fixture(scope="module")
def p():
    return np.concatenate([np.zeros(PLACE), lessons(UNIT, WORTH, FADE, KEPT)])


def worth_beside(share):
    """What an order is worth beside seats that bring that part of all market orders, over what it is worth alone."""
    share = min(share, 0.9)
    return math.sqrt((1.0 - share) / (1.0 + share / NOTICED))


def learned(p, programme):
    """Return the log value after each (sign, lots) of a programme; lots 0: one market order of the background."""
    clock, path = np.zeros(FADING + FADES), []
    for sign, lots in programme:
        learn_from_seat(clock, p, float(sign), float(lots)) if lots else forget(clock)
        path.append(clock[LOG_VALUE])
    return np.array(path)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_exponentials_add_up_to_the_power_law(exponent):
    j = np.concatenate([[0], np.unique(np.geomspace(1, 9000, 70).astype(int))])
    found = np.exp(-np.outer(j, RATES)) @ fading_weights(exponent)
    assert found[0] == pytest.approx(1.0, abs=1e-12)
    assert found == pytest.approx((1.0 + j) ** -exponent, rel=0.09)
    assert min(fading_weights(exponent)) > 0.0  # each is then an admissible kernel, and so is their sum


def test_what_was_learned_is_the_convolution_with_the_kernel(p):
    """Against the integrals of kernel and share in plain Python, order by order."""
    rng = np.random.default_rng(5)
    programme = [(rng.choice([-1, 1]), rng.choice([0, 40, 120, 900, 900_000], p=[0.4, 0.2, 0.2, 0.19, 0.01]))
                 for _ in range(300)]  # fmt: skip
    weights, at, runs, expected, h = fading_weights(FADE), 0.0, [], [], 1.0

    def passed(a, b, rate):
        return math.exp(-(at - b) * rate) - math.exp(-(at - a) * rate)

    shares = []
    for sign, lots in programme:
        size = lots / UNIT if lots else 1.0
        if lots:
            runs.append((sign * h, sign, at, at + size))
        at += size
        if not lots:
            shares.append(sum(passed(a, b, 1 / WINDOW) for _, _, a, b in runs))
            h = worth_beside(shares[-1]) ** 0.5
        faded = sum(
            s * w / rate * passed(a, b, rate) for s, _, a, b in runs for w, rate in zip(weights, RATES, strict=True)
        )
        expected.append(WORTH * ((1 - KEPT) * h * faded + KEPT * sum(s * (b - a) for _, s, a, b in runs)))
    assert min(shares) < 0.1 and max(shares) > 0.9
    assert learned(p, programme) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_cutting_an_order_changes_nothing(p):
    whole, cut = learned(p, [(1, 960), (1, 0)]), learned(p, [(1, 120)] * 8 + [(1, 0)])
    assert whole == pytest.approx(cut[[7, 8]], rel=1e-12)


def test_impact_grows_like_a_root_and_relaxes(p):
    """A participation of 1/3: 400 orders among 1200 of the background, then as long again without any."""
    path = learned(p, ([(1, UNIT)] + [(1, 0)] * 3) * 400 + [(1, 0)] * 1200)
    for orders in (50, 400):  # the closed form that the module states
        h2 = worth_beside(0.25 * (1 - math.exp(-4 * orders / WINDOW)))
        peak = 2 * WORTH * h2 * math.sqrt(orders / 4) * (1 - KEPT) + WORTH * KEPT * orders
        assert path[4 * orders - 1] == pytest.approx(peak, rel=0.1)
    growth = math.log(path[1599] / path[199]) / math.log(8)
    assert 0.4 < growth < 0.6 and 0.5 < path[-1] / path[1599] < 0.8


def test_impact_depends_little_on_how_fast_an_order_is_traded(p, monkeypatch):
    """2000 orders at a tenth and at a third of the background's pace, and the same where seats are never noticed."""

    def apart():
        programmes = [([(1, UNIT)] + [(1, 0)] * n) * 2000 for n in (10, 3)]
        slow, fast = (learned(p, programme)[-1] - WORTH * KEPT * 2000 for programme in programmes)
        return fast / slow

    assert 1.0 < apart() < 1.3
    for kernel in (learn_from_seat, forget):  # plain Python reads the constant anew
        monkeypatch.setitem(globals(), kernel.__name__, kernel.py_func)
    monkeypatch.setattr(seat_lessons, "NOTICED", math.inf)
    assert apart() == pytest.approx(1.63, abs=0.005)


def test_no_round_trip_is_paid_by_the_value(p):
    rng = np.random.default_rng(8)
    for _ in range(200):
        lots = np.round(rng.exponential(200.0, 12)) * rng.choice([-1.0, 1.0], 12)
        lots = np.append(lots, -lots.sum())
        programme, shares = [], []
        for x in lots:
            # An order pays the path of the value while it is filled: it is cut finely, which changes nothing.
            programme += [(np.sign(x), abs(x) / 20)] * 20 + [(1, 0)] * int(rng.integers(0, 30))
            shares += [x / 20] * 20 + [0.0] * (len(programme) - len(shares) - 20)
        path = learned(p, programme)
        middle = (path + np.concatenate([[0.0], path[:-1]])) / 2
        assert middle @ np.array(shares) >= 0.0


@pytest.mark.parametrize("others", [0, 300, 900])
def test_nobody_is_paid_for_selling_when_others_have_made_orders_worth_less(others):
    """Buy while the market is quiet, sell once many others trade and an order is worth half as much or less.

    What was learned fades slowly here: with all of h on the order that comes this would pay.
    """
    slow = np.concatenate([np.zeros(PLACE), lessons(UNIT, WORTH, 0.2, 0.0)])
    noise = [(1 if k % 2 else -1, UNIT) for k in range(others)] + [(1, 0)] * 5
    path = learned(slow, [(1, UNIT)] * 1000 + noise + [(-1, UNIT)] * 1000)
    middle = (path + np.concatenate([[0.0], path[:-1]])) / 2
    assert middle[:1000].sum() - middle[-1000:].sum() > 0.0


def test_orders_are_worth_less_where_seats_bring_most_of_them(p):
    alone, crowd = [(1, 0)] * 5000, [(-1, UNIT), (1, UNIT), (1, 0)] * 5000
    moved = [learned(p, [*before, (1, 10 * UNIT)])[[-2, -1]] for before in (alone, crowd)]
    first, second = (after - before - WORTH * KEPT * 10 for before, after in moved)
    assert second == pytest.approx(worth_beside(2 / 3) * first, rel=0.05)


def test_seats_teach_by_what_they_take_and_once():
    config = MarketConfig(price_limit=None, flow=FlowConfig(fundamental_volatility=0.01, market_rate=0.0, intraday=0.0))
    venue = Venue(config, session_rules(config), np.array([1e9, 0.0]), np.zeros(2, np.int64))
    rng, floor, clock = np.random.default_rng(3), venue.floor_handle, venue.flow.clock
    venue.run_flow(rng, 300.0)
    venue.flow.p[VALUE_SD] = 0.0  # no news from here on
    venue.clear_step()
    venue.make_room(100)
    known, ts = clock[LOG_VALUE], int(300e9)
    quote = submit(floor, ts + 1, LIMIT, 1, int(venue.floor.marks[1]) - 30, 500, 0)
    withdraw(floor, ts + 2, quote, 0)
    submit(floor, ts + 3, MARKET, -1, 0, 500, 1)  # refused: no money to be short with
    venue.run_flow(rng, 300.0)
    assert clock[LOG_VALUE] == known and clock[ANSWERED] == ts + 3
    submit(floor, ts + 4, MARKET, 1, 0, 200, 0)
    done = int(venue.floor.events[venue.floor.counts[EVENTS] - 1]["done"])
    venue.run_flow(rng, 300.0)
    expected = np.zeros_like(clock)
    learn_from_seat(expected, venue.flow.p, 1.0, float(done))
    assert done > 0 and clock[LOG_VALUE] - known == pytest.approx(expected[LOG_VALUE], rel=1e-9) and clock[FADING] > 0
    for _ in range(2):
        venue.run_flow(rng, 301.0)  # heard once; no market order has come since
    assert clock[LOG_VALUE] - known == pytest.approx(expected[LOG_VALUE], rel=1e-9)


class Log(NamedTuple):
    """What `hear_seats` reads of a floor."""

    events: Any
    counts: Any


@pytest.mark.parametrize(("rows", "heard"), [(0, -np.inf), (1, -np.inf), (64, -np.inf), (150, -np.inf), (150, 70.0)])
def test_whatever_seats_took_since_the_background_last_answered_is_heard_in_order(p, rows, heard):
    """Against a plain loop over the rows; `heard`: when the last one that is known already came."""
    rng, background = np.random.default_rng(rows), 5
    events = np.zeros(300, EVENT)
    events["ts"] = np.arange(300)
    events["kind"] = rng.choice([LIMIT, CANCEL, MARKET], 300)
    events["side"] = rng.choice([-1, 0, 1], 300)
    events["done"] = rng.choice([0, 40, 700], 300)
    last = 100 + rows
    events["owner"][:last] = rng.integers(0, background, last)
    events["owner"][99] = background
    told = [e for e in events[100:last] if e["ts"] > heard]
    clock, expected = np.zeros((2, FADING + FADES))
    clock[ANSWERED] = heard
    for event in told:
        if event["kind"] != CANCEL and event["side"] != 0 and event["done"] > 0:
            learn_from_seat(expected, p, float(event["side"]), float(event["done"]))
    assert hear_seats(Log(events, np.array([last])), clock, p, background) == max([heard, *(e["ts"] for e in told)])
    clock[ANSWERED] = 0.0
    assert np.array_equal(clock, expected) and (rows < 64 or expected[LOG_VALUE] != 0.0)


def test_near_expm1_is_that_of_the_library():
    x = -np.concatenate([np.geomspace(1e-12, 0.01, 400), np.linspace(0.01, 800.0, 50)])
    assert np.array([near_expm1(one) for one in x]) == pytest.approx(np.expm1(x), rel=3e-13, abs=0.0)
    assert near_expm1(0.0) == 0.0


def test_fading_beyond_its_range_is_refused():
    for bad in ({"worth": -1.0}, {"worth_fade": 1.0}, {"worth_fade": 0.0}, {"worth_kept": 1.5}):
        with pytest.raises((ConfigError, ValueError)):
            FlowConfig(**bad)
