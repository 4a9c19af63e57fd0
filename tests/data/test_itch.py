"""ITCH 5.0: a day written by an encoder made from the published layout, read back, and replayed by a plain twin."""

import gzip
import struct
from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.order_flow import market_orders
from difffinance.config import DataConfig
from difffinance.data import archives
from difffinance.data.connectors import itch
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import read_metadata
from difffinance.errors import DataError, InputError

CONFIG = DataConfig()
OPEN = 34_200_000_000_000
LOCATES = {"AAPL": 13, "TEST": 8000}
# Field formats behind the common head (type, locate, tracking number, six bytes of time), as published.
BODY = {
    "S": "c", "R": "8scc I c c 2s c c c c c I c", "H": "8s c c 4s", "Y": "8s c", "L": "4s 8s c c c", "V": "Q Q Q",
    "W": "c", "K": "8s I c I", "J": "8s I I I I", "h": "8s c c", "A": "Q c I 8s I", "F": "Q c I 8s I 4s", "E": "Q I Q",
    "C": "Q I Q c I", "X": "Q I", "D": "Q", "U": "Q Q I I", "P": "Q c I 8s I Q", "Q": "Q 8s I Q c", "B": "Q",
    "I": "Q Q c 8s I I I c c", "N": "8s c", "O": "8s c I I I Q I I",
}  # fmt: skip


def message(kind: str, symbol: str | None, ts: int, *fields) -> bytes:
    locate = LOCATES.get(symbol or "", 0)
    values = [
        f.encode().ljust(8) if isinstance(f, str) and len(f) > 1 else f.encode() if isinstance(f, str) else f
        for f in fields
    ]
    head = kind.encode() + struct.pack(">HH", locate, 7) + ts.to_bytes(6, "big")
    body = head + struct.pack(">" + BODY[kind].replace(" ", ""), *values)
    return struct.pack(">H", len(body)) + body


def directory(symbol: str) -> bytes:
    return message("R", symbol, 1, symbol, "Q", "N", 100, "N", "C", b"Z ", "P", "N", "N", "1", "N", 1, "N")


def every_other_kind(ts: int) -> list[bytes]:
    """One message of every type that changes no book, with the stock's own locate."""
    s = "TEST"
    return [
        message("Y", s, ts, s, "0"), message("L", s, ts, b"MMID", s, "Y", "N", "A"), message("V", None, ts, 1, 2, 3),
        message("W", None, ts, "1"), message("K", s, ts, s, 34200, "A", 100), message("J", s, ts, s, 1, 2, 3, 4),
        message("h", s, ts, s, "Q", "H"), message("I", s, ts, 1, 2, "B", s, 1, 2, 3, "O", "L"),
        message("N", s, ts, s, "A"), message("O", s, ts, s, "Y", 1, 2, 3, 4, 5, 6), message("B", s, ts, 99),
    ]  # fmt: skip


HAND = [
    message("S", None, 0, "O"), directory("AAPL"), directory("TEST"),
    message("H", "TEST", 2, "TEST", "T", " ", b"    "),
    message("A", "AAPL", OPEN, 1, "B", 500, "AAPL", 5_000_000),
    message("A", "TEST", OPEN, 2, "B", 300, "TEST", 1_000_000),
    message("F", "TEST", OPEN + 1, 3, "S", 200, "TEST", 1_000_200, b"GSCO"),
    message("A", "TEST", OPEN + 2, 4, "B", 100, "TEST", 1_000_000),
    message("E", "TEST", OPEN + 3, 2, 50, 900), message("C", "TEST", OPEN + 3, 2, 50, 901, "Y", 1_000_050),
    message("C", "TEST", OPEN + 4, 2, 10, 902, "N", 1_000_000), message("X", "TEST", OPEN + 5, 2, 40),
    message("U", "TEST", OPEN + 6, 3, 5, 250, 1_000_300),
    message("P", "TEST", OPEN + 7, 0, "B", 70, "TEST", 1_000_150, 903),
    message("Q", "TEST", OPEN + 8, 1234, "TEST", 1_000_100, 904, "O"),
    message("Q", "TEST", OPEN + 8, 0, "TEST", 0, 905, "C"),
    *every_other_kind(OPEN + 8),
    message("D", "TEST", OPEN + 9, 4), message("H", "TEST", OPEN + 10, "TEST", "H", " ", b"T1  "),
    message("S", None, OPEN + 11, "C"), b"\x00\x00",
]  # fmt: skip


def write(folder, content: bytes, name: str = "01302019.NASDAQ_ITCH50"):
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def fetch(lake, path, symbol="TEST", config=CONFIG, **options):
    return fetch_tables("itch", [str(path)], lake=lake, config=config, symbol=symbol, **options)


