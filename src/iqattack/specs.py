"""Names, and numbers in specs such as `linf:3`."""

from __future__ import annotations

import unicodedata

from iqattack.errors import InputError

JOINERS = "\u200c\u200d"  # of letters and emojis
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # what follows around


def is_text(name: str) -> bool:
    """Whether a name is text: no control characters, no bytes that are not text. Such names files
    may have.
    """
    if name.isascii():
        return name.isprintable()
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)


def is_line(name: str) -> bool:
    """Whether a text is on one line, too, and in the order in which it is read."""
    odd = any(unicodedata.category(mark) in ("Zl", "Zp") or mark in TURNING for mark in name)
    return is_text(name) and not odd


def printable(text: str) -> str:
    """A text as it may go to a terminal: what would move the cursor, colour or turn it around is
    written as an escape.
    """
    return "".join(map(_shown, text))


def _shown(letter: str) -> str:
    odd = unicodedata.category(letter) in ("Cc", "Cs", "Cf", "Zl", "Zp")
    return ascii(letter)[1:-1] if odd and letter not in JOINERS else letter


def text(value: float) -> str:
    """The shortest text that reads back as the same number: 3, not 3.0."""
    return repr(float(value)).removesuffix(".0")


def number(spec: str, field: str, example: str) -> float:
    """The number that a field of a spec holds; InputError with an example if it holds none."""
    try:
        return float(field)
    except ValueError:
        raise InputError(f"'{spec}': '{field}' is not a number, expected e.g. {example}") from None
