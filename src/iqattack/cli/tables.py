"""The measures of a run as a table on standard output."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from iqattack.api import Summary

NONE = "–"
CORRELATIONS = ("srocc", "krocc", "plcc")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def show_summary(summary: Summary, folder: Path, console: Console | None = None) -> None:
    """Print the measures."""
    console = console or Console()
    settings, scores, means = summary.settings, summary.scores, summary.means

    def interval(name: str) -> str:
        low, high = scores.intervals.get(name, (math.nan, math.nan))
        return f"{number(low)} … {number(high)}" if math.isfinite(low + high) else ""

    over = settings.constraint + (f" {settings.floor}" if settings.floor else "")
    # Text, not markup: names of models and folders may have brackets.
    title = Text(
        f"{summary.model.name} under {summary.attack}, {over}, {settings.objective}, "
        f"{settings.queries} queries"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_row("mean gain, of the score range", number(scores.mean_gain), interval("mean_gain"))
    for name in CORRELATIONS:
        table.add_row(
            f"{name.upper()} clean–attacked",
            number(getattr(scores.clean_attacked, name)),
            interval(f"clean_attacked.{name}"),
        )
    if scores.clean_mos and scores.attacked_mos and scores.drops:
        for pair in ("clean_mos", "attacked_mos", "drops"):
            what = {"clean_mos": "clean–MOS", "attacked_mos": "attacked–MOS", "drops": "drop"}[pair]
            table.add_section()
            for name in CORRELATIONS:
                value = getattr(getattr(scores, pair), name)
                table.add_row(f"{name.upper()} {what}", number(value), interval(f"{pair}.{name}"))
    table.add_section()
    table.add_row("mean L∞, grey levels", number(means.linf, 2))
    table.add_row("mean RMS, grey levels", number(means.rms, 2))
    table.add_row("mean PSNR, dB", number(means.psnr, 1))
    table.add_row("mean SSIM", number(means.ssim, 4))
    table.add_row("mean share of pixels over the JND", number(means.jnd_violation))
    table.add_section()
    table.add_row("mean queries", number(means.queries, 1))
    table.add_row("images attacked", f"{summary.attacked} of {summary.images}")
    table.add_row("unchanged", str(summary.unchanged))
    table.add_row("failed", str(summary.failed))
    if summary.pending:
        table.add_row("still to do", str(summary.pending))
    console.print(table)
    if summary.session is not None:
        session = summary.session
        console.print(
            f"last session: {session.queries} queries in {session.seconds:.1f} s, "
            f"{session.queries_per_second:.1f} per second",
            highlight=False,
        )
    if (folder / "results.csv").is_file():
        for what, name in (
            ("attacked images", "adversarial"),
            ("one row each", "results.csv"),
            ("all measures", "summary.json"),
        ):
            line = f"{what:15}  {folder / name}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
