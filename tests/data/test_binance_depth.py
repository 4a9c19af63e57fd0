"""Raw Binance captures: the venue's joining rules on small captures, and real ones against a plain replay."""

import gzip
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from difffinance.calibration.order_flow import market_orders
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book, load_quotes, load_trades
from difffinance.data.store import Lake, read_metadata
from difffinance.errors import DataError, InputError, NotInLakeError

CONFIG = DataConfig(book_levels=3)
T0 = 1_723_161_255_000


def diff(first: int, last: int, t: int, bids: Any = (), asks: Any = (), before: int | None = None) -> dict[str, Any]:
    levels = {"b": [[p, q] for p, q in bids], "a": [[p, q] for p, q in asks]}
    more = {} if before is None else {"pu": before, "T": T0 + t}
    return {
        "stream": "btcusdt@depth@100ms",
        "data": {"e": "depthUpdate", "E": T0 + t, "s": "BTCUSDT", "U": first, "u": last, **more, **levels},
    }


def snapshot(last: int) -> dict[str, Any]:
    return {
        "lastUpdateId": last,
        "bids": [["99.50", "2.0"], ["99.00", "1.0"]],
        "asks": [["100.00", "1.5"], ["101.00", "3"]],
    }


def trade(number: int, t: int, price: str, quantity: str, maker: bool) -> dict[str, Any]:
    data = {"e": "trade", "E": T0 + t, "s": "BTCUSDT", "t": number, "p": price, "q": quantity, "T": T0 + t, "m": maker}
    return {"stream": "btcusdt@trade", "data": data}


def quote(last: int, bid: str, bid_quantity: str, ask: str, ask_quantity: str) -> dict[str, Any]:
    data = {"u": last, "s": "BTCUSDT", "b": bid, "B": bid_quantity, "a": ask, "A": ask_quantity}
    return {"stream": "btcusdt@bookTicker", "data": data}


DAY = [
    diff(90, 95, 0, [("98.00", "9")]),  # older than the snapshot
    diff(96, 101, 100, [("99.00", "4.0")]),  # contains it, and came before it
    snapshot(98),
    trade(1, 120, "100.00", "0.5", False),
    quote(104, "99.50", "2.0", "100.00", "1.0"),
    diff(102, 104, 200, [], [("100.00", "1.0")]),
    trade(2, 250, "100.00", "1.0", False),
    trade(3, 250, "101.00", "1.0", False),
    quote(109, "99.00", "4.0", "101.00", "2.0"),
    diff(105, 109, 300, [("99.50", "0")], [("100.00", "0"), ("101.00", "2.0")]),
]


