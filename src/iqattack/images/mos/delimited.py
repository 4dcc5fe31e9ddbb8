"""Delimited tables, such as CSV, and Excel workbooks."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from iqattack.errors import InputError
from iqattack.images.files import LARGEST_TABLE, read_data, read_text
from iqattack.images.mos.columns import (
    OPTION,
    Layout,
    MosColumns,
    check_single,
    chosen_layout,
    known_layout,
    looks_like_image,
    names_of,
    score_column,
    settled,
)
from iqattack.images.mos.numbers import Row, number, scores
from iqattack.images.mos.table import MosTable, unscored
from iqattack.images.sets import first

Rows = list[tuple[int, list[Any]]]  # with line numbers, counted from 1

# By precedence if several fit: commas may be decimal commas, and blanks part of names.
_SEPARATORS = (";", "\t", ",")
_WORD = re.compile(r'"[^"]*"(?!\S)|\S+')


def read_delimited(path: Path, columns: MosColumns | None) -> MosTable:
    """Read a text file with columns separated by commas, semicolons, tabs, or blanks.

    The separator is the one that gives the first line the required columns, preferably with an
    image and a score. Blanks are tried in a `.txt` file, or if the user chose columns.
    """
    text = read_text(path)
    blanks = columns is not None or path.suffix.lower() == ".txt"
    firsts = _first_rows(text, blanks=blanks)
    refused: list[tuple[int, InputError]] = []
    fitting: list[tuple[str | None, Layout]] = []
    for separator, row in firsts:
        try:
            layout = layout_of(path, row, columns)
        except InputError as error:
            refused.append((len(row), error))
            continue
        if layout is not None:
            fitting.append((separator, layout))
    if not fitting:
        if refused:
            raise max(refused, key=lambda item: item[0])[1]
        raise _unknown(path, max((row for _, row in firsts), key=len, default=[]))
    separator, layout = min(fitting, key=lambda item: _doubt(item[1]))
    try:
        read = table(path, _rows(text, separator), layout)
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error})") from None
    if separator == "," and not layout.header:
        read = replace(read, notes=(*read.notes, *_cut_scores(text, layout)))
    return read


def has_header(path: Path) -> bool:
    """Whether the first line of a text file names columns for the image and the score."""
    firsts = _first_rows(read_text(path), blanks=True)
    return any(known_layout(row) is not None for _, row in firsts)


def read_xlsx(path: Path, columns: MosColumns | None) -> MosTable:
    """Read a workbook such as SPAQ's, with the scores on its first sheet."""
    try:
        from openpyxl import load_workbook  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            f"{path}: reading Excel tables needs openpyxl; pip install 'iqattack[xlsx]'"
        ) from None
    try:
        data = read_data(path, LARGEST_TABLE, "a table")
        workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        cells = [list(row) for row in workbook.worksheets[0].iter_rows(values_only=True)]
        workbook.close()
    except InputError:
        raise
    except Exception as error:  # zip and XML parsers raise various kinds
        raise InputError(
            f"{path}: not an Excel workbook ({' '.join(str(error).split())})"
        ) from None
    rows = _filled(enumerate(cells, start=1))
    row = rows[0][1] if rows else []
    rows = [(k, [*more, *[None] * (len(row) - len(more))]) for k, more in rows]
    layout = layout_of(path, row, columns)
    if layout is None:
        raise _unknown(path, row)
    return table(path, rows, layout)


def layout_of(path: Path, row: Sequence[object], columns: MosColumns | None) -> Layout | None:
    """The layout of a table with this first row; None if it cannot be inferred.

    Raises InputError for a missing column that the user chose, and for two columns of one name.
    """
    if columns is None:
        layout = known_layout(row)
        if layout is not None:
            check_single(path, layout, layout.image, layout.score)
        return layout
    at = score_column(columns, row)
    return chosen_layout(path, row, columns, numeric=at is not None and _like_number(row[at]))


def table(path: Path, rows: Rows, layout: Layout) -> MosTable:
    """Convert rows in this layout to a table of scores."""
    body = rows[1:] if layout.header else rows
    if not layout.header:
        _check_first(path, rows, layout)
    found = scores(path, _cells(path, body, layout))
    layout = settled(path, layout, list(found))
    named = {
        str(row[k] or "").strip() for _, row in body for k in layout.references if k < len(row)
    }
    references = unscored(named - {""}, found)
    notes, names = layout.notes, layout.names if layout.header else ()
    return MosTable(path, layout.source, layout.lower_better, found, references, notes, names)


