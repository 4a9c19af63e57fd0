"""What LOB-Bench measures on an order-book day (arXiv 2502.09172, section 3 and its code): one-dimensional scores.

Every score is a column of numbers with the block of the day (five minutes of the clock) that each one belongs to, so
that distances can be taken on any choice of blocks and resampled by block. Hidden executions change nothing in the
book and are left out, on real and simulated days alike. Prices in ticks, quantities in units, times in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from difffinance.calibration.visible_day import BLOCK_SECONDS, VisibleDay
from difffinance.records import Array

SCORES = (
    "spread", "imbalance", "log_inter_arrival", "log_time_to_cancel", "ask_touch", "bid_touch", "ask_volume",
    "bid_volume", "limit_ask_depth", "limit_bid_depth", "cancel_ask_depth", "cancel_bid_depth", "limit_ask_level",
    "limit_bid_level", "cancel_ask_level", "cancel_bid_level", "volume_per_minute", "order_flow_imbalance",
    "order_flow_imbalance_up", "order_flow_imbalance_stay", "order_flow_imbalance_down",
)  # fmt: skip
DISCRETE = frozenset(s for s in SCORES if s.endswith("_level")) | {"spread"}
_NO_TIME_MS, _NO_TIME_S = 1e-9, 1e-9  # what LOB-Bench puts for a time of zero before the logarithm
_WINDOW = 100  # messages over which LOB-Bench averages order-flow imbalance


@dataclass(frozen=True)
class Score:
    """Values of one score and the block of each."""

    values: Array  # (n,)
    blocks: Array  # (n,) int

    def on(self, blocks: Sequence[int] | Array) -> "Score":
        """Return the values that lie in some of the blocks."""
        keep = np.isin(self.blocks, blocks)
        return Score(self.values[keep], self.blocks[keep])


def book_scores(day: VisibleDay) -> dict[str, Score]:
    """Return all of `SCORES` of a day."""
    bid, ask = day.depth[:, 0], day.depth[:, 1]
    state = {
        "spread": day.spread,
        "imbalance": (bid[:, 0] - ask[:, 0]) / (bid[:, 0] + ask[:, 0]),
        "ask_touch": ask[:, 0],
        "bid_touch": bid[:, 0],
        "ask_volume": ask.sum(axis=1),
        "bid_volume": bid.sum(axis=1),
    }
    scores = {name: Score(values, day.blocks) for name, values in state.items()}
    gaps, same = 1e3 * np.diff(day.seconds), np.diff(day.blocks) == 0
    times = np.log(np.where(gaps > 0.0, gaps, _NO_TIME_MS))
    scores["log_inter_arrival"] = Score(times[same], day.blocks[1:][same])
    scores["log_time_to_cancel"] = _time_to_cancel(day)
    scores |= _depths(day) | _levels_of(day) | _flow(day)
    scores["volume_per_minute"] = _volume(day)
    return {name: scores[name] for name in SCORES}


def _time_to_cancel(day: VisibleDay) -> Score:
    """From a new order to its first cancellation, both in one block."""
    new, gone = np.flatnonzero(day.kind == 0), np.flatnonzero(day.kind == 1)
    _, first = np.unique(day.order_id[gone], return_index=True)
    gone = gone[first]
    place = np.searchsorted(day.order_id[gone], day.order_id[new])
    known = place < len(gone)
    new, place = new[known], place[known]
    new, end = (
        new[day.order_id[gone[place]] == day.order_id[new]],
        gone[place][day.order_id[gone[place]] == day.order_id[new]],
    )
    same = (day.blocks[new] == day.blocks[end]) & (end > new)
    lives = (day.seconds[end] - day.seconds[new])[same]
    return Score(np.log(np.where(lives > 0.0, lives, _NO_TIME_S)), day.blocks[new][same])


def _depths(day: VisibleDay) -> dict[str, Score]:
    """Distance of limit orders and cancellations from the mid after the message; crossed sides as LOB-Bench has it."""
    depth, scores = day.price - day.mid, {}
    for name, kind in (("limit", 0), ("cancel", 1)):
        for side, chosen in (("ask", depth > 0), ("bid", depth < 0)):
            rows = chosen & (day.kind == kind)
            scores[f"{name}_{side}_depth"] = Score(np.abs(depth[rows]), day.blocks[rows])
    return scores


def _levels_of(day: VisibleDay) -> dict[str, Score]:
    """Level of a limit order in the book after it, of a cancellation in the book before it; from 1."""
    scores = {}
    for name, kind, lag in (("limit", 0, 0), ("cancel", 1, 1)):
        for side, sign, column in (("ask", -1, 1), ("bid", 1, 0)):
            rows = np.flatnonzero((day.kind == kind) & (day.side == sign))
            rows = rows[rows >= lag]
            found = day.prices[rows - lag, column] == day.price[rows, None]
            seen = found.any(axis=1)
            scores[f"{name}_{side}_level"] = Score(found[seen].argmax(axis=1) + 1.0, day.blocks[rows[seen]])
    return scores


def flow_steps(day: VisibleDay) -> Array:
    """Return the order-flow imbalance `e_n` of each message but the first (Cont, Kukanov & Stoikov 2014)."""
    bid, ask = day.prices[:, 0, 0], day.prices[:, 1, 0]
    q_bid, q_ask = day.depth[:, 0, 0], day.depth[:, 1, 0]
    bid_up, ask_up = np.diff(bid), np.diff(ask)
    return np.asarray(
        (bid_up >= 0) * q_bid[1:] - (bid_up <= 0) * q_bid[:-1] - (ask_up <= 0) * q_ask[1:] + (ask_up >= 0) * q_ask[:-1]
    )


def _flow(day: VisibleDay) -> dict[str, Score]:
    """Mean imbalance of 100 messages inside a block, all of them and by the next move of the mid."""
    name = "order_flow_imbalance"
    sums = np.concatenate([[0.0], np.cumsum(flow_steps(day))])
    if len(sums) <= _WINDOW:
        none = Score(np.zeros(0), np.zeros(0, np.int64))
        return {name + part: none for part in ("", "_up", "_stay", "_down")}
    mean, last = (sums[_WINDOW:] - sums[:-_WINDOW]) / _WINDOW, np.arange(_WINDOW, len(sums))
    same = day.blocks[last - _WINDOW] == day.blocks[last]
    scores = {name: Score(mean[same], day.blocks[last][same])}
    move = np.sign(np.diff(day.mid))
    known = same & (last < len(move))
    last, mean = last[known], mean[known]
    for part, sign in (("up", 1), ("stay", 0), ("down", -1)):
        rows = move[last] == sign
        scores[f"{name}_{part}"] = Score(mean[rows], day.blocks[last][rows])
    return scores


def _volume(day: VisibleDay) -> Score:
    """Return executed units per minute: sums over the seconds that have any, times 60."""
    rows = day.kind == 2
    seconds, where = np.unique(np.floor(day.seconds[rows]), return_inverse=True)
    return Score(
        60.0 * np.bincount(where, day.quantity[rows], minlength=len(seconds)),
        (seconds // BLOCK_SECONDS).astype(np.int64),
    )
