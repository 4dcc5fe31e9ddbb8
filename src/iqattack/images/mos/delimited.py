"""Tables of rows and columns: CSV and its relatives, and Excel's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from iqattack.errors import InputError
from iqattack.images.files import read_text
from iqattack.images.mos.columns import (
    KADID,
    OPTION,
    Layout,
    MosColumns,
    check_kadid,
    chosen_layout,
    known_layout,
    names_of,
    score_column,
)
from iqattack.images.mos.numbers import Row, number, scores
from iqattack.images.mos.table import MosTable
from iqattack.images.sets import first

Rows = list[tuple[int, list[Any]]]  # numbered from 1 by their lines

_SEPARATORS = (",", ";", "\t")


def read_delimited(path: Path, columns: MosColumns | None) -> MosTable:
    """Read a text whose columns are separated by commas, semicolons, tabs or, in a `.txt` and where
    columns are chosen, blanks: by whichever of them the first line has the wanted columns.
    """
    text = read_text(path)
    blanks = columns is not None or path.suffix.lower() == ".txt"
    firsts = _first_rows(text, blanks=blanks)
    refused: InputError | None = None
    for separator, row in firsts:
        try:
            layout = layout_of(path, row, columns)
        except InputError as error:
            refused = refused or error  # of the widest
            continue
        if layout is not None:
            try:
                return table(path, _rows(text, separator), layout)
            except csv.Error as error:
                raise InputError(f"{path}: not CSV ({error})") from None
    raise refused or _unknown(path, firsts[0][1] if firsts else [])


def has_header(path: Path) -> bool:
    """Whether the first line of a text names an image and a score."""
    firsts = _first_rows(read_text(path), blanks=True)
    return any(known_layout(row) is not None for _, row in firsts)


def read_xlsx(path: Path, columns: MosColumns | None) -> MosTable:
    """Read a workbook such as SPAQ's, of whose sheets the first holds the scores."""
    try:
        from openpyxl import load_workbook  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            f"{path}: reading Excel tables needs openpyxl; pip install 'iqattack[xlsx]'"
        ) from None
    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
        cells = [list(row) for row in workbook.worksheets[0].iter_rows(values_only=True)]
        workbook.close()
    except Exception as error:  # whatever zip and XML parsers stumble over
        raise InputError(
            f"{path}: not an Excel workbook ({' '.join(str(error).split())})"
        ) from None
    rows = _filled(enumerate(cells, start=1))
    row = rows[0][1] if rows else []
    layout = layout_of(path, row, columns)
    if layout is None:
        raise _unknown(path, row)
    return table(path, rows, layout)


def layout_of(path: Path, row: Sequence[object], columns: MosColumns | None) -> Layout | None:
    """Where a table with this first row has what; None where that does not say it.

    Raises InputError where it lacks a chosen column.
    """
    if columns is None:
        return known_layout(row)
    at = score_column(columns, row)
    return chosen_layout(path, row, columns, numeric=at is not None and _like_number(row[at]))


def table(path: Path, rows: Rows, layout: Layout) -> MosTable:
    """The table of rows in this layout."""
    body = rows[1:] if layout.header else rows
    found = scores(path, _cells(path, body, layout))
    if layout.source == KADID:
        check_kadid(path, list(found))
    named = {
        str(row[k] or "").strip() for _, row in body for k in layout.references if k < len(row)
    }
    references = frozenset(named - {""} - set(found))
    notes, names = layout.notes, layout.names if layout.header else ()
    return MosTable(path, layout.source, layout.lower_better, found, references, notes, names)


def split_blanks(text: str) -> Rows:
    """The words of each line that has some."""
    lines = io.StringIO(text, newline=None)
    return _filled((k, line.split()) for k, line in enumerate(lines, start=1))


def _rows(text: str, separator: str | None) -> Rows:
    """Rows of cells; separator: None for blanks. Raises csv.Error for a quote without its end."""
    if separator is None:
        return split_blanks(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    return _filled((reader.line_num, row) for row in reader)


def _first_rows(text: str, *, blanks: bool) -> list[tuple[str | None, list[Any]]]:
    """The first row as each separator has it, the one with the most cells first."""
    start = next((line for line in io.StringIO(text) if line.strip()), "")
    found: list[tuple[str | None, list[Any]]] = []
    for separator in (*_SEPARATORS, None) if blanks else _SEPARATORS:
        with suppress(csv.Error):
            rows = _rows(start, separator)
            if rows:
                found.append((separator, rows[0][1]))
    return sorted(found, key=lambda item: -len(item[1]))


def _filled(rows: Iterable[tuple[int, list[Any]]]) -> Rows:
    return [
        (k, row) for k, row in rows if any(cell is not None and str(cell).strip() for cell in row)
    ]


def _like_number(cell: object) -> bool:
    text = re.sub(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", cell) if isinstance(cell, str) else cell
    return number(text) is not None


def _cells(path: Path, rows: Rows, layout: Layout) -> Iterator[Row]:
    width = len(layout.names)
    for k, row in rows:
        if len(row) <= max(layout.image, layout.score):
            raise InputError(f"{path}, line {k}: too few columns, expected a score")
        if any(cell not in (None, "") for cell in row[width:]):
            raise InputError(  # a decimal comma, or a name with a comma
                f"{path}, line {k}: {len(row)} columns, the first line has {width}; write 1.5 for "
                "1,5, and quote names that have commas"
            )
        image = row[layout.image]
        yield f"line {k}", "" if image is None else str(image).strip(), row[layout.score]


def _unknown(path: Path, row: Sequence[object]) -> InputError:
    """An error that shows what the table has."""
    names = names_of(row)
    if not names:
        return InputError(f"{path}: unknown columns, it is empty; expected a first line image,mos")
    if any(map(_like_number, names)):
        return InputError(
            f"{path}: unknown columns, its first line has {first(names)} and is no header; say "
            "what they are, such as --mos-columns image=1,mos=2"
        )
    return InputError(
        f"{path}: unknown columns, its first line has {first(names)}, expected such as image and "
        f"mos; choose with {OPTION}"
    )
