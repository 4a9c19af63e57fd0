"""The short path of plain orders leaves a floor as the long one of `matching` does, accounts included."""

import numpy as np
import pytest

from difffinance.market.floor import submit, withdraw
from difffinance.market.layout import FILLS, LOG, LOGGED
from difffinance.market.matching import IMMEDIATE, LIMIT, MARKET
from difffinance.market.settlement import (
    BOUGHT,
    BOUGHT_VALUE,
    EVENTS,
    NEXT_ID,
    PASSIVE,
    SOLD,
    SOLD_VALUE,
    TAKEN,
    TRADED,
)
from tests.market.desk import Desk

_ACCOUNTS = ("cash", "inventory", "fees", "resting", "bought_today", "tally", "own_count", "counts", "marks", "refused")


def traded(seed, rulebook, long_path):
    """Return the venue after 1,500 random messages of two seats and the background."""
    desk = Desk(9_900, 10_100, rulebook=rulebook, start_price=100.0, max_resting_orders=10_000, fee_bps=1.5)
    venue, rng = desk.venue, np.random.default_rng(seed)
    if long_path:  # a book with a log takes it
        venue.book.log_buffer = np.zeros(100_000, LOG)
    venue.make_room(2_000)
    floor, handle = venue.floor, venue.floor_handle
    for _ in range(1_500):
        desk.ts += 1
        owner, side, draw = int(rng.integers(3)), int(rng.choice([-1, 1])), rng.random()
        price, quantity = int(10_000 - side * rng.integers(-4, 12)), int(100 * rng.integers(1, 9))
        if draw < 0.3 and floor.counts[NEXT_ID] > 0:
            withdraw(handle, desk.ts, int(rng.integers(floor.counts[NEXT_ID])), int(rng.choice([0, 0, 100, -5])))
        elif draw < 0.9:
            kind = IMMEDIATE if draw > 0.85 else LIMIT
            submit(handle, desk.ts, kind, side, price if draw > 0.32 else -price, quantity, owner)
        else:
            submit(handle, desk.ts, MARKET, side, 0, 0 if draw > 0.99 else quantity, owner)
    assert (floor.top[LOGGED] > 0) == long_path
    return venue


@pytest.mark.parametrize("rulebook", ["none", "cn.main", "us.tier1"])
@pytest.mark.parametrize("seed", [1, 2])
def test_both_paths_leave_the_same_floor(seed, rulebook):
    short, long = traded(seed, rulebook, False), traded(seed, rulebook, True)
    a, b = short.floor, long.floor
    assert a.top[FILLS] > 100
    for name in _ACCOUNTS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
    np.testing.assert_array_equal(np.delete(a.top, LOGGED), np.delete(b.top, LOGGED))
    np.testing.assert_array_equal(a.events[: a.counts[EVENTS]], b.events[: b.counts[EVENTS]])
    np.testing.assert_array_equal(a.fills[: a.top[FILLS]], b.fills[: b.top[FILLS]])
    np.testing.assert_array_equal(a.bits, b.bits)
    np.testing.assert_array_equal(short.book.depth(50), long.book.depth(50))
    left = a.orders["quantity"] > 0
    for name in ("price", "quantity", "next", "previous", "owner", "side", "form"):
        np.testing.assert_array_equal(a.orders[name][left], b.orders[name][left], name)


def test_money_and_shares_are_those_of_the_fills():
    venue = traded(3, "none", False)
    floor, orders = venue.floor, venue.floor.orders
    cash, held, passive, taken = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64), 0
    for fill in floor.fills[: floor.top[FILLS]]:
        passive[orders[fill["maker"]]["owner"]] += fill["quantity"]
        taken += orders[fill["taker"]]["side"] * fill["quantity"]
        for order_id in (fill["maker"], fill["taker"]):
            owner, side = orders[order_id]["owner"], orders[order_id]["side"]
            cash[owner] -= side * fill["price"] * fill["quantity"]
            held[owner] += side * fill["quantity"]
    fresh = Desk(9_900, 10_100, start_price=100.0).venue.floor
    np.testing.assert_array_equal(floor.cash - fresh.cash, cash)
    np.testing.assert_array_equal(floor.inventory - fresh.inventory, held)
    np.testing.assert_array_equal(floor.tally[:, PASSIVE], passive)
    np.testing.assert_array_equal(floor.tally[:, BOUGHT] - floor.tally[:, SOLD], held)
    np.testing.assert_array_equal(floor.bought_today, floor.tally[:, BOUGHT])
    np.testing.assert_array_equal(floor.tally[:, SOLD_VALUE] - floor.tally[:, BOUGHT_VALUE], cash)
    assert (floor.counts[TAKEN], floor.counts[TRADED]) == (taken, floor.fills["quantity"][: floor.top[FILLS]].sum())
    resting = np.zeros((3, 2), np.int64)
    for order in orders[orders["quantity"] > 0]:
        resting[order["owner"], 0 if order["side"] > 0 else 1] += order["quantity"]
    np.testing.assert_array_equal(floor.resting, resting)
