"""Tuples of arrays passed to kernels as one pointer.

A `NamedTuple` of thirty arrays costs a third of a millisecond to unpack from Python, and inside compiled code it is
copied, and each array counted, at every call. A `Handle` writes the arrays' addresses, shapes and strides into one
block of memory once; a kernel takes the block's address, and `floor.orders` reads as before. The handle keeps the
arrays alive; `bind` exchanges them in place (after growth), so that other handles may point to it.

Fields: C-contiguous arrays, generators, compiled policies and sealed kernels, handles, and named tuples of these.
"""

import copy
import ctypes
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.dispatcher import Dispatcher
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.experimental.function_type import _get_jit_address, _get_wrapper_address
from numba.extending import NativeValue, intrinsic, register_model, unbox

from difffinance.market.compiled import POLICY_SIGNATURE

_BIT_GENERATOR_FIELDS = (
    "parent", "state_address", "state", "fnptr_next_uint64", "fnptr_next_uint32", "fnptr_next_double", "bit_generator",
)  # fmt: skip
_GENERATOR_WORDS, _FUNCTION_WORDS = len(_BIT_GENERATOR_FIELDS) + 2, 3


class HandleType(types.Type):
    """The compiled type of a `Handle`: which field lies where."""

    def __init__(self, name: str, fields: tuple[tuple[str, Any], ...]) -> None:
        self.fields, self.sizes = fields, tuple(_words(kind) for _, kind in fields)
        super().__init__(name=f"{name}({', '.join(f'{field}: {kind}' for field, kind in fields)})")

    def place(self, name: str) -> tuple[Any, int]:
        """Return a field's type and its offset in bytes."""
        at = 0
        for field, kind in self.fields:
            if field == name:
                return kind, 8 * at
            at += _words(kind)
        raise AttributeError(name)


def _words(kind: Any) -> int:
    if isinstance(kind, HandleType):
        return 1
    if isinstance(kind, types.Array):
        return 5 + 2 * kind.ndim
    return _FUNCTION_WORDS if isinstance(kind, types.FunctionType) else _GENERATOR_WORDS


@register_model(HandleType)
class _HandleModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: HandleType) -> None:
        super().__init__(manager, kind, ir.IntType(8).as_pointer())


@infer_getattr
class _HandleAttributes(AttributeTemplate):
    key = HandleType

    def generic_resolve(self, kind: HandleType, attribute: str) -> Any:
        return dict(kind.fields).get(attribute)


@lower_getattr_generic(HandleType)
def _load(context: Any, builder: Any, kind: HandleType, value: Any, attribute: str) -> Any:
    field, offset = kind.place(attribute)
    loaded = _load_words(builder, value, context.get_value_type(field), offset)[0]
    if isinstance(field, types.Array):  # without owner: nothing is counted
        array = context.make_array(field)(context, builder, value=loaded)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()
    return loaded


def _load_words(builder: Any, block: Any, kind: Any, offset: int) -> tuple[Any, int]:
    """Return the value of an LLVM type at `offset` bytes of a block, and the offset behind it.

    Word by word, each said not to change while a kernel runs (`bind` comes between two): an address is then loaded
    once, not again after every store of a number that might, for all the compiler knows, lie on it.
    """
    if isinstance(kind, ir.LiteralStructType | ir.ArrayType):
        whole: Any = ir.Constant(kind, ir.Undefined)
        for k, inner in enumerate(kind.elements):
            part, offset = _load_words(builder, block, inner, offset)
            whole = builder.insert_value(whole, part, k)
        return whole, offset
    at = builder.gep(block, [ir.Constant(ir.IntType(64), offset)])
    word = builder.load(builder.bitcast(at, kind.as_pointer()))
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word, offset + 8


@unbox(HandleType)
def _unbox(kind: HandleType, value: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(value, "address")
    number = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.inttoptr(number, ir.IntType(8).as_pointer()))


