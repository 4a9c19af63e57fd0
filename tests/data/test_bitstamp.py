"""Bitstamp's order-level events: trades inferred on a small day, and the real one against a plain replay."""

import csv
import io
import lzma
from pathlib import Path

import polars as pl
import pytest

from difffinance.calibration.order_flow import market_orders
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.errors import DataError, InputError

CONFIG = DataConfig(book_levels=3)
HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction\n"
T0 = 1_430_438_404_000


def line(number: int, t: int, price: str, volume: int, action: str, side: str) -> str:
    return f"{number},{T0 + t},{T0},{price},{volume}00000000,{action},{side}\n"


QUIET = [
    line(1, 0, "100.50", 5, "created", "bid"),
    line(2, 10, "101.00", 3, "created", "ask"),
    line(3, 20, "101.50", 4, "created", "ask"),
    line(4, 30, "103.00", 1, "created", "ask"),
]
SWEEP = [
    line(9, 1000, "102.00", 9, "created", "bid"),  # takes 3 at 101.00 and 4 at 101.50, and rests with 2
    line(2, 1004, "101.00", 0, "deleted", "ask"),
    line(9, 1005, "102.00", 6, "changed", "bid"),
    line(9, 1200, "102.00", 2, "changed", "bid"),
    line(3, 1203, "101.50", 0, "deleted", "ask"),
]


def fetch(lake, tmp_path: Path, *lines: str):
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "".join(lines))
    return fetch_tables("bitstamp", [str(path)], lake=lake, config=CONFIG)


def rows(lake) -> list[tuple[int, str, int, float, float]]:
    return load_book("BTCUSD", lake=lake).events.select("order_id", "kind", "side", "price_ticks", "quantity").rows()


def test_a_taker_is_one_order_and_rests_with_what_is_left(lake, tmp_path):
    answer = fetch(lake, tmp_path, *QUIET, *SWEEP)
    assert rows(lake)[5:] == [(2, "execution", -1, 202, 3), (3, "execution", -1, 203, 4), (9, "new", 1, 204, 2)]
    day = load_book("BTCUSD", lake=lake)
    (order,) = market_orders(day).rows(named=True)
    assert (order["quantity"], order["prints"]) == (7.0, 2)
    verification = answer["verification"]
    assert verification["explained"] == verification["one_step_exact"] == verification["resync_exact"] == 1.0
    assert (verification["prints"], verification["crossed_states"]) == (2, 0)
    trades = pl.read_parquet(next(t["path"] for t in answer["tables"] if t["schema"] == "Trades"))
    assert trades.select("price", "quantity", "side").rows() == [(101.0, 3.0, 1), (101.5, 4.0, 1)]
    last = day.depth.row(-1, named=True)
    assert (last["bid_price_ticks_1"], last["bid_quantity_1"], last["bid_price_ticks_2"]) == (204, 2.0, 201)
    assert last["ask_price_ticks_1"] == 206 and day.instrument.tick_size == 0.5


def test_one_fill_against_the_sum_of_several(lake, tmp_path):
    told_once = line(9, 1100, "102.00", 2, "changed", "bid")
    sweep = [SWEEP[0], SWEEP[1], line(3, 1006, "101.50", 0, "deleted", "ask"), told_once]
    answer = fetch(lake, tmp_path, *QUIET, *sweep)
    assert answer["verification"]["explained"] == 1.0
    assert [(r[0], r[1], r[4]) for r in rows(lake)[5:]] == [(2, "execution", 3), (3, "execution", 4), (9, "new", 2)]


def test_orders_of_before_the_file_rest_from_its_beginning(lake, tmp_path):
    old = [
        line(5, 50, "100.00", 7, "deleted", "bid"),  # cancelled: it had 7
        line(6, 60, "99.50", 0, "deleted", "bid"),  # filled: its partner tells how much
        line(20, 40, "99.00", 2, "created", "ask"),
        line(20, 62, "99.00", 0, "deleted", "ask"),
    ]
    answer = fetch(lake, tmp_path, old[2], old[0], old[1], old[3])
    first = load_book("BTCUSD", lake=lake).depth.row(0, named=True)
    assert (first["bid_quantity_1"], first["bid_quantity_2"]) == (7.0, 2.0)
    assert [(r[0], r[1], r[4]) for r in rows(lake)] == [(0, "halt", 0), (5, "delete", 7), (6, "execution", 2)]
    assert answer["verification"]["explained"] == 1.0