@pytest.mark.parametrize("name", ["01302019.NASDAQ_ITCH50", "S013019-v50.txt.gz"])
def test_every_message_of_the_stock_arrives(lake, tmp_path, name):
    answer = fetch(lake, write(tmp_path, b"".join(HAND), name))
    day = load_book("TEST", lake=lake)
    assert day.date == "2019-01-30"
    assert day.events.select("kind", "order_id", "side", "price_ticks", "quantity").rows() == [
        ("halt", 0, 0, 1.0, 0.0), ("new", 2, 1, 10_000.0, 300.0),
        ("new", 3, -1, 10_002.0, 200.0),
        ("new", 4, 1, 10_000.0, 100.0),
        ("execution", 2, 1, 10_000.0, 50.0), ("execution", 2, 1, 10_000.0, 50.0), ("execution", 2, 1, 10_000.0, 10.0),
        ("partial_cancel", 2, 1, 10_000.0, 40.0), ("delete", 3, -1, 10_002.0, 200.0),
        ("new", 5, -1, 10_003.0, 250.0),
        ("hidden_execution", 0, 0, 10_001.5, 70.0),
        ("cross", 0, 0, 10_001.0, 1234.0),
        ("delete", 4, 1, 10_000.0, 100.0),
        ("halt", 0, 0, -1.0, 0.0),
    ]  # fmt: skip
    assert day.depth["bid_quantity_1"].to_list()[1:] == [
        300,
        300,
        400,
        350,
        300,
        290,
        250,
        250,
        250,
        250,
        250,
        150,
        150,
    ]
    assert day.depth["ask_price_ticks_1"].to_list()[7:10] == [10_002, None, 10_003]
    trades = pl.read_parquet(answer["tables"][2]["path"])
    assert trades.select("price", "quantity", "side").rows() == [
        (100.0, 50.0, -1), (100.005, 50.0, -1), (100.015, 70.0, 0), (100.01, 1234.0, 0),
    ]  # fmt: skip
    assert day.events["ts"][1].isoformat() == "2019-01-30T14:30:00+00:00"
    assert answer["verification"]["one_step_exact"] == answer["verification"]["resync_exact"] == 1.0
    metadata = read_metadata(lake.table_path("Depth", "TEST", "2019-01-30"))
    assert (metadata["round_lot"], metadata["broken_trades_kept"]) == (100, 1)
    assert metadata["file_messages"] == len(HAND) - 1


def test_other_stock_of_the_same_file(lake, tmp_path):
    path = write(tmp_path, b"".join(HAND))
    fetch(lake, path, "AAPL")
    assert load_book("AAPL", lake=lake).events["quantity"].to_list() == [500.0]
    with pytest.raises(DataError, match="lists no stock GOOG"):
        fetch(lake, path, "GOOG")


