import json
import sys
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from difffinance.agents.naive import NaiveTrader
from difffinance.backtest import walk_forward
from difffinance.backtest.symbol import backtest_symbol, parse_strategy, with_traded_volume
from difffinance.config import load_config
from difffinance.data.store import Lake
from difffinance.errors import InputError, NotInLakeError
from difffinance.schemas import BARS, EQUITY
from tests.backtest.conftest import make_bars

SMALL = ["backtest.estimation_bars=450", "backtest.momentum_window=60", "backtest.momentum_skip=5"]
CONFIG = load_config("quick", SMALL)


def fill(lake: Lake) -> Lake:
    bars = make_bars(600)
    metadata = {"source": "random walk", "tick_size": 0.01, "lot_size": 1.0, "currency": "USD", "is_index": False}
    lake.write_table(lake.table_path("Bars", "WALK"), bars.frame, BARS, metadata)
    return lake


@pytest.fixture
def walk_lake(lake):
    """A lake that holds six hundred bars of WALK."""
    return fill(lake)


@pytest.fixture(autouse=True)
def _reference_accounts(monkeypatch, request):
    if "slow" not in request.keywords:
        monkeypatch.setattr(walk_forward, "_account", lambda ledger, columns, ts, fee: ledger.equity)


@pytest.fixture
def trained(monkeypatch):
    """A training double that leaves a folder, and an agent double that trades like the naive one."""
    calls = []

    def train_agent(*, model, training, lake, seed, name, bars, progress):
        calls.append((name, bars))
        folder = lake.folder("checkpoints") / name
        folder.mkdir(parents=True)
        return {"checkpoint": str(folder)}

    doubles = {
        "difffinance.training.agent": SimpleNamespace(train_agent=train_agent),
        "difffinance.agents.diffusion_agent": SimpleNamespace(DiffusionAgent=lambda model: NaiveTrader()),
        "difffinance.diffusion.checkpoint": SimpleNamespace(load_model=lambda folder, lake: str(folder)),
    }
    for name, double in doubles.items():
        monkeypatch.setitem(sys.modules, name, double)
    return calls


def run(lake, strategy="momentum/naive", config=CONFIG, **more):
    return backtest_symbol("WALK", config=config, lake=lake, seed=7, strategy=strategy, **more)


def test_the_answer_and_the_folder(walk_lake):
    answer = run(walk_lake)
    folder = walk_lake.folder("backtests") / "WALK_momentum_naive"
    assert answer["path"] == str(folder)
    assert {p.name for p in folder.iterdir()} == {"equity.parquet", "orders.parquet", "metrics.json", "config.json"}
    equity = EQUITY.check(pl.read_parquet(folder / "equity.parquet"))
    assert equity.height == 150
    assert pl.read_parquet(folder / "orders.parquet").height == answer["orders"] > 0
    written = json.loads((folder / "metrics.json").read_text())
    assert written["metrics"] == answer["metrics"] and written["without_impact"] == answer["without_impact"]
    assert set(written["rivals"]["strategies"]) == {
        f"{signal}/{executor}" for signal in ("momentum", "buy_and_hold") for executor in ("naive", "garleanu_pedersen")
    }
    assert json.loads((folder / "config.json").read_text())["backtest"]["estimation_bars"] == 450


def test_two_lakes_give_the_same_bytes(tmp_path):
    texts = []
    for name in ("one", "two"):
        answer = run(fill(Lake(tmp_path / name)))
        folder = Lake(tmp_path / name).folder("backtests") / "WALK_momentum_naive"
        texts.append((folder / "metrics.json").read_bytes())
        assert answer["orders"] > 0
    assert texts[0] == texts[1]


def test_impact_can_be_turned_off(walk_lake):
    on, off = run(walk_lake), run(walk_lake, impact=False)
    assert off["metrics"] == on["without_impact"] != on["metrics"]
    assert off["path"] != on["path"]


