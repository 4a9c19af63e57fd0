"""Checks of the numbers that agents, utilities and laws are made with."""

import math
import operator
from numbers import Real
from typing import Any

from difffinance.errors import InputError


def is_finite(value: Any) -> bool:
    """Tell whether this is a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def check_positive(**options: float) -> None:
    """Refuse the first number that is not finite and above 0, by its name."""
    for name, value in options.items():
        if not is_finite(value) or value <= 0.0:
            raise InputError(f"{name} = {value} is not allowed. Allowed: finite, above 0.")


def check_not_negative(**options: float) -> None:
    """Refuse the first number that is not finite and 0 or more, by its name."""
    for name, value in options.items():
        if not is_finite(value) or value < 0.0:
            raise InputError(f"{name} = {value} is not allowed. Allowed: finite, 0 or more.")


def check_count(value: float, name: str) -> int:
    """Return a whole number of at least 1, or refuse it by its name."""
    return whole(value, name, least=1)


def whole(value: Any, name: str, *, least: int = 0) -> int:
    """Return a whole number of any type that is at least `least`, or refuse it by its name; True is none."""
    try:
        number = operator.index(value)
    except TypeError:
        number = int(value) if is_finite(value) and value % 1 == 0 else least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}. Allowed: a whole number, {least} or more.")
    return number