def synthetic_day(rng: np.random.Generator, count: int) -> tuple[list[bytes], list[tuple]]:
    """A random day of two stocks, and the best level of TEST after each of its messages by a plain twin."""
    parts, orders, tops, ts = [directory("AAPL"), directory("TEST")], {}, [], OPEN
    for reference in range(1, count):
        ts += int(rng.integers(0, 1000))
        stock = "AAPL" if rng.random() < 0.3 else "TEST"
        own = [r for r, o in orders.items() if o[0] == stock]
        kind = str(rng.choice(list("AAAFECXDU")))
        side = int(rng.choice([-1, 1]))
        price, size = 1_000_000 - side * 100 * int(rng.integers(1, 30)), int(rng.integers(1, 900))
        if kind in "AF" or not own:
            kind = "A" if kind not in "AF" else kind
            more = (b"MMID",) if kind == "F" else ()
            parts.append(message(kind, stock, ts, reference, "B" if side > 0 else "S", size, stock, price, *more))
            orders[reference] = [stock, side, price, size]
        else:
            chosen = int(rng.choice(own))
            order = orders[chosen]
            taken = int(rng.integers(1, order[3] + 1))
            if kind == "U":
                price = 1_000_000 - order[1] * 100 * int(rng.integers(1, 30))
                parts.append(message("U", stock, ts, chosen, reference, size, price))
                orders[reference] = [stock, order[1], price, size]
                del orders[chosen]
            elif kind == "D":
                parts.append(message("D", stock, ts, chosen))
                del orders[chosen]
            else:
                more = {"E": (taken, reference), "C": (taken, reference, "Y", order[2]), "X": (taken,)}[kind]
                parts.append(message(kind, stock, ts, chosen, *more))
                order[3] -= taken
                if not order[3]:
                    del orders[chosen]
        if stock == "TEST":
            levels = {1: defaultdict(int), -1: defaultdict(int)}
            for name, own_side, own_price, left in orders.values():
                if name == "TEST":
                    levels[own_side][own_price // 100] += left
            best = [(max if s > 0 else min)(levels[s], default=None) for s in (1, -1)]
            tops.append((best[0], levels[1].get(best[0]), best[1], levels[-1].get(best[1]), kind))
    return parts, tops


def test_synthetic_day_is_that_of_the_plain_twin(lake, tmp_path, monkeypatch):
    parts, tops = synthetic_day(np.random.default_rng(5), 3000)
    monkeypatch.setattr(archives, "_PIECE", 4099)  # messages lie across pieces
    monkeypatch.setattr(itch, "_ROWS", 257)
    answer = fetch(lake, write(tmp_path, b"".join(parts), "013019.itch.gz"), start="2019-01-30")
    day = load_book("TEST", lake=lake)
    last_of_message = [i for i, top in enumerate(tops) for _ in range(2 if top[4] == "U" else 1)]
    depth = day.depth.select("bid_price_ticks_1", "bid_quantity_1", "ask_price_ticks_1", "ask_quantity_1").rows()
    final = [row for i, row in enumerate(depth) if i + 1 == len(depth) or last_of_message[i + 1] != last_of_message[i]]
    assert len(depth) == len(last_of_message) and final == [top[:4] for top in tops]
    assert answer["verification"]["one_step_exact"] == answer["verification"]["resync_exact"] == 1.0
    prints = sum(top[4] in "EC" for top in tops)
    assert answer["tables"][2]["rows"] == prints == day.events.filter(pl.col("kind") == "execution").height
    assert market_orders(day).height > 0  # the tables are those that calibration reads


def offset(at: int) -> int:
    return sum(map(len, HAND[:at]))


DAMAGED = {
    "cut in a message": (b"".join(HAND)[: offset(6) + 9], offset(6), "cut inside a message"),
    "cut in a length": (b"".join(HAND)[: offset(6) + 1], offset(6), "cut inside a message"),
    "unknown type": (b"".join([*HAND[:6], b"\x00\x0cz", bytes(11), *HAND[6:]]), offset(6), "no message of ITCH"),
    "wrong length": (b"".join([*HAND[:6], b"\x00\x14D", bytes(19), *HAND[6:]]), offset(6), "not as long"),
    "time falls": (b"".join([*HAND[:6], message("D", "TEST", OPEN - 1, 2)]), offset(6), "a field"),
    "time beyond the day": (b"".join([*HAND[:6], message("D", "TEST", 86_400 * 10**9, 2)]), offset(6), "a field"),
    "side": (b"".join([*HAND[:6], message("A", "TEST", OPEN, 9, "X", 1, "TEST", 1_000_000)]), offset(6), "a field"),
    "no size": (b"".join([*HAND[:6], message("A", "TEST", OPEN, 9, "B", 0, "TEST", 1_000_000)]), offset(6), "a field"),
    "off the grid": (b"".join([*HAND[:6], message("A", "TEST", OPEN, 9, "B", 1, "TEST", 1_000_001)]), offset(6),
                     "grid"),
    "id twice": (b"".join([*HAND[:6], message("A", "TEST", OPEN, 2, "B", 1, "TEST", 1_000_000)]), offset(6), "living"),
    "too much": (b"".join([*HAND[:6], message("E", "TEST", OPEN, 2, 301, 1)]), offset(6), "than it has"),
    "crossed": (b"".join([*HAND[:7], message("A", "TEST", OPEN + 1, 9, "B", 1, "TEST", 1_000_200)]), offset(7),
                "crossed"),
    "never added": (b"".join([*HAND[:6], message("D", "TEST", OPEN, 77), *HAND[6:]]), offset(6), "never added.*id 77"),
    "after the end": (b"".join([*HAND, HAND[0]]), offset(len(HAND)), "goes on after"),
    "empty": (b"", 0, "no messages"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_with_its_byte(lake, tmp_path, name):
    content, byte, match = DAMAGED[name]
    with pytest.raises(DataError, match=match) as caught:
        fetch(lake, write(tmp_path, content))
    assert caught.value.byte == byte and f"byte {byte}" in str(caught.value)
    assert not lake.root.exists()


def test_finer_grid_and_fewer_levels(lake, tmp_path):
    cheap = [*HAND[:6], message("A", "TEST", OPEN, 9, "B", 1, "TEST", 999_999)]
    config = DataConfig(tick_size="0.0001", book_levels=2)
    fetch(lake, write(tmp_path, b"".join(cheap)), config=config)
    day = load_book("TEST", lake=lake)
    assert day.levels == 2 and day.instrument.tick_size == 0.0001
    assert day.depth["bid_price_ticks_2"].to_list() == [None, None, 999_999]
    with pytest.raises(InputError, match="multiples of"):
        fetch(lake, write(tmp_path, b"".join(cheap)), config=DataConfig(tick_size="0.00001"))


def test_cut_gzip(lake, tmp_path):
    path = write(tmp_path, b"".join(HAND), "01302019.NASDAQ_ITCH50.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="unpacked"):
        fetch(lake, path)


def test_questions_that_cannot_be_answered(lake, tmp_path):
    path = write(tmp_path, b"".join(HAND), "day.itch")
    with pytest.raises(InputError, match="name one"):
        fetch(lake, path, None)
    with pytest.raises(InputError, match="too long"):
        fetch(lake, path, "TESTTESTT")
    with pytest.raises(InputError, match="does not tell the day"):
        fetch(lake, path)
    with pytest.raises(InputError, match="does not exist"):
        fetch(lake, path, start="2019-02-30")
    with pytest.raises(InputError, match="not a file"):
        fetch(lake, tmp_path / "none")
