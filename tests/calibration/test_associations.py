from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.associations import (
    describe_day,
    fit_slope,
    flow_slope,
    imbalance_slope,
    imbalance_table,
    lag_dependence,
    level_r2,
    slope_split,
)
from difffinance.calibration.impact import calibrate_impact
from difffinance.calibration.order_flow import aggregate_trades, book_imbalance, check_quantity_scale, mid_prices
from difffinance.config import CalibrationConfig
from difffinance.errors import InputError, RefusedFit
from tests.calibration.conftest import make_day

OPTIONS = {"permutations": 39, "rng": np.random.default_rng(0)}


def test_slope_is_that_of_least_squares_with_its_textbook_error():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(4000)
    y = 0.3 * x + rng.standard_normal(4000)
    found = fit_slope(x, y, **OPTIONS)
    slope = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert found["slope"] == pytest.approx(slope)
    assert found["slope_se"] == pytest.approx(np.sqrt(np.mean((y - slope * x) ** 2) / (x @ x)), rel=0.1)
    assert found["r2"] == pytest.approx(1 - np.sum((y - slope * x) ** 2) / (y @ y))
    assert found["placebo_p_value"] == 1 / 40
    unrelated = [fit_slope(x, rng.standard_normal(4000), **OPTIONS)["placebo_p_value"] for _ in range(20)]
    assert 0.3 < np.mean(unrelated) < 0.7
    with pytest.raises(RefusedFit):
        fit_slope(x[:49], y[:49], **OPTIONS)


def test_groups_of_trades_add_up_to_the_day():
    rows = [(0, "new", 1, 10, 1000, 1002)]
    rows += [(i, "execution", -1 if i % 3 else 1, i, 1000 + i, 1002 + i) for i in range(1, 12)]
    table = aggregate_trades(make_day(rows), 3)
    assert table["quantity"].to_list() == [1 + 2 - 3, 4 + 5 - 6, 7 + 8 - 9]
    assert table["price_change"].to_list() == pytest.approx([0.03] * 3)
    with pytest.raises(InputError, match="1 or more"):
        aggregate_trades(make_day(rows), 0)


def imbalance_of(before, after):
    """The published formula, one event, plain numbers: (bid, bid quantity, ask, ask quantity)."""
    (pb0, qb0, pa0, qa0), (pb, qb, pa, qa) = before, after
    return (pb >= pb0) * qb - (pb <= pb0) * qb0 - (pa <= pa0) * qa + (pa >= pa0) * qa0


def test_imbalance_is_the_published_formula(real_days):
    day = real_days["GOOG_10"]
    for level in (1, 3):
        names = [f"{side}_{what}_{level}" for side in ("bid", "ask") for what in ("price_ticks", "quantity")]
        rows = day.depth.select(names).head(2000).rows()
        expected = [0.0] + [imbalance_of(a, b) for a, b in pairwise(rows)]
        assert book_imbalance(day, 3)[:2000, level - 1].tolist() == expected
    with pytest.raises(InputError, match="levels"):
        book_imbalance(day, 11)


def queue_day(depth, *, n=4000, seed=4):
    """Every event adds to or takes from a touch of `depth` lots, each unit worth 1 / (2 depth) ticks (Cont et al.)."""
    rng = np.random.default_rng(seed)
    bid, ask, qb, qa, rows, quantities = 10_000, 10_001, depth, depth, [], []
    for i in range(n):
        if rng.random() < 0.5:
            qb += rng.choice([-1, 1])
        else:
            qa += rng.choice([-1, 1])
        if qa == 0 or qb == 2 * depth:
            bid, ask, qb, qa = bid + 1, ask + 1, depth, depth
        elif qb == 0 or qa == 2 * depth:
            bid, ask, qb, qa = bid - 1, ask - 1, depth, depth
        rows.append((i * 500_000_000, "new", 1, 1, bid, ask))
        quantities.append((qb, qa))
    day = make_day(rows)
    qb, qa = zip(*quantities, strict=True)
    depths = day.depth.with_columns(
        bid_quantity_1=pl.Series(qb, dtype=pl.Float64), ask_quantity_1=pl.Series(qa, dtype=pl.Float64)
    )
    return replace(day, depth=depths)


@pytest.mark.parametrize("depth", [5, 10])
def test_slope_on_imbalance_is_half_the_inverse_depth(depth):
    found = imbalance_slope(queue_day(depth), 20.0, **OPTIONS)
    assert found.slope == pytest.approx(1 / (2 * depth), rel=0.25)
    assert found.kind == "association" and found.slope_unit == "ticks per unit"
    assert found.slope_ci95[0] < found.slope < found.slope_ci95[1]


