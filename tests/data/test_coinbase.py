"""Coinbase captures: sequence gaps, sides, books per product, and the real capture against a plain replay."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.errors import DataError, InputError

CONFIG = DataConfig(book_levels=2)


def at(second: float) -> str:
    return f"2026-08-09T21:05:{second:09.6f}Z"


def message(sequence: int, channel: str, second: float, events: list[dict[str, Any]]) -> str:
    data = {"channel": channel, "timestamp": at(second), "sequence_num": sequence, "events": events}
    return json.dumps({"t": "recv", "conn": "ws", "ts": 1.5, "data": json.dumps(data)}) + "\n"


def book(sequence: int, second: float, *levels: tuple[str, str, str], kind: str = "update", product: str = "BTC-USD"):
    updates = [{"side": s, "event_time": at(second), "price_level": p, "new_quantity": q} for s, p, q in levels]
    return message(sequence, "l2_data", second + 0.1, [{"type": kind, "product_id": product, "updates": updates}])


def trade(sequence: int, second: float, number: int, price: str, size: str, side: str) -> str:
    item = {
        "product_id": "BTC-USD",
        "trade_id": str(number),
        "price": price,
        "size": size,
        "time": at(second),
        "side": side,
    }
    return message(sequence, "market_trades", second + 0.1, [{"type": "update", "trades": [item]}])


def ticker(sequence: int, second: float, bid: str, bid_size: str, ask: str, ask_size: str) -> str:
    item = {
        "product_id": "BTC-USD",
        "best_bid": bid,
        "best_ask": ask,
        "best_bid_quantity": bid_size,
        "best_ask_quantity": ask_size,
    }
    return message(sequence, "ticker", second, [{"type": "update", "tickers": [item]}])


START = [("bid", "99.5", "2"), ("bid", "99", "1"), ("offer", "100", "1.5"), ("offer", "101", "3")]
DAY = [
    '{"t":"header","format":2}\n',
    book(0, 1.0, *START, kind="snapshot"),
    trade(1, 2.0, 7, "100", "0.5", "SELL"),
    book(2, 2.1, ("offer", "100", "1")),
    message(3, "heartbeats", 3.0, []),
    ticker(4, 3.2, "99.5", "2", "100", "1"),
    trade(5, 4.0, 8, "99.5", "2", "BUY"),
    book(6, 4.0, ("bid", "99.5", "0"), ("bid", "98", "4")),
]


def fetch(lake, tmp_path: Path, *lines: str, **options: str):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(lines))
    return fetch_tables("coinbase", [str(path)], lake=lake, config=CONFIG, **options)


def rows(lake) -> list[tuple[str, int, float, float]]:
    return load_book("BTC-USD", lake=lake).events.select("kind", "side", "price_ticks", "quantity").rows()


def test_small_capture(lake, tmp_path):
    answer = fetch(lake, tmp_path, *DAY)
    assert rows(lake) == [
        ("halt", 0, 1, 0),
        ("execution", -1, 200, 0.5),  # a SELL order rested: a buyer took it
        ("execution", 1, 199, 2),
        ("new", 1, 196, 4),
    ]
    tables = {t["schema"]: t for t in answer["tables"]}
    assert pl.read_parquet(tables["Trades"]["path"])["side"].to_list() == [1, -1]
    assert pl.read_parquet(tables["Quotes"]["path"])["state"].to_list() == ["normal"]
    found = answer["verification"]
    assert (found["gaps"], found["prints"], found["crossed_states"], found["best_quotes_seen"]) == (0, 2, 0, 1.0)
    assert found["products"]["BTC-USD"]["traded_then_gone"] == 1.0 == found["one_step_exact"]


def test_a_skipped_number_makes_every_book_unknown(lake, tmp_path):
    again = [
        book(9, 6.0, ("bid", "97", "1")),
        book(10, 7.0, *START, kind="snapshot"),
        book(11, 8.0, ("bid", "99.5", "1")),
    ]
    answer = fetch(lake, tmp_path, *DAY, *again)
    assert answer["verification"]["gaps"] == 1
    assert [r[:3] for r in rows(lake)[4:]] == [("halt", 0, -1), ("halt", 0, 1), ("partial_cancel", 1, 199)]


def test_a_message_that_comes_twice_counts_once(lake, tmp_path):
    fetch(lake, tmp_path, *DAY)
    once = rows(lake)
    answer = fetch(lake, tmp_path, *(line for day in DAY for line in (day, day)))
    assert rows(lake) == once and answer["verification"]["gaps"] == 0
    assert {"rule": "message sent twice dropped", "rows": len(DAY) - 1} in answer["repairs"]  # not its header


def test_products_stay_apart(lake, tmp_path):
    other = book(7, 5.0, ("bid", "9", "1"), ("offer", "10", "1"), kind="snapshot", product="ETH-USD")
    answer = fetch(lake, tmp_path, *DAY, other)
    assert {t["symbol"] for t in answer["tables"]} == {"BTC-USD", "ETH-USD"}
    only = fetch(lake, tmp_path, *DAY, other, symbol="ETH-USD")
    assert [t["schema"] for t in only["tables"]] == ["BookEvents", "Depth"]
    with pytest.raises(InputError, match="holds nothing of DOGE-USD"):
        fetch(lake, tmp_path, *DAY, symbol="DOGE-USD")


def tables(lake, answer) -> dict[str, pl.DataFrame]:
    return {f"{t['schema']} {t['symbol']}": pl.read_parquet(t["path"]) for t in answer["tables"]}


def test_pieces_of_any_size_give_the_same(lake, tmp_path, blocks_of):
    """Two products, a reconnection that repeats a trade and skips one, tickers early and late, in blocks of a line."""
    other = [("bid", "9", "1"), ("offer", "10", "1")]
    capture = [
        ticker(0, 0.5, "99.5", "2", "0", "0"),  # before the first book
        *(line.replace('"sequence_num\\": ', '"sequence_num\\": 1') for line in DAY[1:]),
        book(17, 5.0, *other, kind="snapshot", product="ETH-USD"),
        trade(18, 5.5, 8, "99.5", "2", "BUY"),
        book(30, 6.0, *START, kind="snapshot"),
        book(31, 6.1, *other, kind="snapshot", product="ETH-USD"),
        trade(32, 6.2, 11, "100", "1", "SELL"),
        trade(33, 6.2, 10, "100", "0.1", "SELL"),  # late
        ticker(34, 6.3, "99.5", "2", "100", "1.5"),
        *(book(35 + k, 7.0 + k / 2, ("bid", "99.5", str(k + 1))) for k in range(20)),
        ticker(55, 20.0, "99.5", "20", "100", "1.5"),
        *(book(56 + k, 20.0 + 8 * k, ("bid", "99", str(k + 1))) for k in range(4)),
    ]
    whole = fetch(lake, tmp_path, *capture)
    expected = tables(lake, whole)
    assert whole["verification"]["gaps"] == 4  # after the first ticker and before 30, for each product
    assert whole["verification"]["products"]["BTC-USD"]["trade_ids_missing"] == 1
    assert {"rule": "trade sent twice dropped", "rows": 1} in whole["repairs"]
    blocks_of(300)
    again = fetch(lake, tmp_path, *capture)
    for answer in (whole, again):
        answer["verification"].pop("messages_per_second")
        for found in answer["verification"]["products"].values():
            found.pop("messages_per_second")
    assert again["verification"] == whole["verification"] and again["repairs"] == whole["repairs"]
    found = tables(lake, again)
    assert found.keys() == expected.keys() and all(found[name].equals(expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello\n", "row 3: is no record that is understood"),
        ("{}\n", "row 3: is no record"),
        ("\n", "row 3: is no record"),
        (book(1, 1.5, ("bid", "0", "1")), "row 3: price_level must be a decimal number above 0"),
        ('{"t":"recv","conn":"ws","data":"{"}\n', "row 3: is no record"),
        ('{"t":"recv","conn":"ws","data":"{}"}\n', "row 3: is no record"),
        (trade(1, 1.5, 6, "x", "1", "BUY"), "row 3: price must be a decimal"),
        (trade(1, 1.5, 6, "99", "1", "BOTH"), "row 3: a trade needs side"),
        (book(1, 1.5, ("both", "99", "1")), "row 3: a level must be"),
        (book(1, 1.5, ("bid", "99", "1")).replace("05:01.5", "05:61.5"), "row 3: event_time must be a UTC time"),
    ],
)
def test_bad_record_is_named(lake, tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        fetch(lake, tmp_path, *DAY[:2], line, *DAY[2:])
    assert not lake.root.exists()


def test_wrong_files(lake, tmp_path):
    with pytest.raises(DataError, match="no received messages"):
        fetch(lake, tmp_path, DAY[0])
    with pytest.raises(InputError, match="is not a file"):
        fetch_tables("coinbase", ["nowhere"], lake=lake, config=CONFIG)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(pa.compress("".join(DAY).encode(), "zstd", asbytes=True)[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_tables("coinbase", [str(path)], lake=lake, config=CONFIG)


def test_real_capture_against_a_plain_replay(lake, shared_data):
    path = shared_data / "coinbase_ws_raw" / "COINBASE.jsonl.zst"
    answer = fetch_tables("coinbase", [str(path)], lake=lake, config=DataConfig())
    found = answer["verification"]
    assert (found["messages"], found["gaps"], found["crossed_states"], found["prints"]) == (1030, 0, 0, 78)
    assert found["one_step_exact"] == found["resync_exact"] == 1.0 and found["best_quotes_seen"] > 0.85
    with pa.input_stream(str(path), compression="zstd") as stream:
        records = [json.loads(line) for line in stream.read().decode().splitlines()]
    messages = [json.loads(r["data"]) for r in records if r["t"] == "recv"]
    for product, updates, prints in (("BTC-USD", 399, 46), ("ETH-USD", 374, 32)):
        own = found["products"][product]
        assert (own["updates"], own["prints"], own["trade_ids_missing"]) == (updates, prints, 0)
        book: dict[str, dict[str, str]] = {"bid": {}, "offer": {}}
        for event in (e for m in messages if m["channel"] == "l2_data" for e in m["events"]):
            for u in event["updates"] if event["product_id"] == product else ():
                book[u["side"]].pop(u["price_level"], None)
                if float(u["new_quantity"]):
                    book[u["side"]][u["price_level"]] = u["new_quantity"]
        day = load_book(product, lake=lake)
        last = day.depth.row(-1, named=True)
        for side, theirs, pick in (("bid", "bid", max), ("ask", "offer", min)):
            price = pick(book[theirs], key=float)
            ours = round(last[f"{side}_price_ticks_1"] * day.instrument.tick_size, 6), last[f"{side}_quantity_1"]
            assert ours == (float(price), float(book[theirs][price]))
