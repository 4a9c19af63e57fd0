"""Pictures carry the table they draw, and the same table gives the same bytes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from difffinance.reporting import market_plots, performance
from difffinance.reporting.picture import short

DAYS = [datetime(2010, 1, 4, tzinfo=UTC) + timedelta(days=i) for i in range(600)]


@pytest.fixture(scope="module")
def wealth() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    parts = []
    for executor in ("naive", "diffusion"):
        for impact in (True, False):
            path = np.cumprod(1 + rng.normal(3e-4, 0.01, len(DAYS)))
            parts.append(pl.DataFrame({"ts": DAYS, "executor": executor, "impact": impact, "wealth": path}))
    return pl.concat(parts)


def test_the_same_table_gives_the_same_picture(wealth):
    first, second = (performance.plot_wealth(wealth, capital=1e6).png() for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_drawdown_counts_the_start_and_is_never_above_zero():
    fall = pl.DataFrame({"ts": DAYS[:3], "executor": "naive", "impact": True, "wealth": [0.9, 0.95, 1.2]})
    table = performance.plot_drawdown(fall).table
    assert table["drawdown"].to_list() == pytest.approx([-0.1, -0.05, 0.0])


def test_capacity_labels_its_axes_with_units():
    table = pl.DataFrame(
        {
            "executor": ["naive", "naive", "diffusion", "diffusion"],
            "capital": [1e6, 1e9] * 2,
            "sharpe": [0.5, 0.1, 0.5, 0.4],
            "sharpe_se": [0.25] * 4,
        }
    )
    (axis,) = performance.plot_capacity(table, currency="USD").figure.axes
    assert axis.get_xlabel() == "capital, USD"
    assert "per year" in axis.get_ylabel()


def test_costs_add_up_along_the_bar():
    table = pl.DataFrame(
        {
            "executor": ["naive"] * 3,
            "component": ["fees", "slippage", "impact"],
            "bps_per_year": [1.0, 2.0, 4.0],
        }
    )
    (axis,) = performance.plot_costs(table).figure.axes
    assert max(patch.get_x() + patch.get_width() for patch in axis.patches) == pytest.approx(7.0)


def test_heatmap_draws_every_price_bin():
    times = DAYS[:4]
    table = pl.DataFrame(
        {"ts": [t for t in times for _ in range(3)], "price": [10.0, 9.9, 10.1] * 4, "quantity": [5.0] * 12}
    )
    trades = pl.DataFrame({"ts": times[:2], "price": [10.0, 10.1], "quantity": [100.0, 200.0], "side": [1, -1]})
    picture = market_plots.plot_book_heatmap(table, trades, title="book", currency="USD", note="")
    mesh = picture.figure.axes[0].collections[0]
    assert mesh.get_array().shape == (3, 4)


@pytest.mark.parametrize(
    ("value", "text"), [(950, "950"), (20_000, "20 k"), (3.5e6, "3.5 M"), (1e10, "10 bn"), (-2e12, "-2 tn")]
)
def test_large_numbers_are_short(value, text):
    assert short(value) == text
