import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difffinance.market import reasons
from difffinance.market.engine import Book
from difffinance.market.matching import AUCTION, CONTINUOUS, FILL_OR_KILL, HIDDEN, IMMEDIATE, POST_ONLY


def auction_book(bids, asks, market_buy=0, market_sell=0):
    book = Book()
    book.set_phase(AUCTION)
    for side, limits in ((1, bids), (-1, asks)):
        for price, quantity in limits.items():
            book.limit(side, price, quantity)
    for side, quantity in ((1, market_buy), (-1, market_sell)):
        if quantity:
            book.market(side, quantity)
    return book


# CME Group, "Application of the Indicative Opening Price Rules", its three tables.
CME_VOLUME = (
    {51: 10, 50: 20, 49: 30, 48: 40, 47: 50, 46: 70, 45: 100, 44: 1, 43: 30},
    {51: 30, 50: 100, 49: 1, 48: 25, 47: 1, 46: 100, 45: 90, 44: 4, 43: 6},
)
CME_SURPLUS = (
    {51: 10, 50: 20, 49: 30, 48: 40, 47: 50, 46: 30, 45: 100, 44: 1, 43: 30},
    {51: 30, 50: 100, 49: 1, 48: 25, 46: 50, 45: 90, 44: 4, 43: 6},
)
CME_PRESSURE = (
    {51: 10, 50: 20, 49: 30, 48: 40, 47: 80, 45: 20, 44: 30, 43: 30},
    {51: 30, 50: 100, 49: 1, 48: 25, 46: 50, 45: 90, 44: 4, 43: 6},
)
# Hong Kong Exchange, closing auction, example 1 (ticks of 0.05), before and after an at-auction order to sell 1000.
HONG_KONG = ({481: 200, 480: 1000, 479: 400}, {479: 400, 480: 600, 481: 800})
# University of New South Wales on the Australian exchange's algorithm of 2002 (cents).
SYDNEY = ({640: 500, 639: 1000, 634: 1000, 633: 500}, {610: 1000, 640: 500, 641: 520, 642: 550, 643: 519})


@pytest.mark.parametrize(
    ("limits", "market_sell", "expected"),
    [
        (CME_VOLUME, 0, (46, 200, 20)),
        (CME_SURPLUS, 0, (47, 150, 0)),
        (CME_PRESSURE, 0, (47, 150, 30)),
        (HONG_KONG, 0, (480, 1000, 200)),
        (HONG_KONG, 1000, (479, 1400, 200)),
        (SYDNEY, 0, (639, 1000, 500)),
    ],
    ids=["CME rule 1", "CME rule 2", "CME rule 3", "Hong Kong", "Hong Kong with a market order", "Sydney"],
)
def test_published_examples(limits, market_sell, expected):
    book = auction_book(*limits, market_sell=market_sell)
    assert tuple(book.indicative(500)) == expected
    assert tuple(book.uncross(500)) == expected
    assert set(book.fills["price"]) == {expected[0]}
    assert book.fills["quantity"].sum() == expected[1]


@pytest.mark.parametrize(
    ("bids", "asks", "reference", "price"),
    [
        ({202: 100}, {200: 200}, 0, 200),  # supply is left over at all: the lowest
        ({202: 200}, {200: 100}, 0, 202),  # demand: the highest
        ({202: 100}, {200: 100}, 205, 202),  # nothing is left over: the reference, moved into the range
        ({202: 100}, {200: 100}, 199, 200),
        ({202: 100}, {200: 100}, 201, 201),
        ({202: 100, 200: 100}, {200: 100, 202: 100}, 201, 201),  # demand at 200, supply at 202
    ],
)
def test_ties_end_with_the_side_of_the_surplus_then_the_reference(bids, asks, reference, price):
    assert auction_book(bids, asks).indicative(reference).price == price


def test_market_orders_alone_trade_at_the_reference():
    book = auction_book({}, {}, 5, 3)
    assert tuple(book.indicative(100)) == (100, 3, 2)
    assert tuple(book.indicative(0)) == (None, 0, 0)
    assert tuple(book.uncross(100)) == (100, 3, 2)
    assert book.refused.sum() == 0 and book.set_phase(CONTINUOUS) == reasons.OK


prices, sizes = st.integers(95, 105), st.integers(1, 9)
forms = st.sampled_from(["limit", "limit", "hidden", "iceberg", "market"])
sides = st.lists(st.tuples(forms, prices, sizes), max_size=12)


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.integers(90, 110))
def test_uncross_against_every_tick_in_turn(buys, sells, reference):
    book, orders = Book(), []
    book.set_phase(AUCTION)
    for side, wanted in ((1, buys), (-1, sells)):
        for form, price, size in wanted:
            if form == "market":
                outcome, price = book.market(side, size), 10**6 if side > 0 else 0
            elif form == "iceberg":
                outcome = book.iceberg(side, price, size, 2)
            elif form == "hidden":
                outcome = book.limit(side, price, size, kind=HIDDEN)
            else:
                outcome = book.limit(side, price, size)
            orders.append((outcome.order_id, side, price, size))
    answer = book.uncross(reference)
    volumes = {
        p: min(sum(q for _, s, at, q in orders if s == side and (at - p) * side >= 0) for side in (1, -1))
        for p in range(90, 111)
    }
    assert answer.volume == max(volumes.values())  # no tick would trade more
    traded = {order_id: 0 for order_id, *_ in orders}
    for maker, taker, price, quantity in book.fills.tolist():
        assert price == answer.price
        traded[maker] += quantity
        traded[taker] += quantity
    for order_id, side, price, size in orders:
        assert 0 <= traded[order_id] <= size
        if traded[order_id] < size and answer.price is not None:
            # Nobody of the same side with a worse price traded while this order was left with something.
            assert not any(traded[o] for o, s, p, _ in orders if s == side and (price - p) * side > 0)
    assert book.set_phase(CONTINUOUS) == reasons.OK  # never crossed


def test_crossed_book_cannot_open():
    book = auction_book({101: 5}, {100: 5})
    assert book.set_phase(CONTINUOUS) == reasons.NOT_UNCROSSED
    book.uncross()
    assert book.set_phase(CONTINUOUS) == reasons.OK
    assert auction_book({}, {}, market_buy=1).set_phase(CONTINUOUS) == reasons.NOT_UNCROSSED


def test_orders_that_must_trade_at_once_have_no_place_in_an_auction():
    book = auction_book({}, {100: 5})
    for kind in (IMMEDIATE, FILL_OR_KILL, POST_ONLY):
        assert book.limit(1, 100, 5, kind=kind).code == reasons.NOT_IN_AUCTION
    assert book.refused[reasons.NOT_IN_AUCTION] == 3


def test_market_orders_first_then_price_then_time():
    book = Book()
    book.set_phase(AUCTION)
    late_price, early, later = book.limit(1, 100, 5), book.limit(1, 101, 5), book.limit(1, 101, 5)
    market = book.market(1, 5)
    book.limit(-1, 99, 17)
    assert book.uncross(100).volume == 17
    takers = book.fills["taker"].tolist()
    assert takers == [market.order_id, early.order_id, later.order_id, late_price.order_id]
    assert book.depth(1).tolist() == [[[100, 3]], [[0, 0]]]


def test_rest_stays_and_trades_on():
    book = auction_book({101: 8}, {100: 5}, market_sell=0)
    book.market(-1, 1)
    assert book.uncross(100).volume == 6
    assert book.depth(1)[0, 0].tolist() == [101, 2]
    book.set_phase(CONTINUOUS)
    assert book.market(-1, 2).quantity == 2
