"""The report of a symbol: the page is offline and whole, the numbers reproduce, nothing half-made is left."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from difffinance.data.store import Lake
from difffinance.errors import InputError, NotInLakeError
from difffinance.reporting.report import write_report
from difffinance.reporting.study import METRIC_KEYS

# A walk of two years with a network that hardly learns: the path is whole, only shorter.
SMALL = [
    "training.num_episodes=30",
    "training.num_epochs=1",
    "backtest.estimation_bars=4500",
    "backtest.capacity_capitals=[1e6, 1e10]",
    "calibration.bootstrap=99",
    "calibration.permutations=19",
]


pytestmark = pytest.mark.xdist_group("report")  # on one worker, or each would make the two reports again


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two reports of SPX with one seed, in two lakes."""
    made = []
    for name in ("first", "second"):
        root = tmp_path_factory.mktemp(name)
        answer = write_report(
            "SPX", preset="quick", overrides=SMALL, lake=Lake(root / "lake"), seed=3, folder=root / "reports"
        )
        made.append(Path(answer["html"]).parent)
    return made


@pytest.mark.slow
def test_metrics_are_equal_to_the_byte_in_two_lakes(folders):
    first, second = ((folder / "metrics.json").read_bytes() for folder in folders)
    assert first == second
    metrics = json.loads(first)
    assert set(METRIC_KEYS) <= set(metrics)
    assert metrics["sharpe_se"] > 0
    assert {row["capital"] for row in metrics["capacity"]} == {1e6, 1e8, 1e10}


@pytest.mark.slow
def test_the_page_is_offline_and_its_links_lead_somewhere(folders):
    html = (folders[0] / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"#][^"]*)"', html)
    assert not [a for a in addresses if a.startswith(("http:", "https:", "//"))]
    local = [a for a in addresses if not a.startswith("data:")]
    assert all((folders[0] / a).is_file() for a in local), local
    assert "tearsheet.html" in local
    for word in ("Wealth", "Drawdown", "Capacity", "Win rate", "volume", "heatmap", "SYNTHETIC", "Sharpe"):
        assert word.lower() in html.lower()
    tables = list((folders[0] / "tables").glob("*.parquet"))
    assert len(tables) >= 14
    assert all(pl.read_parquet(path).height for path in tables)


@pytest.mark.slow
def test_the_manifest_says_what_reproduces_the_run(folders):
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["config"]["backtest"]["estimation_bars"] == 4500
    assert "sp500.csv.gz" in manifest["data_hashes"]
    assert manifest["versions"]["vectorbt"]
    assert manifest["seconds"] > 0


@pytest.mark.slow
def test_nothing_but_the_report_is_left(folders):
    assert [path.name for path in folders[0].parent.iterdir()] == ["SPX_quick"]
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "07_report.ipynb",
        "manifest.json",
        "metrics.json",
        "report.html",
        "tables",
        "tearsheet.html",
    ]


@pytest.mark.slow
def test_an_order_book_day_has_no_sharpe_ratio(tmp_path):
    answer = write_report(
        "SYNTH", preset="quick", overrides=SMALL, lake=Lake(tmp_path / "lake"), folder=tmp_path / "reports"
    )
    metrics = json.loads(Path(answer["metrics"]).read_text())
    assert metrics["sharpe"] is None
    assert metrics["synthetic"] is True
    assert {fit["unit"] for fit in metrics["fits"]} == {"order", "aggregate"}
    html = Path(answer["html"]).read_text(encoding="utf-8")
    assert "SYNTH (synthetic)" in html
    assert not (tmp_path / "reports" / "SYNTH_quick" / "tearsheet.html").exists()


def test_an_unknown_symbol_names_the_verb_that_brings_it_and_leaves_no_folder(tmp_path):
    with pytest.raises(NotInLakeError, match="fetch yahoo NOPE"):
        write_report("NOPE", lake=Lake(tmp_path / "lake"), folder=tmp_path / "reports")
    with pytest.raises(InputError, match="cannot name a table"):
        write_report("../NOPE", lake=Lake(tmp_path / "lake"), folder=tmp_path / "reports")
    assert not (tmp_path / "reports").exists()
