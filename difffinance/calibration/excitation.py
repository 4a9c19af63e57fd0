"""Maximum likelihood of the self-exciting part of the fitted flow, by expectation and maximisation.

The intensity of events of kind t on a side of the book, while that side is in state b for them, is

    f_t(b) (mu_t u(time) / 2 + sum over past events j of alpha[source j, t, same or other side, k] g_k(time - t_j))

with g_k(x) = d_k exp(-d_k x) and fixed decays d_k: whatever causes an order, it comes more or less easily as the book
stands. Sources are the kinds of events, market orders that leave some of the queue that they meet apart: others follow
to take the rest. For limit orders the state is the spread, for market orders spread and gap behind the queue that they
meet. An event at the very time of an earlier one is its immediate child. A cancellation is of one order: each order
leaves with a hazard of its own that depends on its place, size and age, and besides events set off quick ones, of
each of the n orders of the side near the touch alike. Hazards grow with the number of orders and bring the book back to
its size, which waves of a given number of cancellations would not. The likelihood is that of a superposition, so every
step of the EM algorithm (Veen & Schoenberg 2008) has a closed form. Each block of the day stands alone.
"""

from dataclasses import dataclass

import numpy as np

from difffinance.calibration.visible_day import LEAVE, TAKE
from difffinance.market.flow_fits import branching_ratio
from difffinance.records import Array

KINDS = 3
SOURCES = 4  # kinds of parents: a market order that leaves some of its queue is one of its own
DECAYS = np.array([12_000.0, 3_000.0, 300.0, 20.0, 1.0, 0.05])
SLOWEST_CANCEL = 10.0  # per second; slower waves of cancellations are left to the hazards
AGE_EDGES = np.concatenate([[0.0], 10.0 ** np.arange(-4.0, 2.6, 0.5)])


@dataclass(frozen=True)
class EventStream:
    """Events of one or more blocks in order; `near` and `own` concern cancellations."""

    time: Array
    kind: Array
    source: Array  # the kind, 3 for a market order that leaves some of its queue
    side: Array
    block: Array
    before: Array  # (n,) state for events of its kind, on its side, before the event
    after: Array  # (n, 2, 3) state for events of each kind on each side (bids first) from this event to the next
    activity: Array  # u at the event
    orders: Array  # orders of that side near the touch
    age: Array  # of the order that leaves; NaN where its birth is not known
    life_class: Array  # of the order that leaves: its place and size counted as one; -1 where not known
    block_end: dict[int, float]


@dataclass(frozen=True)
class Excitation:
    """What was estimated. `alpha[source, target, side, k]`: expected children; k = 0 at once, side 0 the same."""

    mu: Array  # (3,) spontaneous events per second, both sides, where the factor is 1
    alpha: Array  # (4, 3, 2, K+1)
    factor: Array  # (3, B), the largest 1
    met: Array  # (3,) mean factor that children of each kind meet when they are due
    hazard: Array  # (places, sizes, ages) per second
    causes: Array  # (n, 9) chances: spontaneous, then the parent's source and side (same, other)
    partial: float  # share of market orders that leave some of their queue
    log_likelihood: Array  # (3, iterations) of the events, without the integral

    @property
    def branching_ratio(self) -> float:
        """Spectral radius of the matrix of expected children."""
        return branching_ratio(self.alpha.sum(axis=(2, 3)) * self.met, self.partial)


@dataclass(frozen=True)
class _Design:
    recent: Array  # (n, 4, 2, K) decayed counts of past events by kind and relative side
    immediate: Array  # (n, 4, 2) events of the same time before
    exposed: Array  # (n, 4, 2, K) integral of the kernels from this event to the next, by kind and side of the past
    duration: Array  # (n,) seconds to the next event or the end of the block


