import copy
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from difffinance.market.handles import Handle, handle_at


class Inner(NamedTuple):
    values: Any
    rng: Any


class Outer(NamedTuple):
    inner: Any
    rows: Any


@numba.njit
def total(outer, draws):  # type: ignore[no-untyped-def]
    """Return the sum of everything, and of `draws` random numbers."""
    result = outer.rows.sum() + outer.inner.values.sum()
    for _ in range(draws):
        result += outer.inner.rng.random()
    outer.rows[0, 1] += 1.0
    return result


@numba.njit
def total_of(like, addresses):  # type: ignore[no-untyped-def]
    """Return the sum over the handles at `addresses`."""
    result = 0.0
    for address in addresses:
        result += handle_at(like, address).rows.sum()
    return result


def outer(values, seed=1):
    return Outer(Inner(values, np.random.default_rng(seed)), np.arange(6.0).reshape(2, 3))


def test_a_kernel_reads_and_writes_what_the_tuple_holds():
    held, twin = outer(np.ones(4)), np.random.default_rng(1)
    handle = Handle(held)
    assert total(handle, 3) == pytest.approx(15 + 4 + twin.random(3).sum())
    assert held.rows[0, 1] == 2.0
    assert total(handle, 1) == pytest.approx(16 + 4 + twin.random())  # the generator went on


def test_bind_exchanges_arrays_in_place_and_refuses_other_types():
    handle = Handle(outer(np.ones(4)))
    address = handle.address
    handle.bind(outer(np.ones(1000)))
    assert handle.address == address and total(handle, 0) == 1015
    with pytest.raises(TypeError, match="rows"):
        handle.bind(Outer(Inner(np.ones(2), np.random.default_rng(0)), np.zeros((2, 3), np.int64)))
    with pytest.raises(TypeError, match="contiguous"):
        handle.bind(outer(np.ones(8)[::2]))
    with pytest.raises(TypeError, match="str"):
        Handle(Inner("text", None))


def test_a_copy_is_its_own_and_handles_are_found_by_address():
    first = Handle(outer(np.ones(2)))
    second = copy.deepcopy(first)
    second.held.rows[:] = 0.0
    third = Handle(outer(np.ones(5)))
    assert total_of(first, np.array([h.address for h in (first, second, third)])) == 30
