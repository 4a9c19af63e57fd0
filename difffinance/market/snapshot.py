"""A running market on disk: arrays as npz, the rest as JSON inside it; nothing is pickled."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.data.store import atomic_file
from difffinance.errors import DataError

VERSION = 1
_STATE = "state.json"


def save_snapshot(path: Path, snapshot: dict[str, Any]) -> Path:
    """Write what `MarketEnvironment.snapshot` returned; the same snapshot gives the same numbers back."""
    state = {"version": VERSION, "state": snapshot["state"]}
    held: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **snapshot["arrays"]}
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **held)
    return Path(path)


def load_snapshot(path: Path) -> dict[str, Any]:
    """Return what `save_snapshot` wrote, for `MarketEnvironment.restore`."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        saved = json.loads(arrays.pop(_STATE).tobytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Allowed: a file that save_snapshot wrote.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a market that save_snapshot wrote ({error}).") from error
    if saved.get("version") != VERSION:
        raise DataError(f"{path} has version {saved.get('version')}. Allowed: {VERSION}.")
    return {"state": saved["state"], "arrays": arrays}
