import numpy as np
import polars as pl
import pytest

from difffinance.config import FlowConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market.rules import session_rules
from difffinance.market.settlement import EVENTS
from difffinance.market.venue import Venue
from difffinance.records import Instrument
from difffinance.schemas import BOOK_EVENTS, depth_schema
from difffinance.simulation import synthetic_day
from difffinance.simulation.recorder import DayRecorder
from difffinance.simulation.simulated_day import simulate_day


def test_the_recorder_agrees_with_the_plain_python_twin():
    config, rng = MarketConfig(price_limit=None), np.random.default_rng(4)
    venue = Venue(config, session_rules(config), np.zeros(0), np.zeros(0, np.int64))
    venue.run_flow(rng, 300.0)
    recorder = DayRecorder(Instrument("X"), venue.floor.orders, levels=5)
    ladder, resting, rows = synthetic_day._Ladder(5), {}, []
    orders = venue.floor.orders
    for order in np.flatnonzero(orders["quantity"]).tolist():
        resting[order] = [int(orders[order][name]) for name in ("side", "price", "quantity")]
        ladder.change(*resting[order])
    for until in range(360, 1500, 60):
        venue.clear_step()
        venue.run_flow(rng, float(until))
        events, fills = venue.floor.events[: venue.floor.counts[EVENTS]], venue.book.fills
        recorder.record(events, fills)
        for ts, kind, order, size, price, side in synthetic_day.messages_of(events, fills, resting):
            if ladder.change(side, price, size if kind == synthetic_day.NEW else -size):
                rows.append((ts, kind, order + 1, size, price, side, ladder.row(1)))
    day = recorder.book_day("2020-01-02", opening_s=0.0)
    kinds = ["", "new", "partial_cancel", "delete", "execution"]
    table = day.events.select(
        pl.col("ts").cast(pl.Int64) % 86_400_000_000_000, "kind", "order_id", "quantity", "price_ticks", "side"
    )
    assert table.rows() == [
        (ts, kinds[kind], order, size, price, side) for ts, kind, order, size, price, side, _ in rows
    ]
    names = [f"{s}_{what}_{k}" for k in range(1, 6) for s in ("ask", "bid") for what in ("price_ticks", "quantity")]
    for row, expected in zip(day.depth.select(names).rows(), (r[-1].split(",") for r in rows), strict=True):
        assert [0 if x is None else x for x in row] == [0 if abs(int(x)) > 10**9 else int(x) for x in expected]


def test_a_simulated_day_meets_the_schemas_and_its_seed_decides():
    config = MarketConfig(price_limit=None)
    day, again = (simulate_day(config, 3, levels=3, seconds=600.0) for _ in range(2))
    assert day.events.equals(again.events) and day.depth.equals(again.depth)
    assert not day.events.equals(simulate_day(config, 4, levels=3, seconds=600.0).events)
    BOOK_EVENTS.check(day.events)
    depth_schema(3).check(day.depth)
    assert day.synthetic and day.events.height > 500


def test_a_day_in_which_orders_gather_is_refused_and_a_closing_call_left_out():
    flow = FlowConfig(fundamental_volatility=0.5)
    tokyo = MarketConfig(rulebook="jp", start_price=101.0, tick_size=1.0, session_seconds=19_800.0, flow=flow)
    with pytest.raises(InputError, match="orders gathered for an auction"):
        simulate_day(tokyo, 1, seconds=3600.0)
    star = MarketConfig(rulebook="cn.star", start_price=10.0, session_seconds=14_400.0, flow=FlowConfig(limit_rate=0.2))
    day = simulate_day(star, 1)
    midnight = np.datetime64("2020-01-02", "ns").astype(np.int64)
    seconds = (day.events["ts"].cast(int).to_numpy() - midnight) / 1e9 - 34_200
    assert 14_200 < seconds.max() < 14_220  # the call takes the last 3 minutes
    bid, ask = (day.depth[f"{side}_price_ticks_1"] for side in ("bid", "ask"))
    assert (bid < ask).all()


@pytest.mark.parametrize(
    ("config", "given", "says"),
    [
        (MarketConfig(mode="law"), {}, "needs a book"),
        (MarketConfig(), {"seconds": -1.0}, "seconds are -1"),
        (MarketConfig(), {"levels": 0}, "levels is 0"),
        (MarketConfig(), {"seed": "x"}, "seed is 'x'"),
    ],
)
def test_what_is_no_day_is_refused(config, given, says):
    with pytest.raises(InputError, match=says):
        simulate_day(config, given.pop("seed", 0), **given)
