"""Decimal texts become whole numbers of a grid, against Python's own decimals."""

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difffinance.data.decimals import Scaled, count_steps, find_step, join_scaled, read_decimals
from difffinance.errors import DataError


def read(*texts: str) -> Scaled:
    return read_decimals(pl.Series(texts, dtype=pl.String), "price", file="a.csv", first_row=10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(0, 10**8, places=8, allow_nan=False), min_size=1, max_size=20))
def test_exact(numbers):
    scaled = read(*(format(number, "f") for number in numbers))
    assert [Decimal(int(v)).scaleb(-scaled.decimals) for v in scaled.values] == numbers
    assert scaled.as_floats().tolist() == [float(number) for number in numbers]


def test_exponents_and_trailing_zeros():
    scaled = read("1e-7", "2.5E+1", "0.10000000", "7.", "007")
    assert scaled.values.tolist() == [1, 250000000, 1000000, 70000000, 70000000] and scaled.decimals == 7


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "", "1,5", "1e99", "0x10", "1.2.3", "9" * 19, None, " 1"])
def test_no_number_is_refused_with_its_row(text):
    with pytest.raises(DataError, match="row 11: price must be a decimal number"):
        read("1.5", text)


@pytest.mark.parametrize("text", ["0.0000000000000000001", "1.1234567890123456789", "1e-19", "9" * 18 + ".5"])
def test_the_row_with_too_many_digits_is_named_and_not_one_beside_it(text):
    with pytest.raises(DataError, match=r"row 12: price must be a decimal number .*18 digits"):
        read("1.5", "61837.25", text, "2")


def test_step_is_the_largest_that_holds_all():
    assert find_step(read("61837.50", "61838.00", "0")) == Decimal("0.5")
    assert find_step(read("0.002", "1"), read("0.0055")) == Decimal("0.0005")
    assert find_step(read("0")) == Decimal(1) and find_step() == Decimal(1)
    assert count_steps(read("1.5", "2"), Decimal("0.5"), "price", file="a").tolist() == [3, 4]
    with pytest.raises(DataError, match=r"row 8: price 1.7 is off the grid of 0.5"):
        count_steps(read("1.5", "1.7"), Decimal("0.5"), "price", file="a", rows=np.array([7, 8]))


def test_pieces_join_at_the_finest():
    joined = join_scaled([read("1.5"), read("0.25", "3")])
    assert joined.values.tolist() == [150, 25, 300] and joined.decimals == 2
    with pytest.raises(DataError, match="beyond 18 digits"):
        join_scaled([read("9" * 18), read("0.00000001")])
