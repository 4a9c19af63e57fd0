"""What a saved market keeps of its book, its accounts and its background flow, and how it comes back.

Constants of the market (rules, limits, rates, parameters, fitted tables) are not kept: they are those of the market
that restores it. Nor is what follows from the orders: levels, queues, best prices, what a seat has resting. Kernels
follow without a look what is kept, so `check_venue` has looked at it before.
"""

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from difffinance.market import supervision as s
from difffinance.market.bursts import EXPIRE, SPONTANEOUS
from difffinance.market.flow_state import (
    ANSWERED,
    DISCOUNT,
    LEVEL,
    LEVEL_UNTIL,
    LOG_VALUE,
    NOW,
    SHARE,
    SIGNS,
    UNSEEN,
    activity,
)
from difffinance.market.layout import (
    ASK,
    BASE,
    BID,
    FILLS,
    HIGH,
    HIGHEST,
    LIVE,
    LOW,
    LOWEST,
    PLAIN,
    SPECIAL,
    WAITING,
    longer,
)
from difffinance.market.layout import LEVEL as LEVEL_TYPE
from difffinance.market.layout import PHASE as BOOK_PHASE
from difffinance.market.layout import WIDTH as WINDOW
from difffinance.market.matching import MAX_LOTS, MAX_SPAN
from difffinance.market.phases import book_phase
from difffinance.market.settlement import CAPITAL, EVENTS, MID, NEXT_ID
from difffinance.market.snapshot import inside, refuse_unless
from difffinance.market.venue import Venue
from difffinance.records import Array

_ACCOUNTS = ("counts", "marks", "cash", "inventory", "fees", "bought_today", "tally", "refused", "session")
_FLOW = ("clock", "parents", "due")
_TOP = [BASE, WINDOW, LOW, HIGH, LOWEST, HIGHEST]  # the rest follows from the orders
_FAR = 1 << 60


def save_venue(venue: Venue) -> dict[str, Array]:
    """Return what the future of a venue depends on, copies by name; logs and lists as far as they are filled."""
    floor, flow, used, live = venue.floor, venue.flow, int(venue.floor.counts[NEXT_ID]), int(venue.flow.live_count[0])
    saved = {f"floor.{name}": getattr(floor, name) for name in _ACCOUNTS}
    saved |= {f"flow.{name}": getattr(flow, name) for name in _FLOW}
    saved |= {
        "floor.orders": floor.orders[:used], "floor.fills": floor.fills[: floor.top[FILLS]],
        "floor.events": floor.events[: floor.counts[EVENTS]], "floor.top": floor.top[_TOP],
        "floor.capital": floor.rates[:, CAPITAL],
        "floor.paid_on": floor.paid_on[: used if floor.rules[s.ACTIVE] else 0],
        "flow.live": flow.live[:live], "flow.born": flow.born[:live],
        "flow.agenda": flow.agenda,  # its length too: what seats set off needs room in it
    }  # fmt: skip
    return {name: array.copy() for name, array in saved.items()}


def load_venue(venue: Venue, saved: dict[str, Array]) -> None:
    """Go back to what `save_venue` returned, in the arrays of the venue; what was set in it stays."""
    parameters = venue.flow.p.copy()
    venue.restart()
    venue.flow.p[:] = parameters
    book, accounts, used, live = venue.book, venue.accounts, len(saved["floor.orders"]), len(saved["flow.live"])
    book.top[_TOP], book.top[FILLS] = saved["floor.top"], len(saved["floor.fills"])
    book.grow(used)
    book.orders[:used], book.fills_buffer[: book.top[FILLS]] = saved["floor.orders"], saved["floor.fills"]
    accounts["events"] = longer(accounts["events"], len(saved["floor.events"]))
    accounts["events"][: len(saved["floor.events"])] = saved["floor.events"]
    accounts["paid_on"] = longer(accounts["paid_on"], len(book.orders) if len(saved["floor.paid_on"]) else 0)
    accounts["paid_on"][: len(saved["floor.paid_on"])] = saved["floor.paid_on"]
    for name in _ACCOUNTS:
        accounts[name][:] = saved[f"floor.{name}"]
    accounts["rates"][:, CAPITAL] = saved["floor.capital"]
    book.top[BOOK_PHASE] = book_phase.py_func(accounts["session"][s.PHASE])
    if accounts["rules"][s.ACTIVE]:
        for note in (s.set_due, s.set_calm):
            note.py_func(accounts["rules"], accounts["session"])
    flow = venue.flow
    flow = venue.flow = flow._replace(
        live=longer(flow.live, live), born=longer(flow.born, live), agenda=saved["flow.agenda"].copy()
    )
    flow.live[:live], flow.born[:live], flow.live_count[0] = saved["flow.live"], saved["flow.born"], live
    for name in _FLOW:
        getattr(flow, name)[:] = saved[f"flow.{name}"]
    _line_up(venue)
    venue.bind()
    venue.make_room(1)


