"""`report`: papermill runs the report notebook, the notebook writes the page, the manifest closes the folder."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from difffinance import errors
from difffinance.config import load_config
from difffinance.data.store import Lake, Progress, atomic_folder, check_symbol, no_progress, write_json
from difffinance.errors import DiffFinanceError
from difffinance.reporting.manifest import make_manifest, write_manifest
from difffinance.reporting.page import NOTEBOOK

_STUDY = ".study.json"  # what the notebook leaves for the manifest


def write_report(
    symbol: str = "SPX",
    *,
    preset: str = "default",
    overrides: Sequence[str] = (),
    lake: Lake | None = None,
    seed: int | None = None,
    folder: str | os.PathLike[str] = "reports",
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the report of `symbol` to `folder/<symbol>_<preset>/`; return the answer of CONTRACT section 2.

    The folder appears whole or not at all. `metrics.json` is the same to the byte for the same inputs and seed.
    """
    from difffinance.reporting.make_study import find_data

    started = time.monotonic()
    lake = lake or Lake()
    config = load_config(preset, overrides, seed=seed)
    for line in find_data(check_symbol(symbol), lake=lake, config=config):
        say(line)
    target = Path(folder) / f"{symbol}_{preset}"
    with atomic_folder(target) as temporary:
        _run_notebook(
            temporary,
            {
                "symbol": symbol,
                "preset": preset,
                "overrides": [*overrides, f"seed={config.seed}"],
                "lake": str(lake.root.resolve()),
                "run": str(temporary.resolve()),
            },
            progress,
        )
        hashes = _take_hashes(temporary)
        seconds = round(time.monotonic() - started, 2)
        write_manifest(make_manifest(config, data_hashes=hashes, seconds=seconds), temporary / "manifest.json")
    return {
        "html": str(target / "report.html"),
        "notebook": str(target / NOTEBOOK),
        "metrics": str(target / "metrics.json"),
        "manifest": str(target / "manifest.json"),
        "seconds": seconds,
    }


def leave_hashes(folder: Path, hashes: dict[str, str]) -> None:
    """Leave the data hashes of a study in the folder, for the manifest that `write_report` writes last."""
    write_json(folder / _STUDY, hashes)


def _take_hashes(folder: Path) -> dict[str, str]:
    import json

    path = folder / _STUDY
    hashes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return hashes


def find_notebook() -> Path:
    """Return the report notebook: inside the wheel, or in the source tree beside the package."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "notebooks" / NOTEBOOK, package.parent / "notebooks" / NOTEBOOK):
        if path.is_file():
            return path
    raise DiffFinanceError(f"{NOTEBOOK} is missing from this installation. Reinstall difffinance.")


def _run_notebook(folder: Path, parameters: dict[str, Any], progress: Progress) -> None:
    """Execute the notebook with papermill; an error of ours inside it is raised here as itself."""
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not one of the user's folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import papermill
        from papermill.exceptions import PapermillExecutionError
    logging.getLogger("papermill").setLevel(logging.WARNING)
    terminal = sys.stderr.isatty() and progress is not no_progress
    try:
        papermill.execute_notebook(
            str(find_notebook()),
            str(folder / NOTEBOOK),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(folder),
            progress_bar=terminal,
            log_output=False,
        )
    except PapermillExecutionError as error:
        kind = getattr(errors, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, DiffFinanceError):
            raise DiffFinanceError(error.evalue) from None
        raise
