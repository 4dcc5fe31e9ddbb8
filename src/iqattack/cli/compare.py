"""`iqattack compare`."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.cli.tables import NONE, number

if TYPE_CHECKING:
    from iqattack.api import Comparison
    from iqattack.runs.compare import Row
    from iqattack.runs.summary import Measured

# Heading, name in a row, digits.
COLUMNS = (
    ("gain", "gain", 3),
    ("SROCC clean–attacked", "srocc", 3),
    ("SROCC drop", "srocc_drop", 3),
    ("R", "r", 3),
    ("crossing area", "crossing_area", 3),
    ("SSIM", "ssim", 4),
    ("queries", "queries", 1),
    ("gain less the first's", "difference", 3),
)
TEXTS = ("run", "model", "attack")
P = "p (Holm)"


class Format(StrEnum):
    """How the table is printed."""

    TABLE = "table"
    CSV = "csv"
    LATEX = "latex"
    MARKDOWN = "markdown"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs.")],
    form: Annotated[
        Format, typer.Option("--format", help="How to print it; csv has all digits.")
    ] = Format.TABLE,
    allow: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What may differ all the same: images, mos, range, constraint, floor, objective, "
            "budget, seed. It is printed with the table.",
        ),
    ] = "",
    queries: Annotated[
        int | None,
        typer.Option(metavar="N", help="As if the budget of all had been N, from their logs."),
    ] = None,
) -> None:
    """Compare runs on the same images: measures side by side, and paired tests against the first.

    Every value has its 95 % interval over images. p is of Wilcoxon's signed-rank test of the gains,
    corrected for the number of comparisons after Holm. Runs that it would be unfair to compare are
    refused.
    """
    allowed = [name.strip() for name in allow.split(",") if name.strip()]
    comparison = iqattack.compare(*runs, allow=allowed, queries=queries)
    match form:
        case Format.TABLE:
            _show(comparison)
        case Format.CSV:
            typer.echo(_csv(comparison), nl=False)
        case Format.LATEX:
            typer.echo(_latex(comparison))
        case Format.MARKDOWN:
            typer.echo(_markdown(comparison))


def _grid(comparison: Comparison, gap: str = " ") -> list[list[str]]:
    """Headings, and a row of text for each run; columns that no run has a value for are left out.

    gap: between a value and its interval.
    """
    rows = comparison.rows
    columns = [column for column in COLUMNS if any(getattr(row, column[1]) for row in rows)]

    def cell(measured: Measured | None, digits: int) -> str:
        if measured is None:
            return NONE
        low, high = (number(end, digits) for end in measured.interval)
        return f"{number(measured.value, digits)}{gap}[{low}, {high}]"

    def cells(row: Row) -> list[str]:
        return [
            *(getattr(row, name) for name in TEXTS),
            *(cell(getattr(row, name), digits) for _, name, digits in columns),
            NONE if row.p_holm is None else f"{row.p_holm:.2g}",
        ]

    return [[*TEXTS, *(heading for heading, *_ in columns), P], *map(cells, rows)]


def _notes(comparison: Comparison) -> list[str]:
    """What has to be known to read the table, in a sentence each."""
    left = f", {comparison.left_out} left out" if comparison.left_out else ""
    return [
        f"{comparison.images} images finished in all runs{left}; in brackets, 95 % intervals.",
        "Gains are fractions of the score range, which is the scale of R; "
        f"its ε is {comparison.epsilon:g}.",
        *(f"{row.run}: {row.differs}." for row in comparison.rows if row.differs),
    ]


def _show(comparison: Comparison) -> None:
    console = Console()
    grid = _grid(comparison, gap="\n")
    table = _table(grid)
    unlimited = console.options.update(max_width=10_000)
    if console.measure(table, options=unlimited).maximum > console.width:  # a column for each run
        table = _table([list(column) for column in zip(*grid, strict=True)])
    console.print(table)
    for note in _notes(comparison):
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def _table(grid: Sequence[Sequence[str]]) -> Table:
    # Text, not markup: names of models and folders may have brackets.
    table = Table(show_lines=True)
    for heading in grid[0]:
        table.add_column(Text(heading))
    for row in grid[1:]:
        table.add_row(*map(Text, row))
    return table


def _csv(comparison: Comparison) -> str:
    """Values and ends of intervals in columns of their own, as numbers that read back equal."""
    text = StringIO()
    names = [name for _, name, _ in COLUMNS]
    header = [*TEXTS, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "p", "p_holm", "images", "left_out", "differs"])
    for row in comparison.rows:
        values: list[object] = [getattr(row, name) for name in TEXTS]
        for name in names:
            measured = getattr(row, name)
            values += ["", "", ""] if measured is None else [measured.value, *measured.interval]
        values += ["" if p is None else p for p in (row.p, row.p_holm)]
        writer.writerow([*values, comparison.images, comparison.left_out, row.differs])
    return text.getvalue()


def _markdown(comparison: Comparison) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(re.sub(r"([\\|`*_<\[])", r"\\\1", cell) for cell in cells) + " |"

    header, *rows = _grid(comparison)
    rule = "|" + " --- |" * len(TEXTS) + " ---: |" * (len(header) - len(TEXTS))
    return "\n".join([line(header), rule, *map(line, rows), "", *_notes(comparison)])


_LATEX = {
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
}


def _latex(comparison: Comparison) -> str:
    """A table of the package booktabs."""

    def escaped(text: str) -> str:
        return "".join(_LATEX.get(mark, mark) for mark in text)

    def line(cells: Sequence[str]) -> str:
        texts, numbers = cells[: len(TEXTS)], cells[len(TEXTS) :]
        negative = (re.sub(r"-(?=\d)", "−", cell) for cell in numbers)
        return " & ".join(map(escaped, [*texts, *negative])) + r" \\"

    header, *rows = _grid(comparison)
    return "\n".join(
        [
            *(f"% {note}" for note in _notes(comparison)),
            rf"\begin{{tabular}}{{{'l' * len(TEXTS)}{'r' * (len(header) - len(TEXTS))}}}",
            r"\toprule",
            line(header),
            r"\midrule",
            *map(line, rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
