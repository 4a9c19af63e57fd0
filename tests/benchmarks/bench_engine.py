"""Messages per second of the compiled book on the stream of ../shared/bench: plain, recorded, all kinds, and the twin.

Run as a program: `python tests/benchmarks/bench_engine.py`. One core, CPU time, outputs preallocated, median of 7 runs
after a warm-up. The plain path is the fast loop of `market/stream.py`; "all kinds" sends the same stream through
`market/matching.py`, where every kind of order, self-trade prevention, phases and the log are compiled in.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

from difffinance.market.engine import MESSAGE, Book, Messages, columns, run_messages
from difffinance.market.reference import ReferenceBook

GENERATOR = Path(__file__).resolve().parents[3] / "shared" / "bench" / "order_stream.py"
STATED = (169_413, 6_567_024, "a77ac9874ade426b")
LEVELS = 10


def stream(count: int = 1_000_000) -> np.ndarray:
    """Return the stated stream as `MESSAGE` rows."""
    spec = importlib.util.spec_from_file_location("order_stream", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Compiled afresh: its own disk cache cannot be loaded into a module that has no place on the path.
    kind, order_id, side, price, quantity, _, _ = numba.njit(module.gen.py_func)(count, 2000, 7)
    messages = np.zeros(count, MESSAGE)
    messages["kind"], messages["order_id"], messages["side"] = kind, order_id, np.where(side == 0, 1, -1)
    messages["price"], messages["quantity"] = price, quantity
    return messages


def fnv(fills: np.ndarray) -> str:
    """Return the 64-bit FNV-1a hash of the trade log, one step per number."""
    value, mask = 14695981039346656037, (1 << 64) - 1
    for row in fills.tolist():
        for number in row:
            value = ((value ^ (number & mask)) * 1099511628211) & mask
    return f"{value:016x}"


def summary(fills: np.ndarray) -> tuple[int, int, str]:
    """Return count, quantity and hash of a trade log."""
    return len(fills), int(fills["quantity"].sum()), fnv(fills)


def prepared(messages: np.ndarray) -> Book:
    """Return an empty book with room for the stream (outputs preallocated)."""
    book = Book(capacity=len(messages))
    limits = messages["price"][messages["kind"] == 0]
    book.cover(int(limits.min()), int(limits.max()))
    book.fills_buffer[:], book.orders[:], book.reserves[:] = 0, 0, 0  # pages come from the system on first touch
    return book


def rate(messages: np.ndarray, run: Callable[[Book], object]) -> float:
    """Return messages per second of CPU time, after checking the trade log of the last run."""
    seconds = []
    for _ in range(8):
        book = prepared(messages)
        start = time.process_time()
        run(book)
        seconds.append(time.process_time() - start)
    if summary(book.fills) != STATED:
        raise SystemExit(f"the trade log is {summary(book.fills)}. Stated: {STATED}.")
    return len(messages) / statistics.median(seconds[1:])


def general(book: Book, messages: Messages, codes: np.ndarray, done: np.ndarray) -> None:
    """Send all messages through the general path."""
    if run_messages(book.tables, messages, 0, codes, done, book.refused, None) != len(codes):
        raise SystemExit("the arrays were too short for the stream.")


def main() -> None:
    rows = stream()
    messages, codes, done = columns(rows), np.zeros(len(rows), np.int8), np.zeros(len(rows), np.int64)
    rates = {"plain": rate(rows, lambda book: book.process(messages, codes, done))}
    for dtype in (np.int32, np.int64):
        depth = np.zeros((len(rows), 2, LEVELS, 2), dtype)
        name = f"{LEVELS} levels recorded, {np.dtype(dtype).name}"
        rates[name] = rate(rows, lambda book, depth=depth: book.process(messages, codes, done, depth))
    rates["all kinds compiled in"] = rate(rows, lambda book: general(book, messages, codes, done))
    twin = ReferenceBook()
    start = time.process_time()
    twin.run(rows[:100_000])
    rates["plain Python twin"] = 100_000 / (time.process_time() - start)
    for name, value in rates.items():
        print(f"{name:28s} {value / 1e6:8.3f} M msg/s {value / rates['plain Python twin']:8.1f} x the twin")


if __name__ == "__main__":
    main()