def _line_up(venue: Venue) -> None:
    """Build queues, levels and lists of resting orders anew: ids are given out in time, and nobody loses priority."""
    book, accounts, orders, top = venue.book, venue.accounts, venue.book.orders, venue.book.top
    width = int(top[WINDOW])
    book.levels, book.bits = np.zeros((4, width), LEVEL_TYPE), np.zeros((4, width >> 6), np.uint64)
    orders["next"] = orders["previous"] = -1
    ids = np.flatnonzero(orders["quantity"])
    resting = orders[ids]
    row, waits = (1 - resting["side"].astype(np.int64)) >> 1, resting["form"] == WAITING
    _queue(orders, book.waiting, row[waits], ids[waits])
    index = resting["price"][~waits] - top[BASE]
    occupied = _queue(orders, book.levels.reshape(-1), row[~waits] * width + index, ids[~waits])
    np.bitwise_or.at(book.bits.reshape(-1), occupied >> 6, np.uint64(1) << (occupied & 63).astype(np.uint64))
    top[BID] = index[row[~waits] == 0].max(initial=-1)
    top[ASK] = index[row[~waits] == 1].min(initial=width)
    top[LIVE], top[SPECIAL] = len(ids), waits.sum()
    accounts["resting"][:], accounts["own_count"][:] = 0, 0
    np.add.at(accounts["resting"], (resting["owner"], row), resting["quantity"])
    for seat in range(venue.seats):
        own = ids[resting["owner"] == seat]
        accounts["own_orders"][seat, : len(own)], accounts["own_count"][seat] = own, len(own)


def _queue(orders: Array, levels: Array, place: Array, ids: Array) -> Array:
    """Queue orders at their places in `levels`, those of a place by id; return the places that are taken."""
    by_place = np.lexsort((ids, place))
    place, ids = place[by_place], ids[by_place]
    same = place[1:] == place[:-1]
    orders["next"][ids[:-1][same]], orders["previous"][ids[1:][same]] = ids[1:][same], ids[:-1][same]
    first = np.flatnonzero(np.append(True, ~same)[: len(ids)])
    taken = place[first]
    if len(ids):
        levels["first"][taken], levels["last"][taken] = ids[first], ids[np.append(first[1:], len(ids)) - 1]
        levels["quantity"][taken] = np.add.reduceat(orders["quantity"][ids], first)
    return taken


def check_venue(venue: Venue, saved: dict[str, Array], seconds: float) -> None:
    """Refuse what would lead kernels beyond their arrays or keep them busy for ever; `seconds` is the time saved."""
    checks = [_of_book(venue, saved), _of_accounts(venue, saved), _of_flow(venue, saved, seconds)]
    checks.append(_of_session(venue, saved, seconds))
    for name, good in chain.from_iterable(checks):
        refuse_unless(bool(good), name)


Checks = Iterator[tuple[str, Any]]  # later ones rely on earlier ones


def _of_book(venue: Venue, saved: dict[str, Array]) -> Checks:
    orders, start, seats = saved["floor.orders"], venue.start["top"], venue.seats
    base, width, low, high, lowest, highest = (int(number) for number in saved["floor.top"])
    yield "the window of prices", 0 <= base < _FAR and base % 64 == width % 64 == 0 and 64 <= width <= 4 * MAX_SPAN
    limits, last = (int(start[LOW]), int(start[HIGH])), int(saved["floor.session"][s.LAST])
    after_hours = venue.floor.rules[s.AFTER] > 0 and low == high == last
    yield "the daily price limits", (low, high) == limits or after_hours
    yield "an order's owner", inside(orders["owner"], 0, seats)
    yield "an order's side", inside(orders["side"], -1, 1)
    yield "an order's quantity", inside(orders["quantity"], 0, MAX_LOTS)
    resting = orders[orders["quantity"] > 0]
    yield "an order's side", (resting["side"] != 0).all()
    yield "an order's form", np.isin(resting["form"], (PLAIN, WAITING)).all()
    prices = resting["price"][resting["form"] != WAITING]
    yield "the range of prices", lowest >= -_FAR and highest <= _FAR
    yield "an order's price", inside(prices, max(base, lowest), min(base + width - 1, highest))
    held = np.bincount(resting["owner"], minlength=seats + 1)[:seats]
    yield "a seat's list of orders", inside(held, 0, venue.floor.own_orders.shape[1])


