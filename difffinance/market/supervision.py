"""A venue's rules inside the compiled market: which orders it takes now, its moving bands, and when it halts. Kernels.

Everything is integers: ticks, lots, nanoseconds of trading since the opening (breaks take no time), fractions in
1/10,000. `rules` holds what is in force, its tables packed behind the scalars (`enforcement` fills it from a
`Rulebook`); `session` is the running state with the last five minutes behind it. `floor` asks `venue_refusal` about
every order and tells `note_trades` what traded; phases change in `phases`.

Most messages break no rule and change nothing. `session` keeps what says so at a glance (`set_calm`): the time before
which nothing is due, the prices between which orders are taken, and those between which trades call nothing.
"""

import numpy as np

from difffinance.market import reasons
from difffinance.market.compiled import inlined, lean_kernel
from difffinance.market.layout import ASK, BASE, BID, WIDTH, next_down, next_up
from difffinance.market.matching import LIMIT

# Places in `rules`: lots; order price band; moving band; spans of time, ns; breaker; trade price that restricts short
# sales (0: none); the day, ns; fees; pauses of a new listing (length in ns); first place and rows of each table; end of
# after-hours trading, ns (0: none); table of the special-quote steps (0: none), ns from one to the next; access fee of
# a lot, its share of prices below; ticks beyond the other side that the order price band always allows; whether there
# are fees beside the commission; what the commission of a lot at one tick is a fraction of, its numerator being above.
(ACTIVE, LEAST, STEP, MOST, MOST_MARKET, COLLAR, COLLAR_TICKS, BAND, BAND_WIDTH, BAND_CENTS, CENTS, PER_TICKS, STATE_NS,
 PAUSE_NS, REOPENING_NS, COOLING_NS, RISES, CLOSE, SHORT_AT, CLOSING, END, FEE_ITEMS, COMMISSION, LEAST_COMMISSION,
 STAMP_BUY, STAMP_SELL, STAMP_STEP, HANDLING, MANAGEMENT, TRANSFER, MONEY_CENTS, PER_MONEY, LISTING_NS, TICKS, WINDOWS,
 WINDOW_ROWS, BREAKER, LEVELS, INDEX, INDEX_ROWS, LISTING, LISTING_LEVELS, AFTER, QUOTES, RENEWAL_NS, ACCESS,
 ACCESS_SHARE, ACCESS_BELOW, REACH, DUTIES, COMMISSION_UNIT) = range(51)  # fmt: skip
RULES = 51
NO_BAND, MEAN_BAND, TRADE_BAND = range(3)  # values of BAND
# Columns of the tables: price steps (up to and at this price, step); windows of the moving band (from, to, factor);
# levels of the breaker (-1 ns: to the close); path of an index (ns, millionths of its previous close); thresholds of a
# new listing's pauses.
BREAKER_FALL, BREAKER_NS, BREAKER_UNTIL, BREAKER_LATER = range(4)

# Places in `session`: phase, when it is due to change, end of a pause; second of the day; last trade;
# moving band (0: none) and what it is around, a sum over a count; when that was set; end of a cooling-off; highest
# breaker level so far; whether short sales are restricted; sums of the last five minutes; row of the index path;
# tallies; opening price and highest threshold so far of a new listing; special quote and the side that presses; until
# which second the band's width stays; when something is due; lowest and highest price of orders that are taken at a
# glance; prices between which trades call nothing; sums of the present second, not yet among those of five minutes;
# then three numbers a second (sum and count of trade prices, last price).
(PHASE, UNTIL, RESUME, SECOND, LAST, BAND_LOW, BAND_HIGH, MEAN_SUM, MEAN_COUNT, MEAN_SET, COOLING_UNTIL,
 FIRED, RESTRICTED, ROLL_SUM, ROLL_COUNT, INDEX_AT, HALTS, COOLINGS, LIMIT_STATES, FIRST_TRADE,
 PAUSED_AT, QUOTE, QUOTE_SIDE, FACTOR_UNTIL, DUE, TAKEN_LOW, TAKEN_HIGH, CALM_LOW, CALM_HIGH, NOW_SUM,
 NOW_COUNT) = range(31)  # fmt: skip
