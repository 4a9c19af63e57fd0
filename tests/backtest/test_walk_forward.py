import dataclasses

import numpy as np
import polars as pl
import pytest

from difffinance.agents.base import BarTrader
from difffinance.agents.garleanu_pedersen import GarleanuPedersenTrader
from difffinance.agents.naive import NaiveTrader
from difffinance.backtest import walk_forward
from difffinance.backtest.capacity import capacity_curve
from difffinance.backtest.walk_forward import run_backtest, run_walk_forward
from difffinance.config import BacktestConfig
from difffinance.errors import CostLawError, InputError
from difffinance.market.observation import CONSTRAINT_INDEX, STATE_INDEX
from tests.backtest.conftest import make_bars

CONFIG = BacktestConfig(estimation_bars=300, momentum_window=60, momentum_skip=5, capital=1e7)


class Scripted(BarTrader):
    """Trades a given participation bar by bar, and remembers what it was shown."""

    name = "scripted"

    def __init__(self, plan):
        self.plan, self.seen = np.asarray(plan, dtype=float), []

    def participation(self, conditions, rng):
        self.seen.append(conditions)
        return np.full(len(conditions), self.plan[len(self.seen) - 1])


class Noisy(BarTrader):
    """Trades at random."""

    name = "noisy"

    def participation(self, conditions, rng):
        return 0.01 * rng.normal(size=len(conditions))


