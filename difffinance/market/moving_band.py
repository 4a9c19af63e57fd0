"""Bands that move with the trades of the last five minutes: around their mean (LULD), or an earlier trade. Kernels."""

import numpy as np

from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.supervision import (
    BAND,
    BAND_CENTS,
    BAND_HIGH,
    BAND_LOW,
    BAND_WIDTH,
    CENTS,
    CLOSE,
    COOLING_UNTIL,
    FACTOR_UNTIL,
    FOREVER,
    HOLD_SECONDS,
    LAST,
    LEAST_CHANGE,
    MEAN_BAND,
    MEAN_COUNT,
    MEAN_SET,
    MEAN_SUM,
    NO_BAND,
    NOW_COUNT,
    NOW_SUM,
    ONE,
    OPEN,
    PER_TICKS,
    PHASE,
    ROLL_COUNT,
    ROLL_SUM,
    SCALARS,
    SECOND,
    SECOND_NS,
    SESSION,
    SPAN,
    TRADE_BAND,
    WINDOW_ROWS,
    WINDOWS,
    best_of,
    half_up,
    set_calm,
)


@inlined
def place_of(second):  # type: ignore[no-untyped-def]
    """Return where the three numbers of a second lie in `session`."""
    return SCALARS + 3 * (second % SPAN)


@inlined
def next_second(rules, session):  # type: ignore[no-untyped-def]
    """Go on to the next second of the day and set the moving band anew."""
    at = place_of(session[SECOND])
    session[at], session[at + 1], session[at + 2] = session[NOW_SUM], session[NOW_COUNT], session[LAST]
    session[SECOND] += 1
    at = at + 3 if at + 3 < SESSION else SCALARS
    earlier = session[at + 2]  # the last trade at least five minutes ago
    session[ROLL_SUM] += session[NOW_SUM] - session[at]
    session[ROLL_COUNT] += session[NOW_COUNT] - session[at + 1]
    session[NOW_SUM] = session[NOW_COUNT] = 0
    moves = rules[BAND] != NO_BAND and session[PHASE] == OPEN and session[COOLING_UNTIL] <= session[SECOND] * SECOND_NS
    if moves and not around_the_same(rules, session):
        set_band(rules, session, earlier if earlier > 0 else rules[CLOSE])


@inlined
def mean_moved(session):  # type: ignore[no-untyped-def]
    """Return whether the mean of five minutes takes the place of the one that the bands are around (LULD)."""
    second, total, count = session[SECOND], session[ROLL_SUM], session[ROLL_COUNT]
    if second - session[MEAN_SET] < HOLD_SECONDS or count == 0:
        return False
    held = session[MEAN_SUM] * count
    return abs(total * session[MEAN_COUNT] - held) * LEAST_CHANGE >= held


@inlined
def around_the_same(rules, session):  # type: ignore[no-untyped-def]
    """Return whether the band stays as it was in the last second, as in most seconds."""
    stays = rules[BAND] == MEAN_BAND and session[BAND_HIGH] > 0 and session[SECOND] < session[FACTOR_UNTIL]
    return stays and not mean_moved(session)


@lean_kernel
def band_factor(rules, second):  # type: ignore[no-untyped-def]
    """Return by how much the band's width is multiplied at a second of the day (0: no band), and until which second."""
    until = np.int64(FOREVER)
    for k in range(rules[WINDOW_ROWS]):
        row = rules[WINDOWS] + 3 * k
        if rules[row] <= second < rules[row + 1]:
            return rules[row + 2], rules[row + 1]
        if second < rules[row]:
            until = min(until, rules[row])
    return np.int64(0), until


@lean_kernel
def set_band(rules, session, earlier):  # type: ignore[no-untyped-def]
    """Set the moving band at the start of a second; `earlier` is the last trade five minutes ago."""
    low, high = session[BAND_LOW], session[BAND_HIGH]
    factor, session[FACTOR_UNTIL] = band_factor(rules, session[SECOND])
    if factor == 0:
        session[BAND_LOW] = session[BAND_HIGH] = 0
    elif rules[BAND] == TRADE_BAND:
        width = factor * rules[BAND_WIDTH]
        session[BAND_LOW] = -(-earlier * (ONE - width) // ONE)
        session[BAND_HIGH] = earlier * (ONE + width) // ONE
    else:
        if mean_moved(session):
            session[MEAN_SUM], session[MEAN_COUNT] = session[ROLL_SUM], session[ROLL_COUNT]
            session[MEAN_SET] = session[SECOND]
        session[BAND_LOW], session[BAND_HIGH] = mean_band(rules, session[MEAN_SUM], session[MEAN_COUNT], factor)
    if session[BAND_LOW] != low or session[BAND_HIGH] != high:
        set_calm(rules, session)


@lean_kernel
def mean_band(rules, total, count, factor):  # type: ignore[no-untyped-def]
    """Return the lowest and highest tick inside the bands around the mean `total / count`, half up to a cent."""
    cents, ticks, width = rules[CENTS], rules[PER_TICKS], factor * rules[BAND_WIDTH]
    low = half_up(total * cents * max(ONE - width, 0), count * ticks * ONE)
    high = half_up(total * cents * (ONE + width), count * ticks * ONE)
    if rules[BAND_CENTS] > 0 and factor * rules[BAND_CENTS] * count * ticks * ONE < width * total * cents:
        money = factor * rules[BAND_CENTS] * count * ticks
        low = max(half_up(total * cents - money, count * ticks), 0)
        high = half_up(total * cents + money, count * ticks)
    return -(-low * ticks // cents), high * ticks // cents


@inlined
def at_limit(rules, session, top):  # type: ignore[no-untyped-def]
    """Return whether the best bid stands at the upper band or the best ask at the lower one (LULD)."""
    ask = best_of(top, -1)
    in_force = rules[BAND] == MEAN_BAND and session[BAND_HIGH] > 0
    return in_force and (best_of(top, 1) >= session[BAND_HIGH] or 0 < ask <= session[BAND_LOW])
