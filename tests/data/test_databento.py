"""DBN files against Databento's own decoder and a plain replay of the orders by the documented meaning of actions."""

import struct

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from difffinance.config import DataConfig
from difffinance.data import archives
from difffinance.data.dbn_records import LAYOUTS
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import read_metadata
from difffinance.errors import DataError, InputError

CONFIG = DataConfig()
MBO = "orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"
UNDEFINED = (1 << 63) - 1


def fetch(lake, *paths, config=CONFIG, **options):
    return fetch_tables("databento", [str(p) for p in paths], lake=lake, config=config, **options)


@pytest.fixture
def official(shared_data):
    return shared_data / "databento_dbn"


def decoded(path):
    from databento_dbn import DBNDecoder

    data = pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None).read()
    return DBNDecoder().write_and_decode(data)[1:]


def tops_of_plain_replay(records) -> dict[int, tuple]:
    """Best bid and ask with their sizes after the last record of each moment; trades and fills change no book."""
    orders, tops, last = {}, {}, 0
    for record in records:
        action, side = str(record.action), str(record.side)
        if action == "R":
            orders.clear()
        elif action in "AM":
            orders[record.order_id] = [side, record.price, record.size]
        elif action == "C" and record.order_id in orders:
            orders[record.order_id][2] -= record.size
            if orders[record.order_id][2] == 0:
                del orders[record.order_id]
        if record.flags & 32:
            continue
        last = max(last, record.ts_event)
        best = []
        for own, pick in (("B", max), ("A", min)):
            price = pick(p for s, p, _ in orders.values() if s == own)
            best += [price, sum(q for s, p, q in orders.values() if (s, p) == (own, price))]
        tops[last] = tuple(best)
    return tops


def test_replayed_orders_have_the_best_prices_of_a_plain_replay(lake, official, monkeypatch):
    monkeypatch.setattr(archives, "_PIECE", 50_001)  # records lie across pieces
    answer = fetch(lake, official / MBO)
    day = load_book("ESM4", lake=lake)
    assert day.instrument.tick_size == 0.25 and day.levels == 10 and day.date == "2024-05-08"
    plain = tops_of_plain_replay(decoded(official / MBO))
    columns = ["bid_price_ticks_1", "bid_quantity_1", "ask_price_ticks_1", "ask_quantity_1"]
    ours = day.depth.with_columns(pl.col("ts").dt.timestamp("ns")).group_by("ts", maintain_order=True).last()
    compared = 0
    for ts, bid, bid_size, ask, ask_size in ours.select("ts", *columns).iter_rows():
        if ts in plain:
            assert (bid * 250_000_000, bid_size, ask * 250_000_000, ask_size) == plain[ts]
            compared += 1
    assert compared > 150
    verification = answer["verification"]
    assert verification["one_step_exact"] == verification["resync_exact"] == 1.0
    executions = day.events.filter(pl.col("kind") == "execution")
    trades = pl.read_parquet(answer["tables"][2]["path"])
    fills = [r for r in decoded(official / MBO) if str(r.action) == "F"]
    prints = [r for r in decoded(official / MBO) if str(r.action) == "T"]
    assert executions.select("order_id", "quantity").rows() == [(r.order_id, r.size) for r in fills]
    assert trades.select("price", "quantity", "side").rows() == [
        (r.price / 1e9, r.size, {"B": 1, "A": -1, "N": 0}[str(r.side)]) for r in prints
    ]


def test_snapshot_alone_is_a_book(lake, official):
    fetch(lake, official / "esh4-glbx-mdp3-20231224.mbo.dbn.zst")
    day = load_book("ESH4", lake=lake)
    assert day.events.height == 8725 and day.events["ts"].n_unique() == 1
    last = day.depth.row(-1, named=True)
    assert (last["bid_price_ticks_1"] * 0.25, last["ask_price_ticks_1"] * 0.25) == (4799.0, 4799.5)


def test_orders_from_before_the_file_are_counted(lake, official):
    answer = fetch(lake, official / "test_data.mbo.v3.dbn")
    assert answer["repairs"] == [{"rule": "message of an order from before the file dropped", "rows": 2}]
    assert answer["tables"][0]["rows"] == 0