@pytest.fixture(autouse=True)
def _reference_accounts(monkeypatch, request):
    """Take the reference's own wealth, so that fast tests need not import vectorbt; slow ones do the real thing."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(walk_forward, "_account", lambda ledger, columns, ts, fee: ledger.equity)


def walk(bars, law, traders=None, **more):
    traders = traders or {"naive": NaiveTrader(), "garleanu_pedersen": GarleanuPedersenTrader()}
    return run_walk_forward(traders, bars, **({"costs": law, "config": CONFIG} | more))


def change_after(bars, cut):
    """Return the bars with everything from bar `cut` on replaced by something wild."""
    rng = np.random.default_rng(9)
    frame = bars.frame.with_row_index("row")
    wild = pl.Series(np.exp(rng.normal(0, 0.3, frame.height)))
    late = pl.col("row") >= cut
    columns = ("open", "high", "low", "close", "volume")
    frame = frame.with_columns(pl.when(late).then(pl.col(c) * wild).otherwise(pl.col(c)).alias(c) for c in columns)
    return dataclasses.replace(bars, frame=frame.drop("row"))


def test_later_bars_change_no_decision(bars, law):
    cut = 450
    before, after = walk(bars, law), walk(change_after(bars, cut), law)
    test_row = cut - CONFIG.estimation_bars  # this order was decided at the close before the change
    units = before.ledger.quantity[: test_row + 1], after.ledger.quantity[: test_row + 1]
    np.testing.assert_array_equal(*units)
    np.testing.assert_array_equal(before.equity[:test_row], after.equity[:test_row])
    assert not np.array_equal(before.ledger.quantity[test_row + 1], after.ledger.quantity[test_row + 1])


def test_an_order_is_filled_at_the_next_open(bars, law):
    plan = np.zeros(300)
    plan[7] = 0.05
    result = run_backtest(Scripted(plan), bars, costs=law, config=CONFIG)
    order = result.orders.row(0, named=True)
    bar = CONFIG.estimation_bars + 7  # decided at the close of the bar before
    assert result.orders.height == 1
    assert order["ts"] == bars.frame["ts"][bar]
    close, volume = bars.frame["close"].to_numpy(), bars.frame["volume"].to_numpy()
    expected = volume[bar - 20 : bar].mean()
    sigma = (close[bar - 20 : bar] / close[bar - 21 : bar - 1] - 1).std(ddof=1)
    assert order["quantity"] == np.trunc(0.05 * expected)
    v = order["quantity"] / expected
    worse = 0.5e-4 + 0.142 * sigma * v**0.6 + 0.314 * sigma * v / 2
    assert order["price"] == pytest.approx(bars.frame["open"][bar] * (1 + worse), rel=1e-12)
    held = result.equity.filter(pl.col("position") != 0)
    assert held.height == 300 - 7


def test_a_forecast_of_the_next_bar_wins_only_before_it(law):
    """Trading on the outcome of bar t + 1 is worth a fortune; the same orders one bar late are worth nothing."""
    bars = make_bars(600, drift=0.0)
    frame = bars.frame
    gain = np.log(frame["close"] / frame["open"]).to_numpy()
    side = np.sign(gain[CONFIG.estimation_bars :])

    def run(sides):
        plan = np.diff(np.concatenate([[0.0], sides])) * 0.02
        return run_backtest(Scripted(plan), bars, costs=None, config=CONFIG.model_copy(update={"fee_bps": 0.0}))

    ahead, late = run(side), run(np.concatenate([[0.0], side[:-1]]))
    assert ahead.metrics["sharpe"] > 3
    assert late.metrics["sharpe"] < 1


def test_impact_never_helps_the_same_orders(bars, law):
    rng = np.random.default_rng(3)
    plan = 0.02 * rng.normal(size=300)
    plan[-1] = 0.0
    real = run_backtest(Scripted(plan), bars, costs=law, config=CONFIG.model_copy(update={"max_leverage": 4.0}))
    ideal = run_backtest(Scripted(plan), bars, costs=None, config=CONFIG.model_copy(update={"max_leverage": 4.0}))
    np.testing.assert_allclose(real.orders["quantity"], ideal.orders["quantity"])
    lost = ideal.equity["equity"][-1] - real.equity["equity"][-1]
    paid = real.orders["temporary_cost"].sum() + real.orders["permanent_cost"].sum()
    assert lost > 0.5 * paid > 0
    assert ideal.metrics["impact_bps"] == 0 < real.metrics["impact_bps"]
    assert ideal.metrics["slippage_bps"] == pytest.approx(CONFIG.half_spread_bps)
    assert (real.impact, ideal.impact) == (True, False)


def test_rules_hold_after_every_decision(bars, law):
    config = CONFIG.model_copy(update={"max_leverage": 0.5, "max_participation": 0.002})
    greedy = Scripted(np.where(np.arange(300) % 40 < 20, 1.0, -1.0))
    run = walk(bars, law, {"greedy": greedy}, config=config, signals=("buy_and_hold",), impacts=(True,))
    assert np.abs(run.ledger.participation).max() <= 0.002 + 1e-12
    assert run.ledger.position.min() >= 0
    close = bars.frame["close"].to_numpy()[300:, None]
    assert (run.ledger.position * close / run.equity).max() < 0.5 * 1.05
    assert run.corrected[0] == 300 and "300 orders" in " ".join(run.notes)


def test_traders_keep_the_rules_themselves(bars, law):
    run = walk(bars, law, capitals=(1e6, 1e9))
    assert run.corrected.sum() == 0
    assert np.abs(run.ledger.participation).max() <= CONFIG.max_participation + 1e-12


def test_a_column_does_not_feel_its_neighbours(bars, law):
    run = walk(bars, law, capitals=(1e6, 1e8))
    alone = run_backtest(GarleanuPedersenTrader(), bars, costs=law, config=CONFIG, capital=1e8)
    number = run.find("momentum", "garleanu_pedersen", 1e8)
    np.testing.assert_allclose(run.equity[:, number], alone.equity["equity"], rtol=1e-12)


def test_worlds_share_their_random_numbers_and_seeds_their_bytes(bars, law):
    first, second = walk(bars, law, {"noisy": Noisy()}), walk(bars, law, {"noisy": Noisy()})
    np.testing.assert_array_equal(first.equity, second.equity)
    other = walk(bars, law, {"noisy": Noisy()}, seed=8)
    assert not np.array_equal(first.equity, other.equity)
    real, ideal = (first.find("momentum", "noisy", 1e7, impact=i) for i in (True, False))
    np.testing.assert_array_equal(first.ledger.quantity[:20, real], first.ledger.quantity[:20, ideal])
    alone = walk(bars, law, {"noisy": Noisy()}, paired=False)
    assert not np.array_equal(alone.ledger.quantity[:20, real], alone.ledger.quantity[:20, ideal])


def test_the_state_says_what_it_should(bars, law):
    trader = Scripted(np.full(300, 0.001))
    run = walk(bars, law, {"scripted": trader}, signals=("momentum",), impacts=(True,))
    row, bar = 100, 400 - 1
    state, rules = trader.seen[row].state[0], trader.seen[row].constraints[0]
    close, volume = bars.frame["close"].to_numpy(), bars.frame["volume"].to_numpy()
    price = close[bar] * (1 + run.ledger.shift[row - 1, 0])
    expected = volume[bar - 19 : bar + 1].mean()
    sigma = (close[bar - 19 : bar + 1] / close[bar - 20 : bar] - 1).std(ddof=1)
    position, wealth = run.ledger.position[row - 1, 0], run.equity[row - 1, 0]
    numbers = {
        "volatility": sigma,
        "position": position / expected,
        "capital": wealth / (price * expected),
        "cash": 1 - position * price / wealth,
        "linear_cost": 1e-4 / sigma,
        "temporary_impact": 0.142,
        "temporary_exponent": 0.6,
        "permanent_impact": 0.314,
        "risk_aversion": 2.0,
        "profit": wealth / 1e7 - 1,
    }
    for name, value in numbers.items():
        assert state[STATE_INDEX[name]] == pytest.approx(value, rel=1e-9), name
    assert rules[CONSTRAINT_INDEX["max_leverage"]] == 1.0
    assert rules[CONSTRAINT_INDEX["short_allowed"]] == 1.0
    assert not trader.seen[row].opponents.any()


def test_an_index_gets_the_configured_volume_and_says_so(law):
    run = walk(make_bars(600, is_index=True), law, signals=("buy_and_hold",))
    assert any("30,000,000,000 a day is assumed" in note for note in run.notes)
    dollars = np.abs(run.ledger.quantity[0, 0]) * run.ledger.path_open[0, 0]
    assert run.ledger.participation[0, 0] == pytest.approx(dollars / 3e10, rel=0.05)


def test_bars_without_trading_fill_nothing(bars, law):
    frame = bars.frame.with_columns(
        volume=pl.when(pl.int_range(pl.len()).is_between(310, 314)).then(0.0).otherwise(pl.col("volume"))
    )
    trader = Scripted(np.full(300, 0.001))
    quiet = dataclasses.replace(bars, frame=frame)
    run = walk(quiet, law, {"s": trader}, signals=("momentum",), impacts=(True,))
    assert (run.ledger.quantity[10:15] == 0).all() and (run.ledger.quantity[15:20] != 0).all()
    assert run.unfilled[0] == 5


def test_a_suspended_symbol_is_not_traded(bars, law):
    row = pl.int_range(pl.len())
    stopped = row.is_between(330, 370)
    prices = [
        pl.when(stopped).then(pl.col("close").gather(330)).otherwise(pl.col(c)).alias(c) for c in ("open", "close")
    ]
    frame = bars.frame.with_columns(*prices, volume=pl.when(stopped).then(0.0).otherwise(pl.col("volume")))
    run = walk(dataclasses.replace(bars, frame=frame), law)
    assert np.isfinite(run.equity).all()
    assert (run.ledger.quantity[31:71] == 0).all()


def test_the_capacity_curve_falls(law):
    run = walk(make_bars(900, drift=1e-3), law, capitals=(1e6, 1e8, 3e9), signals=("momentum",))
    table = capacity_curve(run)
    assert table.height == 6 and table["capital"].unique().len() == 3
    naive = table.filter(pl.col("executor") == "naive").sort("capital")
    assert naive["impact_bps"].is_sorted() and naive["impact_bps"][0] < naive["impact_bps"][2]
    assert naive["sharpe_loss"][2] > naive["sharpe_loss"][0]
    assert (naive["sharpe_se"] > 0).all() and (naive["smallest_detectable"] > 0).all()
    row = run.find("momentum", "naive", 1e8)
    assert naive["sharpe"][1] == run.result(row).metrics["sharpe"]


def test_results_carry_their_tables(bars, law):
    result = run_backtest(NaiveTrader(), bars, costs=law, config=CONFIG)
    assert result.equity.height == 300 and result.strategy == "momentum/naive"
    assert result.returns == pytest.approx(
        np.diff([1e7, *result.equity["equity"]]) / [1e7, *result.equity["equity"][:-1]]
    )
    assert result.metrics["trades"] == result.orders.height > 0
    assert result.metrics["fees"] == pytest.approx(result.equity["fees"].sum() / 1e7)
    assert result.metrics["fees"] * 1e7 == pytest.approx(0.5e-4 * result.orders["value"].sum(), rel=1e-2)
    assert "Sharpe" in str(result)
    split = [result.metrics[f"{part}_bps"] for part in ("spread", "temporary_impact", "permanent_impact")]
    assert result.metrics["slippage_bps"] == pytest.approx(split[0] + split[1])
    assert result.metrics["impact_bps"] == pytest.approx(split[1] + split[2])


def test_what_cannot_be_tested_is_refused(bars, law):
    few = dataclasses.replace(bars, frame=bars.frame.head(301))
    with pytest.raises(InputError, match="estimation_bars"):
        walk(few, law)
    with pytest.raises(InputError, match="no forecast yet"):
        walk(bars, law, config=CONFIG.model_copy(update={"momentum_window": 320}))
    with pytest.raises(InputError, match="capitals"):
        walk(bars, law, capitals=(1e6, -1.0))
    with pytest.raises(InputError, match="need a cost law"):
        walk(bars, None, impacts=(True,))
    with pytest.raises(CostLawError):
        walk(bars, "a law")
    with pytest.raises(InputError, match="no column"):
        walk(bars, law).find("momentum", "naive", 5.0)


@pytest.mark.slow
def test_vectorbt_accounts_for_the_same_wealth(bars, law):
    run = walk(bars, law, capitals=(1e6, 1e9))
    assert run.engine_gap < 1e-9
    assert not np.array_equal(run.equity, run.ledger.equity)  # it really is vectorbt's
    assert run.equity == pytest.approx(run.ledger.equity, rel=1e-9)