def test_who_never_traded_is_answered_with_nothing_to_judge(walk_lake):
    answer = run(walk_lake, config=load_config("quick", [*SMALL, "backtest.min_order=1"]))
    assert answer["orders"] == 0 and answer["metrics"]["sharpe"] is None
    assert answer["rivals"]["difference"] is None and answer["rivals"]["superior_ability"] is None


def test_a_handful_of_test_bars_is_answered(walk_lake):
    answer = run(walk_lake, config=load_config("quick", [*SMALL, "backtest.estimation_bars=597"]))
    assert answer["metrics"]["n_obs"] == 3 and answer["rivals"]["difference"] is None


def test_strategies_are_listed_for_whoever_does_not_know_them(walk_lake):
    assert parse_strategy(None) == ("momentum", "diffusion")
    with pytest.raises(InputError, match="momentum/garleanu_pedersen"):
        run(walk_lake, "momentum/luck")
    with pytest.raises(InputError, match="no checkpoint"):
        run(walk_lake, checkpoint=walk_lake.root)


def test_an_unknown_symbol_names_the_verb(lake):
    with pytest.raises(NotInLakeError, match="difffinance fetch"):
        run(lake)
    assert not lake.folder("backtests").exists()


def test_the_agent_is_trained_once_and_only_on_bars_before_the_test(walk_lake, trained):
    first = run(walk_lake, None)
    assert first["strategy"] == "momentum/diffusion"
    assert any("trained the diffusion agent" in note for note in first["notes"])
    (name, parameters), *_ = trained
    bars = make_bars(600).frame
    assert name.startswith("bars_WALK_") and parameters.bars == 450
    assert parameters.end == str(bars["ts"][449]) < str(bars["ts"][450])
    again = run(walk_lake, None)
    assert len(trained) == 1 and not any("trained" in note for note in again["notes"])
    other = load_config("quick", [*SMALL, "training.num_epochs=3"])
    run(walk_lake, None, config=other)
    assert len(trained) == 2 and trained[1][0] != name
    assert (walk_lake.folder("backtests") / "WALK_momentum_diffusion" / "metrics.json").is_file()


def test_adjusted_bars_keep_the_money_that_was_traded():
    raw = make_bars(500)
    scale = np.linspace(0.8, 1.0, 500)
    frame = raw.frame.with_columns(pl.col(c) * pl.Series(scale) for c in ("open", "high", "low", "close"))
    fixed = with_traded_volume(type(raw)(raw.instrument, frame, raw.source, adjusted=True), raw)
    np.testing.assert_allclose(
        fixed.frame["volume"] * fixed.frame["close"], raw.frame["volume"] * raw.frame["close"], rtol=1e-12
    )
    with pytest.raises(InputError, match="differ in their days"):
        with_traded_volume(fixed, type(raw)(raw.instrument, raw.frame.head(499), raw.source))


@pytest.mark.slow
def test_spy_from_the_csv(lake, shared_data):
    from difffinance.data.fetching import fetch_tables

    fetch_tables("csv", [str(shared_data / "yahoo_csv" / "SPY.csv")], lake=lake, config=CONFIG.data, symbol="SPY")
    config = load_config("quick")
    answer = backtest_symbol("SPY", config=config, lake=lake, seed=7, strategy="buy_and_hold/naive")
    rows = np.genfromtxt(shared_data / "yahoo_csv" / "SPY.csv", delimiter=",", skip_header=1)
    opened, closed, adjusted = rows[:, 1], rows[:, 4], rows[:, 5]
    held = adjusted[-1] / (opened[1260] * adjusted[1260] / closed[1260]) - 1  # bought at the first test open
    assert answer["metrics"]["total_return"] == pytest.approx(held, rel=1e-3)
    assert answer["metrics"]["trades"] <= 5
    assert 0 < answer["metrics"]["impact_bps"] < 5
    assert any("adjusted for dividends" in note for note in answer["notes"])


def test_too_few_bars_are_refused_before_anything_is_trained(walk_lake, trained):
    config = load_config("quick", ["backtest.estimation_bars=700"])
    with pytest.raises(InputError, match="600 bars"):
        backtest_symbol("WALK", config=config, lake=walk_lake, seed=0)
    assert not trained
