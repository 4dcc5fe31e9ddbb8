"""Numbers and names for people."""

from __future__ import annotations

import math
import re

from iqattack.evaluation import Interval

NONE = "–"
TINY = 1e-9
_FOLDERS = re.compile(r"(?<![^\s:=,'\"(])/(?:(?:[^/,:=\n ]| (?!/))+/)*(?=\S)")


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus, or a dash for none."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞"
    if abs(value) <= TINY:
        value = 0.0  # no −0.000
    return f"{value:.{decimals(value, digits)}f}".replace("-", "−")


def jod(value: float | None) -> str:
    """A JOD with two digits; 10.00 only if there is no visible difference."""
    text = number(value, 2)
    return number(value, 4) if text == "10.00" and value != 10.0 else text


def decimals(value: float, digits: int) -> int:
    """The requested decimals, or enough for two significant digits of a small number.

    Rounding errors of zero get the requested decimals, and no sign.
    """
    if not TINY < abs(value) < 10.0 ** (1 - digits):
        return digits
    return max(digits, 1 - math.floor(math.log10(abs(value))))


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, or a dash for none."""
    return NONE if value is None or math.isnan(value) else f"{number(100.0 * value, digits)} %"


def ends(interval: Interval, digits: int = 3) -> str:
    """Both ends of an interval."""
    low, high = (number(end, digits) for end in interval)
    return f"{low} … {high}"


def images(n: int) -> str:
    """For example `1 image`."""
    return f"{n:,} image{'' if n == 1 else 's'}"


def without_folders(text: str) -> str:
    """Replace absolute paths by their last part, so that shared files reveal no machine."""
    return _FOLDERS.sub("", text)
