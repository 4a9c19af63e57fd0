"""Every notebook runs offline on the quick preset, is committed clean, and carries the parameters it is driven by."""

import json
import warnings
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Small enough for a test, large enough that every cell has something to show: three years of bars, a short training.
TRAINING = ["training.num_episodes=40", "training.num_epochs=2"]
YEARS = ["backtest.estimation_bars=4200"]
SMALL = {"04_diffusion": TRAINING, "06_backtest": YEARS, "07_report": TRAINING + YEARS}


@pytest.fixture(scope="session")
def notebook_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One lake for all notebooks, as a user would have."""
    return tmp_path_factory.mktemp("lake")


def test_the_promised_notebooks_are_there():
    names = [path.stem for path in NOTEBOOKS]
    assert names == ["01_data", "02_impact", "03_market", "04_diffusion", "06_backtest", "07_report"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_without_outputs_and_with_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    tagged = [cell.source for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert all(f"{name} = " in tagged[0] for name in ("preset", "overrides", "run"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, notebook_lake, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import papermill

    parameters = {"preset": "quick", "lake": str(notebook_lake), "overrides": SMALL.get(path.stem, [])}
    out = tmp_path / path.name
    papermill.execute_notebook(str(path), str(out), parameters, cwd=str(tmp_path), progress_bar=False)
    cells = json.loads(out.read_text())["cells"]
    pictures = [o for cell in cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert pictures, "a notebook without a picture"
