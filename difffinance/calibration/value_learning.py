"""What the price learns from market orders: how well signs predict the next sign, and what an unexpected one is worth.

The sign of a market order follows from those before it (Lillo & Farmer 2004), so the price can only learn from what
is unexpected in it: signs less their prediction, a sum of exponential means of past signs. What one unexpected order
is worth is the slope of the mid's moves over a minute on the sum of what was unexpected in it: over a minute books
refill, so that what only walked the book is not counted. The rest of those moves is the volatility that the value has
of itself. See Bouchaud, Gefen, Potters & Wyart (2004) and the history-dependent impact models after it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from difffinance.calibration.visible_day import BLOCK_SECONDS, VisibleDay
from difffinance.records import Array

HALF_LIVES = np.array([0.5, 10.0, 100.0])  # market orders
WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class ValueLearning:
    """The prediction of signs, and what the value makes of the rest."""

    decay: Array  # (M,) what each mean keeps of itself at a market order
    weight: Array  # (M,) of the means in the predicted sign, none below 0
    worth: float  # log price per unexpected market order, 0 or more
    volatility: float  # of what is left, log price per root second


def learn_value(day: VisibleDay, takes: Array, blocks: Array) -> ValueLearning:
    """Return what the market orders at the rows `takes` of the whole day tell; only those in the blocks are fitted."""
    sign = -np.sign(day.side[takes]).astype(float)
    decay = 0.5 ** (1.0 / HALF_LIVES)
    means = past_means(sign, decay)
    inside = np.isin(day.blocks[takes], blocks)
    weight = np.asarray(nnls(means[inside], sign[inside])[0])
    # Past 1 a run of one sign would be expected to grow.
    weight /= max(weight.sum(), 1.0)
    told = worth_of(day, takes, sign - np.clip(means @ weight, -1.0, 1.0), blocks)
    return ValueLearning(decay, weight, told.worth, told.rest)


@dataclass(frozen=True)
class Worth:
    """What moves of the mid over a minute say of news, one number a market order; log prices."""

    worth: float  # per unit of news, 0 or more
    alone: float  # the same for a model in which news never come in runs: so they explain as much of the moves there
    rest: float  # standard deviation per root second of what they do not explain
    total: float  # of the moves


def worth_of(day: VisibleDay, takes: Array, news: Array, blocks: Array) -> Worth:
    """Return what the news of the market orders at the rows `takes` were worth, by least squares in the blocks."""
    when = day.seconds[takes]
    starts = (np.unique(blocks)[:, None] * BLOCK_SECONDS + np.arange(0.0, BLOCK_SECONDS, WINDOW_SECONDS)).ravel()
    starts = starts[(starts >= day.seconds[0]) & (starts + WINDOW_SECONDS <= day.seconds[-1])]
    at = np.searchsorted(when, [starts, starts + WINDOW_SECONDS])
    surprise, alone = (np.diff(np.concatenate([[0.0], np.cumsum(x)])[at], axis=0)[0] for x in (news, news**2))
    log_mid = np.log(day.mid)
    rows = np.searchsorted(day.seconds, [starts, starts + WINDOW_SECONDS], side="right") - 1
    moves = log_mid[rows[1]] - log_mid[rows[0]]
    worth = max(float(surprise @ moves / max(surprise @ surprise, 1e-12)), 0.0)
    runs = float(surprise @ surprise / max(alone.sum(), 1e-12))
    rest, total = (float(np.std(x) / np.sqrt(WINDOW_SECONDS)) for x in (moves - worth * surprise, moves))
    return Worth(worth, worth * np.sqrt(runs), rest, total)


def past_means(sign: Array, decay: Array) -> Array:
    """Return the exponential means of the signs before each market order, (n, M)."""
    means = np.zeros((len(sign), len(decay)))
    for i in range(1, len(sign)):
        means[i] = means[i - 1] * decay + (1.0 - decay) * sign[i - 1]
    return means
