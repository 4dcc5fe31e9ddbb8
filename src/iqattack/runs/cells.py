"""Text in cells of CSV files, so that no spreadsheet takes it for a formula.

A text that begins with one of `STARTS` is a formula to a spreadsheet, which would run it, and so a
name such as `=cmd.png` could do harm (OWASP, CSV injection). An apostrophe before it makes it text.
One is added to texts that have apostrophes before such a start already, too, so that every text is
read back as it was. Blanks and invisible marks before the start are skipped, as programs do.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from io import StringIO

# The last four are the first ones in East Asian full width, which some programs take alike.
STARTS = "=+-@\t\r\n＝＋－＠"
# What programs leave out before they look: blanks, marks that nobody sees, apostrophes of ours.
_SKIPPED = r"['\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"
_FORMULA = re.compile(f"{_SKIPPED}*[{re.escape(STARTS)}]")


def to_cell(text: str) -> str:
    """A text as a cell holds it."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text of such a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_line(cells: Iterable[str]) -> str:
    """A line of a CSV file, ending in a line feed, that the csv module reads back exactly."""
    line = StringIO()
    # With both in its end of line, the csv module quotes cells that hold either.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"