SPAN = 301  # seconds kept: the present one and the five minutes before
SCALARS = 31
SESSION = SCALARS + 3 * SPAN
# Values of PHASE. Continuous trading goes on in a limit state; orders gather in the two auctions and under a special
# quote; after hours they trade at the closing price alone.
OPEN, LIMIT_STATE, REOPENING, CLOSING_AUCTION, PAUSED, CLOSED, FIXED_PRICE, SPECIAL_QUOTE = range(8)
PHASES = (
    "open", "limit_state", "reopening_auction", "closing_auction", "paused", "closed", "fixed_price", "special_quote",
)  # fmt: skip

HOLD_SECONDS, LEAST_CHANGE = 30, 100  # LULD plan V(A): a reference stays 30 s, and until the mean is 1/100 away
FOREVER = np.int64(1) << 60
ONE, MILLION, FEE_UNIT, SECOND_NS = 10_000, 1_000_000, 10_000_000, 1_000_000_000


@inlined
def step_at(rules, row, price):  # type: ignore[no-untyped-def]
    """Return the step at a price in the table of steps that begins at `row`."""
    while price > rules[row]:
        row += 2
    return rules[row + 1]


@inlined
def tick_at(rules, price):  # type: ignore[no-untyped-def]
    """Return the price step at a price."""
    return step_at(rules, rules[TICKS], price)


@inlined
def quote_step(rules, price):  # type: ignore[no-untyped-def]
    """Return the step of special quotes at a price."""
    return step_at(rules, rules[QUOTES], price)


@inlined
def is_multiple(number, step):  # type: ignore[no-untyped-def]
    """Return whether a number is a multiple of `step`; most steps are 1, and a division costs as much as an order."""
    return step == 1 or number % step == 0


@inlined
def whole_steps(number, step):  # type: ignore[no-untyped-def]
    """Return a number rounded down to a multiple of `step`."""
    return number if step == 1 else number - number % step


@inlined
def on_tick(side, price, step):  # type: ignore[no-untyped-def]
    """Return a price on the tick, away from the other side of the book."""
    return whole_steps(price, step) if side > 0 else -whole_steps(-price, step)


@lean_kernel
def lot_allowed(rules, side, quantity, held):  # type: ignore[no-untyped-def]
    """Return whether the size of an order is allowed; `held` is what the seller has left to sell."""
    if quantity >= rules[LEAST] and is_multiple(quantity, rules[STEP]):
        return True
    if side > 0 or quantity > held:
        return False
    if rules[STEP] > 1:
        return quantity % rules[STEP] == held % rules[STEP]
    return quantity == held and held < rules[LEAST]


@lean_kernel
def whole_lots(rules, side, quantity, held):  # type: ignore[no-untyped-def]
    """Return a wish in whole lots; a sale that comes within a lot of all that is held takes its odd shares along."""
    if side < 0 and held <= quantity < held + rules[LEAST] and lot_allowed(rules, side, held, held):
        return held
    quantity = whole_steps(quantity, rules[STEP])
    return quantity if quantity >= rules[LEAST] else 0