def test_buckets_of_imbalance_add_up():
    day = queue_day(5, n=500)
    x, y = imbalance_table(day, 10.0, 1)
    edges = np.arange(0, 500, 20)
    assert y.sum() == pytest.approx((mid_prices(day)[-1] - mid_prices(day)[19]) / 0.01, abs=20)
    assert x[0, 0] == pytest.approx(book_imbalance(day)[edges[0] : edges[1], 0].sum(), abs=5)


def revised_day(inside, *, n=3000):
    """One order of random size a second; of the move by its size, a share `inside` happens in the print."""
    rng = np.random.default_rng(6)
    mid, rows = 0, [(-1, "new", 1, 10, 99_000, 101_000)]
    for i in range(n):
        sign, size = rng.choice([-1, 1]), int(rng.integers(1, 9))
        at = i * 1_000_000_000
        mid += 2 * sign * round(size * 10 * inside)
        rows.append((at, "execution", -int(sign), size, 99_000 + mid // 2, 101_000 + mid // 2))
        mid += 2 * (sign * round(size * 10 * (1 - inside)) + int(rng.integers(-3, 4)))
        rows.append((at + 500_000_000, "new", 1, 1, 99_000 + mid // 2, 101_000 + mid // 2))
    return make_day(rows)


@pytest.mark.parametrize("inside", [0.8, 0.3])
def test_split_finds_the_share_inside_trades(inside):
    found = slope_split(revised_day(inside), 10.0)
    assert found["inside_trades"] == pytest.approx(inside, abs=0.03)
    assert found["gamma"] == pytest.approx(1.0, abs=0.1)
    assert found["inside_trades"] + found["quote_revision"] == pytest.approx(1.0)


def test_moves_that_stay_have_one_slope_at_every_lag():
    found = lag_dependence(revised_day(0.5), 10.0)
    assert [row["lag_s"] for row in found] == [0.0, 10.0, 20.0, 50.0, 100.0, 300.0]
    for row in found:
        assert abs(row["slope"] - 0.1) < 4 * row["standard_error"] + 0.005
    errors = [row["standard_error"] for row in found]
    assert errors[-1] > 2 * errors[0]


@pytest.mark.slow
def test_apple_slope_moves_from_trades_to_quotes(real_days):
    """SCIENCE 2.1b: 85, 69, 52, 33% of the 1, 10, 60, 300 s slope happen inside trades."""
    shares = [slope_split(real_days["AAPL_1"], horizon)["inside_trades"] for horizon in (1.0, 10.0, 60.0, 300.0)]
    assert shares == pytest.approx([0.85, 0.69, 0.52, 0.33], abs=0.03)
    found = describe_day(real_days["AAPL_1"], config=CalibrationConfig(permutations=39), seed=7)
    imbalance = [row for row in found["slopes"] if row["flow"] == "book"]
    assert [row["horizon_s"] for row in imbalance] == [1.0, 10.0, 60.0, 300.0]
    assert all(row["volume_base"] == "NASDAQ only" and row["placebo_p_value"] <= 0.05 for row in found["slopes"])
    assert found["imbalance_levels"] == []


@pytest.mark.slow
def test_deeper_levels_add_to_the_touch(real_days):
    """Xu, Gould & Howison (2018): out-of-sample fit grows with the levels; wide spreads make the touch alone poor."""
    rows = level_r2(real_days["GOOG_10"], 10.0)
    assert [row["levels"] for row in rows] == [1, 2, 3, 5, 10]
    out = [row["r2_oos"] for row in rows]
    assert out == sorted(out) and out[-1] > 0.5
    assert flow_slope(real_days["GOOG_10"], 10.0, flow="all", **OPTIONS).r2 == pytest.approx(0.24, abs=0.02)


def test_law_over_groups_of_trades_is_named():
    day = revised_day(0.5)
    fit = calibrate_impact(day, horizon_trades=5, config=CalibrationConfig(bootstrap=199, permutations=19))
    assert (fit.unit, fit.flow, fit.n_obs <= 600) == ("trades", "visible", True)
    assert fit.horizon_s == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (100.0, True), (0.01, True), (585.0, True)])
def test_prints_in_other_units_than_the_book_are_refused(real_days, factor, refused):
    day = real_days["GOOG_1"]
    executed = pl.col("kind").is_in(["execution", "hidden_execution"])
    quantity = pl.when(executed).then(pl.col("quantity") * factor).otherwise(pl.col("quantity"))
    other = replace(day, events=day.events.with_columns(quantity=quantity))
    if not refused:
        check_quantity_scale(other)
        return
    with pytest.raises(RefusedFit, match="other units"):
        calibrate_impact(other)
