"""`iqattack compare`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.cli.options import Distance, Screen
from iqattack.cli.output import say
from iqattack.cli.progress import display
from iqattack.cli.tables import NONE, number, say_unmeasured, viewed
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.api import Comparison
    from iqattack.evaluation import Interval
    from iqattack.runs.compare import Row
    from iqattack.runs.summary import Measured

# Heading, name in a row, digits.
COLUMNS = (
    ("gain", "gain", 3),
    ("SROCC clean–attacked", "srocc", 3),
    ("SROCC drop", "srocc_drop", 3),
    ("R", "r", 3),
    ("crossing area", "crossing_area", 3),
    ("JOD", "jod", 2),
    ("least JOD", "jod_least", 2),
    ("SSIM", "ssim", 4),
    ("queries", "queries", 1),
    ("gain minus the first's", "difference", 3),
)
TEXTS = ("run", "model", "attack", "verdict", "doubts")
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
        Format, typer.Option("--format", help="Format of the table; csv has all digits.")
    ] = Format.TABLE,
    allow: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Allow a difference in: images, mos, range, constraint, floor, objective, budget, "
            "seed. It is printed with the table.",
        ),
    ] = "",
    queries: Annotated[
        int | None,
        typer.Option(metavar="N", help="Compare as if every budget had been N, from the logs."),
    ] = None,
    screen: Screen = None,
    distance: Distance = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also print every measure of iqattack evaluate --all: below the table, or with "
            "csv in more columns.",
        ),
    ] = False,
) -> None:
    """Compare runs on the same images: measures side by side, and paired tests against the first.

    Every value has its 95 % interval over images. p comes from Wilcoxon's signed-rank test of the
    gains, with Holm's correction for the number of comparisons. Unfair comparisons are refused.
    """
    allowed = [name.strip() for name in allow.split(",")] if allow else []
    with display() as shown:
        comparison = iqattack.compare(
            *runs,
            allow=allowed,
            queries=queries,
            display=screen,
            distance=distance,
            callbacks=shown.callbacks,
        )
    match form:
        case Format.TABLE:
            _show(comparison, every=every)
        case Format.CSV:
            typer.echo(_csv(comparison, every=every), nl=False)
        case Format.LATEX:
            typer.echo(_latex(comparison, every=every))
        case Format.MARKDOWN:
            typer.echo(_markdown(comparison, every=every))


def _text(row: Row, name: str) -> str:
    """Return a row's entry in one of the text columns."""
    if name == "doubts":
        return ", ".join(row.summary.verdict.doubts)
    return str(getattr(row, name))


def _texts(comparison: Comparison) -> list[str]:
    """Return the text columns; that of doubts only if there are any."""
    doubted = any(row.summary.verdict.doubts for row in comparison.rows)
    return [name for name in TEXTS if doubted or name != "doubts"]


def _grid(comparison: Comparison, gap: str = " ") -> list[list[str]]:
    """Return the header, and a row of text for each run; columns without any value are left out.

    gap: the text between a value and its interval.
    """
    from iqattack.runs.numbers import without_folders  # noqa: PLC0415 - loads torch

    rows, named = comparison.rows, _texts(comparison)
    columns = [column for column in COLUMNS if any(getattr(row, column[1]) for row in rows)]

    def cell(measured: Measured | float | None, digits: int) -> str:
        if measured is None or isinstance(measured, float):
            return number(measured, digits)
        low, high = (number(end, digits) for end in measured.interval)
        return f"{number(measured.value, digits)}{gap}[{low}, {high}]"

    def cells(row: Row) -> list[str]:
        texts = {name: printable(_text(row, name)) or NONE for name in named}
        texts["attack"] = printable(without_folders(row.attack))
        return [
            *texts.values(),
            *(cell(getattr(row, name), digits) for _, name, digits in columns),
            NONE if row.p_holm is None else f"{row.p_holm:.2g}",
        ]

    return [[*named, *(heading for heading, *_ in columns), P], *map(cells, rows)]


def _notes(comparison: Comparison) -> list[str]:
    """Return what one must know to read the table, one sentence each."""
    left = f", {comparison.left_out} left out" if comparison.left_out else ""
    notes = [
        f"{comparison.images} images finished in all runs{left}; in brackets, 95 % intervals.",
        "Gains are fractions of the score range, which is the scale of R; "
        f"its ε is {comparison.epsilon:g}.",
        *dict.fromkeys(line for row in comparison.rows if (line := viewed(row.summary))),
        *(f"{row.run}: {row.differs}." for row in comparison.rows if row.differs),
        *(
            f"{row.run}: the numbers suffer from {what}; for details, run iqattack evaluate."
            for row in comparison.rows
            if (what := _text(row, "doubts"))
        ),
        *(f"{row.run}: {note}." for row in comparison.rows for note in row.notes),
    ]
    return list(map(printable, notes))


