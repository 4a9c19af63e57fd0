"""`report`: papermill runs the report notebook, the notebook writes the page, the manifest closes the folder."""

import json
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
from difffinance.data.store import Lake, Progress, atomic_folder, check_symbol, check_writable, no_progress, write_json
from difffinance.errors import DiffFinanceError, StoreError
from difffinance.reporting.page import MANIFEST, NOTEBOOK


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
    from difffinance.backtest.symbol import find_bars, find_traders
    from difffinance.data.loading import has_bars
    from difffinance.reporting.make_study import find_data

    started = time.monotonic()
    lake = lake or Lake()
    config = load_config(preset, overrides, seed=seed)
    check_writable(Path(folder), "--output")
    for line in find_data(check_symbol(symbol), lake=lake, config=config):
        say(line)
    if has_bars(symbol, lake=lake):
        # Here, not in the notebook, because here the terminal can show how far the training is.
        bars, notes = find_bars(symbol, config=config, lake=lake, progress=progress)
        find_traders(bars, config=config, lake=lake, seed=config.seed, notes=notes, progress=progress)
        for line in notes:
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
                "run": ".",  # the notebook runs in the folder
            },
            progress,
        )
        seconds = round(time.monotonic() - started, 2)
        manifest = json.loads((temporary / MANIFEST).read_text(encoding="utf-8"))
        write_json(temporary / MANIFEST, manifest | {"seconds": seconds})  # of the whole run, not of the study alone
    return {
        "html": str(target / "report.html"),
        "notebook": str(target / NOTEBOOK),
        "metrics": str(target / "metrics.json"),
        "manifest": str(target / MANIFEST),
        "seconds": seconds,
    }


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
        from jupyter_client.manager import AsyncKernelManager
        from papermill.exceptions import PapermillExecutionError

    class LocalKernel(AsyncKernelManager):
        """A kernel that talks over sockets in a private folder: no port that others on the machine could reach."""

        transport = "tcp" if os.name == "nt" else "ipc"

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            """Keep the kernel from telling standard error how it was shut down."""
            return super().format_kernel_cmd([*(extra_arguments or []), "--IPKernelApp.log_level=50"])

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
            kernel_manager_class=LocalKernel,
        )
    except PapermillExecutionError as error:
        kind = getattr(errors, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, DiffFinanceError):
            raise DiffFinanceError(error.evalue) from None
        if error.ename in ("OSError", "PermissionError"):  # a full disk, found out by a picture or a table
            raise StoreError(f"{folder.name} could not be written: {error.evalue}.") from None
        raise
