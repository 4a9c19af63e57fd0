"""Tardis files: every kind, a snapshot file against the incremental file of the same book, bad rows."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from difffinance.config import DataConfig
from difffinance.data.connectors.tardis_files import TradesOnce
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake, read_metadata
from difffinance.errors import DataError, InputError

CONFIG = DataConfig(book_levels=3)
T0 = 1_585_699_200_000_000
BOOK = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"


def level(t: int, snapshot: str, side: str, price: str, amount: str) -> str:
    return f"deribit,BTC-PERPETUAL,{T0 + t},{T0 + t + 5},{snapshot},{side},{price},{amount}\n"


def trade(t: int, side: str, price: str, amount: str) -> str:
    return f"deribit,BTC-PERPETUAL,{T0 + t},{T0 + t + 5},a{t},{side},{price},{amount}\n"


DAY = [
    level(0, "false", "bid", "98", "1"),  # before the first snapshot
    level(10, "true", "bid", "99.5", "2"),
    level(10, "true", "ask", "100", "3"),
    level(10, "true", "ask", "100.5", "4"),
    level(20, "false", "bid", "99.5", "5"),
    level(30, "false", "ask", "100", "0"),
    level(30, "false", "ask", "101", "7"),
]


def fetch(lake, tmp_path: Path, *texts: str, **options: str):
    paths = []
    for k, text in enumerate(texts):
        paths.append(tmp_path / f"{k}.csv.gz")
        paths[-1].write_bytes(gzip.compress(text.encode()))
    return fetch_tables("tardis", [str(p) for p in paths], lake=lake, config=CONFIG, **options)


def rows(lake, symbol: str = "BTC-PERPETUAL") -> list[tuple[str, int, float, float]]:
    return load_book(symbol, lake=lake).events.select("kind", "side", "price_ticks", "quantity").rows()


def test_incremental_book(lake, tmp_path):
    answer = fetch(lake, tmp_path, BOOK + "".join(DAY))
    assert rows(lake) == [("halt", 0, 1, 0), ("new", 1, 199, 3), ("delete", -1, 200, 3), ("new", -1, 202, 7)]
    assert answer["repairs"] == [{"rule": "update before the first snapshot dropped", "rows": 1}]
    assert answer["verification"]["one_step_exact"] == 1.0 and answer["verification"]["updates"] == 2
    assert load_book("BTC-PERPETUAL", lake=lake).volume_base == "deribit"


def test_incremental_book_with_its_trades(lake, tmp_path):
    trades = TRADES + trade(25, "buy", "100", "3") + trade(26, "unknown", "100", "1")
    answer = fetch(lake, tmp_path, BOOK + "".join(DAY), trades)
    assert ("execution", -1, 200, 3) in rows(lake) and len(rows(lake)) == 4
    assert answer["verification"]["prints"] == 1 and answer["verification"]["traded_then_gone"] == 1.0
    assert {t["schema"]: t["rows"] for t in answer["tables"]} == {"BookEvents": 4, "Depth": 4, "Trades": 2}
    with pytest.raises(InputError, match="two files must be"):
        fetch(lake, tmp_path, trades, BOOK + "".join(DAY))


def test_a_tick_that_trades_miss_is_refused(lake, tmp_path):
    path = tmp_path / "trades.csv"
    path.write_text(TRADES + trade(25, "buy", "100", "3") + trade(26, "buy", "100.5", "3"))
    for step, says in (({"tick_size": 1}, "row 3: price 100.5 is off"), ({"lot_size": 2}, "row 2: amount 3 is off")):
        with pytest.raises(DataError, match=says):
            fetch_tables("tardis", [str(path)], lake=lake, config=DataConfig(**step))


def test_trades_sent_twice_count_once(lake, tmp_path, blocks_of, monkeypatch):
    """After a reconnection venues send the last trades again; the same number with other words is another trade."""
    prints = [trade(k, "buy", "100", "3") for k in range(40)]
    late = prints[7].replace(f"{T0 + 12},a7", f"{T0 + 44},a7")  # received again after the last
    other = prints[9].replace(f"{T0 + 14},a9", f"{T0 + 44},a9").replace(",100,3", ",100,4")
    blank = trade(39, "buy", "100", "3").replace(",a39,", ",,")
    text = TRADES + "".join([*prints, late, prints[39], other, blank, blank])
    answers = []
    for block in (1 << 20, 500):
        blocks_of(block)
        answers.append(fetch(lake, tmp_path, text))
        assert pl.read_parquet(answers[-1]["tables"][0]["path"])["quantity"].to_list() == [3.0] * 40 + [4.0, 3.0, 3.0]
        assert {"rule": "trade sent twice dropped", "rows": 2} in answers[-1]["repairs"]
    monkeypatch.setattr(TradesOnce, "WINDOW", 33)
    assert {"rule": "trade sent twice dropped", "rows": 2} in fetch(lake, tmp_path, text)["repairs"]
    monkeypatch.setattr(TradesOnce, "WINDOW", 32)  # one trade more lies between
    assert {"rule": "trade sent twice dropped", "rows": 1} in fetch(lake, tmp_path, text)["repairs"]
    book = BOOK + "".join(DAY)
    hit = trade(25, "buy", "100", "1")
    answer = fetch(lake, tmp_path, book, TRADES + hit + hit)
    assert (answer["verification"]["prints"], len(rows(lake))) == (1, 5)


def test_snapshot_file_is_the_incremental_file_seen_from_above(lake, tmp_path):
    """One random book written in both forms: the same rows of Depth."""
    rng, levels = np.random.default_rng(3), 3
    sides = {"bid": {90 + k: 5 for k in range(5)}, "ask": {101 + k: 5 for k in range(5)}}
    names = [f"{s}[{k}].{w}" for k in range(levels) for s in ("asks", "bids") for w in ("price", "amount")]
    book = [level(0, "true", side, str(p), str(q)) for side, own in sides.items() for p, q in own.items()]
    snapshots = []
    for t in range(1, 200):
        side = ("bid", "ask")[rng.integers(2)]
        price, amount = int(rng.integers(85, 96) if side == "bid" else rng.integers(96, 107)), int(rng.integers(0, 3))
        sides[side].pop(price, None)
        if amount:
            sides[side][price] = amount
        book.append(level(t, "false", side, str(price), str(amount)))
        best = {"asks": sorted(sides["ask"].items()), "bids": sorted(sides["bid"].items(), reverse=True)}
        cells = [str(v) for k in range(levels) for s in ("asks", "bids") for v in (*best[s][k : k + 1], ("", ""))[0]]
        snapshots.append(f"deribit,SNAP,{T0 + t},{T0 + t + 5},{','.join(cells)}\n")
    fetch(lake, tmp_path, BOOK + "".join(book))
    answer = fetch(
        lake, tmp_path, f"exchange,symbol,timestamp,local_timestamp,{','.join(names)}\n" + "".join(snapshots)
    )
    ours = load_book("BTC-PERPETUAL", lake=lake).depth
    theirs = pl.read_parquet(next(t["path"] for t in answer["tables"] if t["schema"] == "Depth"))
    both = theirs.join_asof(ours, on="ts", suffix="_ours", check_sortedness=False)
    columns = [c for c in theirs.columns if "price" in c or "quantity" in c]
    assert both.height == 199
    assert both.select(columns).rows() == both.select(f"{c}_ours" for c in columns).rows()


def test_blocks_give_what_the_whole_gives(tmp_path, blocks_of):
    """Blocks of one row, of a few, and the whole file; the snapshot and the last message lie across blocks."""
    trades = TRADES + trade(15, "buy", "100", "1") + trade(25, "buy", "100", "2") + trade(26, "unknown", "100", "1")
    found = []
    for block in (1, 200, 1 << 22):
        blocks_of(block)
        answer = fetch(Lake(tmp_path / str(block)), tmp_path, BOOK + "".join(DAY), trades)
        del answer["verification"]["messages_per_second"]
        tables = {t["schema"]: pl.read_parquet(t["path"]).rows() for t in answer["tables"]}
        found.append((tables, answer["repairs"], answer["verification"]))
    assert found[0] == found[1] == found[2] and found[0][2]["prints"] == 2


def test_quotes_and_states(lake, tmp_path):
    header = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    lines = [
        f"x,S,{T0 + k},{T0 + k},1,{a},{b},2\n" for k, (a, b) in enumerate([("11", "10"), ("11", "11"), ("", "10")])
    ]
    answer = fetch(lake, tmp_path, header + "".join(lines))
    (table,) = answer["tables"]
    assert pl.read_parquet(table["path"])["state"].to_list() == ["normal", "locked"]
    assert answer["repairs"] == [{"rule": "quote with an empty side dropped", "rows": 1}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ask,100.5", "offer,100.5", "row 5: side must be bid or ask"),
        ("true,ask,100.5", "yes,ask,100.5", "row 5: is_snapshot must be"),
        ("100.5", "1OO", "row 5: price must be a decimal"),
        (",4", ",-4", "row 5: amount must be"),
        ("deribit", "ftx", "row 5: exchange is 'ftx'"),
        ("PERPETUAL", "28JUN", "row 5: symbol is"),
        (f"{T0 + 15}", f"{T0 - 15}", "row 5: local_timestamp falls"),
        (",4", "", "row 5: has 7 values"),
        ("100.5", "0", "row 5: price must be above 0"),
    ],
)
def test_bad_row_is_named(lake, tmp_path, old, new, message):
    assert old in DAY[3]
    with pytest.raises(DataError, match=message):
        fetch(lake, tmp_path, BOOK + "".join([*DAY[:3], DAY[3].replace(old, new), *DAY[4:]]))
    assert not lake.root.exists()


def test_trades_out_of_the_order_of_receipt_are_refused(lake, tmp_path):
    rows = [trade(k, "buy", "100", "1") for k in (1, 3, 2)]
    with pytest.raises(DataError, match="row 4: local_timestamp falls"):
        fetch(lake, tmp_path, TRADES + "".join(rows))
    assert not lake.root.exists()


def test_a_line_cut_short_is_no_line_with_blanks(lake, tmp_path):
    """Sizes and prices may be blank, as text between commas; what is missing at the end was lost."""
    names = [f"{s}[{k}].{w}" for k in range(2) for s in ("asks", "bids") for w in ("price", "amount")]
    header = ",".join(("exchange", "symbol", "timestamp", "local_timestamp", *names)) + "\n"
    good = [f"x,S,{T0 + k},{T0 + k},11,1,10,1,,,,\n" for k in range(3)]
    assert fetch(lake, tmp_path, header + "".join(good))["tables"][0]["rows"] == 3
    with pytest.raises(DataError, match=r"row 3: has 8 values\. Allowed: 12"):
        fetch(lake, tmp_path, header + good[0] + good[1].replace(",,,,", "") + good[2])


def test_wrong_files(lake, tmp_path):
    with pytest.raises(DataError, match="is empty"):
        fetch(lake, tmp_path, "")
    with pytest.raises(DataError, match="the header of no kind"):
        fetch(lake, tmp_path, "a,b\n1,2\n")
    with pytest.raises(DataError, match="holds no rows"):
        fetch(lake, tmp_path, TRADES)
    with pytest.raises(InputError, match="is not a file"):
        fetch_tables("tardis", ["nowhere.csv"], lake=lake, config=CONFIG)
    with pytest.raises(InputError, match="cannot name a table"):
        fetch(lake, tmp_path, (TRADES + trade(1, "buy", "1", "1")).replace("BTC-PERPETUAL", "BTC/USD"))
    named = (TRADES + trade(1, "buy", "1", "1")).replace("BTC-PERPETUAL", "BTC/USD")
    assert fetch(lake, tmp_path, named, symbol="MINE")["tables"][0]["symbol"] == "MINE"


def test_real_files_number_by_number(lake, shared_data):
    folder = shared_data / "tardis_csv"
    (table,) = fetch_tables("tardis", [str(folder / "trades.csv.gz")], lake=lake, config=CONFIG)["tables"]
    plain = [
        line.split(",") for line in gzip.decompress((folder / "trades.csv.gz").read_bytes()).decode().splitlines()[1:]
    ]
    ours = pl.read_parquet(table["path"])
    assert ours.height == table["rows"] == len(plain) == 9999
    assert ours.select("price", "quantity").rows() == [(float(r[6]), float(r[7])) for r in plain]
    assert ours["side"].to_list() == [1 if r[5] == "buy" else -1 for r in plain]
    assert ours["ts"].dt.timestamp("us").to_list() == [int(r[2]) for r in plain]
    metadata = read_metadata(Path(table["path"]))
    assert (metadata["tick_size"], metadata["lot_size"]) == (0.01, 0.001)

    path = folder / "binance-futures_book_snapshot_25_BTCUSDT.csv"
    depth, quotes = fetch_tables("tardis", [str(path)], lake=lake, config=CONFIG)["tables"]
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    ours = pl.read_parquet(depth["path"])
    assert ours.height == quotes["rows"] == len(rows) == 10
    for mine, row in zip(ours.iter_rows(named=True), rows, strict=True):
        for k in range(25):
            ask, amount, bid, bid_amount = (float(v) for v in row[4 + 4 * k : 8 + 4 * k])
            assert (mine[f"ask_quantity_{k + 1}"], mine[f"bid_quantity_{k + 1}"]) == (amount, bid_amount)
            assert round(mine[f"ask_price_ticks_{k + 1}"] * 0.01, 6) == ask
            assert round(mine[f"bid_price_ticks_{k + 1}"] * 0.01, 6) == bid

    path = folder / "deribit_incremental_book_L2_BTC-PERPETUAL.csv"
    answer = fetch_tables("tardis", [str(path)], lake=lake, config=CONFIG)
    assert answer["verification"]["snapshots"] == 1 and answer["verification"]["one_step_exact"] is None
    first = load_book("BTC-PERPETUAL", lake=lake).depth.row(0, named=True)
    assert (first["ask_price_ticks_1"], first["ask_quantity_1"], first["bid_price_ticks_1"]) == (12843, 18640.0, None)


def test_trades_without_numbers_are_taken_and_a_bad_row_is_named_by_its_line(lake, tmp_path, blocks_of):
    prints = [trade(k, "buy", "100", "2").replace(f",a{k},", ",,") for k in range(60)]
    assert fetch(lake, tmp_path, TRADES + "".join(prints))["tables"][0]["rows"] == 60
    blocks_of(500)  # rows are counted through the file, not in a block
    for bad, match in ((",100,0\n", "row 42: .*quantity is positive"), (",0,2\n", "row 42: .*price is positive"),
                       (",100\n", "row 42: has 6 values"), (",100,\x00\n", "row 42: holds zero bytes")):  # fmt: skip
        spoiled = [*prints[:40], prints[40].replace(",100,2\n", bad), *prints[41:]]
        with pytest.raises(DataError, match=match):
            fetch(Lake(tmp_path / "other"), tmp_path, TRADES + "".join(spoiled))
