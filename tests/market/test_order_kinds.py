import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from difffinance.errors import InputError
from difffinance.market import reasons
from difffinance.market.engine import MESSAGE, Book, columns
from difffinance.market.layout import BID, HIDDEN_BID, LIVE, PHASE, TRADED
from difffinance.market.matching import (
    AUCTION,
    CANCEL,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CONTINUOUS,
    DECREMENT,
    FILL_OR_KILL,
    HALTED,
    HIDDEN,
    ICEBERG,
    IMMEDIATE,
    LIMIT,
    MARKET,
    NO_PREVENTION,
    POST_ONLY,
    REPLACE,
)
from difffinance.market.reference import ReferenceBook, rebuild

KINDS = [int(k) for k in (LIMIT, CANCEL, MARKET, IMMEDIATE, FILL_OR_KILL, POST_ONLY, HIDDEN, ICEBERG, REPLACE)]
OWNERS = 4


class BothBooks(RuleBasedStateMachine):
    """The compiled book and its twin get the same messages; after each, everything that can be seen is equal."""

    @initialize(policy=st.sampled_from([NO_PREVENTION, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT]), logged=st.booleans())
    def open_books(self, policy, logged):
        self.book = Book(low=90, high=110, capacity=2, self_trade=policy, crowd=0, logged=logged)
        self.twin = ReferenceBook(low=90, high=110, self_trade=policy, crowd=0)
        self.owners = {}
        self.cash, self.shares = np.zeros(OWNERS, int), np.zeros(OWNERS, int)
        self.settled = 0

    @rule(
        kind=st.sampled_from([*KINDS, 0, 0, 0, 6, 7, 7, 8]),
        order_id=st.integers(0, 30),
        fresh=st.booleans(),
        side=st.sampled_from([1, -1, 1, -1, 1, -1, 0]),
        price=st.sampled_from([*range(97, 104), *range(97, 104), 89, 90, 110, 111, 0, -5]),
        quantity=st.integers(-1, 12),
        display=st.integers(0, 4),
        owner=st.integers(0, OWNERS - 1),
    )
    def send(self, kind, order_id, fresh, side, price, quantity, display, owner):
        order_id = self.twin.next_id if fresh and kind not in (CANCEL, REPLACE) else order_id
        row = np.array([(kind, side, order_id, price, quantity, display, owner)], MESSAGE)
        known = order_id in self.twin.used
        answers = [(codes.tolist(), done.tolist()) for codes, done in (self.book.run(row), self.twin.run(row))]
        assert answers[0] == answers[1]
        if not known and order_id in self.twin.used:
            self.owners[order_id] = owner

    @rule(phase=st.sampled_from([CONTINUOUS, CONTINUOUS, AUCTION, HALTED]))
    def change_phase(self, phase):
        assert self.book.set_phase(phase) == self.twin.set_phase(phase)
        assert self.book.top[PHASE] == self.twin.phase

    @rule(reference=st.integers(0, 120))
    def uncross(self, reference):
        if self.twin.phase != CONTINUOUS:
            assert self.book.uncross(reference) == self.twin.uncross(reference)
            assert self.book.set_phase(CONTINUOUS) == self.twin.set_phase(CONTINUOUS) == reasons.OK

    @invariant()
    def all_is_equal(self):
        if not hasattr(self, "book"):
            return
        book, twin = self.book, self.twin
        assert book.fills.tolist() == twin.fills.tolist()
        assert np.array_equal(book.depth(30), twin.depth(30))
        assert book.refused.tolist() == twin.refused
        assert book.indicative(100) == twin.indicative(100)
        assert book.top[LIVE] == len(twin.orders)
        for order_id, order in twin.orders.items():
            assert book.orders["quantity"][order_id] == order.quantity
            assert book.reserves["quantity"][order_id] == order.reserve
        for row, hidden in ((BID, False), (HIDDEN_BID, True)):
            # The volume of the levels is the sum of the orders.
            shown = [o.quantity for o in twin.orders.values() if (o.kind == HIDDEN) == hidden and o.kind != MARKET]
            assert book.levels["quantity"][row : row + 2].sum() == sum(shown)
        if len(book.log_buffer):
            assert book.log.tolist() == twin.log.tolist()
            self.log_is_enough()

    def log_is_enough(self):
        shown = [
            (o.side, o.price, o.order_id, 0 if o.kind == HIDDEN else o.quantity) for o in self.twin.orders.values()
        ]
        assert sorted(row[:4] for row in rebuild(self.book.log)) == sorted(shown)
        for (side, price, hidden), queue in self.twin.queues.items():
            rebuilt = [r[2] for r in rebuild(self.book.log) if r[:2] == (side, price) and (r[3] == 0) == hidden]
            assert rebuilt == [o.order_id for o in queue]  # time priority, too
        assert (self.book.log["kind"] == TRADED).sum() == len(self.book.fills)

    @invariant()
    def never_crossed(self):
        if hasattr(self, "book") and self.twin.phase == CONTINUOUS:
            bid, ask = self.twin._best(1), self.twin._best(-1)
            assert bid is None or ask is None or bid < ask

    @invariant()
    def cash_and_shares_are_conserved(self):
        if not hasattr(self, "book"):
            return
        for maker, taker, price, quantity in self.book.fills[self.settled :].tolist():
            sign = 1 if self.book.orders["side"][taker] > 0 else -1
            assert self.book.orders["side"][maker] == -sign
            for order_id, way in ((taker, sign), (maker, -sign)):
                self.shares[self.owners[order_id]] += way * quantity
                self.cash[self.owners[order_id]] -= way * quantity * price
            assert price > 0 and quantity > 0
        self.settled = len(self.book.fills)
        assert self.cash.sum() == 0 and self.shares.sum() == 0


