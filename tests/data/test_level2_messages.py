"""Merging the book with its trades: pieces against the whole, by a plain rule."""

import numpy as np

from difffinance.data.level2 import UPDATE
from difffinance.data.level2_messages import (
    WAIT_NS,
    Merger,
    Messages,
    Rising,
    TradeNumbers,
    join,
    nothing,
    of_levels,
    of_trades,
)


def updates(ts: np.ndarray, counts: np.ndarray) -> Messages:
    owner = np.repeat(np.arange(len(ts)), counts)
    tag = np.arange(len(ts))
    return of_levels(np.full(len(ts), UPDATE), tag, ts, owner, owner % 2, owner + 7, np.arange(len(owner)))


def test_pieces_merge_as_the_whole_and_as_the_plain_rule():
    """Trades come up to 50 s late, times of the book fall now and then."""
    rng = np.random.default_rng(4)
    ts = np.cumsum(rng.integers(-1, 4, 3000)) * 10**9 + 10**18
    book = updates(ts, rng.integers(0, 4, 3000))
    places = np.sort(rng.integers(0, 3000, 2000))
    hits = ts[places] - rng.integers(0, 50, 2000) * 10**9
    trades = of_trades(hits, np.zeros(2000, np.int64), np.arange(2000), np.ones(2000, np.int64))
    merger, pieces, most = Merger(), [], 0
    for low in range(0, 3000, 40):
        own = np.flatnonzero((places >= low) & (places < low + 40))
        merger.add(book.take(np.arange(low, low + 40)), trades.take(own))
        pieces.append(merger.ready())
        most = max(most, len(merger._book))
    merged = join([*pieces, merger.rest()])
    plain = []
    waiting = list(range(2000))
    reached = np.maximum.accumulate(ts)
    for m in range(3000):
        plain += [("trade", k) for k in waiting if hits[k] <= reached[m]]
        waiting = [k for k in waiting if hits[k] > reached[m]]
        plain.append(("update", m))
    plain += [("trade", k) for k in waiting]
    ours, at = [], 0
    for m, kind in enumerate(merged.kind.tolist()):
        count = merged.first[m + 1] - merged.first[m]
        if kind == UPDATE:
            assert count == book.first[merged.tag[m] + 1] - book.first[merged.tag[m]]
            ours.append(("update", int(merged.tag[m])))
        else:
            assert count == 1
            ours.append(("trade", int(merged.ticks[at])))
        at += count
    assert ours == plain
    assert most < 40 + 3 * WAIT_NS / 10**9  # what waits is a matter of time, not of length


def test_trade_told_too_late_goes_before_what_is_left():
    merger = Merger()
    merger.add(updates(np.array([0, 10, 200]) * 10**9 + 10**18, np.ones(3, np.int64)), nothing())
    assert merger.ready().tag.tolist() == [0, 1]
    one = np.ones(1, np.int64)
    merger.add(nothing(), of_trades(one * 10**18, one, one, one))
    assert merger.rest().kind.tolist() == [3, UPDATE]


def test_times_rise_over_pieces():
    rising = Rising()
    assert [rising(np.array(piece)).tolist() for piece in ([3, 1], [], [2, 5])] == [[3, 3], [], [3, 5]]
    assert rising.raised == 2


def test_a_trade_of_a_lower_number_comes_later_than_the_one_before_it():
    """A table's key is (time, number): where the number falls, the time is one nanosecond more at least."""
    ts, seq = np.array([10, 10, 10, 9, 12, 12]), np.array([5, 7, 6, 8, 11, 10])
    for cut in range(7):
        rising = Rising()
        parts = [rising(ts[part], seq[part]) for part in (slice(0, cut), slice(cut, 6))]
        assert np.concatenate(parts).tolist() == [10, 10, 11, 11, 12, 13] and rising.raised == 3


def test_trades_are_told_once_however_they_are_cut():
    """Against a set: numbers come late, again and never; a line that tells several tells them in any order."""
    rng = np.random.default_rng(6)
    told = rng.permutation(np.repeat(np.arange(300, 800), rng.integers(0, 4, 500)))
    told = told[np.argsort(told + rng.normal(0, 30, len(told)))]
    lines = np.sort(rng.integers(0, 400, len(told)))
    seen, plain = set(), []
    for line in np.unique(lines):
        new = sorted(set(told[lines == line].tolist()) - seen)
        seen.update(new)
        plain += [(line, number) for number in new]
    assert np.diff([number for _, number in plain]).min() < 0
    for pieces in (1, 7, 400):
        numbers, found = TradeNumbers(), []
        for own in (np.flatnonzero(lines * pieces // 400 == k) for k in range(pieces)):
            order = own[numbers(told[own], lines[own])]
            found += zip(lines[order], told[order], strict=True)
        assert found == plain
        assert numbers.again == len(told) - len(plain)
        assert numbers.missing == max(seen) - min(seen) + 1 - len(seen) > 0
