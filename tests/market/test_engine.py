import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difffinance.errors import InputError
from difffinance.market import engine, reasons
from difffinance.market.engine import MESSAGE, Book, columns
from difffinance.market.matching import CANCEL, LIMIT, MARKET, MAX_LOTS, MAX_SPAN, REPLACE
from difffinance.market.reference import ReferenceBook

LOW, HIGH = 90, 110


def random_message(draw_kind, order_id, side, price, quantity):
    return (draw_kind, side, order_id, price, quantity, 0, 0)


messages = st.lists(
    st.builds(
        random_message,
        st.sampled_from([int(LIMIT), int(LIMIT), int(CANCEL), int(MARKET)]),
        # Few ids: reuse and unknown cancels are common; some that no order may have.
        st.integers(-1, 40) | st.just(2**31 - 1),
        st.sampled_from([1, -1, 1, -1, 1, -1, 0, 2]),
        st.integers(LOW - 3, HIGH + 3),
        st.integers(-1, 9),
    ),
    max_size=60,
)


def rows(stream):
    return np.array(stream, MESSAGE)


@settings(max_examples=150, deadline=None)
@given(messages)
def test_twin_equality_event_by_event(stream):
    book, twin = Book(low=LOW, high=HIGH, capacity=2), ReferenceBook(low=LOW, high=HIGH)
    for message in stream:
        one = rows([message])
        code, done = book.run(one)
        assert (code.tolist(), done.tolist()) == tuple(x.tolist() for x in twin.run(one))
        assert book.fills.tolist() == twin.fills.tolist()
        assert np.array_equal(book.depth(30), twin.depth(30))
        assert (book.best_bid, book.best_ask) == (twin.best_bid, twin.best_ask)
        assert book.best_bid is None or book.best_ask is None or book.best_bid < book.best_ask


def test_twin_equality_on_a_long_stream_with_wide_prices():
    rng = np.random.default_rng(1)
    n = 20_000
    stream = np.zeros(n, MESSAGE)
    stream["kind"] = rng.choice([0, 1, 2], n, p=[0.6, 0.3, 0.1])
    stream["order_id"] = np.arange(n)
    cancels = stream["kind"] == 1
    stream["order_id"][cancels] = rng.integers(0, np.flatnonzero(cancels))
    stream["side"] = rng.choice([1, -1], n)
    # A walk of thousands of ticks makes the window of levels grow both ways.
    stream["price"] = 50_000 + np.cumsum(rng.normal(size=n) * 30).astype(int) - stream["side"] * rng.geometric(0.02, n)
    stream["quantity"] = rng.geometric(0.01, n)
    book, twin = Book(capacity=16), ReferenceBook()
    for got, expected in zip(book.run(stream), twin.run(stream), strict=True):
        assert np.array_equal(got, expected)
    assert len(book.fills) > 1000
    assert book.fills.tolist() == twin.fills.tolist()
    assert np.array_equal(book.depth(50), twin.depth(50))


def test_price_then_time_priority():
    book = Book()
    late, early, better = book.limit(-1, 101, 5), book.limit(-1, 101, 5), book.limit(-1, 100, 5)
    assert book.market(1, 12).quantity == 12
    assert book.fills["maker"].tolist() == [better.order_id, late.order_id, early.order_id]
    assert book.fills["quantity"].tolist() == [5, 5, 2]


def test_partial_cancel_keeps_priority():
    book = Book()
    first, second = book.limit(1, 99, 5), book.limit(1, 99, 5)
    assert book.cancel(first.order_id, 3).quantity == 3
    book.market(-1, 3)
    assert book.fills["maker"].tolist() == [first.order_id, second.order_id]
    assert book.fills["quantity"].tolist() == [2, 1]


def test_limit_order_rests_what_it_could_not_fill():
    book = Book()
    book.limit(-1, 100, 4)
    assert book.limit(1, 100, 10).quantity == 4
    assert book.depth(1).tolist() == [[[100, 6]], [[0, 0]]]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ((0, 100, 1), reasons.BAD_SIDE),
        ((1, 100, 0), reasons.BAD_QUANTITY),
        ((1, 0, 1), reasons.BAD_PRICE),
        ((1, LOW - 1, 1), reasons.PRICE_LIMIT),
        ((-1, HIGH + 1, 1), reasons.PRICE_LIMIT),
        ((1, LOW, 1), reasons.OK),
        ((-1, HIGH, 1), reasons.OK),
    ],
)
def test_refusals_name_the_reason_and_change_nothing(order, code):
    book = Book(low=LOW, high=HIGH)
    assert book.limit(*order).code == code
    assert (book.depth(1).sum() > 0) == (code == reasons.OK)