@inlined
def half_up(numerator, denominator):  # type: ignore[no-untyped-def]
    """Return a positive fraction rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


@lean_kernel
def worst_price(top, levels, bits, side, quantity, limit):  # type: ignore[no-untyped-def]
    """Return the last price at which an order would trade, or 0; `limit` in ticks."""
    row = 1 if side > 0 else 0
    index, worst = top[ASK] if side > 0 else top[BID], 0
    while 0 <= index < top[WIDTH] and quantity > 0 and side * (index + top[BASE] - limit) <= 0:
        worst = index + top[BASE]
        quantity -= levels[row, index].quantity
        index = next_up(bits[1], index + 1, top[WIDTH]) if side > 0 else next_down(bits[0], index - 1)
    return worst


@inlined
def best_of(top, side):  # type: ignore[no-untyped-def]
    """Return the best price of a side in ticks, 0 where it is empty."""
    index = top[BID] if side > 0 else top[ASK]
    return index + top[BASE] if 0 <= index < top[WIDTH] else 0


@lean_kernel
def collar_price(rules, top, last, side):  # type: ignore[no-untyped-def]
    """Return the last price that the order price band allows: fractions of the reference, or some ticks if wider."""
    reference = best_of(top, -side)
    if reference == 0:
        reference = best_of(top, side)
    if reference == 0:
        reference = last
    step = tick_at(rules, reference)
    edge = half_up(reference * (ONE + side * rules[COLLAR]), ONE * step) * step
    wide = reference + side * rules[COLLAR_TICKS] * step
    return max(edge, wide) if side > 0 else max(min(edge, wide), step)


@inlined
def plainly_taken(floor, kind, side, price, quantity):  # type: ignore[no-untyped-def]
    """Return whether the venue takes an order now, seen at a glance; of the others `venue_refusal` knows."""
    rules, session, top = floor.rules, floor.session, floor.top
    low, high, bid, ask = session[TAKEN_LOW], session[TAKEN_HIGH], top[BID], top[ASK]
    if bid < 0 or ask >= top[WIDTH]:
        return False
    bid += top[BASE]
    ask += top[BASE]
    best = ask if side > 0 else bid
    if kind != LIMIT:
        if rules[BAND] == TRADE_BAND:
            return False
        price = best
    good = low <= price <= high and low <= best <= high and side * (price - best) <= rules[REACH]
    most = rules[MOST] if kind == LIMIT else rules[MOST_MARKET]
    return good and rules[LEAST] <= quantity <= most and is_multiple(quantity, rules[STEP])


@lean_kernel
def venue_refusal(floor, ts, kind, side, price, quantity, held, owned):  # type: ignore[no-untyped-def]
    """Return which rule of the venue an order would break now, or 0. It may start a cooling-off (Hong Kong).

    `held` is what its owner has left to sell; `owned` is False for the background, whose holding is not counted.
    """
    rules, session, top = floor.rules, floor.session, floor.top
    if session[PHASE] == CLOSED:
        return reasons.CLOSED
    if session[PHASE] == PAUSED:
        return reasons.HALTED
    if quantity <= 0 or (kind == LIMIT and price <= 0):
        return reasons.OK  # the book says what is wrong
    if kind == LIMIT and not is_multiple(price, tick_at(rules, price)):
        return reasons.TICK_SIZE
    if quantity > (rules[MOST] if kind == LIMIT else rules[MOST_MARKET]):
        return reasons.MAX_ORDER
    if not lot_allowed(rules, side, quantity, held):
        return reasons.LOT_SIZE
    if session[PHASE] > LIMIT_STATE or ts < 0:
        worse = kind != LIMIT or side * (price - session[LAST]) < 0
        return reasons.FIXED_PRICE if session[PHASE] == FIXED_PRICE and worse else reasons.OK
    if rules[COLLAR] > 0 and kind == LIMIT and side * (price - collar_price(rules, top, session[LAST], side)) > 0:
        return reasons.ORDER_BAND
    if side < 0 and owned and session[RESTRICTED] and quantity > held and (kind != LIMIT or price <= best_of(top, 1)):
        return reasons.SHORT_SALE
    low, high = session[BAND_LOW], session[BAND_HIGH]
    if high == 0:
        return reasons.OK
    limit = price if kind == LIMIT else side * FOREVER
    if rules[BAND] == MEAN_BAND:
        best = best_of(top, -side)
        beyond = limit > high if side > 0 else limit < low
        trades = best > 0 and side * (best - limit) <= 0
        if (kind == LIMIT and beyond) or (trades and not low <= best <= high):
            return reasons.MOVING_BAND
        return reasons.OK
    best, worst = best_of(top, -side), worst_price(top, floor.levels, floor.bits, side, quantity, limit)
    if worst == 0 or (low <= min(best, worst) and max(best, worst) <= high):
        return reasons.OK
    if session[COOLING_UNTIL] <= ts:
        session[COOLING_UNTIL] = ts + rules[COOLING_NS]
        session[COOLINGS] += 1
    return reasons.MOVING_BAND


@inlined
def remember(session, fills, start, stop):  # type: ignore[no-untyped-def]
    """Remember the fills from `start` to `stop`: last price, sums of the present second."""
    total = 0
    for i in range(start, stop):
        total += fills[i].price
    session[NOW_SUM] += total
    session[NOW_COUNT] += stop - start
    session[LAST] = fills[stop - 1].price


@lean_kernel
def note_trades(rules, session, fills, start, stop):  # type: ignore[no-untyped-def]
    """Remember the fills from `start` to `stop`, and what they change for good: opening price, short sales."""
    if stop <= start:
        return
    remember(session, fills, start, stop)
    if rules[LISTING_LEVELS] > 0 and session[FIRST_TRADE] == 0:
        session[FIRST_TRADE] = fills[start].price
    for i in range(start, stop):
        if fills[i].price <= rules[SHORT_AT] and not session[RESTRICTED]:
            session[RESTRICTED] = 1
            set_calm(rules, session)


@lean_kernel
def set_calm(rules, session):  # type: ignore[no-untyped-def]
    """Note between which prices orders are taken and begin no limit state, and between which trades call nothing.

    What is outside is looked at in full: the bounds may be too narrow, never too wide. They follow the phase, the band,
    the breaker's levels that have fired and the restriction of short sales.
    """
    session[TAKEN_LOW], session[TAKEN_HIGH] = FOREVER, -1
    if session[PHASE] == OPEN and not session[RESTRICTED] and rules[QUOTES] == 0:
        row, low = rules[TICKS], np.int64(1)
        while session[LAST] > rules[row]:
            low = rules[row] + 1
            row += 2
        high = rules[row]
        if session[BAND_HIGH] > 0:
            low, high = max(low, session[BAND_LOW]), min(high, session[BAND_HIGH])
        if rules[row + 1] == 1 and low <= high:
            session[TAKEN_LOW], session[TAKEN_HIGH] = low, high
    session[CALM_LOW], session[CALM_HIGH] = 0 if session[RESTRICTED] else rules[SHORT_AT], FOREVER
    if rules[LISTING_LEVELS] > 0 or rules[INDEX_ROWS] > 0:
        session[CALM_LOW] = FOREVER  # the next threshold depends on more than the price
    elif session[FIRED] < rules[LEVELS]:
        move, base = rules[rules[BREAKER] + 4 * session[FIRED] + BREAKER_FALL], rules[CLOSE]
        session[CALM_LOW] = max(session[CALM_LOW], base * (ONE - move) // ONE)
        if rules[RISES]:
            session[CALM_HIGH] = -(-base * (ONE + move) // ONE)


@inlined
def seconds_count(rules):  # type: ignore[no-untyped-def]
    """Return whether something may change from one second to the next: a moving band, or an index."""
    return rules[BAND] != NO_BAND or rules[INDEX_ROWS] > 0


@inlined
def set_due(rules, session):  # type: ignore[no-untyped-def]
    """Note when the day has to be carried on next."""
    due = session[UNTIL]
    if seconds_count(rules):
        due = min(due, (session[SECOND] + 1) * SECOND_NS)
    session[DUE] = due


@lean_kernel
def breaker_call(rules, session, ts):  # type: ignore[no-untyped-def]
    """Return for how long a market-wide breaker halts now, ns: 0 not, -1 to the close. The level counts as fired."""
    level, base = session[LAST], rules[CLOSE]
    if rules[INDEX_ROWS] > 0:
        while session[INDEX_AT] + 1 < rules[INDEX_ROWS] and rules[rules[INDEX] + 2 * session[INDEX_AT] + 2] <= ts:
            session[INDEX_AT] += 1
        level, base = rules[rules[INDEX] + 2 * session[INDEX_AT] + 1], MILLION
    called = np.int64(0)
    for number in range(session[FIRED] + 1, rules[LEVELS] + 1):  # from the smallest move up
        row = rules[BREAKER] + 4 * (number - 1)
        down = level * ONE <= base * (ONE - rules[row + BREAKER_FALL])
        up = rules[RISES] and level * ONE >= base * (ONE + rules[row + BREAKER_FALL])
        if not (down or up):
            break
        length = rules[row + BREAKER_NS] if ts < rules[row + BREAKER_UNTIL] else rules[row + BREAKER_LATER]
        if length != 0:
            session[FIRED], called = number, length
    return called


@lean_kernel
def listing_call(rules, session):  # type: ignore[no-untyped-def]
    """Return whether a new listing pauses now; the threshold counts as reached, with those below it."""
    first, last = session[FIRST_TRADE], session[LAST]
    for number in range(rules[LISTING_LEVELS], session[PAUSED_AT], -1):
        move = rules[rules[LISTING] + number - 1]
        if last * ONE >= first * (ONE + move) or last * ONE <= first * (ONE - move):
            session[PAUSED_AT] = number
            return True
    return False