@pytest.mark.parametrize(
    ("name", "levels"),
    [("futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst", 1), ("test_data.mbp-10.v1.dbn", 10)],
)
def test_levels_are_those_of_the_vendors_decoder(lake, official, name, levels):
    answer = fetch(lake, official / name)
    quotes, depth, trades = (pl.read_parquet(t["path"]) for t in answer["tables"])
    records = decoded(official / name)
    states = [r for r in records if str(r.action) != "T"]
    tick = 250_000_000
    for level in range(levels):
        for side in ("bid", "ask"):
            price, size = [getattr(r.levels[level], f"{side}_px") for r in states], f"{side}_quantity_{level + 1}"
            assert depth[f"{side}_price_ticks_{level + 1}"].to_list() == [p // tick for p in price]
            assert depth[size].to_list() == [getattr(r.levels[level], f"{side}_sz") for r in states]
    assert quotes.select("bid", "ask").rows() == [(r.levels[0].bid_px / 1e9, r.levels[0].ask_px / 1e9) for r in states]
    assert trades["quantity"].to_list() == [r.size for r in records if str(r.action) == "T"]
    assert "verification" not in answer


def test_definition_tells_the_tick(lake, official, tmp_path):
    with pytest.raises(DataError, match="defines no instrument ESM4"):
        fetch(lake, official / MBO, official / "test_data.definition.v3.dbn.zst")
    with pytest.raises(DataError, match="holds no definitions"):
        fetch(lake, official / MBO, official / "test_data.mbo.v3.dbn")
    with pytest.raises(DataError, match=r"is of schema definition.*mbo, mbp-1, mbp-10"):
        fetch(lake, official / "test_data.definition.v3.dbn.zst")
    data = bytearray(pa.input_stream(str(official / "test_data.definition.v3.dbn.zst"), compression="zstd").read())
    at = data.index(b"MSFT", int.from_bytes(data[4:8], "little") + 8)
    start = int.from_bytes(data[4:8], "little") + 8
    data[at : at + 4] = b"ESM4"
    struct.pack_into("<q", data, start + 24, 125_000_000)  # min_price_increment lies behind the head and ts_recv
    (tmp_path / "definitions.dbn").write_bytes(data)
    fetch(lake, official / MBO, tmp_path / "definitions.dbn")
    assert read_metadata(lake.table_path("Depth", "ESM4", "2024-05-08"))["tick_size"] == 0.125
    fetch(lake, official / MBO, config=DataConfig(tick_size="0.05", book_levels=2))
    assert load_book("ESM4", lake=lake).depth.width == 3 + 8


@pytest.fixture
def make_file(official, tmp_path):
    """Write the header of a real file with records of our own: `make_file([dict(action=b"A", ...), ...])`."""

    def make(records: list[dict], more: bytes = b"", name: str = "own.dbn"):
        source = (official / "test_data.mbo.v3.dbn").read_bytes()
        header = source[: int.from_bytes(source[4:8], "little") + 8]
        rtype, layout = LAYOUTS["mbo"]
        rows = np.zeros(len(records), layout)
        rows["length"], rows["rtype"], rows["instrument_id"] = layout.itemsize // 4, rtype, 5482
        rows["ts_event"] = rows["ts_recv"] = 1_609_160_400_000_000_000 + np.arange(len(records))
        for row, values in zip(rows, records, strict=True):
            for field, value in values.items():
                row[field] = value
        (tmp_path / name).write_bytes(header + rows.tobytes() + more)
        return tmp_path / name, len(header)

    return make


def order(action: str, side: str, price: float, size: int, key: int, **more) -> dict:
    return {
        "action": action.encode(),
        "side": side.encode(),
        "price": int(price * 1e9),
        "size": size,
        "order_id": key,
        **more,
    }


def test_changed_partly_filled_and_cleared_orders(lake, make_file):
    path, _ = make_file([
        order("A", "B", 100, 5, 1), order("A", "A", 101, 7, 2), order("M", "B", 100, 3, 1), order("M", "B", 99, 3, 1),
        order("T", "B", 101, 4, 9), order("F", "A", 101, 4, 2), order("C", "A", 101, 4, 2), order("C", "A", 101, 1, 2),
        order("M", "A", 101, 6, 2), order("R", "N", 0, 0, 0), order("A", "B", 98, 1, 3, ts_event=5),
    ])  # fmt: skip
    answer = fetch(lake, path)
    day = load_book("ESH1", lake=lake)
    assert day.events.select("kind", "order_id", "quantity").rows()[:9] == [
        ("new", 1, 5.0), ("new", 2, 7.0), ("partial_cancel", 1, 2.0), ("delete", 1, 3.0), ("new", 1, 3.0),
        ("execution", 2, 4.0), ("partial_cancel", 2, 1.0), ("delete", 2, 2.0), ("new", 2, 6.0),
    ]  # fmt: skip
    assert sorted(day.events["order_id"].to_list()[9:11]) == [1, 2] and day.events["kind"].to_list()[9:] == [
        "delete",
        "delete",
        "new",
    ]
    assert {r["rule"]: r["rows"] for r in answer["repairs"]} == {"time before the message ahead moved to it": 1}
    assert answer["verification"]["resync_exact"] == 1.0


A, B = order("A", "B", 100, 5, 1), order("A", "A", 101, 7, 2)
BAD = {
    "action": (order("Z", "B", 100, 5, 3), "action must be"),
    "side": (order("A", "X", 100, 5, 3), "side must be"),
    "no side": (order("A", "N", 100, 5, 3), "an order has a side"),
    "no size": (order("A", "B", 100, 0, 3), "size must be above 0"),
    "no price": (order("A", "B", 0, 1, 3), "price must be above 0"),
    "undefined price": ({**order("A", "B", 100, 1, 3), "price": UNDEFINED}, "price must be above 0"),
    "id twice": (order("A", "B", 100, 5, 1), "living order"),
    "too much": (order("C", "B", 100, 6, 1), "more is taken"),
    "crossed": (order("A", "B", 101, 6, 3), "locked or crossed"),
    "length": ({**order("A", "B", 100, 1, 3), "length": 13}, "has 52 bytes"),
    "type": ({**order("A", "B", 100, 1, 3), "rtype": 1}, "type 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_record_is_refused_by_its_byte(lake, make_file, name):
    record, match = BAD[name]
    path, start = make_file([A, B, record, order("C", "A", 101, 1, 2)])
    with pytest.raises(DataError, match=match) as caught:
        fetch(lake, path)
    assert caught.value.byte == start + 2 * 56
    assert not lake.root.exists()


def test_damaged_files(lake, make_file, tmp_path, official):
    path, start = make_file([A, B], b"\x0e\xa0\x01")
    with pytest.raises(DataError, match="cut inside a record") as caught:
        fetch(lake, path)
    assert caught.value.byte == start + 2 * 56
    for content, match in (
        (b"", "begin"),
        (b"PK\x03\x04 no", "begin"),
        (path.read_bytes()[:60], "ends inside its header"),
    ):
        (tmp_path / "bad.dbn").write_bytes(content)
        with pytest.raises(DataError, match=match):
            fetch(lake, tmp_path / "bad.dbn")
    (tmp_path / "cut.dbn.zst").write_bytes((official / MBO).read_bytes()[:90_000])
    with pytest.raises(DataError, match=r"byte|unpacked"):
        fetch(lake, tmp_path / "cut.dbn.zst")
    assert not lake.root.exists()


FLIPPED = {  # byte of a file of 10 levels: what is said, and the byte that is named
    152: ("cannot name a table", 150), 185: ("gives 'ESH1' the number", 184), 201: ("gives 'ESH1' the number", 184),
    184: ("record is of instrument 5482", 206), 210: ("which the header does not name", 206),
    581: ("which the header does not name", 574),
}  # fmt: skip


@pytest.mark.parametrize("at", FLIPPED)
def test_flipped_byte_is_refused_by_file_and_byte(lake, official, tmp_path, at):
    raw = bytearray((official / "test_data.mbp-10.v1.dbn").read_bytes())
    raw[at] ^= 0x01 if at == 184 else 0x15
    (tmp_path / "flipped.dbn").write_bytes(raw)
    match, byte = FLIPPED[at]
    with pytest.raises(DataError, match=f"flipped.dbn, byte {byte}: .*{match}"):
        fetch(lake, tmp_path / "flipped.dbn")
    assert not lake.root.exists()


def test_damaged_level_is_refused_by_its_records_byte(lake, official, tmp_path):
    raw = bytearray((official / "test_data.mbp-10.v1.dbn").read_bytes())
    start, at = 574, 791  # the second record, and a price in it
    raw[at : at + 8] = b"\xff" * 8
    (tmp_path / "flipped.dbn").write_bytes(raw)
    with pytest.raises(DataError, match="ask level 6 is worse") as caught:
        fetch(lake, tmp_path / "flipped.dbn")
    assert (caught.value.byte, caught.value.row) == (start, None)


def test_questions_that_cannot_be_answered(lake, official):
    with pytest.raises(InputError, match="holds ESM4; there is no ESU4"):
        fetch(lake, official / MBO, symbol="ESU4")
    with pytest.raises(InputError, match="not a file"):
        fetch(lake, official / "none.dbn")
    with pytest.raises(InputError, match="got nothing"):
        fetch(lake)