def write(path: Path, messages: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{(T0 + k) * 1_000_000} {json.dumps(m)}\n" for k, m in enumerate(messages)))
    return path


def fetch(lake, tmp_path, messages, **options):
    return fetch_tables("binance", [str(write(tmp_path / "a.txt", messages))], lake=lake, config=CONFIG, **options)


def rows(lake) -> list[tuple[str, int, float, float]]:
    return load_book("BTCUSDT", lake=lake).events.select("kind", "side", "price_ticks", "quantity").rows()


def test_small_capture(lake, tmp_path):
    answer = fetch(lake, tmp_path, DAY)
    assert {t["schema"]: t["rows"] for t in answer["tables"]} == {"BookEvents": 6, "Depth": 6, "Trades": 3, "Quotes": 2}
    assert rows(lake) == [
        ("halt", 0, 1, 0.0),
        ("new", 1, 198, 3.0),
        ("execution", -1, 200, 0.5),  # the update at 200 ms says nothing that this trade had not said
        ("execution", -1, 200, 1.0),
        ("execution", -1, 202, 1.0),
        ("delete", 1, 199, 2.0),
    ]
    verification = answer["verification"]
    assert verification["one_step_exact"] == verification["resync_exact"] == 1.0
    assert (verification["updates"], verification["gaps"], verification["snapshots"]) == (3, 0, 1)
    assert verification["best_quotes_exact"] == 1.0 and verification["traded_then_gone"] == 1.0
    assert answer["repairs"] == [{"rule": "update outside a snapshot's reach dropped", "rows": 1}]


def test_trades_sent_twice_count_once_and_numbers_that_are_missing_are_told(lake, tmp_path):
    again = [*DAY, DAY[3], DAY[7], trade(6, 350, "101.00", "1.0", False)]
    answer = fetch(lake, tmp_path, again)
    assert load_trades("BTCUSDT", lake=lake)["seq"].to_list() == [1, 2, 3, 6]
    assert {"rule": "trade sent twice dropped", "rows": 2} in answer["repairs"]
    assert (answer["verification"]["trade_ids_missing"], answer["verification"]["prints"]) == (2, 4)


def test_a_sweep_is_one_market_order(lake, tmp_path):
    fetch(lake, tmp_path, DAY)
    day = load_book("BTCUSDT", lake=lake)
    orders = market_orders(day)
    assert orders["quantity"].to_list() == [0.5, 2.0]
    assert orders["price_change"].to_list() == [0.0, 0.5]  # the sweep moved the ask from 100 to 101
    assert (day.instrument.tick_size, day.instrument.lot_size) == (0.5, 0.5)


def test_levels_are_whole_lots_and_exact_floats(lake, tmp_path):
    fetch(lake, tmp_path, DAY)
    last = load_book("BTCUSDT", lake=lake).depth.row(-1, named=True)
    assert (last["bid_price_ticks_1"], last["bid_quantity_1"]) == (198, 4.0)
    assert (last["ask_price_ticks_1"], last["ask_quantity_1"]) == (202, 2.0)


def test_trades_and_quotes_are_loaded_by_day(lake, tmp_path):
    with pytest.raises(NotInLakeError, match="no Trades of BTCUSDT are in the lake"):
        load_trades("BTCUSDT", lake=lake)
    fetch(lake, tmp_path, DAY)
    assert load_trades("BTCUSDT", lake=lake)["side"].to_list() == [1, 1, 1]
    assert load_quotes("BTCUSDT", "2024-08-08", lake=lake)["bid"].to_list() == [99.5, 99.0]
    with pytest.raises(NotInLakeError, match=r"on 2024-08-09 .* There are: 2024-08-08"):
        load_quotes("BTCUSDT", "2024-08-09", lake=lake)


def test_a_lost_update_is_a_gap_until_the_next_snapshot(lake, tmp_path):
    lost = [diff(112, 113, 400, [("97.00", "1")]), trade(4, 450, "101.00", "0.5", False), diff(114, 114, 500)]
    again = {"lastUpdateId": 120, "bids": [["99.00", "7"]], "asks": [["103.00", "7"]]}
    more = [again, diff(118, 121, 600, [("98.00", "1")]), diff(122, 122, 700, [], [("102.50", "1.5")])]
    answer = fetch(lake, tmp_path, [*DAY, *lost, *more])
    verification = answer["verification"]
    assert (verification["gaps"], verification["snapshots"], verification["updates"]) == (1, 2, 5)
    assert verification["one_step_exact"] == 1.0
    assert answer["repairs"] == [{"rule": "update outside a snapshot's reach dropped", "rows": 3}]
    found = rows(lake)[6:]
    assert [row[:3] for row in found] == [("halt", 0, -1), ("halt", 0, 1), ("new", 1, 196), ("new", -1, 205)]
    depth = load_book("BTCUSDT", lake=lake).depth
    assert depth["bid_price_ticks_1"].to_list()[6:] == [None, 198, 198, 198]
    assert {t["schema"]: t["rows"] for t in answer["tables"]}["Trades"] == 4  # prints stay, the book is unknown


def test_futures_follow_by_the_id_before(lake, tmp_path):
    messages = [
        snapshot(98),
        diff(96, 101, 100, [("99.00", "4.0")], before=95),
        diff(104, 109, 200, [], [("100.00", "1.0")], before=101),  # ids may jump, pu may not
        diff(110, 111, 300, [], [("100.00", "2.0")], before=108),
    ]
    answer = fetch(lake, tmp_path, messages)
    assert answer["tables"][0]["symbol"] == "BTCUSDT.UM"
    assert (answer["verification"]["updates"], answer["verification"]["gaps"]) == (2, 1)


def test_messages_sent_twice_count_once(lake, tmp_path):
    answer = fetch(lake, tmp_path, [*DAY[:6], DAY[5], *DAY[6:]])
    assert {r["rule"]: r["rows"] for r in answer["repairs"]}["message sent twice dropped"] == 1
    assert answer["verification"]["gaps"] == 0 and len(rows(lake)) == 6


def test_snapshot_older_than_all_updates_gives_no_book(lake, tmp_path):
    answer = fetch(lake, tmp_path, [snapshot(50), *DAY[:2], DAY[3]])
    assert answer["verification"]["updates"] == 0 and answer["verification"]["gaps"] == 1


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.xz"])
def test_packed_captures(lake, tmp_path, name):
    import lzma

    import pyarrow as pa

    data = write(tmp_path / "a.txt", DAY).read_bytes()
    pack = {"a.gz": gzip.compress, "a.xz": lzma.compress, "a.zst": lambda b: pa.compress(b, "zstd", asbytes=True)}[name]
    path = tmp_path / name
    path.write_bytes(pack(data))
    assert fetch_tables("binance", [str(path)], lake=lake, config=CONFIG)["verification"]["updates"] == 3
    path.write_bytes(pack(data)[:-12])
    with pytest.raises(DataError, match=f"{name}: cannot be unpacked"):
        fetch_tables("binance", [str(path)], lake=lake, config=CONFIG)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello", "row 3: is no message that is understood: 'hello'"),
        ('17 {"stream":"btcusdt@kline_1m","data":{}}', "row 3: is no message that is understood"),
        ('17 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT","T":1,"t":1,"p":"1","q":"1"}}', "row 3: is no message"),
        ('17 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT",}', "row 3: is not a whole message|row 3: is no message"),
        (
            '17 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT","T":1,"t":1,"p":"x","q":"1","m":true}}',
            "row 3: trade p must be a decimal number",
        ),
        (
            '17 {"stream":"btcusdt@depth","data":{"s":"BTCUSDT","E":1,"U":1,"u":1,"b":[["1"]],"a":[]}}',
            "row 3: a level must be",
        ),
        (
            '17 {"stream":"ethusdt@trade","data":{"s":"ETHUSDT","T":1,"t":1,"p":"1","q":"1","m":true}}',
            "holds 2 symbols",
        ),
    ],
)
def test_bad_line_is_named(lake, tmp_path, line, message):
    path = write(tmp_path / "a.txt", DAY)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], line + "\n", *lines[2:]]))
    with pytest.raises(DataError, match=message):
        fetch_tables("binance", [str(path)], lake=lake, config=CONFIG)
    assert not lake.root.exists()


