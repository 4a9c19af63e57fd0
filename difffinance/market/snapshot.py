"""A running market on disk: arrays as npz, the rest as JSON inside it; nothing is pickled."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.data.store import atomic_file
from difffinance.errors import DataError, InputError
from difffinance.market import reasons
from difffinance.market.options import is_finite

VERSION = 4
_GROWING = ("orders", "fills", "events", "paid_on", "live", "born", "agenda")
_STATE = "state.json"
_PARTS = ("fits", "generators", "refusals", "seeds")  # of the state


def save_snapshot(path: Path, snapshot: dict[str, Any]) -> Path:
    """Write what `MarketEnvironment.snapshot` returned; the same snapshot gives the same numbers back."""
    state = {"version": VERSION, "state": check_snapshot(snapshot)}
    held: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **snapshot["arrays"]}
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **held)
    return Path(path)


def check_snapshot(snapshot: Any) -> dict[str, Any]:
    """Return the plain part of a snapshot, after a look at whether it has all its parts."""
    try:
        state: dict[str, Any] = snapshot["state"]
        parts = [snapshot["arrays"], *(state[name] for name in _PARTS)]
    except (TypeError, LookupError):
        parts = [None]
    if not all(isinstance(part, dict) for part in parts) or not _readable(state):
        raise InputError("this is no snapshot of a market. Allowed: what snapshot() or load_snapshot() returned.")
    return state


def _readable(state: dict[str, Any]) -> bool:
    """Return whether generators, seeds and refusals are what they are called."""
    counts, seeds = state["refusals"], state["seeds"]
    if seeds.keys() != {"entropy", "n_children_spawned"}:
        return False
    try:
        for generator in state["generators"].values():
            np.random.PCG64().state = generator
        np.random.SeedSequence(**seeds).spawn(1)
    except (TypeError, ValueError, KeyError, OverflowError):
        return False
    return counts.keys() <= set(reasons.NAMES) and all(type(count) is int and count > 0 for count in counts.values())


def check_same_market(saved: dict[str, Any], own: dict[str, Any], within: str = "") -> None:
    """Refuse the arguments of a saved market that are not those of this one, by the first name that differs."""
    for name in saved | own:
        given, needed = saved.get(name), own.get(name)
        if isinstance(given, dict) and isinstance(needed, dict):
            check_same_market(given, needed, f"{within}{name}.")
        elif given != needed:
            raise InputError(
                f"the snapshot is of another market: its {within}{name} is {given}, here it is {needed}. Allowed: one "
                "with the same arguments as this one."
            )


def check_arrays(saved: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse arrays and generators that are not those of a market which would save `expected`; logs have any length."""
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


def refuse_unless(good: bool, name: str) -> None:
    """Refuse a snapshot in which something is not as a market saves it."""
    if not good:
        raise InputError(f"{name} of the snapshot is not as a market saves it. Allowed: a snapshot as it was saved.")


def inside(values: Any, least: Any, most: Any) -> bool:
    """Return whether all numbers are between the two."""
    return bool(((values >= least) & (values <= most)).all())


def fits_numbers(given: Any, expected: Any) -> bool:
    """Return whether nested lists hold finite numbers, as many of them in each as the expected lists."""
    if isinstance(expected, list):
        alike = isinstance(given, list) and len(given) == len(expected)
        return alike and all(map(fits_numbers, given, expected))
    return is_finite(given)


def load_snapshot(path: Path) -> dict[str, Any]:
    """Return what `save_snapshot` wrote, for `MarketEnvironment.restore`."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        saved = json.loads(arrays.pop(_STATE).tobytes())
        version, state = saved["version"], saved["state"]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Allowed: a file that save_snapshot wrote.") from None
    except Exception as error:  # what numpy and zipfile raise over a damaged file has no common name
        raise DataError(f"{path} is not a market that save_snapshot wrote ({error}).") from error
    if version != VERSION:
        raise DataError(f"{path} has version {version}. Allowed: {VERSION}.")
    return {"state": state, "arrays": arrays}
