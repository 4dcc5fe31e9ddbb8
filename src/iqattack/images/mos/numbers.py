"""Parsing of scores in tables: decimal commas and thousands separators."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from iqattack.errors import InputError

Row = tuple[str, str, object]  # location in the table, image, score

# Stricter than `float`: 1_000 and nan are not accepted.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_DOT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_MUCH = 10  # ratio of whole numbers to scores with a dot above which dots are ambiguous


def number(cell: object) -> float | None:
    """The finite number in a cell; None for any other content."""
    if isinstance(cell, str):
        found = float(cell) if _NUMBER.fullmatch(cell.strip()) else math.nan
    elif isinstance(cell, int | float) and not isinstance(cell, bool):
        found = float(cell)
    else:
        return None
    return found if math.isfinite(found) else None


def scores(path: Path, rows: Iterable[Row]) -> dict[str, float]:
    """The score of each image.

    Commas are decimal commas if every score with a comma can be read that way, and at least one
    cannot be read as thousands. Dots are decimal points, unless all of them could be thousands
    separators and other scores are whole numbers of that magnitude: 1.500 and 999.

    Raises InputError, with the location, for a score that is missing, duplicate, not a number, or
    ambiguous in this way.
    """
    given: dict[str, tuple[str, object]] = {}
    for where, image, cell in rows:
        if not image:
            raise InputError(f"{path}, {where}: no image name, expected one")
        if image in given:
            raise InputError(f"{path}, {where}: {image} is scored twice; keep one")
        given[image] = where, cell
    doubtful = _dots_of_thousands([cell for _, cell in given.values()])
    decimal = _decimal_commas([cell for _, cell in given.values() if isinstance(cell, str)])
    found = {}
    for image, (where, cell) in given.items():
        text = cell.replace(",", ".") if decimal and isinstance(cell, str) else cell
        value = number(text)
        if doubtful and isinstance(cell, str) and "." in cell:
            raise InputError(
                f"{path}, {where}: score {cell!r} of {image}, expected a number without a dot that "
                f"may be a thousands separator; write {cell.strip().replace('.', '')}, or "
                f"{cell.strip()}0"
            )
        if value is None:
            hint = ""
            if isinstance(cell, str) and _THOUSANDS.fullmatch(cell.strip()):
                hint = ", without a comma that may be a thousands separator"
            raise InputError(f"{path}, {where}: score {cell!r} of {image}, expected a number{hint}")
        found[image] = value
    return found


def _decimal_commas(cells: Iterable[str]) -> bool:
    commas, dots = list[str](), False
    for cell in cells:
        if "," in cell:
            commas.append(cell.strip())
        dots = dots or "." in cell
    return (
        all(map(_COMMA.fullmatch, commas))
        and not all(map(_THOUSANDS.fullmatch, commas))
        and not dots
    )


def _dots_of_thousands(cells: Iterable[object]) -> bool:
    """Whether dots may be thousands separators: numbers without one are far larger."""
    stripped = [cell.strip() for cell in cells if isinstance(cell, str)]
    dotted = [cell for cell in stripped if "." in cell]
    whole = [abs(float(cell)) for cell in stripped if re.fullmatch(r"[+-]?[0-9]{1,3}", cell)]
    if not dotted or not whole or not all(map(_DOT_THOUSANDS.fullmatch, dotted)):
        return False
    return max(whole) > _MUCH * max(abs(float(cell)) for cell in dotted)
