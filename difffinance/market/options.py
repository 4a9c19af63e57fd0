"""Checks of the numbers that agents, utilities and laws are made with."""

import math
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
    if isinstance(value, bool) or not is_finite(value) or value < 1 or value % 1:
        raise InputError(f"{name} = {value} is not allowed. Allowed: a whole number, 1 or more.")
    return int(value)
