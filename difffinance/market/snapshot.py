"""A running market on disk: arrays as npz, the rest as JSON inside it; nothing is pickled."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from difffinance.data.store import atomic_file
from difffinance.errors import DataError, InputError
from difffinance.market.layout import ASK, BASE, BID, FILLS, HIDDEN_ASK, HIDDEN_BID, WAITING, WIDTH
from difffinance.market.settlement import EVENTS, NEXT_ID

VERSION = 3
_GROWING = ("orders", "reserves", "levels", "bits", "fills", "log", "events", "paid_on", "live", "born", "agenda")
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
    if not all(isinstance(part, dict) for part in parts):
        raise InputError("this is no snapshot of a market. Allowed: what snapshot() or load_snapshot() returned.")
    return state


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
    if "floor.orders" in saved:
        _check_book(saved)


def _check_book(saved: dict[str, Any]) -> None:
    """Refuse a book whose counters or links point beyond its arrays: kernels follow them without a look."""
    orders, levels, top, counts = (saved[f"floor.{name}"] for name in ("orders", "levels", "top", "counts"))
    used, width, seats = int(counts[NEXT_ID]), levels.shape[1], len(saved["floor.own_count"])
    live, count, due = saved["flow.live"], int(saved["flow.live_count"][0]), int(saved["flow.due"][0])
    resting = orders[(orders["quantity"] > 0) & (orders["form"] != WAITING)]
    ids = max(used, 1)  # what was never written is 0
    checked = {
        "the window of prices": top[WIDTH] == width and saved["floor.bits"].shape == (4, width >> 6),
        "the number of orders": 0 <= used <= len(orders) == len(saved["floor.reserves"]),
        "the number of fills": 0 <= top[FILLS] <= len(saved["floor.fills"]),
        "the number of messages": 0 <= counts[EVENTS] <= len(saved["floor.events"]),
        "the best levels": _inside(top[[BID, ASK, HIDDEN_BID, HIDDEN_ASK]], -1, width),
        "a queue of orders": all(_inside(orders[name], -1, ids - 1) for name in ("next", "previous"))
        and all(_inside(levels[name], -1, ids - 1) for name in ("first", "last")),
        "an order's owner": _inside(orders["owner"], 0, seats),
        "an order's price": _inside(resting["price"] - top[BASE], 0, width - 1),
        "a seat's list of orders": _inside(saved["floor.own_orders"], 0, ids - 1)
        and _inside(saved["floor.own_count"], 0, saved["floor.own_orders"].shape[1]),
        "the background's list of orders": 0 <= count <= len(live) and _inside(live[:count], 0, ids - 1),
        "the background's agenda": 0 <= due <= len(saved["flow.agenda"])
        and _inside(saved["flow.agenda"]["order"][:due], -1, ids - 1),
        "the order of arrival": _inside(saved["market.turn"], 0, seats - 1),
    }
    for name, good in checked.items():
        if not good:
            raise InputError(f"{name} of the snapshot points beyond its arrays. Allowed: a snapshot as it was saved.")


def _inside(values: Any, least: int, most: int) -> bool:
    return bool(values.size == 0 or (values.min() >= least and values.max() <= most))


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
