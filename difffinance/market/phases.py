"""How a trading day goes on: seconds, limit states, pauses, call auctions, special quotes, the close. Kernels.

`carry_on` brings the day up to the time of a message before it is looked at, `look_around` draws the conclusions
after it. What a phase allows is `supervision.venue_refusal`'s business; the book's own phase follows.
"""

import numpy as np

from difffinance.market.after_hours import begin_fixed_price
from difffinance.market.auction import crossing, indicative, trade_at
from difffinance.market.compiled import inlined, lean_kernel, sealed
from difffinance.market.layout import ASK, BASE, BID, FILLS
from difffinance.market.layout import PHASE as BOOK_PHASE
from difffinance.market.matching import AUCTION, CONTINUOUS
from difffinance.market.matching import HALTED as BOOK_HALTED
from difffinance.market.moving_band import at_limit, next_second, place_of
from difffinance.market.settlement import (
    CARRY_ON,
    EVENTS,
    LAST_ASK,
    LAST_BID,
    LOOK,
    PHASE_CHANGE,
    address_of_floor,
    floor_at,
    mark,
    settle_auction,
)
from difffinance.market.special_quote import balance_price, next_quote, nothing_crosses, pressure
from difffinance.market.supervision import (
    AFTER,
    BAND_HIGH,
    BAND_LOW,
    CALM_HIGH,
    CALM_LOW,
    CLOSED,
    CLOSING,
    CLOSING_AUCTION,
    DUE,
    END,
    FIXED_PRICE,
    FOREVER,
    HALTS,
    INDEX_ROWS,
    LAST,
    LEVELS,
    LIMIT_STATE,
    LIMIT_STATES,
    LISTING_LEVELS,
    LISTING_NS,
    MEAN_COUNT,
    MEAN_SET,
    MEAN_SUM,
    NOW_COUNT,
    NOW_SUM,
    OPEN,
    PAUSE_NS,
    PAUSED,
    PHASE,
    QUOTE,
    QUOTE_SIDE,
    QUOTES,
    RENEWAL_NS,
    REOPENING,
    REOPENING_NS,
    RESUME,
    ROLL_COUNT,
    ROLL_SUM,
    SECOND,
    SECOND_NS,
    SPAN,
    SPECIAL_QUOTE,
    STATE_NS,
    TAKEN_HIGH,
    TAKEN_LOW,
    UNTIL,
    breaker_call,
    listing_call,
    note_trades,
    remember,
    seconds_count,
    set_calm,
    set_due,
)


@inlined
def carry_on(floor, ts):  # type: ignore[no-untyped-def]
    """Carry the day on to `ts` where a second or a phase ends before."""
    if ts >= floor.session[DUE]:
        catch_up(floor, ts)


@lean_kernel
def catch_up(floor, ts):  # type: ignore[no-untyped-def]
    """Call the sealed kernel below."""
    floor.carry_on(address_of_floor(floor), ts)


@sealed(CARRY_ON)
def carried_on(address, ts):  # type: ignore[no-untyped-def]
    """Carry the day on: seconds pass, bands move, auctions trade, pauses begin and end when they are due."""
    floor = floor_at(address)
    session, rules = floor.session, floor.rules
    while ts >= session[DUE]:
        due, second = session[UNTIL], (session[SECOND] + 1) * SECOND_NS
        if second <= due and seconds_count(rules):
            next_second(rules, session)
            if rules[INDEX_ROWS] > 0:
                heed_breaker(floor, second)
        else:
            first = floor.top[FILLS]
            if session[PHASE] == REOPENING or (session[PHASE] == CLOSING_AUCTION and due >= rules[END]):
                price, _, _ = indicative(floor, session[LAST])
                trade_auction(floor, price)
            change_phase(floor, due, first)
        set_due(rules, session)


@inlined
def touches(floor):  # type: ignore[no-untyped-def]
    """Return whether a best price is at the edge of what is taken at a glance, or nothing is."""
    session, top = floor.session, floor.top
    return top[BID] + top[BASE] >= session[TAKEN_HIGH] or top[ASK] + top[BASE] <= session[TAKEN_LOW]


@inlined
def look_around(floor, ts, first):  # type: ignore[no-untyped-def]
    """After a message: remember its trades, heed the breaker, the limit state and a special quote.

    Trades of one message go from the best price on: the first and the last of them are the farthest apart.
    """
    session, fills, stop = floor.session, floor.fills, floor.top[FILLS]
    closely = touches(floor)
    if stop > first and not closely:
        start, end = fills[first].price, fills[stop - 1].price
        closely = min(start, end) <= session[CALM_LOW] or max(start, end) >= session[CALM_HIGH]
    if closely:
        look_closely(floor, ts, first)
    elif stop > first and ts >= 0:
        remember(session, fills, first, stop)


