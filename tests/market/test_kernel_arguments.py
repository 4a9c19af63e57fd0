"""Kernels take a floor by its handle: a tuple with sealed kernels in it cannot be cached on disk."""

import ast
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import difffinance
from difffinance.market import steps

ROOT = Path(difffinance.__file__).parent


def called(node: ast.Call, module: ModuleType) -> Any:
    """Return what a call names (`kernel(...)`, `steps.kernel(...)`), None where that is no name of the module."""
    found: Any = module
    for name in ast.unparse(node.func).split("."):
        found = getattr(found, name, None)
    return found


def floors_given(tree: ast.AST, module: ModuleType) -> list[str]:
    """Return the calls of kernels, outside kernels, with a `floor` in their arguments."""
    found = []
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        if isinstance(getattr(module, function.name, None), Dispatcher):
            continue  # inside a kernel the floor comes of a handle
        floors = {
            target.id
            for n in ast.walk(function)
            if isinstance(n, ast.Assign) and isinstance(n.value, ast.Attribute) and n.value.attr == "floor"
            for target in n.targets
            if isinstance(target, ast.Name)
        }
        for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            if isinstance(called(call, module), Dispatcher):
                found += [
                    ast.unparse(call)
                    for a in given
                    if (isinstance(a, ast.Attribute) and a.attr == "floor")
                    or (isinstance(a, ast.Name) and a.id in floors)
                ]
    return found


def test_no_kernel_is_given_a_floor():
    sources = [path for path in sorted(ROOT.rglob("*.py")) if re.search(r"(?<!np)\.floor\b", path.read_text())]
    assert len(sources) > 5
    for path in sources:
        module = import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
        assert floors_given(ast.parse(path.read_text()), module) == [], path.name


@pytest.mark.parametrize(
    ("body", "count"),
    [("steps.clear_step(self.venue.floor)", 1), ("steps.look(market=v.floor)", 1), ("f = v.floor\n  steps.look(f)", 1),
     ("steps.clear_step(v.floor_handle)", 0), ("print(v.floor)", 0)],
)  # fmt: skip
def test_a_floor_that_is_given_is_seen(body, count):
    module = ModuleType("planted")
    module.steps = steps
    assert len(floors_given(ast.parse(f"def plain(self, v):\n  {body}\n"), module)) == count


def test_the_turn_is_numpys_permutation_and_takes_as_much_of_the_stream():
    ours, numpys = np.random.default_rng(5), np.random.default_rng(5)
    for count in (1, 2, 3, 7, 20, 100) * 3:
        turn = np.empty(count, np.int64)
        steps.draw_turn(ours, turn)
        assert turn.tolist() == numpys.permutation(count).tolist()
    assert ours.bit_generator.state == numpys.bit_generator.state
