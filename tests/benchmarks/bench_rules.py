"""Messages per second through the trading floor: rules checked, trades settled, everything written down.

Run as a program: `python tests/benchmarks/bench_rules.py`. One core, CPU time, median of 7 runs after a warm-up, on the
stream of ../shared/bench. The references in the same run: the book alone, and its plain Python twin.

The sender is a seat, whose limits and wealth are checked at every order, fees included. `us.tier1` adds lots, ticks,
moving bands, limit states and breakers, on prices that stay inside the bands. The stream takes four hours of a day.
"""

import statistics
import time

import numpy as np
from bench_engine import prepared, stream

from difffinance.config import MarketConfig
from difffinance.market.compiled import kernel
from difffinance.market.floor import submit, tidy, withdraw
from difffinance.market.layout import FILLS
from difffinance.market.matching import CANCEL
from difffinance.market.reference import ReferenceBook
from difffinance.market.rules import session_rules
from difffinance.market.venue import Venue

_GAP = np.int64(14_000_000)  # ns between messages: a million of them in less than four hours
_TICKS = 40_000 - (1 << 14)  # the stream's prices lie around 2**14 ticks; here around 40,000


@kernel
def send(floor, messages, ids):  # type: ignore[no-untyped-def]
    """Send the whole stream; `ids` maps its order numbers to the floor's."""
    for i in range(len(messages)):
        message, ts = messages[i], i * _GAP
        kind, quantity = np.int64(message.kind), message.quantity
        if kind == CANCEL:
            withdraw(floor, ts, ids[message.order_id], np.int64(0))
            continue
        if floor.own_count[0] == floor.own_orders.shape[1]:
            tidy(floor, 0)
        ids[message.order_id] = submit(floor, ts, kind, np.int64(message.side), message.price, quantity, np.int64(0))


def floor_seconds(messages: np.ndarray, rulebook: str) -> tuple[float, Venue]:
    """Return the CPU seconds of one pass, and the venue after it."""
    config = MarketConfig(
        rulebook=rulebook, start_price=400.0, session_seconds=23400 if rulebook != "none" else 14400, price_limit=None,
        max_leverage=1e9, max_resting_orders=10_000, short_allowed=True,
    )  # fmt: skip
    venue = Venue(config, session_rules(config), np.full(1, 1e12), np.zeros(1, np.int64))
    shifted = messages.copy()
    shifted["price"] += np.where(messages["kind"] == 0, _TICKS, 0)
    venue.book.cover(40_000 - 4096, 40_000 + 4096)
    venue.make_room(len(messages))
    ids = np.zeros(len(messages), np.int64)
    for array in (venue.floor.events, venue.floor.fills, venue.floor.orders, venue.floor.paid_on, ids):
        array[:] = 0  # memory is handed out at the first touch
    start = time.process_time()
    send(venue.floor_handle, shifted, ids)
    return time.process_time() - start, venue


def main() -> None:
    messages = stream()
    book_seconds = []
    for _ in range(8):
        book = prepared(messages)
        book.fills_buffer[:] = book.orders[:] = 0
        start = time.process_time()
        book.run(messages)
        book_seconds.append(time.process_time() - start)
    book_rate = len(messages) / statistics.median(book_seconds[1:])
    twin = ReferenceBook()
    start = time.process_time()
    twin.run(messages[:100_000])
    plain = 100_000 / (time.process_time() - start)
    print(f"book {book_rate / 1e6:.1f} M msg/s, plain twin {plain / 1e6:.3f} M msg/s")
    for rulebook in ("none", "us.tier1"):
        runs = [floor_seconds(messages, rulebook) for _ in range(8)]
        rate = len(messages) / statistics.median(seconds for seconds, _ in runs[1:])
        floor = runs[-1][1].floor
        print(f"floor, {rulebook}: {rate / 1e6:.1f} M msg/s ({rate / book_rate:.2f} x book, {rate / plain:.0f} x twin)")
        print(f"  {floor.top[FILLS]} fills (book: {book.top[FILLS]}), refused: {floor.refused.sum()}")


if __name__ == "__main__":
    main()
