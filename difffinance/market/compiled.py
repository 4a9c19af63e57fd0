"""How kernels are compiled and cached.

Numba's disk cache sees a change in a kernel's own file but not in the file of a kernel that it calls. The cache
folder is therefore named by a hash of every kernel source of the project: a changed kernel is never served stale.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.errors import NumbaExperimentalFeatureWarning
from numba.extending import intrinsic

_HERE = Path(__file__).resolve().parent
_MARKS = (b"@kernel", b"@inlined", b"@policy_kernel", b"@intrinsic")  # of a source that machine code depends on


@cache
def cache_folder() -> str:
    """Return the folder of compiled kernels: beside the sources, or in the user's cache where that is read-only."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(_HERE.parent.rglob("*.py")):
        text = source.read_bytes()
        if any(mark in text for mark in _MARKS):
            digest.update(text)
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or _HERE / "__pycache__")
    if not os.access(base if base.exists() else base.parent, os.W_OK):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "difffinance"
    return str(base / f"kernels-{digest.hexdigest()[:16]}")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` with numba on first use and keep the machine code on disk."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()
    try:
        return numba.njit(function, cache=True)
    finally:
        numba.config.CACHE_DIR = before


_VECTOR = types.Array(types.float64, 1, "C")
# state (S,), opponents (O,), constraints (C,), parameters, memory, rng, action (A,): see `agents.base.ScriptedAgent`.
POLICY_SIGNATURE = types.void(_VECTOR, _VECTOR, _VECTOR, _VECTOR, _VECTOR, types.npy_rng, _VECTOR)


def policy_kernel(function: Callable[..., Any]) -> Any:
    """Compile an agent's decision with the one signature that all policies share.

    Equal signatures make policies values of one type: a compiled loop over seats indexes a tuple of them by kind, and
    an agent's file is all that a new kind needs.
    """
    warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)  # functions as values: covered by our tests
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()
    try:
        return numba.njit(POLICY_SIGNATURE, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


def inlined(function: Callable[..., Any]) -> Any:
    """Compile `function` into each kernel that calls it: arrays are then not passed again for every order."""
    return numba.njit(function, inline="always")


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest set bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:
    """Return the number of zero bits above the highest set bit of a uint64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen
