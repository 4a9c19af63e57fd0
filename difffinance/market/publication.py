"""What an exchange publishes of a step: messages about the visible book, each with the levels after it. Kernels.

As in LOBSTER's files only messages that touch the best L levels are there: one for each order that is filled, for
what rests of a limit order, and for each cancellation.
"""

from typing import Any, NamedTuple

from difffinance.market.compiled import kernel
from difffinance.market.matching import CANCEL, LIMIT, MARKET

NEW, PARTIAL_CANCEL, DELETE, EXECUTION = 1, 2, 3, 4
_NOWHERE = 1 << 40


class Ladder(NamedTuple):
    """The visible book by price: lots on each side of a window of ticks that starts at `base`; best levels."""

    lots: Any  # (2, W): bids, asks
    best: Any  # (3,) best bid, best ask (indices; -1 and W where empty), base in ticks
    resting: Any  # (ids, 3): side, ticks, lots left


class Rows(NamedTuple):
    """Messages written so far: time, type, order id, lots, ticks, resting side; and the levels after each."""

    messages: Any  # (M, 6)
    depth: Any  # (M, 2, L, 2) bid and ask, level, ticks and lots; 0 where there is none
    count: Any  # (1,)


@kernel
def change(ladder, side, price, by):  # type: ignore[no-untyped-def]
    """Add lots to a level and keep the best prices."""
    lots, best = ladder.lots, ladder.best
    width, index, column = lots.shape[1], price - best[2], 0 if side > 0 else 1
    lots[column, index] += by
    if lots[column, index] > 0:
        if side > 0:
            best[0] = max(best[0], index)
        else:
            best[1] = min(best[1], index)
    elif side > 0 and index == best[0]:
        while best[0] >= 0 and lots[0, best[0]] == 0:
            best[0] -= 1
    elif side < 0 and index == best[1]:
        while best[1] < width and lots[1, best[1]] == 0:
            best[1] += 1


@kernel
def deepest(ladder, side, levels):  # type: ignore[no-untyped-def]
    """Return the price of the last visible level of a side; beyond every price where fewer levels are filled."""
    lots, best = ladder.lots, ladder.best
    index, seen, step = best[0] if side > 0 else best[1], 0, -1 if side > 0 else 1
    column = 0 if side > 0 else 1
    while 0 <= index < lots.shape[1]:
        if lots[column, index] > 0:
            seen += 1
            if seen == levels:
                return index + best[2]
        index += step
    return -_NOWHERE if side > 0 else _NOWHERE


@kernel
def write_row(ladder, rows, ts, kind, order, size, price, side):  # type: ignore[no-untyped-def]
    """Change the book by one message and append it if it touches the visible levels."""
    levels = rows.depth.shape[2]
    before = deepest(ladder, side, levels)
    change(ladder, side, price, size if kind == NEW else -size)
    after = deepest(ladder, side, levels)
    # A level that comes or goes at the edge is visible on one side of the message.
    if side * price < side * before and side * price < side * after:
        return
    row, depth = rows.messages[rows.count[0]], rows.depth[rows.count[0]]
    row[0], row[1], row[2], row[3], row[4], row[5] = ts, kind, order, size, price, side
    for column in range(2):
        step, index = (-1, ladder.best[0]) if column == 0 else (1, ladder.best[1])
        k = 0
        while k < levels and 0 <= index < ladder.lots.shape[1]:
            if ladder.lots[column, index] > 0:
                depth[column, k, 0], depth[column, k, 1] = index + ladder.best[2], ladder.lots[column, index]
                k += 1
            index += step
    rows.count[0] += 1


@kernel
def publish(events, fills, ladder, rows, start):  # type: ignore[no-untyped-def]
    """Turn a step's log from event `start` on into rows; stop before an event that needs room; return its place."""
    for i in range(start, len(events)):
        event = events[i]
        following = events[i + 1].first_fill if i + 1 < len(events) else len(fills)
        if rows.count[0] + following - event.first_fill + 2 > len(rows.messages):
            return i
        resting = ladder.resting
        if event.kind == CANCEL:
            if event.done > 0:
                order = resting[event.order_id]
                order[2] -= event.done
                kind = PARTIAL_CANCEL if order[2] > 0 else DELETE
                write_row(ladder, rows, event.ts, kind, event.order_id, event.done, order[1], order[0])
            continue
        if event.kind != LIMIT and event.kind != MARKET:
            continue
        for k in range(event.first_fill, following):
            fill = fills[k]
            order = resting[fill.maker]
            order[2] -= fill.quantity
            write_row(ladder, rows, event.ts, EXECUTION, fill.maker, fill.quantity, fill.price, order[0])
        if event.kind == LIMIT and event.code == 0 and event.quantity > event.done:
            left = event.quantity - event.done
            order = resting[event.order_id]
            order[0], order[1], order[2] = event.side, event.price, left
            write_row(ladder, rows, event.ts, NEW, event.order_id, left, event.price, event.side)
    return len(events)