def _check_first(path: Path, rows: Rows, layout: Layout) -> None:
    """Raise InputError for a first row that may be a header: its score is a number, but its image
    is not a file name, unlike those below.
    """
    image, score = layout.names[layout.image], layout.names[layout.score]
    others = (
        str(row[layout.image] or "").strip() for _, row in rows[1:] if len(row) > layout.image
    )
    if not looks_like_image(image) and any(map(looks_like_image, others)):
        raise InputError(
            f"{path}: its first line, with {image} and {score}, may be a header: if so, name the "
            f'columns in double quotes: --mos-columns \'image="{image}",mos="{score}"\'; if not, '
            "name the image with its suffix"
        )


def split_blanks(text: str) -> Rows:
    """The words of each line that is not blank; text in double quotes is one word."""
    lines = io.StringIO(text, newline=None)
    return _filled((k, _words(line)) for k, line in enumerate(lines, start=1))


def _words(line: str) -> list[Any]:
    return [word[1:-1] if word[0] == '"' else word for word in _WORD.findall(line)]


def _rows(text: str, separator: str | None) -> Rows:
    """Rows of cells; separator: None for blanks. Raises csv.Error for an unterminated quote."""
    if separator is None:
        return split_blanks(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    return _filled((reader.line_num, row) for row in reader)


def _first_rows(text: str, *, blanks: bool) -> list[tuple[str | None, list[Any]]]:
    """The first row as split by each separator."""
    start = next((line for line in io.StringIO(text) if line.strip()), "")
    found: list[tuple[str | None, list[Any]]] = []
    for separator in (*_SEPARATORS, None) if blanks else _SEPARATORS:
        with suppress(csv.Error):
            rows = _rows(start, separator)
            if rows:
                found.append((separator, rows[0][1]))
    return found


def _doubt(layout: Layout) -> tuple[bool, bool]:
    """Sort key, larger for a less plausible layout: no score, or no image, in the first row."""
    return layout.header, not layout.header and not looks_like_image(layout.names[layout.image])


def _cut_scores(text: str, layout: Layout) -> list[str]:
    """A note if all scores are whole numbers followed by digits, as in a.png,3,5."""
    at = layout.score
    rows = [row for _, row in _rows(text, ",")]
    cells = [cell.strip() for row in rows for cell in row[at : at + 2]]
    if len(cells) < 2 * len(rows) or not all(cell.isdecimal() for cell in cells):
        return []
    score, more = cells[:2]
    return [
        f"opinion scores: the first is {score}, and {more} is in the next column; if the score is "
        f"{score},{more}, write {score}.{more}"
    ]


def _filled(rows: Iterable[tuple[int, list[Any]]]) -> Rows:
    return [
        (k, row) for k, row in rows if any(cell is not None and str(cell).strip() for cell in row)
    ]


def _like_number(cell: object) -> bool:
    text = re.sub(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", cell) if isinstance(cell, str) else cell
    return number(text) is not None


def _cells(path: Path, rows: Rows, layout: Layout) -> Iterator[Row]:
    width = len(layout.names)
    least = max(k for k, name in enumerate(layout.names, start=1) if name)
    for k, row in rows:
        if len(row) < least:
            raise InputError(
                f"{path}, line {k}: too few columns, {len(row)}, the first line has {least}; write "
                "1.5 for 1,5, and keep the separators of empty cells"
            )
        if any(cell not in (None, "") for cell in row[width:]):
            remedy = "write 1.5 for 1,5, and quote names that have commas"
            if len(row) == width + 1 and _has_row_names(row, layout):
                remedy = "its first column has no name; give it one, or in R row.names = FALSE"
            raise InputError(
                f"{path}, line {k}: {len(row)} columns, the first line has {width}; {remedy}"
            )
        image = row[layout.image]
        yield f"line {k}", "" if image is None else str(image).strip(), row[layout.score]


def _has_row_names(row: Sequence[Any], layout: Layout) -> bool:
    """Whether a row with one cell more than its header starts with a row name, as R writes it."""
    here, next_one = (str(row[layout.image + k] or "").strip() for k in (0, 1))
    return looks_like_image(next_one) and not looks_like_image(here)


def _unknown(path: Path, row: Sequence[object]) -> InputError:
    """An error with the columns that the table has."""
    names = names_of(row)
    if not names:
        return InputError(f"{path}: unknown columns, it is empty; expected a first line image,mos")
    if any(map(_like_number, names)):
        return InputError(
            f"{path}: unknown columns, its first line has {first(names)} and is not a header; name "
            "them, such as --mos-columns image=1,mos=2"
        )
    return InputError(
        f"{path}: unknown columns, its first line has {first(names)}, expected names such as image "
        f"and mos; choose with {OPTION}"
    )