@intrinsic
def handle_at(typingctx: Any, like: Any, address: Any) -> Any:
    """Return the handle at an address (int64), of the same type as `like`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[1], ir.IntType(8).as_pointer())

    return like(like, types.int64), codegen


def addressed(kind: HandleType) -> tuple[Any, Any]:
    """Return two kernels: the handle of this type at an address (int64), what a sealed kernel begins with, and back.

    The second refuses a handle of another type, as the first would misread it.
    """

    @intrinsic
    def at(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

        return kind(types.int64), codegen

    @intrinsic
    def address_of(typingctx: Any, handle: Any) -> Any:
        if handle != kind:
            raise TypeError(f"not a handle of this layout: {handle}")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.ptrtoint(args[0], ir.IntType(64))

        return types.int64(handle), codegen

    return at, address_of


class Handle:
    """A named tuple as kernels take it. `held` is the tuple, `address` its block."""

    def __init__(self, held: Any) -> None:
        self._parts: dict[str, Handle] = {}
        self._numba_type_, words = self._describe(held)
        self._block = np.array(words, np.int64)
        self.address, self.held = int(self._block.ctypes.data), held

    def bind(self, held: Any) -> None:
        """Point to other arrays of the same types; what stays the same object costs nothing."""
        at, changes = 0, []
        kinds = self._numba_type_
        for (name, kind), size, before, value in zip(kinds.fields, kinds.sizes, self.held, held, strict=True):
            if name in self._parts:
                self._parts[name].bind(value)
            elif value is not before:
                changes.append((at, _words_of(name, kind, before, value)))
            at += size
        for at, words in changes:
            self._block[at : at + len(words)] = words
        self.held = held

    def __deepcopy__(self, memo: dict[int, Any]) -> "Handle":
        return Handle(copy.deepcopy(self.held, memo))

    def _describe(self, held: Any) -> tuple[HandleType, list[int]]:
        fields: list[tuple[str, Any, int]] = []
        words: list[int] = []
        for name, value in zip(held._fields, held, strict=True):
            if isinstance(value, np.ndarray):
                fields.append((name, value.dtype, value.ndim))
                words += _array_words(value)
                continue
            if isinstance(value, tuple):
                value = self._parts[name] = Handle(value)
            kind, numbers = _field(value)
            fields.append((name, kind, -1))
            words += numbers
        return handle_type(type(held).__name__, tuple(fields)), words


@lru_cache(maxsize=256)
def handle_type(name: str, fields: tuple[tuple[str, Any, int], ...]) -> HandleType:
    """Return the type of a handle from (field, dtype, dimensions) of its arrays and (field, type, -1) of the rest."""
    kinds = tuple((field, kind if axes < 0 else _array_type(kind, axes)) for field, kind, axes in fields)
    return HandleType(name, kinds)


@lru_cache(maxsize=256)
def _array_type(dtype: np.dtype, dimensions: int) -> Any:
    return numba.typeof(np.empty((0,) * dimensions, dtype))


def _field(value: Any) -> tuple[Any, list[int]]:
    """Return the compiled type of a field that is no array, and its words, as numba lays them out."""
    if isinstance(value, Handle):
        return value._numba_type_, [value.address]
    if isinstance(value, np.random.Generator):
        return types.npy_rng, _generator_words(value)
    if isinstance(value, Dispatcher):
        return _function(value)
    raise TypeError(f"a handle cannot hold {type(value).__name__}.")


@cache
def _function(value: Dispatcher) -> tuple[Any, list[int]]:
    signature = getattr(value, "signature", POLICY_SIGNATURE)
    addresses = _get_wrapper_address(value, signature), id(value), _get_jit_address(value, signature)
    return types.FunctionType(signature), list(addresses)


def _words_of(name: str, kind: Any, before: Any, value: Any) -> list[int]:
    """Return the words of what takes the place of `before` in a field; another type is refused."""
    if isinstance(value, np.ndarray) and isinstance(before, np.ndarray):
        if value.dtype != before.dtype or value.ndim != before.ndim:
            raise TypeError(f"field {name} of the handle is {kind}; got {value.dtype}, {value.ndim} dimensions.")
        return _array_words(value)
    found, words = _field(value)
    if found != kind:
        raise TypeError(f"field {name} of the handle is {kind}; got {found}.")
    return words


def _array_words(array: np.ndarray) -> list[int]:
    """Return numba's struct of an array: owner and parent (none), items, bytes of one, address, shape, strides."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        raise TypeError("a handle holds arrays that are C-contiguous and writeable.")
    return [0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides]


def _generator_words(rng: np.random.Generator) -> list[int]:
    """Return numba's struct of a generator: that of its bit generator (seven words), owner and parent (none)."""
    interface = rng.bit_generator.ctypes
    functions = {
        name: ctypes.cast(getattr(interface, name), ctypes.c_void_p).value
        for name in ("next_double", "next_uint64", "next_uint32")
    }
    values = {"parent": 0, "state_address": interface.state_address, "state": interface.state.value}
    values |= {f"fnptr_{name}": address for name, address in functions.items()} | {"bit_generator": 0}
    return [values[name] for name in _BIT_GENERATOR_FIELDS] + [0, 0]