def test_what_no_book_can_be_made_of(lake, tmp_path):
    with pytest.raises(DataError, match="no snapshot"):
        fetch(lake, tmp_path, DAY[:2])
    with pytest.raises(DataError, match="is empty"):
        fetch(lake, tmp_path, [])
    with pytest.raises(InputError, match="--kind does not go with"):
        fetch(lake, tmp_path, DAY, kind="trades")
    with pytest.raises(InputError, match="--interval 1d does not go with"):
        fetch(lake, tmp_path, DAY, interval="1d")
    assert fetch(lake, tmp_path, DAY, symbol="MINE")["tables"][0]["symbol"] == "MINE"


def test_blocks_give_what_the_whole_gives(tmp_path, blocks_of):
    """Blocks of one line, of a few, and the whole file. A lost update makes a gap, a snapshot ends it.

    Trades 6 and 5 come late, 6 in the time of 7; trade 7 comes twice.
    """
    numbers = (7, 6, 5, 7)
    again = [
        *(trade(n, 400, "101.00", "1.0", False) for n in numbers),
        diff(200, 201, 900, [("98.00", "1")]),
        snapshot(201),
        diff(202, 203, 1000, [("99.00", "7")]),
    ]
    found = []
    for block in (1, 700, 1 << 22):
        blocks_of(block)
        lake = Lake(tmp_path / str(block))
        answer = fetch(lake, tmp_path, [*DAY, *again])
        del answer["verification"]["messages_per_second"]
        tables = {t["schema"]: pl.read_parquet(t["path"]).rows() for t in answer["tables"]}
        found.append((tables, answer["repairs"], answer["verification"]))
    assert found[0] == found[1] == found[2]
    assert found[0][2]["gaps"] == 1 and found[0][2]["snapshots"] == 2 and len(found[0][0]) == 4
    assert [row[2] for row in found[0][0]["Trades"]] == [1, 2, 3, 7, 6, 5] and found[0][2]["trade_ids_missing"] == 1
    assert {"rule": "trade sent twice dropped", "rows": 1} in found[0][1]