def _design(stream: EventStream, decays: Array) -> _Design:
    n, k = len(stream.time), len(decays)
    recent, exposed = np.zeros((n, SOURCES, 2, k)), np.zeros((n, SOURCES, 2, k))
    immediate, duration = np.zeros((n, SOURCES, 2)), np.zeros(n)
    state, at_once, column = np.zeros((SOURCES, 2, k)), np.zeros((SOURCES, 2)), (stream.side < 0).astype(int)
    last_block, last = -1, 0.0
    ends = np.array([stream.block_end[b] for b in stream.block.tolist()])
    later = np.append(stream.time[1:], np.inf)
    later[np.append(np.diff(stream.block) != 0, True)] = np.inf
    duration[:] = np.maximum(np.minimum(later, ends) - stream.time, 0.0)
    gone = np.exp(-decays * duration[:, None])
    for i in range(n):
        if stream.block[i] != last_block:
            state[:], at_once[:], last_block = 0.0, 0.0, stream.block[i]
        elif stream.time[i] > last:
            at_once[:] = 0.0
        last, c = stream.time[i], column[i]
        recent[i, :, 0], recent[i, :, 1] = state[:, c], state[:, 1 - c]
        immediate[i, :, 0], immediate[i, :, 1] = at_once[:, c], at_once[:, 1 - c]
        state[stream.source[i], c] += 1.0
        at_once[stream.source[i], c] += 1.0
        exposed[i] = state * (1.0 - gone[i])
        state *= gone[i]
    return _Design(recent, immediate, exposed, duration)


def fit_excitation(
    stream: EventStream, exposure: Array, states: int, *, iterations: int = 80, decays: Array = DECAYS
) -> Excitation:
    """Return the maximum-likelihood estimate; `exposure` (places, sizes, ages) is order-seconds at risk."""
    design = _design(stream, decays)
    span = float((stream.activity * design.duration).sum())
    mu, factor, alpha = np.zeros(KINDS), np.ones((KINDS, states)), np.zeros((SOURCES, KINDS, 2, len(decays) + 1))
    met = np.ones(KINDS)
    hazard, causes = np.full(exposure.shape, 0.1), np.zeros((len(stream.time), 1 + 2 * SOURCES))
    path = np.zeros((KINDS, iterations))
    partial = float((stream.source[stream.kind == TAKE] != TAKE).mean()) if (stream.kind == TAKE).any() else 0.0
    for target in range(KINDS):
        rows = np.flatnonzero(stream.kind == target)
        if len(rows) == 0:
            continue
        mu[target] = 0.2 * len(rows) / span
        alpha[:, target, :, 1:] = 0.02
        if target == LEAVE:  # zeros stay zeros
            mu[target] = 0.0
            alpha[:, target, :, 1:][..., decays < SLOWEST_CANCEL] = 0.0
        for step in range(iterations):
            weights, own, value = _expect(stream, design, rows, target, mu, alpha, factor, hazard, decays)
            met[target] = _maximise(stream, design, rows, target, weights, own, mu, alpha, factor, hazard, exposure)
            path[target, step] = value
        causes[rows, 0] = weights[:, 0]
        causes[rows, 1:] = weights[:, 1:].reshape(len(rows), 2 * SOURCES, -1).sum(axis=2)
    return Excitation(mu, alpha, factor, met, hazard, causes, partial, path)


