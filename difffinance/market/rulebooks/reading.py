"""Reads what callers hand to a rulebook: decimal prices, days, times of the day, sides, whole quantities."""

import datetime as dt
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TypeVar

from difffinance.errors import InputError

Price = Decimal | str | int
Day = dt.date | str
Time = dt.time | dt.datetime | str
_Value = TypeVar("_Value")
MOST = 10**12  # prices and quantities: their product in cents fits the digits of a decimal


def read_amount(value: Price | float, name: str, *, zero: bool = False) -> Decimal:
    """Return `value` as a finite positive decimal; a float is taken as it prints."""
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        raise InputError(f"{name} {value!r} is not a number. Allowed: a decimal or a string such as '10.05'.") from None
    if not amount.is_finite() or amount < 0 or (amount == 0 and not zero):
        raise InputError(f"{name} {value} is not allowed. Allowed: numbers {'from' if zero else 'above'} 0.")
    if amount > MOST:
        raise InputError(f"{name} {value} is not allowed. Allowed: up to {MOST:,}.")
    return amount


def read_day(value: Day) -> dt.date:
    """Return a date from a date or 'YYYY-MM-DD'."""
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise InputError(f"date {value!r} is not understood. Allowed: 'YYYY-MM-DD' or a datetime.date.") from None


def read_time(value: Time) -> dt.time:
    """Return a local time of the venue from a time or 'HH:MM[:SS]'."""
    if isinstance(value, dt.datetime):
        return value.time()
    if isinstance(value, dt.time):
        return value.replace(tzinfo=None)
    try:
        return dt.time.fromisoformat(f"0{value}" if value[1:2] == ":" else value)
    except (TypeError, ValueError):
        raise InputError(
            f"time {value!r} is not understood. Allowed: 'HH:MM', 'HH:MM:SS' or a datetime.time."
        ) from None


def read_side(value: str | int) -> int:
    """Return +1 for a buy and -1 for a sell."""
    try:
        return {"buy": 1, "sell": -1, 1: 1, -1: -1}[value]
    except (KeyError, TypeError):
        raise InputError(f"side {value!r} is not known. Allowed: 'buy' or 'sell', +1 or -1.") from None


def read_whole(value: object, name: str) -> int:
    """Return a whole number of at least 0."""
    try:
        number = Decimal(str(value))
        whole = int(number)
    except (InvalidOperation, ValueError, OverflowError):
        raise InputError(f"{name} {value!r} is not a whole number. Allowed: 0, 1, 2, ...") from None
    if whole != number or whole < 0:
        raise InputError(f"{name} {value} is not a whole number. Allowed: 0, 1, 2, ...")
    if whole > MOST:
        raise InputError(f"{name} {value} is not allowed. Allowed: up to {MOST:,}.")
    return whole


def read_listing_day(value: object) -> int:
    """Return the number of a trading day of a listing, from 1."""
    day = read_whole(value, "listing_day")
    if day == 0:
        raise InputError(f"listing_day {value} is not allowed. Allowed: 1, 2, ... (1 is the first day).")
    return day


def half_up(value: Decimal, step: Decimal) -> Decimal:
    """Round half up to a multiple of `step`, in decimal."""
    return (value / step).quantize(Decimal(1), rounding=ROUND_HALF_UP) * step


def up(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of `step`, in decimal."""
    return (value / step).quantize(Decimal(1), rounding=ROUND_CEILING) * step


def in_force(table: tuple[tuple[str, _Value], ...], day: dt.date) -> _Value | None:
    """Return the value of the last row whose first day ('YYYY-MM-DD') is not after `day`; None before the first."""
    found = None
    for first, value in table:
        if day >= dt.date.fromisoformat(first):
            found = value
    return found


def within(time: dt.time, start: str, end: str) -> bool:
    """Return whether `time` lies in [start, end]."""
    return dt.time.fromisoformat(start) <= time <= dt.time.fromisoformat(end)
