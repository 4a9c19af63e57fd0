"""Peak memory of importing files of 1, 5 and 20 times the length, one source of every kind; it is flat.

Run: python tests/benchmarks/bench_memory.py [source ...]. Each file is imported by a process of its own; the peak is
what the system says of that process (resource.getrusage).
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.data.test_itch import OPEN, directory, message

ROWS = 150_000
LEVELS = 10
CHILD = """
import resource, sys
from difffinance.config import DataConfig
from difffinance.data import lines
from difffinance.data.fetching import fetch_tables
from difffinance.data.store import Lake
lines.BLOCK = int(sys.argv[4]) or lines.BLOCK
options = {"symbol": "TEST"} if sys.argv[1] == "itch" else {}
answer = fetch_tables(sys.argv[1], [sys.argv[2]], lake=Lake(sys.argv[3]), config=DataConfig(), **options)
v = answer["verification"]
assert v["resync_exact"] == 1.0, v
print(v["messages"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def lobster_zip(path: Path, rows: int) -> Path:
    """Write a day in which one order at the best bid grows and shrinks in turn."""
    stem = "LONG_2020-01-02_34200000_57600000"
    level = [f"{(5001 + k) * 100},7{k},{(4999 - k) * 100},{{}}" for k in range(LEVELS)]
    book = [",".join(level).format(size, *([50] * (LEVELS - 1))) + "\n" for size in (60, 50)]
    messages = ["34200.5,1,11,10,499900,1\n", "34200.5,2,11,10,499900,1\n"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for what, (one, two) in (("message", messages), ("orderbook", book)):
            with archive.open(f"{stem}_{what}_{LEVELS}.csv", "w", force_zip64=True) as stream:
                for _ in range(rows // 1000):
                    stream.write((one + two).encode() * 500)
    return path


def itch_file(path: Path, rows: int) -> Path:
    """Write a day of one stock in which orders come and go."""
    pair = message("A", "TEST", OPEN, 1, "B", 100, "TEST", 1_000_000) + message("D", "TEST", OPEN, 1)
    with path.open("wb") as stream:
        stream.write(directory("TEST"))
        for _ in range(rows // 1000):
            stream.write(pair * 500)
    return path


def binance_capture(path: Path, rows: int) -> Path:
    """Write a capture in which the best bid grows and shrinks in turn, every 100 ms, with a quote and a trade each."""
    levels = [[f"{99 - k}.00", "5.0"] for k in range(LEVELS)], [[f"{101 + k}.00", "5.0"] for k in range(LEVELS)]
    with path.open("w") as stream:
        snapshot = json.dumps({"lastUpdateId": 0, "bids": levels[0], "asks": levels[1]})
        stream.write(f"1700000000000000000 {snapshot}\n")
        for k in range(1, rows // 3 + 1):
            ms, size = 1_700_000_000_000 + 100 * k, f"{5 + k % 2}.0"
            for name, data in (
                ("depth@100ms", {"E": ms, "U": k, "u": k, "b": [["99.00", size]], "a": []}),
                ("bookTicker", {"u": k, "b": "99.00", "B": size, "a": "101.00", "A": "5.0"}),
                ("trade", {"T": ms, "t": k, "p": "99.00", "q": "0.5", "m": True}),
            ):
                message = {"stream": f"testusdt@{name}", "data": {"s": "TESTUSDT", **data}}
                stream.write(f"{ms}000000 {json.dumps(message)}\n")
    return path


def tardis_csv(path: Path, rows: int) -> Path:
    """Write an incremental book in which the best bid grows and shrinks in turn, every 100 ms."""
    with path.open("w") as stream:
        stream.write("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n")
        for k in range(rows):
            us, row = 1_700_000_000_000_000 + 100_000 * max(k - 1, 0), ("bid,99" if k != 1 else "ask,101")
            stream.write(f"x,TEST,{us},{us},{'true' if k < 2 else 'false'},{row},{5 + k % 2}\n")
    return path


def coinbase_capture(path: Path, rows: int) -> Path:
    """Write a capture in which the best bid grows and shrinks in turn, every 100 ms, with a ticker and a trade each."""

    def write(sequence: int, channel: str, at: str, event: dict[str, Any]) -> str:
        data = {"channel": channel, "timestamp": at, "sequence_num": sequence, "events": [event]}
        return json.dumps({"t": "recv", "conn": "ws", "data": json.dumps(data)}) + "\n"

    def level(side: str, price: str, size: str, at: str) -> dict[str, str]:
        return {"side": side, "event_time": at, "price_level": price, "new_quantity": size}

    product, begin = {"product_id": "T-USD"}, np.datetime64("2023-11-14T00:00:00.000")
    with path.open("w") as stream:
        at = f"{begin}Z"
        book = [level("bid", f"{99 - k}", "5", at) for k in range(LEVELS)]
        book += [level("offer", f"{101 + k}", "5", at) for k in range(LEVELS)]
        stream.write(write(0, "l2_data", at, {"type": "snapshot", **product, "updates": book}))
        for k in range(1, rows // 3 + 1):
            at, size = f"{begin + np.timedelta64(100 * k, 'ms')}Z", f"{5 + k % 2}"
            ticker = {"best_bid": "99", "best_bid_quantity": size, "best_ask": "101", "best_ask_quantity": "5"}
            trade = {"trade_id": str(k), "price": "99", "size": "0.5", "time": at, "side": "BUY"}
            update = {"type": "update", **product, "updates": [level("bid", "99", size, at)]}
            stream.write(write(3 * k - 2, "l2_data", at, update))
            stream.write(write(3 * k - 1, "ticker", at, {"type": "update", "tickers": [product | ticker]}))
            stream.write(write(3 * k, "market_trades", at, {"type": "update", "trades": [product | trade]}))
    return path


def bitstamp_csv(path: Path, rows: int) -> Path:
    """Write orders that come, are filled by another that comes, or are cancelled, one message every 100 ms."""
    start = 1_430_438_400_000
    with path.open("w") as stream:
        stream.write("id,timestamp,exchange.timestamp,price,volume,action,direction\n")
        for k in range(rows // 6):
            one, two, three = 3 * k + 1, 3 * k + 2, 3 * k + 3
            for j, (number, price, volume, action, side) in enumerate(
                (
                    (one, "100", 5, "created", "bid"),
                    (two, "102", 5, "created", "ask"),
                    (three, "102", 5, "created", "bid"),
                    (two, "102", 0, "deleted", "ask"),
                    (three, "102", 0, "deleted", "bid"),
                    (one, "100", 5, "deleted", "bid"),
                )
            ):
                ms = start + 600 * k + 100 * j
                stream.write(f"{number},{ms},{ms // 1000 * 1000},{price},{volume}00000000,{action},{side}\n")
    return path


MAKERS: dict[str, tuple[Callable[[Path, int], Path], str]] = {
    "lobster": (lobster_zip, "long.zip"),
    "itch": (itch_file, "01022020.NASDAQ_ITCH50"),
    "binance": (binance_capture, "long.txt"),
    "tardis": (tardis_csv, "long.csv"),
    "coinbase": (coinbase_capture, "long.jsonl"),
    "bitstamp": (bitstamp_csv, "orders.csv"),
}


def peak(source: str, path: Path, lake: Path, block: int = 0) -> tuple[int, float]:
    """Return events imported and the process's peak in MB; `block` is the size of blocks of lines, 0 the usual."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, source, str(path), str(lake), str(block)],
        check=True,
        capture_output=True,
        text=True,
    )
    count, size = run.stdout.split()
    return int(count), float(size)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, (make, file) in ((s, m) for s, m in MAKERS.items() if s in sys.argv[1:] or len(sys.argv) == 1):
            for times in (1, 5, 20):
                path = make(folder / file, ROWS * times)
                events, size = peak(source, path, folder / "lake")
                print(f"{source}: {events:>9,} events, peak {size:.0f} MB")
