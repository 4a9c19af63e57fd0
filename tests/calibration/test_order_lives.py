import numpy as np
import pytest

from difffinance.calibration.background_flow import event_stream
from difffinance.calibration.excitation import AGE_EDGES, fit_excitation, hazards
from difffinance.calibration.flow_tables import PICK_AGES, choice_chances, life_table, picked_table
from difffinance.calibration.order_lives import LIFE_EDGES, PLACES, exposure_by_age, life_sizes, order_lives
from difffinance.calibration.visible_day import ADD, BLOCK_SECONDS, LEAVE, VisibleDay
from difffinance.market.flow_state import LIFE_SIZES

SIZES, RATES = np.array([10.0, 100.0, 300.0]), np.array([[0.1, 0.5, 2.0], [2.0, 0.5, 0.1]])  # at the touch; 10 behind


def planted_day(blocks=4, slower=1.0):
    """Bids of three sizes at the touch and 10 ticks behind it come at random; after a second they leave `slower`."""
    rng, end = np.random.default_rng(4), blocks * BLOCK_SECONDS
    n = rng.poisson(6.0 * end)
    born, place, size = rng.random(n) * end, rng.integers(0, 2, n), rng.choice(3, n, p=[0.4, 0.45, 0.15])
    rate, due = RATES[place, size], rng.exponential(size=n)
    gone = born + np.where(due < rate, due / rate, 1.0 + (due - rate) / (slower * rate))
    order = np.argsort(np.append(born, gone))
    seconds = np.append(born, gone)[order]
    order, seconds = order[seconds < end], seconds[seconds < end]
    which, levels = order % n, np.broadcast_to([[90.0, 80.0], [92.0, 102.0]], (len(order), 2, 2))
    return VisibleDay(
        seconds, np.where(order < n, ADD, LEAVE), np.ones(len(order), int), 90.0 - 10.0 * place[which],
        SIZES[size[which]], which, levels, np.full((len(order), 2, 2), 100.0), (seconds // BLOCK_SECONDS).astype(int),
    )  # fmt: skip


def test_lives_planted_by_place_and_size_come_back():
    day, blocks = planted_day(), np.arange(4)
    n = len(day.kind)
    lives = order_lives(day, life_sizes(day.quantity[day.kind == ADD]))
    stream, _ = event_stream(day, lives, np.zeros(0, int), blocks, np.zeros((n, 2, 3), int), day.kind, np.ones(n))
    found = fit_excitation(stream, exposure_by_age(day, lives, blocks, BLOCK_SECONDS), 1, iterations=30)
    behind = 2 + int(np.searchsorted(LIFE_EDGES, 10.0, side="right"))
    medians = np.exp(life_table(found.hazard)[[1, behind], :, 12])
    assert medians == pytest.approx(np.log(2) / RATES, rel=0.25)


def test_waves_pick_places_and_sizes_as_planted():
    """Were every cancellation one of a wave, orders would be picked at the rates that they were planted with."""
    day = planted_day(slower=0.2)
    edges = life_sizes(day.quantity[day.kind == ADD])
    rows = np.arange(len(day.kind))
    found = picked_table(day, order_lives(day, edges), rows, np.ones(len(rows)), edges)
    assert found.shape == (4, LIFE_SIZES, len(PICK_AGES) + 1) and PICK_AGES[0] == 1.0
    often = RATES >= 0.5
    assert found[[0, 2], :, 0][often] == pytest.approx((RATES / RATES.max())[often], rel=0.12)
    assert found[[0, 2], :, 1][often] == pytest.approx(0.2 * (RATES / RATES.max())[often], rel=0.12)


def test_where_no_wave_took_anything_all_are_as_likely():
    day = planted_day(1)
    edges, rows = np.array([50.0, 150.0]), np.arange(len(day.kind))
    lives = order_lives(day, edges)
    assert (picked_table(day, lives, rows, np.zeros(len(rows)), edges) == 1.0).all()
    assert (picked_table(day, lives, rows[:0], np.zeros(0), edges) == 1.0).all()
    assert (choice_chances(np.zeros(3), np.zeros((0, 3)), np.zeros(0)) == 1.0).all()


def test_an_order_is_small_or_large_beside_the_size_that_holds_half_of_the_volume():
    assert life_sizes(np.array([1.0] * 50 + [100.0] * 9 + [500.0])).tolist() == [50.0, 150.0]


def test_a_size_that_was_hardly_seen_lives_like_the_others():
    deaths, exposure = (np.zeros((PLACES, LIFE_SIZES, len(AGE_EDGES))) for _ in range(2))
    deaths[0, :, 0], exposure[0, :, 0] = [90.0, 10.0, 0.0], [100.0, 100.0, 1e-9]
    found = hazards(deaths, exposure)[0, :, 0]
    pooled = 0.5
    assert found == pytest.approx([91 / (100 + 1 / pooled), 11 / (100 + 1 / pooled), pooled])
    assert (hazards(deaths, exposure)[1:] == 0.0).all()  # where nothing dies nothing is made up
