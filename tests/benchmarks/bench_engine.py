"""Messages per second of the compiled book against its plain Python twin, on the stream of ../shared/bench.

Run as a program: `python tests/benchmarks/bench_engine.py`. One core, CPU time, median of 7 runs after a warm-up.
"""

import importlib.util
import statistics
import time
from pathlib import Path

import numba
import numpy as np

from difffinance.market.engine import MESSAGE, Book
from difffinance.market.reference import ReferenceBook

GENERATOR = Path(__file__).resolve().parents[3] / "shared" / "bench" / "order_stream.py"


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


def prepared(messages: np.ndarray) -> Book:
    """Return an empty book with room for the stream (outputs preallocated)."""
    book = Book(capacity=len(messages))
    limits = messages["price"][messages["kind"] == 0]
    book.cover(int(limits.min()), int(limits.max()))
    return book


def main() -> None:
    messages = stream()
    seconds = []
    for _ in range(8):
        book = prepared(messages)
        book.fills_buffer[:] = 0
        book.orders[:] = 0
        start = time.process_time()
        book.run(messages)
        seconds.append(time.process_time() - start)
    compiled = len(messages) / statistics.median(seconds[1:])
    twin = ReferenceBook()
    start = time.process_time()
    twin.run(messages[:100_000])
    plain = 100_000 / (time.process_time() - start)
    fills = book.fills
    print(f"{len(fills)} fills, quantity {fills['quantity'].sum()}, hash {fnv(fills)}")
    print(f"compiled {compiled / 1e6:.1f} M msg/s, twin {plain / 1e6:.3f} M msg/s, ratio {compiled / plain:.0f}")


if __name__ == "__main__":
    main()
