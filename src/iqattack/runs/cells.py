"""Escape text in CSV cells, so that no spreadsheet takes it for a formula.

A spreadsheet runs a text that begins with one of `STARTS` as a formula, so a name such as
`=cmd.png` could do harm (OWASP, CSV injection). A leading apostrophe makes it text. One is also
added if a text already has apostrophes before such a start, so that every text is read back
exactly. Blanks and invisible characters before the start are skipped, as spreadsheets do.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO

from pydantic import BaseModel

# The last four are East Asian full-width forms, which some programs treat alike.
STARTS = "=+-@\t\r\n＝＋－＠"
# Characters that programs skip first: blanks, invisible characters, our own apostrophes.
_SKIPPED = r"['\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"
_FORMULA = re.compile(f"{_SKIPPED}*[{re.escape(STARTS)}]")


def to_cell(text: str) -> str:
    """Escape a text for a cell."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The original text of a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_of(kind: type[BaseModel], rows: Iterable[BaseModel], *further: str) -> Iterator[str]:
    """The lines of a CSV file of rows whose first field is a name. further: properties beside the
    fields.
    """
    columns = [*kind.model_fields, *further]
    yield csv_line(columns)
    for row in rows:
        name, *values = (getattr(row, column) for column in columns)
        yield csv_line([to_cell(name), *("" if value is None else str(value) for value in values)])


def csv_line(cells: Iterable[str]) -> str:
    """A line of a CSV file, ending in a line feed, that the csv module reads back exactly."""
    line = StringIO()
    # With both in the line terminator, the csv module quotes cells that contain either.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"
