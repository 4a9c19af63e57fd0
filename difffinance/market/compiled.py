"""How kernels are compiled and cached.

Numba's disk cache sees a change in a kernel's own file but not in the file of a kernel that it calls. The cache
folder is therefore named by a hash of this package's sources, whose constants are compiled in, and of every other
source with a kernel: a changed kernel is never served stale.
"""

import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.errors import NumbaExperimentalFeatureWarning, TypingError
from numba.extending import intrinsic

_HERE = Path(__file__).resolve().parent
_DAY = 86_400  # seconds
# of a source that machine code depends on
_MARKS = (b"@kernel", b"@lean_kernel", b"@inlined", b"@policy_kernel", b"@intrinsic")


@cache
def cache_folder() -> str:
    """Return the folder of compiled kernels: beside the sources, or in the user's cache where that is read-only."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(_HERE.parent.rglob("*.py")):
        text = source.read_bytes()
        if source.parent == _HERE or any(mark in text for mark in _MARKS):
            digest.update(text)
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or _HERE / "__pycache__")
    if not os.access(base if base.exists() else base.parent, os.W_OK):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "difffinance"
    folder = base / f"kernels-{digest.hexdigest()[:16]}"
    _use(folder)
    return str(folder)


def _use(folder: Path) -> None:
    """Mark a folder as used now; where it is new, remove those of other sources that nobody used for a day."""
    with suppress(OSError):
        if folder.exists():
            os.utime(folder)
            return
        folder.mkdir(parents=True)
        for other in folder.parent.glob("kernels-*"):
            if time.time() - other.stat().st_mtime > _DAY:
                shutil.rmtree(other, ignore_errors=True)


def is_compiled(module: str) -> bool:
    """Return whether kernels of a module of this package are on disk: compiling the whole market takes a minute."""
    return any(Path(cache_folder()).glob(f"*/{module}.*.nbi"))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` with numba on first use and keep the machine code on disk."""
    return _cached(function, _nrt=True)  # said, because a kernel takes after its first caller


def lean_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that makes no arrays: without reference counts, whose atomic steps cost more than an order."""
    return _cached(function, _nrt=False)


def _cached(function: Callable[..., Any], **options: Any) -> Any:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()
    try:
        return numba.njit(function, cache=True, **options)
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
        try:  # without reference counts, which cost more than most decisions
            return numba.njit(POLICY_SIGNATURE, cache=True, _nrt=False)(function)
        except TypingError:  # it makes arrays; another error comes again
            return numba.njit(POLICY_SIGNATURE, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


def sealed(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a large kernel on its own, with one signature of plain numbers.

    A kernel's code is otherwise compiled again into each kernel that calls it, and into their callers. A handle holds
    a sealed one as a value (its address), so that callers contain only the call. It makes no arrays.
    """

    def seal(function: Callable[..., Any]) -> Any:
        warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
        dispatcher = lean_kernel(function)
        dispatcher.signature, dispatcher.__deepcopy__ = signature, lambda memo: dispatcher
        return dispatcher

    return seal


def inlined(function: Callable[..., Any]) -> Any:
    """Compile `function` into each kernel that calls it: arrays are then not passed again for every order."""
    return numba.njit(function, forceinline=True, _nrt=False)


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


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Start to load an element of a one-dimensional array; an index beyond its ends does no harm."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        size = ir.Constant(ir.IntType(64), signature.args[0].dtype.size)
        address = builder.add(builder.ptrtoint(data, ir.IntType(64)), builder.mul(args[1], size))
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        builder.call(function, [builder.inttoptr(address, byte), *(ir.Constant(word, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def stream_pair(typingctx: Any, to: Any, at: Any, source: Any, start: Any) -> Any:
    """Copy 16 bytes past the cache: from byte `start` of `source` to byte `at` of `to`, a multiple of 16.

    The target's cache lines are then not read before they are written: half of what a buffer beyond the cache costs.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        long, pair = ir.IntType(64), ir.VectorType(ir.IntType(64), 2)

        def address(array: int, place: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.inttoptr(builder.add(builder.ptrtoint(data, long), args[place]), pair.as_pointer())

        stored = builder.store(builder.load(address(2, 3), align=8), address(0, 1), align=16)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(to, types.int64, source, types.int64), codegen