@lean_kernel
def look_closely(floor, ts, first):  # type: ignore[no-untyped-def]
    """Do what `look_around` says, whatever the phase, the book and the trades."""
    floor.look(address_of_floor(floor), ts, first)


@sealed(LOOK)
def looked_closely(address, ts, first):  # type: ignore[no-untyped-def]
    """Do what `look_closely` says."""
    floor = floor_at(address)
    rules, session, top = floor.rules, floor.session, floor.top
    if ts < 0 or session[PHASE] > LIMIT_STATE:
        if ts >= 0 and session[PHASE] == SPECIAL_QUOTE:
            heed_quote(floor, ts)
        return
    if top[FILLS] > first:
        note_trades(rules, session, floor.fills, first, top[FILLS])
        heed_breaker(floor, ts)
        heed_listing(floor, ts)
    if rules[QUOTES] > 0 and top[BOOK_PHASE] == AUCTION:
        show_quote(floor, ts, session[LAST], session[QUOTE_SIDE])
        heed_quote(floor, ts)
        return
    limit = session[PHASE] <= LIMIT_STATE and at_limit(rules, session, top)
    if session[PHASE] == OPEN and limit:
        session[LIMIT_STATES] += 1
        until = min(ts + rules[STATE_NS], rules[CLOSING])
        enter_phase(floor, ts, LIMIT_STATE, until, top[FILLS])
    elif session[PHASE] == LIMIT_STATE and not limit:
        enter_phase(floor, ts, OPEN, rules[CLOSING], top[FILLS])


@lean_kernel
def heed_breaker(floor, ts):  # type: ignore[no-untyped-def]
    """Halt where the market-wide breaker says so."""
    rules, session = floor.rules, floor.session
    if rules[LEVELS] > 0 and session[PHASE] <= LIMIT_STATE:
        length = breaker_call(rules, session, ts)
        if length != 0:
            pause(floor, ts, ts + length if length > 0 else FOREVER)


@lean_kernel
def heed_listing(floor, ts):  # type: ignore[no-untyped-def]
    """Pause a new listing without limits that has gone too far from its opening price."""
    rules, session = floor.rules, floor.session
    if rules[LISTING_LEVELS] > 0 and session[PHASE] == OPEN and listing_call(rules, session):
        pause(floor, ts, ts + rules[LISTING_NS])


@lean_kernel
def show_quote(floor, ts, price, side):  # type: ignore[no-untyped-def]
    """Show a special quote a step from `price`."""
    rules, session = floor.rules, floor.session
    session[QUOTE], session[QUOTE_SIDE] = next_quote(rules, floor.top, price, side), side
    enter_phase(floor, ts, SPECIAL_QUOTE, min(ts + rules[RENEWAL_NS], rules[CLOSING]), floor.top[FILLS])


@lean_kernel
def heed_quote(floor, ts):  # type: ignore[no-untyped-def]
    """End a special quote whose orders balance, or have gone; turn one that the other side presses by now."""
    rules, session = floor.rules, floor.session
    side, last, first = session[QUOTE_SIDE], session[LAST], floor.top[FILLS]
    if nothing_crosses(floor):
        enter_phase(floor, ts, OPEN, rules[CLOSING], first)
        return
    quote, back = session[QUOTE], next_quote(rules, floor.top, last, -side)
    presses = pressure(floor, quote)
    if presses == side:
        return
    if presses == -side and pressure(floor, back) == -side:
        show_quote(floor, ts, last, -side)
        return
    trade_auction(floor, balance_price(floor, quote, back))
    enter_phase(floor, ts, OPEN, rules[CLOSING], first)


@lean_kernel
def renew_quote(floor, ts):  # type: ignore[no-untyped-def]
    """Move a special quote on by a step; at the daily limit it stays to the end of continuous trading."""
    rules, session = floor.rules, floor.session
    quote, side = session[QUOTE], session[QUOTE_SIDE]
    if next_quote(rules, floor.top, quote, side) == quote:
        session[UNTIL] = rules[CLOSING]
        return
    show_quote(floor, ts, quote, side)
    heed_quote(floor, ts)


@lean_kernel
def pause(floor, ts, resume):  # type: ignore[no-untyped-def]
    """Halt until `resume` (FOREVER: to the close); the reopening auction gathers orders before it ends."""
    rules, session = floor.rules, floor.session
    session[HALTS] += 1
    session[RESUME] = resume
    until = max(ts, resume - rules[REOPENING_NS])
    if resume == FOREVER:
        until = rules[END]
    elif resume >= rules[CLOSING]:
        until = rules[CLOSING]
    enter_phase(floor, ts, PAUSED, until, floor.top[FILLS])


@lean_kernel
def change_phase(floor, ts, first):  # type: ignore[no-untyped-def]
    """Go to the phase that is due at `ts`; `first` is the first trade of the auction that ends."""
    rules, session = floor.rules, floor.session
    phase = session[PHASE]
    if ts >= rules[END] and phase == CLOSING_AUCTION and rules[AFTER] > 0:
        begin_fixed_price(floor)
        enter_phase(floor, ts, FIXED_PRICE, rules[AFTER], first)
    elif ts >= rules[END]:
        enter_phase(floor, ts, CLOSED, FOREVER, first)
    elif ts >= rules[CLOSING]:
        enter_phase(floor, ts, CLOSING_AUCTION, rules[END], first)
    elif phase == SPECIAL_QUOTE:
        renew_quote(floor, ts)
    elif phase == LIMIT_STATE:
        pause(floor, ts, ts + rules[PAUSE_NS])
    elif phase in (OPEN, PAUSED):  # an open market is due to change before its close where it begins with an auction
        enter_phase(floor, ts, REOPENING, session[RESUME], first)
    else:
        reopen(session, floor.marks)
        enter_phase(floor, ts, OPEN, rules[CLOSING], first)


@lean_kernel
def trade_auction(floor, price):  # type: ignore[no-untyped-def]
    """Let the gathered orders trade at one price; 0: none can."""
    first = floor.top[FILLS]
    for row in range(2):  # market orders end here, traded or not
        order_id = np.int64(floor.waiting[row].first) if floor.waiting[row].quantity > 0 else np.int64(-1)
        while order_id >= 0:
            order = floor.orders[order_id]
            floor.resting[order.owner, row] -= order.quantity
            order_id = np.int64(order.next)
    demand, supply = crossing(floor, price)
    trade_at(floor, price, min(demand, supply) if price > 0 else 0)
    settle_auction(floor, first)
    note_trades(floor.rules, floor.session, floor.fills, first, floor.top[FILLS])
    mark(floor)


@lean_kernel
def reopen(session, marks):  # type: ignore[no-untyped-def]
    """Start the five minutes of the moving bands anew: from the auction's price, or from the mid where none traded."""
    session[MEAN_SUM], session[MEAN_COUNT], session[MEAN_SET] = session[LAST], 1, session[SECOND]
    if session[NOW_COUNT] == 0:
        session[MEAN_SUM], session[MEAN_COUNT] = marks[LAST_BID] + marks[LAST_ASK], 2
    for k in range(SPAN):
        session[place_of(k)] = session[place_of(k) + 1] = 0
    session[ROLL_SUM] = session[ROLL_COUNT] = session[NOW_SUM] = session[NOW_COUNT] = 0
    session[BAND_LOW] = session[BAND_HIGH] = 0


@inlined
def book_phase(phase):  # type: ignore[no-untyped-def]
    """Return what the book does in a phase of the venue."""
    gathers, trades = phase in (REOPENING, CLOSING_AUCTION, SPECIAL_QUOTE), phase <= LIMIT_STATE or phase == FIXED_PRICE
    return CONTINUOUS if trades else AUCTION if gathers else BOOK_HALTED


@lean_kernel
def enter_phase(floor, ts, phase, until, first):  # type: ignore[no-untyped-def]
    """Begin a phase, let the book respect it, and write it down."""
    session, counts = floor.session, floor.counts
    session[PHASE], session[UNTIL] = phase, until
    set_due(floor.rules, session)
    set_calm(floor.rules, session)
    floor.top[BOOK_PHASE] = book_phase(phase)
    event = floor.events[counts[EVENTS]]
    event.ts, event.kind, event.side, event.order_id, event.owner = ts, PHASE_CHANGE, 0, -1, -1
    event.price, event.quantity, event.code, event.done, event.first_fill = 0, 0, phase, 0, first
    if phase == SPECIAL_QUOTE:
        event.price, event.side = session[QUOTE], session[QUOTE_SIDE]
    counts[EVENTS] += 1
