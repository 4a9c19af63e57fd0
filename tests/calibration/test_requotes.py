from dataclasses import replace

import numpy as np
import pytest

from difffinance.calibration.flow_tables import size_levels
from difffinance.calibration.requotes import fit_requotes
from difffinance.calibration.visible_day import ADD, LEAVE, VisibleDay

STAY, JOIN, KEPT = 0.6, 0.4, 0.5
SIZES, OLD, DRAWN = np.array([10.0, 100.0, 500.0]), [0.5, 0.5, 0.0], [0.1, 0.7, 0.2]


@pytest.fixture(scope="module")
def planted():
    """A bid leaves 0 to 8 ticks behind the touch, the next comes for it: pairs of messages, parents not known else."""
    rng, n = np.random.default_rng(3), 20_000
    behind = rng.integers(0, 9, n)
    near, joins = rng.random(n) < STAY, (rng.random(n) < JOIN) & (behind > 0) & (behind <= 5)
    shift = np.where(near, np.where(joins, behind, rng.integers(-5, 6, n)), -20)
    old, drawn = rng.choice(SIZES, n, p=OLD), rng.choice(SIZES, n, p=DRAWN)
    quantity = np.stack([old, np.where(rng.random(n) < KEPT, old, drawn)], axis=1).ravel()
    price = np.stack([1000.0 - behind, 1000.0 - behind + shift], axis=1).ravel()
    rows = 2 * n
    day = VisibleDay(
        np.arange(rows) * 0.01, np.tile([LEAVE, ADD], n), np.ones(rows, int), price, quantity, np.arange(rows),
        np.broadcast_to([[1000.0], [1010.0]], (rows, 2, 1)), np.full((rows, 2, 1), 100.0), np.zeros(rows, int),
    )  # fmt: skip
    return day, near


def fitted(day, inside=None):
    of_cancellation = (day.kind == ADD).astype(float)
    everywhere = np.ones(len(day.kind), bool) if inside is None else inside
    return fit_requotes(day, of_cancellation, np.zeros(len(day.kind)), everywhere)


def test_planted_chances_come_back(planted):
    day, near = planted
    found = fitted(day)
    assert found.tables["stay"] == pytest.approx([STAY, KEPT, 0.0], abs=0.015)
    assert found.tables["join"] == pytest.approx([JOIN], abs=0.03)
    assert np.array_equal(found.near[day.kind == ADD], near)
    # Shifts that did not end at the touch: 11 ticks alike, but for those that did by chance.
    assert found.tables["shift"] == pytest.approx(np.repeat(np.arange(-5.0, 6.0), 3)[3:-4], abs=1.5)


def test_sizes_that_were_drawn_are_told_from_those_kept(planted):
    day, _ = planted
    found, new = fitted(day), day.kind == ADD
    share = [found.own_size[new][day.quantity[new] == size].sum() / found.own_size[new].sum() for size in SIZES]
    assert share == pytest.approx(DRAWN, abs=0.015)
    assert (found.own_size[~new] == 1.0).all()
    table = size_levels(day.quantity[new], found.own_size[new])
    assert (table[:39] == 100.0).mean() == pytest.approx(0.7, abs=0.03)


def test_nothing_outside_the_blocks_enters(planted):
    day, _ = planted
    inside = np.arange(len(day.kind)) < 4000
    one = fitted(day, inside)
    two = fitted(replace(day, quantity=np.where(inside, day.quantity, 7.0)), inside)
    for name, table in one.tables.items():
        assert np.array_equal(table, two.tables[name]), name


def test_a_day_without_requotes_keeps_nothing(planted):
    day, _ = planted
    found = fit_requotes(day, np.zeros(len(day.kind)), np.zeros(len(day.kind)), np.ones(len(day.kind), bool))
    assert (found.tables["stay"] == 0.0).all() and found.tables["join"] == [0.0] and (found.own_size == 1.0).all()
    assert not found.near.any() and (found.tables["shift"] == 0.0).all()