TestBothBooks = pytest.mark.slow(BothBooks.TestCase)
TestBothBooks.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def random_step(rng, book, twin):
    """Send both books one random message, change of phase or uncross; return what they answered."""
    if rng.random() < 0.02:
        phase = int(rng.choice([CONTINUOUS, AUCTION, AUCTION, HALTED]))
        return book.set_phase(phase), twin.set_phase(phase)
    if twin.phase != CONTINUOUS and rng.random() < (0.05 if twin.phase == AUCTION else 0.3):
        reference = int(rng.integers(95, 106))
        answers = book.indicative(reference), twin.indicative(reference)
        assert answers[0] == answers[1]
        assert book.uncross(reference) == twin.uncross(reference) == answers[0]
        return book.set_phase(CONTINUOUS), twin.set_phase(CONTINUOUS)
    kind = int(rng.choice(KINDS, p=[0.3, 0.14, 0.06, 0.05, 0.05, 0.05, 0.1, 0.15, 0.1]))
    resting = list(twin.orders)
    known = kind in (CANCEL, REPLACE) and resting and rng.random() < 0.95
    order_id = int(rng.choice(resting)) if known else twin.next_id
    price = 100 + int(rng.integers(-4, 5))
    quantity = int(rng.integers(1, 15)) if kind != CANCEL or rng.random() < 0.6 else 0
    side, display, owner = int(rng.choice([1, -1])), int(rng.integers(1, 5)), int(rng.integers(OWNERS))
    row = np.array([(kind, side, order_id, price, quantity, display, owner)], MESSAGE)
    return tuple([x.tolist() for x in b.run(row)] for b in (book, twin))


@pytest.mark.parametrize("policy", [NO_PREVENTION, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT])
def test_thousands_of_random_messages_of_all_kinds_leave_the_same_trail(policy):
    rng, uncrossed = np.random.default_rng(policy), 0
    book, twin = Book(capacity=2, self_trade=policy, crowd=0, logged=True), ReferenceBook(self_trade=policy, crowd=0)
    for _ in range(2500):
        phase = twin.phase
        got, expected = random_step(rng, book, twin)
        assert got == expected
        uncrossed += phase == AUCTION and twin.phase == CONTINUOUS
        assert np.array_equal(book.depth(12), twin.depth(12))
        assert book.top[LIVE] == len(twin.orders)
    assert book.log.tolist() == twin.log.tolist()
    assert book.fills.tolist() == twin.fills.tolist()
    assert uncrossed > 5 and len(book.fills) > 500


def fill_ids(book):
    return book.fills["maker"].tolist()


def test_immediate_or_cancel_leaves_nothing_behind():
    book = Book()
    book.limit(-1, 100, 3)
    assert book.limit(1, 100, 5, kind=IMMEDIATE)[::2] == (reasons.NO_LIQUIDITY, 3)
    assert book.depth(1).sum() == 0


