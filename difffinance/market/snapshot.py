"""A running market on disk: arrays as npz, the rest as JSON inside it; nothing is pickled."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.data.store import atomic_file
from difffinance.errors import DataError, InputError

VERSION = 2
_GROWING = ("orders", "reserves", "levels", "bits", "fills", "log", "events", "paid_on", "live", "agenda")
_STATE = "state.json"


def save_snapshot(path: Path, snapshot: dict[str, Any]) -> Path:
    """Write what `MarketEnvironment.snapshot` returned; the same snapshot gives the same numbers back."""
    state = {"version": VERSION, "state": snapshot["state"]}
    held: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **snapshot["arrays"]}
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **held)
    return Path(path)


def check_arrays(saved: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse arrays and generators that are not those of a market which would save `expected`; some may be longer."""
    if saved.keys() != expected.keys():
        raise InputError(
            "the snapshot lacks arrays of this market. Allowed: what snapshot() or load_snapshot() returned."
        )
    for name, held in expected.items():
        given, grows = saved[name], name.rpartition(".")[2] in _GROWING
        if not isinstance(held, np.ndarray):
            fits = isinstance(given, dict) and given.keys() == held.keys()
        else:
            fits = isinstance(given, np.ndarray) and given.dtype == held.dtype and given.ndim == held.ndim
            fits = fits and (grows or given.shape == held.shape)
        if not fits:
            raise InputError(f"{name} of the snapshot is not that of this market. Allowed: a snapshot of this version.")


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
