"""Pictures carry the table they draw, and the same table gives the same bytes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import LineCollection

from difffinance.reporting import episode_plots, facts_plots, market_plots, performance
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


def test_a_narrow_range_of_wealth_has_ticks_too():
    for last in (1.2, 40.0):
        days = pl.DataFrame({"ts": DAYS[:3], "executor": "naive", "impact": True, "wealth": [0.9, 1.0, last]})
        axis = performance.plot_wealth(days, capital=1e6).figure.axes[0]
        low, high = axis.get_ylim()
        assert sum(low <= tick <= high for tick in axis.get_yticks()) >= 4


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
    plain = len(axis.collections)
    ends = table.with_columns(sharpe_lower=pl.col("sharpe") - 0.1, sharpe_upper=pl.col("sharpe") + 0.05)
    picture = performance.plot_capacity(ends, currency="USD")
    bands = picture.figure.axes[0].collections
    assert len(bands) == plain + 2 and "draws of the cost law" in picture.caption
    heights = [part.vertices[:, 1] for band in bands for part in band.get_paths() if len(part.vertices) > 4]
    np.testing.assert_allclose(sorted((h.min(), h.max()) for h in heights), [(0.0, 0.55), (0.3, 0.55)])


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


@pytest.fixture(scope="module")
def episode():
    from difffinance import AgentFactory, MarketEnvironment
    from difffinance.simulation.episode import record_episode

    kinds = ["market_maker", "speculator"]
    env = MarketEnvironment(2, kinds=kinds, num_steps=30)
    return record_episode(env, AgentFactory.create_population(kinds, seed=1), seed=1)


def test_heatmap_of_an_episode_holds_every_level(episode):
    table = episode_plots.plot_episode_book(episode, tick_size=0.01, steps=30).table
    assert len(table) == int((episode.depth[..., 1] > 0).sum())


def test_depth_profile_is_the_mean_over_steps(episode):
    table = episode_plots.plot_depth_profile(episode, tick_size=0.01).table
    shown = episode.depth[:, 0, 0, 1].mean()  # the best bids are part of every step's total
    assert table.filter(pl.col("side") == 1)["mean"].sum() >= shown
    assert (table["lower"] <= table["upper"]).all()


def test_accounts_start_at_nothing_earned(episode):
    table = episode_plots.plot_accounts(episode).table
    assert table["profit_0_market_maker"][0] == table["profit_1_speculator"][0] == 0.0


def test_path_names_limits_and_each_kind_of_halt_once():
    path = pl.DataFrame({"minutes": [0.0, 1.0, 2.0], "mid": [100.0, 101.0, 100.5]})
    halts = pl.DataFrame({"start": [0.2, 1.2], "end": [0.4, 1.4], "reason": ["luld_pause", "luld_pause"]})
    (axis,) = episode_plots.plot_path(path, halts=halts, lower=90.0, upper=110.0).figure.axes
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["mid", "upper limit 110", "lower limit 90", "luld pause"]


def test_facts_of_a_day_against_itself_are_equal(sample_book):
    from difffinance.calibration.visible_day import visible_day

    day = visible_day(sample_book)
    table = facts_plots.plot_stylised_facts({"one": day, "two": day}).table
    one, two = (table.filter(pl.col("day") == name).drop("day") for name in ("one", "two"))
    assert one.equals(two)
    assert set(table["panel"]) == {
        "sign memory", "return memory", "volatility clustering", "inter-arrival", "activity", "size against best queue"
    }  # fmt: skip


@pytest.fixture(scope="module")
def sample_book(tmp_path_factory):
    from difffinance import Lake, fetch_tables, load_book
    from difffinance.config import DataConfig

    lake = Lake(tmp_path_factory.mktemp("lake"))
    fetch_tables("sample", [], lake=lake, config=DataConfig())
    return load_book("SYNTH", lake=lake)


def test_halts_are_read_from_the_log():
    from difffinance import AgentFactory, MarketEnvironment
    from difffinance.config import MarketConfig
    from difffinance.simulation.episode import record_episode

    market = MarketConfig(rulebook="us.tier1", index_path=((0.0, 1.0), (60.0, 0.92)))
    env = MarketEnvironment(1, market, kinds=["market_maker"], num_steps=110)
    halts = episode_plots.halts_table(record_episode(env, AgentFactory.create_population(["market_maker"]), seed=1))
    assert halts["reason"].to_list() == ["paused", "reopening auction"]
    assert halts["end"][-1] - halts["start"][0] == pytest.approx(15.0, abs=0.2)
    assert halts["quote"].null_count() == 2


def test_special_quotes_are_drawn_at_their_prices():
    rows = [(1.0, 4.0, "special quote", 1030.0), (4.0, 7.0, "special quote", 1060.0), (9.0, 10.0, "fixed price", None)]
    halts = pl.DataFrame(rows, schema=["start", "end", "reason", "quote"], orient="row")
    table = pl.DataFrame({"minutes": [0.0, 10.0], "mid": [1000.0, 1070.0]})
    axis = episode_plots.plot_path(table, halts=halts).figure.axes[0]
    (lines,) = (c for c in axis.collections if isinstance(c, LineCollection))
    assert [segment.tolist() for segment in lines.get_segments()] == [[[1, 1030], [4, 1030]], [[4, 1060], [7, 1060]]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["mid", "special quote", "fixed price"]
