"""What the value learns from the market orders of seats, and how that fades. Kernels.

An order is anonymous: when it arrives it is worth as much as any other of its size. Those of the background are
backed by what comes after them; those of a seat are not, and what was learned from them fades as the market finds out
(orders that carry no information revert: Gomes & Waelbroeck 2015; fair pricing: Farmer, Gerig, Lillo & Waelbroeck
2013). A seat's market orders move the log value by

    sum over its orders of sign * size * worth * ((1 - kept) * (1 + j) ** -fade + kept)

where j counts the market orders since then and size is in market orders of mean size. Exponent and kept part are a
prior from what real metaorders do (Bouchaud et al. 2004; Bershova & Rakhlin 2013; Sato & Kanazawa 2025): one day of
anonymous messages cannot tell slow decay from permanence. At a constant participation P, that is P / (1 + P) of all
market orders, the impact of n orders is about `2 * worth * h**2 * sqrt(n * P / (1 + P))` at fade 1/2 (h: below), and
what is kept of it: a square root in size.

It is linear in signed size, and its kernel is a constant plus a sum of exponentials with positive weights, so
`sum x_i x_j G(|t_i - t_j|) >= 0` for every programme x at any times t: no round trip is paid by it (Gatheral 2010).
An order counts as the run of small ones that it could have been cut into: cutting it changes nothing.

`worth` is that of one among the background's orders. Where seats trade beside it the fading part of an order is worth
`h**2 = sqrt((1 - s) / (1 + s / 0.1))` of that, s the part of seats in the last 2048 market orders or so, at most 0.9.
By the square-root law an order moves the price by its part of the whole volume, to which seats add: hence 1 - s. And
the impact of a given size does not depend on how fast it is traded (Toth et al. 2011; Sato & Kanazawa 2025), while the
sum above grows with `sqrt(s)`: hence the rest, which takes that off where s is large enough to be noticed. An order
that goes on for long is found out: its later pieces tell less than the first, which keeps impact a root of size, and
what was taken off comes back when it has ended.
Half of the factor is applied to the order when it comes, half to the sum when it is read:
`h(t) * sum h(t_i) x_i G(t - t_i)`. What a programme pays is then `sum y_i y_j G(|t_i - t_j|)` with `y = h x`, which no
path of h makes negative, not even one that the programme itself brings about by trading more or less.
"""

from functools import cache

import numpy as np

from difffinance.market.compiled import inlined, lean_kernel, trailing_zeros
from difffinance.market.flow_state import ANSWERED, DISCOUNT, FADES, FADING, GAINS, KEPT, LOG_VALUE, SHARE, UNIT
from difffinance.market.matching import CANCEL
from difffinance.market.settlement import EVENTS

# Rates of the exponentials per market order, each an eighth of the one before, down to one in 16,384 orders.
RATES = tuple(2.0 * 8.0**-k for k in range(FADES))
_RANGE = 10_000.0  # market orders: a day or two
PACE = 4  # place of the rate at which their pace is forgotten: one in 2048 orders
_MOST = 0.9  # of the share that counts: a block of thousands of orders at once does not undo its own impact
NOTICED = 0.1  # share of seats from which on the impact of a size does not depend on it
_LOSS = tuple(float(-np.expm1(-rate)) for rate in RATES)  # what one market order takes off each
_ONE = np.uint64(1)
_u = np.uint64  # an index without a sign needs no look at the end of its array


@cache
def fading_weights(exponent: float) -> tuple[float, ...]:
    """Return the weights, with sum 1, whose exponentials add up to `(1 + j) ** -exponent`, nearly, to j = 10,000.

    By least squares of relative errors over equal steps of log j, none below 0.
    """
    from scipy.optimize import nnls

    j = np.append(0.0, np.geomspace(1.0, _RANGE, 60))
    weights = nnls(np.exp(-np.outer(j, RATES)) * (1.0 + j[:, None]) ** exponent, np.ones(len(j)))[0]
    return tuple((weights / weights.sum()).tolist())


def lessons(unit: float, worth: float, fade: float, kept: float) -> np.ndarray:
    """Return the parameters that kernels read: lots of an order that counts as one, then log value per such order."""
    fading = worth * (1.0 - kept) * np.array(fading_weights(fade)) / np.array(RATES)
    return np.concatenate([[unit, worth * kept], fading])


@lean_kernel
def forget(clock):  # type: ignore[no-untyped-def]
    """Let one market order of the background pass; the factor h is read anew then."""
    lost, left = 0.0, 0.0
    for k in range(FADES):
        part = clock[FADING + k] * _LOSS[k]
        clock[FADING + k] -= part
        lost += part
        left += clock[FADING + k]
    clock[LOG_VALUE] -= (1.0 - clock[DISCOUNT]) * lost
    if clock[SHARE] > 0.0:
        clock[SHARE] -= clock[SHARE] * _LOSS[PACE]
        share = min(clock[SHARE], _MOST)
        discount = 1.0 - np.sqrt(np.sqrt((1.0 - share) / (1.0 + share / NOTICED)))
        clock[LOG_VALUE] += (clock[DISCOUNT] - discount) * left
        clock[DISCOUNT] = discount


@inlined
def near_expm1(x):  # type: ignore[no-untyped-def]
    """Return expm1(x) for x up to 0, off by 2e-13 of it at most: by its series where x is small."""
    if x < -0.01:
        return np.expm1(x)
    return x * (1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120)))))


@inlined
def learn_from_seat(clock, p, sign, quantity):  # type: ignore[no-untyped-def]
    """Move the value by what a seat took from the book, lots: a run of orders that fades as it goes."""
    size, factor = quantity / p[UNIT], 1.0 - clock[DISCOUNT]
    lost, moved = near_expm1(-size * RATES[FADES - 1]), 0.0
    for k in range(FADES - 1, -1, -1):
        change = (clock[FADING + k] - sign * factor * p[GAINS + k]) * lost
        clock[FADING + k] += change
        moved += change
        if k == PACE:
            clock[SHARE] += (clock[SHARE] - 1.0) * lost
        for _ in range(3):  # expm1(2 x) = expm1(x) (2 + expm1(x)), so this is that of the rate eight times as high
            lost *= 2.0 + lost
    clock[LOG_VALUE] += p[KEPT] * sign * size + factor * moved


@lean_kernel
def hear_seats(floor, clock, p, owner):  # type: ignore[no-untyped-def]
    """Learn from what seats have taken since the last background message; return the time of the last of it (ns)."""
    events, last = floor.events, _u(floor.counts[EVENTS])
    first, heard = last, clock[ANSWERED]
    while first > 0 and events[first - _ONE].owner != owner and events[first - _ONE].ts > heard:
        first -= _ONE
    while first < last:
        # Which rows took something is found for 64 of them without a branch, which nobody could foretell.
        took, count = np.uint64(0), min(last - first, np.uint64(64))
        for k in range(count):
            event = events[first + k]
            heard = max(heard, np.float64(event.ts))
            # No seat takes in a call auction: its row in the log has no side.
            took |= np.uint64((event.kind != CANCEL) & (event.side != 0) & (event.done > 0)) << k
        while took != 0:
            event = events[first + _u(trailing_zeros(took))]
            learn_from_seat(clock, p, np.float64(event.side), np.float64(event.done))
            took &= took - _ONE
        first += count
    return heard