def _expect(stream, design, rows, target, mu, alpha, factor, hazard, decays):  # type: ignore[no-untyped-def]
    """Return each event's chances of being spontaneous or a child of each component, and of its own hazard."""
    per_side = 0.5 * mu[target] * stream.activity[rows]
    kernels = (alpha[:, target, :, 1:] * decays)[None] * design.recent[rows]
    at_once = alpha[:, target, :, 0][None] * design.immediate[rows]
    sudden = design.immediate[rows].sum(axis=(1, 2)) > 0
    # A density of zero width beats any other: an event at the time of another is its child.
    kernels[sudden] = 0.0
    at_once[sudden] = np.where(design.immediate[rows][sudden] > 0, np.maximum(at_once[sudden], 1e-6), 0.0)
    kernels = np.concatenate([at_once[..., None], kernels], axis=-1)
    parts = np.concatenate([np.where(sudden, 0.0, per_side)[:, None], kernels.reshape(len(rows), -1)], axis=1)
    parts *= factor[target][stream.before[rows]][:, None]
    own = np.zeros(len(rows))
    if target == LEAVE:
        known = (stream.life_class[rows] >= 0) & ~sudden
        age = np.searchsorted(AGE_EDGES, stream.age[rows][known], side="right") - 1
        each = hazard.reshape(-1, hazard.shape[-1])
        own[known] = each[stream.life_class[rows][known], age] * np.maximum(stream.orders[rows][known], 1.0)
    total = parts.sum(axis=1) + own
    total = np.maximum(total, 1e-300)
    return parts / total[:, None], own / total, float(np.log(total[~sudden]).sum())


def _maximise(stream, design, rows, target, weights, own, mu, alpha, factor, hazard, exposure):  # type: ignore[no-untyped-def]
    """Update the parameters of one target in place; return the mean factor that its children meet.

    Causes first, then the factors of the states given them.
    """
    eased, free = factor[target][stream.after[:, :, target]], stream.activity * design.duration  # (n, 2), (n,)
    mu[target] = weights[:, 0].sum() / max(0.5 * float(free @ eased.sum(axis=1)), 1e-9)
    mass = weights[:, 1:].sum(axis=0).reshape(SOURCES, 2, -1)
    own_side = (stream.side < 0).astype(int)
    for relative in range(2):
        sides = [relative, 1 - relative]  # of the past events that bids and offers see there
        exposed = np.einsum("nc,nscK->sK", eased, design.exposed[:, :, sides])
        alpha[:, target, relative, 1:] = mass[:, relative, 1:] / np.maximum(exposed, 1e-12)
        there = eased[np.arange(len(own_side)), own_side ^ relative]
        parents = np.bincount(stream.source, there, minlength=SOURCES)
        alpha[:, target, relative, 0] = mass[:, relative, 0] / np.maximum(parents, 1e-9)
    if target == LEAVE:
        known = stream.life_class[rows] >= 0
        age = np.searchsorted(AGE_EDGES, stream.age[rows][known], side="right") - 1
        deaths = np.zeros((len(exposure) * exposure.shape[1], exposure.shape[2]))
        np.add.at(deaths, (stream.life_class[rows][known], age), own[known])
        hazard[:] = hazards(deaths.reshape(exposure.shape), exposure)
        return 1.0
    expected, children = np.zeros((2, factor.shape[1]))
    for side in range(2):
        sides = [side, 1 - side]
        due = np.einsum("nsrK,srK->n", design.exposed[:, :, sides], alpha[:, target, :, 1:])
        due += alpha[stream.source, target, own_side ^ side, 0]
        children += np.bincount(stream.after[:, side, target], due, minlength=len(expected))
        due += 0.5 * mu[target] * free
        expected += np.bincount(stream.after[:, side, target], due, minlength=len(expected))
    # One event more and one more expected: states that hardly occur stay near the others.
    rate = (np.bincount(stream.before[rows], minlength=len(expected)) + 1.0) / (expected + 1.0)
    factor[target], scale = rate / rate.max(), rate.max()
    mu[target] *= scale
    alpha[:, target] *= scale
    return float(children @ factor[target] / max(children.sum(), 1e-12))


def hazards(deaths: Array, exposure: Array) -> Array:
    """Return deaths per second at risk, (places, sizes, ages).

    Sizes have one death more, and the time in which those of all sizes at that place and age have one: a rare size
    stays near the others.
    """
    everywhere = deaths.sum(axis=1, keepdims=True) / np.maximum(exposure.sum(axis=1, keepdims=True), 1e-9)
    known = everywhere > 0.0
    time = np.divide(1.0, everywhere, out=np.ones_like(everywhere), where=known)
    return np.asarray((deaths + known) / (exposure + time))