def test_fill_or_kill_trades_whole_or_not_at_all():
    book = Book()
    book.limit(-1, 100, 3)
    book.iceberg(-1, 101, 9, 2)
    assert book.limit(1, 101, 13, kind=FILL_OR_KILL)[::2] == (reasons.NOT_FILLABLE, 0)
    assert len(book.fills) == 0
    assert book.limit(1, 101, 12, kind=FILL_OR_KILL)[::2] == (reasons.OK, 12)


def test_post_only_is_refused_where_it_would_trade():
    book = Book()
    book.limit(-1, 100, 3, kind=HIDDEN)
    assert book.limit(1, 100, 1, kind=POST_ONLY).code == reasons.WOULD_TRADE
    assert book.limit(1, 99, 1, kind=POST_ONLY).code == reasons.OK


def test_a_post_only_order_stays_one_when_it_is_replaced():
    book = Book()
    book.limit(-1, 101, 4)
    order = book.limit(1, 99, 5, kind=POST_ONLY).order_id
    assert book.replace(order, 101, 5)[::2] == (reasons.WOULD_TRADE, 0)
    assert book.replace(order, 100, 6).code == reasons.OK
    assert book.replace(order, 102, 1).code == reasons.WOULD_TRADE
    assert book.depth(1).tolist() == [[[100, 6]], [[101, 4]]] and len(book.fills) == 0


def test_iceberg_shows_its_tip_and_queues_again():
    book = Book()
    iceberg, other = book.iceberg(-1, 100, 10, 4), book.limit(-1, 100, 5)
    assert book.depth(1)[1].tolist() == [[100, 9]]
    book.market(1, 6)
    assert book.depth(1)[1].tolist() == [[100, 7]]  # three of the other, then the second tip of four
    book.market(1, 7)
    assert fill_ids(book) == [0, 1, 1, 0]
    assert book.depth(1)[1].tolist() == [[100, 2]]
    assert (iceberg.order_id, other.order_id) == (0, 1)


def test_hidden_orders_trade_after_the_displayed_of_their_price_and_before_worse_prices():
    book = Book()
    hidden, shown, worse = book.limit(-1, 100, 2, kind=HIDDEN), book.limit(-1, 100, 2), book.limit(-1, 101, 2)
    assert book.depth(2)[1].tolist() == [[100, 2], [101, 2]]
    book.market(1, 6)
    assert fill_ids(book) == [shown.order_id, hidden.order_id, worse.order_id]


@pytest.mark.parametrize(
    ("price", "quantity", "first"),
    [(99, 3, 0), (99, 5, 0), (99, 6, 1), (98, 5, 1)],
    ids=["smaller", "same", "larger", "other price"],
)
def test_replace_keeps_priority_only_for_a_smaller_size(price, quantity, first):
    book = Book()
    moved, _ = book.limit(1, 99, 5), book.limit(1, 99, 5)
    assert book.replace(moved.order_id, price, quantity).code == reasons.OK
    book.market(-1, 1)
    assert fill_ids(book) == [first]
    assert book.orders["quantity"].sum() == 5 + quantity - 1


def test_replace_across_the_spread_trades():
    book = Book()
    book.limit(-1, 101, 4)
    moved = book.limit(1, 99, 5)
    assert book.replace(moved.order_id, 101, 5).quantity == 4
    assert book.depth(1).tolist() == [[[101, 1]], [[0, 0]]]
    assert book.replace(moved.order_id, 0, 5).code == reasons.BAD_PRICE
    assert book.replace(77, 100, 5).code == reasons.UNKNOWN_ORDER


@pytest.mark.parametrize(
    ("policy", "code", "filled", "bid", "ask"),
    [
        (NO_PREVENTION, reasons.OK, 4, 2, 0),
        (CANCEL_NEWEST, reasons.SELF_TRADE, 0, 0, 4),
        (CANCEL_OLDEST, reasons.OK, 0, 6, 0),
        (DECREMENT, reasons.SELF_TRADE, 0, 2, 0),
    ],
)
def test_self_trade_policies(policy, code, filled, bid, ask):
    book = Book(self_trade=policy)
    book.limit(-1, 100, 4, owner=3)
    assert book.limit(1, 100, 6, owner=3)[::2] == (code, filled)
    assert book.depth(1)[:, 0, 1].tolist() == [bid, ask]


def test_crowd_may_trade_with_itself():
    book = Book(self_trade=CANCEL_NEWEST, crowd=3)
    book.limit(-1, 100, 4, owner=3)
    assert book.limit(1, 100, 4, owner=3).quantity == 4


