"""Printable names, and numbers in specs such as `linf:3`."""

from __future__ import annotations

import unicodedata

from iqattack.errors import InputError

JOINERS = "\u200c\u200d"  # of letters and emojis
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # reverse the text that follows


def is_text(name: str) -> bool:
    """Whether a name is text, without control characters or undecodable bytes, both of which file
    names may contain.
    """
    if name.isascii():
        return name.isprintable()
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)


def is_line(name: str) -> bool:
    """Whether a text is also a single line, without characters that change the reading order."""
    odd = any(unicodedata.category(mark) in ("Zl", "Zp") or mark in TURNING for mark in name)
    return is_text(name) and not odd


def printable(text: str) -> str:
    """A text that is safe for a terminal: characters that move the cursor, colour or reverse the
    text are escaped.
    """
    return "".join(map(_shown, text))


def _shown(letter: str) -> str:
    odd = unicodedata.category(letter) in ("Cc", "Cs", "Cf", "Zl", "Zp")
    return ascii(letter)[1:-1] if odd and letter not in JOINERS else letter


def text(value: float) -> str:
    """The shortest text that reads back as the same number: 3, not 3.0."""
    return repr(float(value)).removesuffix(".0")


def number(spec: str, field: str, example: str) -> float:
    """The number in a field of a spec; InputError with an example if it is not a number."""
    try:
        return float(field)
    except ValueError:
        raise InputError(f"'{spec}': '{field}' is not a number, expected e.g. {example}") from None
