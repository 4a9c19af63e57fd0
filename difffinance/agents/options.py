"""Checks of the numbers that agents are made with."""

import math

from difffinance.errors import InputError


def check_positive(**options: float) -> None:
    """Refuse the first number that is not finite and above 0, by its name."""
    for name, value in options.items():
        if not 0.0 < value < math.inf:
            raise InputError(f"{name} = {value} is not allowed. Allowed: finite, above 0.")


def check_not_negative(**options: float) -> None:
    """Refuse the first number that is not finite and 0 or more, by its name."""
    for name, value in options.items():
        if not 0.0 <= value < math.inf:
            raise InputError(f"{name} = {value} is not allowed. Allowed: finite, 0 or more.")
