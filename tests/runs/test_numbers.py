"""Numbers as people read them."""

import math

import pytest

from iqattack.runs.numbers import NONE, decimals, number, without_folders


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500"),
        (0.0123, "0.012"),
        (0.00123, "0.0012"),  # three digits would say nothing of it
        (-0.000456, "−0.00046"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-1e-17, "0.000"),  # of sums that cancel
        (12.34567, "12.346"),
        (math.inf, "∞"),
        (math.nan, NONE),
        (None, NONE),
    ],
)
def test_small_numbers_keep_two_digits(value, text):
    assert number(value) == text


def test_decimals_are_no_fewer_than_asked():
    assert [decimals(value, 1) for value in (0.0, 3.0, 0.31, 0.031)] == [1, 1, 2, 3]


def test_an_attack_of_a_file_is_named_without_its_folder():
    assert without_folders("/some/where/mine.py:search:batch=8") == "mine.py:search:batch=8"
