import heapq

import numpy as np
import pytest

from difffinance.market.compiled import kernel
from difffinance.market.flow_state import (
    GAP_SIGN,
    INTRADAY,
    ITEM,
    SESSION,
    activity,
    between,
    bisect,
    bucket,
    drop_first,
    pick,
    push,
)


@kernel
def draws(cumulative, quantiles, edges, rng, out):
    for k in range(len(out)):
        out[k, 0] = bisect(cumulative, rng.random())
        out[k, 1] = pick(quantiles, rng)
        out[k, 2] = between(quantiles, rng)
        out[k, 3] = bucket(edges, out[k, 2])


def test_the_agenda_is_a_heap():
    rng, agenda, due, twin = np.random.default_rng(3), np.zeros(600, ITEM), np.zeros(1, np.int64), []
    for k in range(2000):
        if twin and rng.random() < 0.45:
            time, order = heapq.heappop(twin)
            assert (agenda[0]["time"], agenda[0]["order"]) == (time, order)
            drop_first(agenda, due)
        else:
            time = float(rng.integers(10**9)) + k * 1e-4  # all different
            heapq.heappush(twin, (time, k))
            push(agenda, due, time, 0, 1, 0, k, 5, 6)
        assert due[0] == len(twin)


def test_draws_are_those_of_numpy():
    cumulative, quantiles = np.cumsum([0.1, 0.0, 0.6, 0.3]), np.array([1.0, 5, 5, 6, 7, 8, 9])
    edges = np.array([2.0, 5.0, 7.0])
    out, rng = np.zeros((500, 4)), np.random.default_rng(5)
    draws(cumulative, quantiles, edges, np.random.default_rng(5), out)
    for row in out:
        assert row[0] == min(np.searchsorted(cumulative, rng.random(), side="right"), 3)
        draw = 4 * rng.random()
        assert row[1] == (quantiles[int(draw)] if draw < 3 else quantiles[3 + int(4 * (draw - 3))])  # the last in four
        assert row[2] == pytest.approx(np.interp(rng.random() * 6, np.arange(7), quantiles))
        assert row[3] == np.searchsorted(edges, row[2], side="right")


def test_activity_has_mean_one():
    p = np.zeros(GAP_SIGN + 1)
    p[INTRADAY], p[SESSION] = 0.3, 23_400.0
    assert np.mean([activity(p, t) for t in np.linspace(0, 23_400, 2001)]) == pytest.approx(1.0, abs=1e-3)
