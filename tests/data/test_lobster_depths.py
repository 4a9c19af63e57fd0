"""One day at several depths is one day: market orders, spreads and order-flow imbalance do not depend on the depth."""

import shutil

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.order_flow import aggregate_flow, market_orders
from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_book
from difffinance.data.store import Lake
from difffinance.records import BookDay

TOUCH = ["bid_price_ticks_1", "bid_quantity_1", "ask_price_ticks_1", "ask_quantity_1"]


def touches(day: BookDay) -> pl.DataFrame:
    """The moments at which the best bid or ask changed, with their new state."""
    states = day.depth.select("ts", *TOUCH)
    return states.filter(pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift(1)) for c in TOUCH))


def imbalance(day: BookDay) -> pl.DataFrame:
    """Sums over 10 s of e_n of Cont, Kukanov & Stoikov (2014) at the touch, by the sign of the price move."""
    bid, bid_size, ask, ask_size = (day.depth[c].to_numpy().astype(float) for c in TOUCH)
    up_bid, up_ask = np.sign(np.diff(bid)), np.sign(np.diff(ask))
    flow = np.select([up_bid > 0, up_bid < 0], [bid_size[1:], -bid_size[:-1]], np.diff(bid_size))
    flow -= np.select([up_ask < 0, up_ask > 0], [ask_size[1:], -ask_size[:-1]], np.diff(ask_size))
    frame = day.depth[1:].select(bucket=pl.col("ts").dt.truncate("10s")).with_columns(flow=flow)
    sums = frame.group_by("bucket").agg(pl.col("flow").sum()).filter(pl.col("flow") != 0)
    return sums.sort("bucket")


@pytest.fixture(scope="module")
def google(shared_data, tmp_path_factory) -> dict[int, BookDay]:
    days = {}
    for levels in (1, 5, 10):
        lake = Lake(tmp_path_factory.mktemp(f"levels{levels}"))
        path = shared_data / "lobster" / f"LOBSTER_SampleFile_GOOG_2012-06-21_{levels}.zip"
        fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
        days[levels] = load_book("GOOG", lake=lake)
    return days


@pytest.mark.parametrize("levels", [5, 10])
def test_market_orders_are_the_same(google, levels):
    for flow, count in (("visible", 5930), ("all", 7982)):
        columns = ["ts", "quantity", "prints", "mid_before", "price_change"]
        one, many = (market_orders(google[n], flow=flow).select(columns) for n in (1, levels))
        assert one.equals(many) and one.height == count
    assert aggregate_flow(google[1], 10).equals(aggregate_flow(google[levels], 10))


@pytest.mark.parametrize("levels", [5, 10])
def test_spreads_are_the_same(google, levels):
    one, many = touches(google[1]), touches(google[levels])
    start = one["ts"][0]  # a deeper file begins earlier, with the touch of the opening
    before = many.filter(pl.col("ts") < start)
    assert before.height <= 1 and one.equals(many.filter(pl.col("ts") >= start))
    assert (one["ask_price_ticks_1"] - one["bid_price_ticks_1"]).min() >= 1


@pytest.mark.parametrize("levels", [5, 10])
def test_imbalance_is_the_same(google, levels):
    one, many = imbalance(google[1]), imbalance(google[levels])
    assert one[1:].equals(many.filter(pl.col("bucket") > one["bucket"][0])) and one.height > 2000


def test_fifty_levels_of_an_hour_are_the_hour_of_one_level(shared_data, tmp_path):
    """The vendor's 50-level hour, with the best levels that were kept of its book, against the 1-level day."""
    source, stem = shared_data / "lobster", "AAPL_2012-06-21_34200000_37800000"
    (tmp_path / "hour").mkdir()
    shutil.copy(source / f"{stem}_message_50.csv.gz", tmp_path / "hour" / f"{stem}_message_1.csv.gz")
    shutil.copy(source / f"{stem}_orderbook_50_top1.csv.gz", tmp_path / "hour" / f"{stem}_orderbook_1.csv.gz")
    days = []
    for name, path in (("a", tmp_path / "hour"), ("b", source / "LOBSTER_SampleFile_AAPL_2012-06-21_1.zip")):
        lake = Lake(tmp_path / name)
        fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
        days.append(load_book("AAPL", lake=lake))
    hour, day = days
    end = hour.events["ts"][-1]
    for flow in ("visible", "all"):
        columns = ["ts", "quantity", "prints", "mid_before", "price_change"]
        ours, theirs = (market_orders(d, flow=flow).select(columns) for d in (hour, day))
        assert ours.equals(theirs.filter(pl.col("ts") <= end)) and ours.height > 3000
    one, many = touches(day).filter(pl.col("ts") <= end), touches(hour)
    assert one.equals(many.filter(pl.col("ts") >= one["ts"][0]))


def test_the_start_of_the_full_fifty_levels_is_exact(shared_data, tmp_path, lake):
    import gzip

    source, stem = shared_data / "lobster", "AAPL_2012-06-21_34200000_37800000"
    with gzip.open(source / f"{stem}_message_50.csv.gz", "rb") as stream:
        rows = stream.read().splitlines(keepends=True)[:672]
    (tmp_path / f"{stem}_message_50.csv").write_bytes(b"".join(rows))
    shutil.copy(source / f"{stem}_orderbook_50_first672rows.csv.gz", tmp_path / f"{stem}_orderbook_50.csv.gz")
    verification = fetch_tables("lobster", [str(tmp_path)], lake=lake, config=DataConfig())["verification"]
    assert verification["one_step_exact"] == verification["resync_exact"] == 1.0
    assert verification["messages"] == 672