# --- real captures -----------------------------------------------------------------------------------------------


def plain_books(path: Path, futures: bool, levels: int) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Replay updates with two dictionaries; yield (time, best levels ask and bid by turns) after each."""
    with gzip.open(path, "rt") as stream:
        messages = [json.loads(line.split(" ", 1)[1]) for line in stream]
    (start,) = [m for m in messages if "lastUpdateId" in m]
    book = {side: dict(start[name]) for side, name in (("b", "bids"), ("a", "asks"))}
    for message in messages:
        data = message.get("data", {})
        if data.get("e") != "depthUpdate" or data["u"] <= start["lastUpdateId"]:
            continue
        for side in "ba":
            for price, quantity in data[side]:
                book[side].pop(price, None)
                if float(quantity):
                    book[side][price] = quantity
        best = {s: pick(levels, book[s], key=float) for s, pick in (("a", heapq.nsmallest), ("b", heapq.nlargest))}
        row = [(float(p), float(book[s][p])) for k in range(levels) for s in "ab" for p in best[s][k : k + 1]]
        yield data["T" if futures else "E"], row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "symbol", "expected"),
    [
        ("spot", "BTCUSDT", {"messages": 41249, "updates": 3449, "prints": 9756, "gaps": 0, "crossed_states": 0}),
        ("usdm", "BTCUSDT.UM", {"messages": 93954, "updates": 6547, "prints": 21309, "gaps": 0, "crossed_states": 0}),
    ],
)
def test_real_capture_against_a_plain_replay(lake, shared_data, name, symbol, expected):
    path = shared_data / "binance_ws_raw" / f"{name}_btcusdt_20240808.gz"
    answer = fetch_tables("binance", [str(path)], lake=lake, config=DataConfig())
    verification = answer["verification"]
    assert {key: verification[key] for key in expected} == expected
    assert verification["one_step_exact"] == verification["resync_exact"] == verification["best_quotes_exact"] == 1.0
    assert verification["best_quotes_compared"] == expected["updates"]
    day = load_book(symbol, lake=lake)
    names = [f"{s}_{w}_{k}" for k in range(1, 11) for s in ("ask", "bid") for w in ("price_ticks", "quantity")]
    ours = day.depth.select(pl.col("ts").dt.timestamp("ms"), *names).group_by("ts", maintain_order=True).last()
    by_time = {row[0]: row[1:] for row in ours.iter_rows()}
    tick, compared = day.instrument.tick_size, 0
    last_of_time = Counter(dict(plain_books(path, name == "usdm", 10)))
    for time, row in last_of_time.items():
        if time in by_time:
            compared += 1
            found = by_time[time]
            assert [(round(p * tick, 9), q) for p, q in zip(found[::2], found[1::2], strict=True)] == row
    assert compared > 0.8 * expected["updates"]


@pytest.mark.slow
def test_real_trades_are_all_there(lake, shared_data):
    path = shared_data / "binance_ws_raw" / "spot_btcusdt_20240808.gz"
    tables = {t["schema"]: t for t in fetch_tables("binance", [str(path)], lake=lake, config=CONFIG)["tables"]}
    with gzip.open(path, "rt") as stream:
        data = [json.loads(line.split(" ", 1)[1]).get("data", {}) for line in stream]
    plain = [(d["t"], float(d["p"]), float(d["q"]), -1 if d["m"] else 1) for d in data if d.get("e") == "trade"]
    assert pl.read_parquet(tables["Trades"]["path"]).select("seq", "price", "quantity", "side").rows() == plain
    quotes = [(float(d["b"]), float(d["B"]), float(d["a"]), float(d["A"])) for d in data if "B" in d and "e" not in d]
    names = ("bid", "bid_quantity", "ask", "ask_quantity")
    assert pl.read_parquet(tables["Quotes"]["path"]).select(names).rows() == quotes
    metadata = read_metadata(Path(tables["Depth"]["path"]))
    assert (metadata["tick_size"], metadata["lot_size"], metadata["currency"]) == (0.01, 1e-06, "USDT")