def _all_measures(comparison: Comparison) -> list[tuple[str, list[tuple[float | None, Interval]]]]:
    """Return each measure's label, with the value and the interval of every run, NaN if missing."""
    from iqattack.reporting.measures import measures  # noqa: PLC0415 - loads torch

    of_runs = [
        {
            f"{group.title}: {row.label}": (row.value, row.interval)
            for group in measures(row_.summary)
            for row in group.rows
        }
        for row_ in comparison.rows
    ]
    labels = dict.fromkeys(label for found in of_runs for label in found)
    nothing: tuple[None, Interval] = (None, (math.nan, math.nan))
    return [(label, [found.get(label, nothing) for found in of_runs]) for label in labels]


def _all_grid(comparison: Comparison) -> list[list[str]]:
    """Return the header, and a row of text for each measure, with a column for each run."""

    def cell(value: float | None, interval: Interval) -> str:
        ends = [number(end) for end in interval]
        return number(value) + ("" if NONE in ends else f" [{', '.join(ends)}]")

    header = ["measure", *(printable(row.run) for row in comparison.rows)]
    found = _all_measures(comparison)
    return [header, *([label, *(cell(*value) for value in values)] for label, values in found)]


def _show(comparison: Comparison, *, every: bool) -> None:
    console = Console()
    for row in comparison.rows:
        say(f"{row.run}: {row.summary.verdict.text}", console, fold=True)
    grid = _grid(comparison, gap="\n")
    table = _table(grid)
    unlimited = console.options.update(max_width=10_000)
    if console.measure(table, options=unlimited).maximum > console.width:  # a column for each run
        table = _table([list(column) for column in zip(*grid, strict=True)])
    console.print(table)
    if every:
        console.print(_table(_all_grid(comparison)))
    for note in _notes(comparison):
        say(note, console)
    first = comparison.rows[0].summary
    if first.budget == first.settings.queries:
        say_unmeasured(first.visibility, console)


def _table(grid: Sequence[Sequence[str]]) -> Table:
    # Text, not markup: names of models and folders may contain brackets.
    table = Table(show_lines=True)
    for heading in grid[0]:
        table.add_column(Text(heading))
    for row in grid[1:]:
        table.add_row(*map(Text, row))
    return table


def _csv(comparison: Comparison, *, every: bool) -> str:
    """Return values and ends of intervals in separate columns, as numbers that read back
    exactly."""
    from iqattack.runs.cells import csv_line, to_cell  # noqa: PLC0415 - loads torch

    names = [name for _, name, _ in COLUMNS]
    header = [*TEXTS, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]
    more = _all_measures(comparison) if every else []
    labels = [f"{label}{end}" for label, _ in more for end in ("", " low", " high")]
    lines: list[list[object]] = [
        [*header, "p", "p_holm", "images", "left_out", "differs", *map(to_cell, labels)]
    ]
    for k, row in enumerate(comparison.rows):
        values: list[object] = [to_cell(_text(row, name)) for name in TEXTS]
        for name in names:
            measured = getattr(row, name)
            if measured is None or isinstance(measured, float):
                values += ["" if measured is None else measured, "", ""]
            else:
                values += [measured.value, *measured.interval]
        values += ["" if p is None else p for p in (row.p, row.p_holm)]
        others = [of_runs[k] for _, of_runs in more]
        rest = ["" if not _known(v) else v for value, ends in others for v in (value, *ends)]
        facts = [comparison.images, comparison.left_out, to_cell(row.differs)]
        lines.append([*values, *facts, *rest])
    return "".join(csv_line(map(str, line)) for line in lines)


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _markdown(comparison: Comparison, *, every: bool) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(re.sub(r"([\\|`*_<\[])", r"\\\1", cell) for cell in cells) + " |"

    header, *rows = _grid(comparison)
    texts = len(_texts(comparison))
    rule = "|" + " --- |" * texts + " ---: |" * (len(header) - texts)
    lines = [line(header), rule, *map(line, rows)]
    if every:
        header, *rows = _all_grid(comparison)
        lines += ["", line(header), "| --- |" + " ---: |" * (len(header) - 1), *map(line, rows)]
    return "\n".join([*lines, "", *_notes(comparison)])


_LATEX = {
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
}


def _latex(comparison: Comparison, *, every: bool) -> str:
    """Return a booktabs table; two, if every."""

    def escaped(text: str) -> str:
        return "".join(_LATEX.get(mark, mark) for mark in text)

    def line(cells: Sequence[str], texts: int) -> str:
        negative = (re.sub(r"-(?=\d)", "−", cell) for cell in cells[texts:])
        return " & ".join(map(escaped, [*cells[:texts], *negative])) + r" \\"

    def table(grid: Sequence[Sequence[str]], texts: int) -> list[str]:
        header, *rows = grid
        return [
            rf"\begin{{tabular}}{{{'l' * texts}{'r' * (len(header) - texts)}}}",
            r"\toprule",
            line(header, texts),
            r"\midrule",
            *(line(row, texts) for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]

    texts = len(_texts(comparison))
    lines = [*(f"% {note}" for note in _notes(comparison)), *table(_grid(comparison), texts)]
    if every:
        lines += ["", *table(_all_grid(comparison), 1)]
    return "\n".join(lines)