def test_a_fill_without_a_partner_is_no_trade(lake, tmp_path):
    answer = fetch(lake, tmp_path, *QUIET, line(1, 70, "100.50", 4, "changed", "bid"))
    assert rows(lake)[-1] == (1, "partial_cancel", 1, 201, 1)
    assert answer["verification"]["explained"] == 0.0 and answer["verification"]["prints"] == 0
    assert {t["schema"] for t in answer["tables"]} == {"BookEvents", "Depth"}


def test_fills_too_far_apart_or_at_prices_that_do_not_meet(lake, tmp_path):
    late = [line(9, 1000, "102.00", 9, "created", "bid"), line(2, 1004, "101.00", 0, "deleted", "ask")]
    answer = fetch(lake, tmp_path, *QUIET, *late, line(9, 9000, "102.00", 6, "changed", "bid"))
    assert answer["verification"]["explained"] == 0.0
    apart = [line(1, 900, "100.50", 2, "changed", "bid"), line(2, 901, "101.00", 0, "deleted", "ask")]
    assert fetch(lake, tmp_path, *QUIET, *apart)["verification"]["explained"] == 0.0


def test_volumes_that_the_venue_rounds(lake, tmp_path):
    told = [line(9, 900, "101.00", 3, "created", "bid"), line(2, 901, "101.00", 0, "deleted", "ask")]
    rounded = line(9, 902, "101.00", 0, "changed", "bid").replace(",000000000,", ",1,")
    answer = fetch(lake, tmp_path, *QUIET, *told, rounded)
    assert answer["verification"]["explained"] == 1.0
    assert [(r[0], r[1], r[4]) for r in rows(lake)[-2:]] == [(2, "execution", 3.0), (9, "new", 1e-8)]


def test_volumes_that_differ_by_whole_lots_are_not_rounded(lake, tmp_path):
    """The lot of such a file is 1 BTC: what the venue rounds is told in 1e-8, whatever the lot."""
    told = [line(9, 900, "101.00", 4, "created", "bid"), line(2, 901, "101.00", 0, "deleted", "ask")]
    answer = fetch(lake, tmp_path, *QUIET, *told, line(9, 902, "101.00", 2, "changed", "bid"))
    assert (answer["verification"]["fills"], answer["verification"]["fills_explained"]) == (2, 0)


def test_a_market_order_walks_with_its_trades(lake, tmp_path):
    told = [line(9, 900, "100.50", 3, "created", "bid"), line(2, 901, "101.00", 0, "deleted", "ask")]
    answer = fetch(lake, tmp_path, *QUIET, *told, line(9, 902, "101.00", 0, "deleted", "bid"))
    assert answer["verification"]["prints"] == 1 and rows(lake)[-1] == (2, "execution", -1, 202, 3)


def test_order_that_would_cross_is_not_shown(lake, tmp_path):
    crossing = [line(9, 1000, "101.00", 1, "created", "bid"), line(9, 1500, "101.00", 1, "deleted", "bid")]
    answer = fetch(lake, tmp_path, *QUIET, *crossing, line(2, 2000, "101.00", 3, "deleted", "ask"))
    assert answer["verification"]["crossed_states"] == 1 and 9 not in [r[0] for r in rows(lake)]
    dead = fetch(lake, tmp_path, *QUIET, *crossing)["verification"]  # nothing more is said of order 2
    assert (dead["crossed_states"], dead["stale_orders_removed"]) == (0, 1)


