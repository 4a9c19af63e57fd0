import numpy as np
import polars as pl
import pytest

from difffinance.calibration.symbol import calibrate_symbol
from difffinance.calibration.tape import aggregate_tape, calibrate_tape, sign_trades, tape_parts
from difffinance.config import CalibrationConfig
from difffinance.errors import InputError, NotInLakeError
from difffinance.schemas import QUOTES, TRADES

OPEN = np.datetime64("2013-10-07T13:30:00", "ns")


def tape(trades, quotes, symbol="TAPE"):
    """Trades (seconds, price, quantity, side) and quotes (seconds, bid, ask)."""
    ts = lambda s: pl.Series(OPEN + np.round(np.array(s) * 1e9).astype("timedelta64[ns]")).dt.replace_time_zone("UTC")  # noqa: E731
    t, price, quantity, side = zip(*trades, strict=True)
    q, bid, ask = zip(*quotes, strict=True)
    first = pl.DataFrame(
        {"symbol": symbol, "ts": ts(t), "seq": range(len(t)), "price": price, "quantity": quantity, "side": side}
    )
    second = pl.DataFrame({"symbol": symbol, "ts": ts(q), "seq": range(len(q)), "bid": bid, "ask": ask})
    bid, ask = second["bid"], second["ask"]
    state = pl.DataFrame({"b": bid, "a": ask}).select(
        pl.when(pl.col("b") < pl.col("a")).then(pl.lit("normal")).when(pl.col("b") == pl.col("a"))
        .then(pl.lit("locked")).otherwise(pl.lit("crossed"))
    ).to_series()  # fmt: skip
    second = second.with_columns(bid_quantity=pl.lit(1.0), ask_quantity=pl.lit(1.0), state=state)
    return first.cast({"side": pl.Int8, "price": pl.Float64, "quantity": pl.Float64}), second.select(
        list(QUOTES.columns)
    )


def test_signs_by_quote_then_by_tick_then_as_given():
    trades = [(0.5, 10.02, 1, 0), (1.5, 10.00, 1, 0), (2.5, 10.01, 1, 0), (3.5, 10.01, 1, 0), (4.5, 10.05, 1, -1)]
    quotes = [(0, 10.00, 10.02), (3.2, 10.00, 10.00)]  # the locked quote gives no mid
    # Above, below; at the mid after a rise, at the mid with the last move up; the venue's own side wins.
    assert sign_trades(*tape(trades, quotes)).tolist() == [1, -1, 1, 1, -1]
    late = [(5, 10.00, 10.02)]
    assert sign_trades(*tape(trades[:1], late)).tolist() == [0]


def test_the_quote_of_the_same_moment_is_not_yet_known():
    trades, quotes = tape([(1.0, 10.02, 1, 0)], [(0, 10.00, 10.02), (1.0, 10.04, 10.06)])
    assert sign_trades(trades, quotes).tolist() == [1]


def test_buckets_begin_with_the_last_quote_before_them():
    trades = [(0.1, 10.02, 5, 0), (1.2, 10.02, 7, 0), (1.9, 10.00, 3, 0), (2.5, 10.04, 9, 0), (3.5, 10.00, 1, 0)]
    quotes = [(0, 10.00, 10.02), (2.0, 10.02, 10.04), (2.2, 10.01, 10.03), (4.2, 10.00, 10.02)]
    table = aggregate_tape(*tape(trades, quotes), 1.0)
    assert table["quantity"].to_list() == [7 - 3, 9, -1]
    assert table["price_change"].to_list() == pytest.approx([0.0, 0.01, 0.0])
    with pytest.raises(InputError, match="horizon_s"):
        aggregate_tape(*tape(trades, quotes), 0.0)
    with pytest.raises(InputError, match="no whole bucket"):
        aggregate_tape(*tape(trades, quotes), 60.0)


def test_planted_law_on_a_tape_is_inside_its_interval(lake):
    rng = np.random.default_rng(3)
    mid, trades, quotes = 100.0, [], [(0.0, 99.99, 100.01)]
    for i in range(1, 2500):
        sign, size = rng.choice([-1, 1]), np.ceil(np.exp(4 + rng.standard_normal()))
        trades.append((i + 0.2, mid + 0.01 * sign, size, 0))
        mid = np.round(mid + 0.01 * sign * size**0.5 + 0.1 * rng.standard_normal(), 2)
        quotes.append((i + 0.3, mid - 0.01, mid + 0.01))
    tables = tape(trades, quotes)
    for schema, frame in zip((TRADES, QUOTES), tables, strict=True):
        metadata = {"part": "2013-10-07", "source": "test", "volume_base": "made up", "raw_sha256": "0"}
        lake.write_table(lake.table_path(schema.name, "TAPE", "2013-10-07"), frame, schema, metadata)
    assert tape_parts("TAPE", lake=lake) == ["2013-10-07"]
    config = CalibrationConfig(bootstrap=199, permutations=19)
    fit = calibrate_tape("TAPE", "2013-10-07", 1.0, lake=lake, config=config)
    assert fit.gamma_ci[0] <= 0.5 <= fit.gamma_ci[1] and fit.lam_ci[0] <= 0.01 <= fit.lam_ci[1]
    assert (fit.unit, fit.flow, fit.volume_base) == ("aggregate", "all", "made up")
    answer = calibrate_symbol("TAPE", lake=lake, config=config, horizons=[1.0, 60.0])
    assert [f["horizon_s"] for f in answer["fits"]] == [1.0]
    assert [r["horizon_s"] for r in answer["refused"]] == [60.0] and "too few" in answer["refused"][0]["reason"]
    assert answer["costs"]["kind"] == "metaorder_prior"
    with pytest.raises(NotInLakeError):
        calibrate_tape("TAPE", "2013-10-08", 1.0, lake=lake)