def test_halt_takes_cancels_only():
    book = Book()
    order = book.limit(1, 99, 5)
    assert book.set_phase(HALTED) == reasons.OK
    assert book.limit(1, 99, 5).code == reasons.HALTED
    assert book.market(-1, 5).code == reasons.HALTED
    assert book.replace(order.order_id, 99, 9).code == reasons.HALTED
    assert book.cancel(order.order_id).quantity == 5
    assert book.refused[reasons.HALTED] == 3


@pytest.mark.parametrize(
    ("price", "quantity", "code"),
    [
        (float("nan"), 1, reasons.BAD_PRICE),
        (float("inf"), 1, reasons.BAD_PRICE),
        (100.5, 1, reasons.OFF_GRID),
        (100, 0.5, reasons.OFF_GRID),
        (100, float("nan"), reasons.BAD_QUANTITY),
        (-100, 1, reasons.BAD_PRICE),
        (100, -1, reasons.BAD_QUANTITY),
    ],
)
def test_numbers_that_are_no_ticks_and_lots_are_refused_and_counted(price, quantity, code):
    for book in (Book(), ReferenceBook()):
        assert book.limit(1, price, quantity).code == code
        assert book.refused[code] == 1 and sum(book.refused) == 1


def test_iceberg_must_show_a_thousandth():
    book = Book()
    assert book.iceberg(1, 99, 1001, 1).code == reasons.BAD_DISPLAY
    assert book.iceberg(1, 99, 1000, 0).code == reasons.BAD_DISPLAY
    assert book.iceberg(1, 99, 1000, 1).code == reasons.OK
    assert book.market(-1, 1000).quantity == 1000
    assert len(book.fills) == 1000


def flow(count, seed=3):
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, MESSAGE)
    rows["kind"] = rng.choice([0, 1, 2], count, p=[0.55, 0.35, 0.1])
    rows["order_id"] = np.arange(count)
    cancels = rows["kind"] == 1
    rows["order_id"][cancels] = rng.integers(0, np.flatnonzero(cancels))
    rows["side"] = rng.choice([1, -1], count)
    rows["price"] = (
        1000 + np.cumsum(rng.normal(size=count) * 0.3).astype(int) - rows["side"] * rng.geometric(0.1, count)
    )
    rows["quantity"] = rng.geometric(0.02, count) - (rng.random(count) < 0.01) * 100
    return rows


@pytest.mark.parametrize(("dtype", "shift"), [(np.int64, 0), (np.int32, 0), (np.int64, 1)])
def test_recorded_depth_is_the_depth_after_every_message(dtype, shift):
    rows, levels = flow(3000), 4
    book, again = Book(capacity=4), Book(capacity=4)
    # A buffer that does not start at a multiple of 16 bytes is written another way.
    depth = np.zeros(len(rows) * 4 * levels + shift, dtype)[shift:].reshape(len(rows), 2, levels, 2)
    book.process(columns(rows), np.zeros(len(rows), np.int8), np.zeros(len(rows), np.int64), depth)
    for row, recorded in zip(rows, depth, strict=True):
        again.run(row.reshape(1))
        assert np.array_equal(again.depth(levels), recorded)


def test_fast_loop_hands_over_to_all_kinds_and_both_leave_the_same_book():
    rows = flow(3000)
    special = rows.copy()
    special[1500:1510] = [(int(HIDDEN), 1, 10_000 + k, 900, 5, 0, 0) for k in range(10)]
    for stream in (rows, special):
        fast, general = Book(), Book(logged=True)  # a log needs the general path
        for got, expected in zip(fast.run(stream), general.run(stream), strict=True):
            assert np.array_equal(got, expected)
        assert fast.fills.tolist() == general.fills.tolist()
        assert np.array_equal(fast.depth(50), general.depth(50))
        assert fast.refused.tolist() == general.refused.tolist()
        assert len(rebuild(general.log)) == general.top[LIVE]
        resting = np.flatnonzero(fast.orders["quantity"])
        length = min(len(fast.orders), len(general.orders))
        names = ["price", "quantity", "next", "previous", "side"]
        assert fast.orders[resting][names].tolist() == general.orders[:length][resting][names].tolist()


def test_short_integers_never_overflow_unseen():
    rows = np.array([(0, 1, 0, 100, 2**31, 0, 0)], MESSAGE)
    with pytest.raises(InputError, match="int32"):
        Book().process(columns(rows), np.zeros(1, np.int8), np.zeros(1, np.int64), np.zeros((1, 2, 3, 2), np.int32))
