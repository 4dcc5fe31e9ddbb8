"""The measures of a run as a table on standard output."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from iqattack.cli.output import cell, say

if TYPE_CHECKING:
    from iqattack.api import Summary
    from iqattack.runs.summary import Visibility

NONE = "–"
MOST_MEASURED = 5000  # images, see runs/visibility.py, which loads torch
All = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Print all measures, not just the eight that matter most: mean gain, area under "
        "boundary crossing, SROCC clean–attacked, SROCC clean–MOS and its drop (with opinion "
        "scores), R robustness, SSIM, JOD (mean and least), queries. summary.json and the page "
        "always have all.",
    ),
]


def viewed(summary: Summary) -> str | None:
    """Describe the viewing conditions of JOD and FLIP; None if they were not measured."""
    seen = summary.visibility
    if seen is None:
        return None
    known = summary.means.jod_images or 0
    few = f"; of {known:,} images drawn at random" if summary.attacked > MOST_MEASURED else ""
    return (
        f"JOD and FLIP: on {seen.display}, seen from {seen.distance:g} m "
        f"({seen.pixels_per_degree:.1f} pixels per degree){few}."
    )


def say_unmeasured(seen: Visibility | None = None, console: Console | None = None) -> None:
    """Print why JOD or FLIP is missing, and how to get it; nothing if they can be measured."""
    from iqattack.runs import unmeasured  # noqa: PLC0415 - loads torch

    if (why := unmeasured(seen)) is not None:
        say(f"note: visibility (JOD, FLIP) was not measured in full: {why}", console)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with a plain minus, None as a dash."""
    from iqattack.runs import numbers  # noqa: PLC0415 - loads torch

    if value is None or not math.isfinite(value):
        return NONE
    return numbers.number(value, digits).replace("−", "-")


def _measures(summary: Summary, *, every: bool) -> Table:
    """Return a table of the main measures, or of all, with the number of images."""
    from iqattack.reporting.measures import (  # noqa: PLC0415 - loads torch
        Group,
        main_measures,
        measures,
    )

    settings = summary.settings
    over = settings.constraint + (f" {settings.floor}" if settings.floor else "")
    below = f"{summary.budget} of " if summary.budget < settings.queries else ""
    budget = f"{below}{settings.queries} queries"
    if settings.budget_total is not None:
        budget = f"{settings.budget_total} queries for all images"
    title = cell(
        f"{summary.model.name} under {summary.attack}, {over}, {settings.objective}, {budget}"
    )
    silent = "These say nothing about robustness: see above." if summary.verdict.silent else None
    table = Table(title=title, title_justify="left", caption=silent, caption_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    groups = measures(summary) if every else [Group("", main_measures(summary))]
    for group in groups:
        table.add_section()
        if group.title:
            table.add_row(cell(group.title, style="bold"))
        for row in group.rows:
            ends = [number(end, row.digits) for end in row.interval]
            known = not math.isnan(sum(row.interval))
            table.add_row(
                cell(row.label), number(row.value, row.digits), " … ".join(ends) if known else ""
            )
    table.add_section()
    if every:
        table.add_row("mean queries", number(summary.means.queries, 1))
    if (ranking := summary.ranking) is not None:
        last = ranking.last
        for label, value in (
            ("images changed", str(ranking.touched)),
            ("JOD of these, mean (least)", _mean_least(ranking.jod, ranking.jod_least)),
            (f"NDCG@{ranking.places}", number(last.ndcg)),
            (f"still among the first {ranking.places}", number(last.overlap)),
            ("queries for all images", str(last.queries)),
        ):
            table.add_row(label, value)
    table.add_row("images attacked", f"{summary.attacked} of {summary.images}")
    table.add_row("unchanged", str(summary.unchanged))
    ended = summary.scores.crossing.without_reach
    if ended:
        table.add_row("at the end of the range before the attack", str(ended))
    table.add_row("failed", str(summary.failed))
    if summary.pending:
        table.add_row("still to do", str(summary.pending))
    return table


def _mean_least(mean: float | None, least: float | None) -> str:
    return NONE if mean is None else f"{number(mean, 2)} ({number(least, 2)})"


def show_summary(
    summary: Summary, folder: Path, console: Console | None = None, *, every: bool = False
) -> None:
    """Print the verdict, the measures, how fast it went and where everything is.

    every: all measures, not just the eight main ones.
    """
    console = console or Console()
    say(summary.verdict.text, console, fold=True)
    console.print(_measures(summary, every=every))
    if not every:
        cut = summary.budget < summary.settings.queries
        command = ["iqattack", "evaluate", str(folder), "--all"]
        command += ["--queries", str(summary.budget)] if cut else []
        say(f"all measures: {shlex.join(command)}", console)
    if (line := viewed(summary)) is not None:
        say(line, console)
    if summary.budget == summary.settings.queries:
        say_unmeasured(summary.visibility, console)
    for phrase in summary.findings:
        say(f"note: {phrase}", console)
    if summary.session is not None:
        session = summary.session
        say(
            f"last session: {session.queries} queries in {session.seconds:.1f} s, "
            f"{session.queries_per_second:.1f} per second",
            console,
        )
    if summary.budget < summary.settings.queries:
        say("Visibility is known for the full budget only.", console)
    elif (folder / "results.csv").is_file():
        for what, name in (
            ("attacked images", "adversarial"),
            ("one row each", "results.csv"),
            ("all measures", "summary.json"),
        ):
            say(f"{what:15}  {folder / name}", console)