def test_pieces_of_any_size_give_the_same(tmp_path, blocks_of):
    """Sweeps, a partner told late, orders of before the file and dead ones, over five minutes."""
    day = [*QUIET, line(5, 50, "99.00", 7, "changed", "bid"), line(6, 60, "99.50", 0, "deleted", "bid")]
    day += [line(30, 61, "98.00", 2, "created", "ask"), line(30, 62, "98.00", 0, "deleted", "ask"), *SWEEP]
    for k in range(40):
        one, two, t = 100 + 2 * k, 101 + 2 * k, 5000 + 7000 * k
        day += [
            line(one, t, "104.00", 4, "created", "ask"),
            line(two, t + 900, "104.00", 6, "created", "bid"),
            line(one, t + 1000 + 100 * k, "104.00", 0, "deleted", "ask"),
            line(two, t + 5500, "104.00", 2, "changed", "bid"),
            line(two, t + 6000, "104.00", 2, "deleted", "bid"),
            line(two, t + 6500, "104.00", 1, "changed", "bid"),  # of an order that is gone
        ]
    found = []
    for block in (1, 700, 1 << 22):
        blocks_of(block)
        answer = fetch(Lake(tmp_path / str(block)), tmp_path, *day)
        del answer["verification"]["messages_per_second"]
        tables = {t["schema"]: pl.read_parquet(t["path"]).rows() for t in answer["tables"]}
        found.append((tables, answer["repairs"], answer["verification"]))
    assert found[0] == found[1] == found[2]
    assert found[0][2]["prints"] > 20 and 0.3 < found[0][2]["explained"] <= 1.0
    assert {"rule": "change without a loss of volume passed over", "rows": 40} in found[0][1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("created", "born", "row 3: action must be one of"),
        ("ask", "offer", "row 3: direction must be one of"),
        ("101.00", "x", "row 3: price must be a decimal"),
        (",3000", ",3.5000", "row 3: volume must be a whole number"),
        (f"{T0 + 10}", f"{T0 - 10}", "row 3: timestamp falls"),
        ("2,", "", "row 3: has 6 values"),
    ],
)
def test_bad_row_is_named(lake, tmp_path, old, new, message):
    assert old in QUIET[1]
    with pytest.raises(DataError, match=message):
        fetch(lake, tmp_path, QUIET[0], QUIET[1].replace(old, new, 1), QUIET[2])
    assert not lake.root.exists()


def test_wrong_files(lake, tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        fetch_tables("bitstamp", ["nowhere.csv"], lake=lake, config=CONFIG)
    path = tmp_path / "a.csv.xz"
    path.write_bytes(lzma.compress((HEADER + "".join(QUIET)).encode())[:-9])
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_tables("bitstamp", [str(path)], lake=lake, config=CONFIG)
    path = tmp_path / "b.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="row 1: begins with 'a,b'"):
        fetch_tables("bitstamp", [str(path)], lake=lake, config=CONFIG)


@pytest.mark.slow
def test_real_day_against_a_plain_replay(lake, shared_data):
    path = shared_data / "bitstamp_l3" / "orders.csv.xz"
    answer = fetch_tables("bitstamp", [str(path)], lake=lake, config=CONFIG)
    verification = answer["verification"]
    assert (verification["messages"], verification["fills"]) == (50414, 1160)
    assert verification["one_step_exact"] == verification["resync_exact"] == 1.0
    assert verification["prints"] == 566 and verification["explained"] > 0.99
    assert verification["crossed_states"] == 5
    depth = load_book("BTCUSD", lake=lake).depth
    bids, asks = (depth[c].to_list() for c in ("bid_price_ticks_1", "ask_price_ticks_1"))
    ms = depth["ts"].dt.timestamp("ms").to_list()
    table = list(csv.DictReader(io.StringIO(lzma.decompress(path.read_bytes()).decode())))
    created = {r["id"] for r in table if r["action"] == "created"}
    firsts = {r["id"]: r for r in reversed(table) if r["id"] not in created}
    alive = {i: (r["direction"], float(r["price"])) for i, r in firsts.items() if r["volume"] != "0"}
    equal = compared = at = k = 0
    for minute in range(int(table[0]["timestamp"]) // 60_000 + 1, int(table[-1]["timestamp"]) // 60_000):
        while int(table[k]["timestamp"]) < minute * 60_000:
            row, k = table[k], k + 1
            if row["action"] == "created":
                alive[row["id"]] = row["direction"], float(row["price"])
            elif row["action"] == "deleted":
                alive.pop(row["id"], None)
        while at + 1 < len(ms) and ms[at + 1] < minute * 60_000:
            at += 1
        plain = [pick(p for d, p in alive.values() if d == s) for s, pick in (("bid", max), ("ask", min))]
        compared += 1
        equal += [round(b * 0.01, 2) for b in (bids[at], asks[at])] == plain
    assert compared > 300 and equal / compared > 0.97