def test_market_order_without_liquidity_says_so():
    book = Book()
    book.limit(-1, 100, 3)
    outcome = book.market(1, 5)
    assert (outcome.code, outcome.quantity) == (reasons.NO_LIQUIDITY, 3)
    assert book.market(1, 5).quantity == 0


def test_cancel_of_a_filled_or_unknown_order_is_refused():
    book = Book()
    order = book.limit(-1, 100, 3)
    book.market(1, 3)
    assert book.cancel(order.order_id).code == reasons.UNKNOWN_ORDER
    assert book.cancel(12345).code == reasons.UNKNOWN_ORDER


def test_absurd_span_of_prices_is_refused_not_lost():
    book, twin = Book(), ReferenceBook()
    for b in (book, twin):
        assert b.limit(1, 100, 1).code == reasons.OK
        assert b.limit(-1, 100 + MAX_SPAN, 1).code == reasons.PRICE_SPAN
    assert np.array_equal(book.depth(2), twin.depth(2))


@pytest.mark.parametrize("far", [70, 5000, 2**25])
def test_orders_of_a_few_ticks_stay_when_a_high_price_comes(far):
    stream = rows([(LIMIT, 1, 0, 16, 5, 0, 0), (LIMIT, -1, 1, 30, 5, 0, 0), (LIMIT, -1, 2, far, 5, 0, 0),
                   (LIMIT, 1, 3, 15, 5, 0, 0), (MARKET, 1, 4, 0, 7, 0, 0), (MARKET, -1, 5, 0, 8, 0, 0)])  # fmt: skip
    book, twin = Book(), ReferenceBook()
    for ours, theirs in zip(book.run(stream), twin.run(stream), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert book.fills.tolist() == twin.fills.tolist() and np.array_equal(book.depth(3), twin.depth(3))


@pytest.mark.parametrize("kind", [LIMIT, 7])  # 7: an iceberg, which the fast loop hands over
def test_a_price_beyond_the_span_is_refused_when_room_is_short_too(kind):
    book = Book(capacity=1)
    for order in range(20):  # at some of these there is no room for the fills that the next one could make
        assert book.limit(1, 100 + order, 1).code == reasons.OK
        row = rows([(kind, -1, int(book.top[engine.NEXT]), 2**50, 5, 5, 0)])
        assert book.run(row)[0].tolist() == [reasons.PRICE_SPAN]
    assert book.depth(1)[0, 0].tolist() == [119, 1]


@pytest.mark.parametrize("make", [Book, ReferenceBook])
def test_prices_end_where_their_sums_would_not_fit(make):
    book, most = make(), 2**60
    resting = book.limit(-1, most, 1)
    assert resting.code == reasons.OK and book.best_ask == most
    stream = rows([(kind, 1, order_id, most + 1, 2, 0, 0) for kind, order_id in ((LIMIT, 7), (REPLACE, 0))])
    assert book.run(stream)[0].tolist() == [reasons.PRICE_LIMIT] * 2
    assert book.limit(1, 2**62 - 1, 1).code == reasons.PRICE_LIMIT and book.best_ask == most


@pytest.mark.parametrize("make", [Book, ReferenceBook])
def test_sizes_that_could_not_be_added_up_are_refused(make):
    book, most = make(), int(MAX_LOTS)
    assert [book.limit(1, 100, most).code for _ in range(1000)] == [reasons.OK] * 1000
    assert book.limit(1, 100, most + 1).code == book.market(-1, 2**61).code == reasons.BAD_QUANTITY
    assert book.replace(0, 100, most + 1).code == reasons.BAD_QUANTITY
    assert book.depth(1)[0, 0].tolist() == [100, 1000 * most]
    assert book.iceberg(-1, 200, 10, 2**61).code == book.iceberg(-1, 200, 1, 2**62 - 1).code == reasons.OK
    assert book.depth(1)[1, 0].tolist() == [200, 11]


@pytest.mark.parametrize("make", [Book, ReferenceBook])
def test_what_is_no_number_is_refused_and_a_phase_that_is_none_too(make):
    book = make()
    outcomes = [book.limit(1, "100", 1), book.limit(1, None, 1), book.limit(1, 100, [5]), book.iceberg(1, 100, 5, "a")]
    assert [o.code for o in outcomes] == [
        reasons.BAD_PRICE, reasons.BAD_PRICE, reasons.BAD_QUANTITY, reasons.BAD_DISPLAY
    ]  # fmt: skip
    with pytest.raises(InputError, match="phase is 7"):
        book.set_phase(7)  # orders would rest without matching
    with pytest.raises(InputError, match="reference is -1"):
        book.indicative(-1)


@pytest.mark.parametrize("bad", [{"self_trade": 9}, {"low": 5, "high": 3}, {"low": 1.5}, {"capacity": -1}])
def test_books_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Book(**bad)


@pytest.mark.parametrize("short", ["codes", "done", "depth", "price"])
def test_nothing_is_written_beyond_an_array_that_is_too_short(short):
    book, stream = Book(), columns(rows([(LIMIT, 1, k, 100, 5, 0, 0) for k in range(3)]))
    arrays = {"codes": np.zeros(3, np.int8), "done": np.zeros(3, np.int64), "depth": np.zeros((3, 2, 1, 2), np.int64)}
    if short == "price":
        stream = stream._replace(price=stream.price[:2])
    else:
        arrays[short] = arrays[short][:2]
    with pytest.raises(InputError, match="equal lengths"):
        book.process(stream, **arrays)
    with pytest.raises(InputError, match="MESSAGE"):
        book.run(np.zeros((3, 7)))


def test_an_order_refused_by_its_kind_fixes_no_span():
    book = Book()
    assert book.limit(1, 2**40, 1, kind=4).code == reasons.NOT_FILLABLE
    assert book.limit(1, 100, 1).code == reasons.OK and book.limit(-1, 101, 1).code == reasons.OK


@pytest.mark.parametrize("bad", [-1, 2**31 - 1, 2**62])
def test_an_id_that_no_order_may_have_is_refused_and_the_stream_goes_on(bad):
    stream = rows([(LIMIT, 1, 0, 100, 5, 0, 0), (LIMIT, 1, bad, 101, 1, 0, 0), (MARKET, -1, bad, 0, 1, 0, 0),
                   (8, 0, bad, 100, 1, 0, 0), (CANCEL, 0, bad, 0, 0, 0, 0), (MARKET, -1, 2, 0, 2, 0, 0)])  # fmt: skip
    book, twin, depth = Book(), ReferenceBook(), np.zeros((6, 2, 2, 2), np.int64)
    codes, done = np.zeros(6, np.int8), np.zeros(6, np.int64)
    book.process(columns(stream), codes, done, depth)
    unknown = reasons.UNKNOWN_ORDER
    assert codes.tolist() == [0, reasons.BAD_ID, reasons.BAD_ID, unknown, unknown, 0] and done.tolist()[-1] == 2
    assert book.refused[reasons.BAD_ID] == 2 and depth[:, 0, 0].tolist() == [[100, 5]] * 5 + [[100, 3]]
    for ours, theirs in zip(twin.run(stream), (codes, done), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("make", [Book, ReferenceBook])
def test_numbers_that_are_no_message_are_refused(make):
    book, nan = make(), float("nan")
    outcomes = [book.limit(nan, 100, 1), book.limit(1, 100, 1, kind=300), book.cancel(nan), book.replace(nan, 100, 1)]
    assert [o.code for o in outcomes] == [reasons.BAD_SIDE, reasons.BAD_KIND, *[reasons.UNKNOWN_ORDER] * 2]
    with pytest.raises(InputError, match="owner is 1099511627776"):
        book.limit(1, 100, 1, owner=2**40)


@pytest.mark.slow
def test_stated_stream_gives_the_stated_fills(shared_data):
    from tests.benchmarks.bench_engine import fnv, prepared, stream

    messages = stream()
    book = prepared(messages)
    book.run(messages)
    assert (len(book.fills), int(book.fills["quantity"].sum()), fnv(book.fills)) == (
        169_413,
        6_567_024,
        "a77ac9874ade426b",
    )


def test_an_id_without_memory_for_it_is_refused_and_the_stream_goes_on(monkeypatch):
    plain_zeros = np.zeros

    def zeros(shape, *args, **kwargs):
        if np.prod(shape) > 1e9:
            raise MemoryError
        return plain_zeros(shape, *args, **kwargs)

    monkeypatch.setattr(engine.np, "zeros", zeros)
    book = Book()
    rows = [(LIMIT, 1, 2**31 - 2, 100, 5, 0, 0), (LIMIT, 1, 7, 100, 5, 0, 0), (MARKET, -1, 8, 0, 3, 0, 0)]
    codes, done = book.run(np.array(rows, MESSAGE))
    assert codes.tolist() == [reasons.BAD_ID, reasons.OK, reasons.OK] and done.tolist() == [0, 0, 3]
    assert len(book.orders) == len(book.reserves) < 10_000


def test_no_order_lies_across_two_cache_lines():
    book = Book(capacity=3)
    for _ in range(5):
        assert 64 % book.orders.itemsize == 0 and book.orders.ctypes.data % 64 == 0
        assert 64 % book.fills_buffer.itemsize == 0 and book.fills_buffer.ctypes.data % 64 == 0
        book.grow(2 * len(book.orders) + 1)
