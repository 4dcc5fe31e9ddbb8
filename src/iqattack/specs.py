"""Names, and numbers in specs such as `linf:3`."""

from __future__ import annotations

import unicodedata

from iqattack.errors import InputError


def is_text(name: str) -> bool:
    """Whether a name is text on one line: no control characters, no bytes that are not text."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)


def text(value: float) -> str:
    """The shortest text that reads back as the same number: 3, not 3.0."""
    return repr(float(value)).removesuffix(".0")


def number(spec: str, field: str, example: str) -> float:
    """The number that a field of a spec holds; InputError with an example if it holds none."""
    try:
        return float(field)
    except ValueError:
        raise InputError(f"'{spec}': '{field}' is not a number, expected e.g. {example}") from None