def _of_accounts(venue: Venue, saved: dict[str, Array]) -> Checks:
    counts, fills, events, start = saved["floor.counts"], saved["floor.fills"], saved["floor.events"], venue.start
    used, base, width = len(saved["floor.orders"]), *saved["floor.top"][:2]
    yield "the number of orders", counts[NEXT_ID] == used
    yield "the number of paid orders", len(saved["floor.paid_on"]) == (used if venue.floor.rules[s.ACTIVE] else 0)
    yield "the number of messages", counts[EVENTS] == len(events)
    yield "a trade", inside(fills["maker"], 0, used - 1) and inside(fills["taker"], 0, used - 1)
    yield "a message", inside(events["order_id"], -1, used - 1) and inside(events["owner"], -1, venue.seats)
    yield "the last prices", inside(saved["floor.marks"], base, base + width) and saved["floor.marks"][MID] > 0
    yield "the sum of money", saved["floor.cash"].sum() == start["cash"].sum()
    yield "the sum of inventories", saved["floor.inventory"].sum() == start["inventory"].sum()
    yield "a seat's fees", np.isfinite(saved["floor.fees"]).all()
    yield "a seat's first wealth", np.isfinite(saved["floor.capital"]).all() and (saved["floor.capital"] != 0).all()


def _of_flow(venue: Venue, saved: dict[str, Array], seconds: float) -> Checks:
    clock, parents, used = saved["flow.clock"], saved["flow.parents"], len(saved["floor.orders"])
    now, until, rest = clock[NOW], clock[LEVEL_UNTIL], np.delete(clock, [ANSWERED, LEVEL_UNTIL])
    yield "the background's time", np.isfinite(rest).all() and abs(now - seconds) < 1e-6 and clock[UNSEEN] >= 0.0
    logs = clock[[LOG_VALUE, *range(SIGNS, len(clock))]]
    yield "the background's value", inside(logs, -1e3, 1e3) and inside(clock[[SHARE, DISCOUNT]], 0.0, 1.0)
    yield "the background's activity", clock[ANSWERED] < np.inf and until <= now + 1.0  # both -inf before the first
    level = activity.py_func(venue.flow.p, until - 1.0) if np.isfinite(until) else 1.0
    yield "the background's activity", np.isclose(clock[LEVEL], level)
    yield "a split order", inside(parents[:, 0], -1, 1) and inside(parents[:, 1], 0, _FAR)
    live, born, due, agenda = (saved[f"flow.{name}"] for name in ("live", "born", "due", "agenda"))
    yield "the background's list of orders", len(live) == len(born) and inside(live, 0, used - 1)
    yield "the background's orders", (saved["floor.orders"]["owner"][live] == venue.seats).all()
    yield "the time of an order", np.isfinite(born).all()
    yield "the length of the agenda", 0 <= due[0] <= len(agenda) >= venue.agenda_room
    items = agenda[: due[0]]
    first, kind = np.where(items["kind"] == EXPIRE, 0, -1), items["kind"]
    yield "the background's agenda", (
        inside(kind, 0, SPONTANEOUS) and (kind == SPONTANEOUS).sum() <= 1 and inside(items["side"], -1, 1)
        and inside(items["near"], 0, 2) and inside(items["order"], first, used - 1) and np.isfinite(items["time"]).all()
    )  # fmt: skip


def _of_session(venue: Venue, saved: dict[str, Array], seconds: float) -> Checks:
    rules, session, end = venue.floor.rules, saved["floor.session"], int(saved["floor.top"][:2].sum())
    if not rules[s.ACTIVE]:
        yield "the session", (session == venue.start["session"]).all()
        return
    now, phase = math.floor(seconds * 1e9), session[s.PHASE]
    yield "the session", inside(session, -s.FOREVER, s.FOREVER)
    needed = {s.SPECIAL_QUOTE: rules[s.QUOTES], s.FIXED_PRICE: rules[s.AFTER]}
    yield "the venue's phase", 0 <= phase < len(s.PHASES) and needed.get(int(phase), 1) > 0
    yield "the end of the phase", session[s.UNTIL] > now or now == session[s.UNTIL] == 0
    yield "the second of the day", session[s.SECOND] == (now // s.SECOND_NS if s.seconds_count.py_func(rules) else 0)
    yield "the last trade", 1 <= session[s.LAST] <= end
    yield "the special quote", 0 <= session[s.QUOTE] <= end and abs(session[s.QUOTE_SIDE]) <= 1
    widest = 4 * end if rules[s.BAND] != s.NO_BAND else 0
    yield "the moving band", 0 <= session[s.BAND_LOW] <= session[s.BAND_HIGH] <= widest
    for place, most in ((s.FIRED, s.LEVELS), (s.PAUSED_AT, s.LISTING_LEVELS)):
        yield "the breaker's level", 0 <= session[place] <= rules[most]
    yield "the place in the index", 0 <= session[s.INDEX_AT] <= max(rules[s.INDEX_ROWS] - 1, 0)
    counts = np.append(session[s.SCALARS + 1 :: 3], session[[s.ROLL_COUNT, s.NOW_COUNT, s.MEAN_COUNT]])
    sums = np.append(session[s.SCALARS :: 3], session[[s.ROLL_SUM, s.NOW_SUM, s.MEAN_SUM]])
    yield "the trades of five minutes", inside(counts, 0, _FAR // end) and session[s.MEAN_COUNT] >= 1
    yield (
        "the trades of five minutes",
        inside(sums, counts, end * counts) and inside(session[s.SCALARS + 2 :: 3], 0, end),
    )
