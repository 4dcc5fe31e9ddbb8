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
PAIRS = {
    "clean_attacked": "clean–attacked",
    "clean_mos": "clean–MOS",
    "attacked_mos": "attacked–MOS",
    "drops": "drop",
}
SCALES = {"by_range": "score range", "minmax_on_clean": "clean scores (MSU)"}
ROBUSTNESS = (
    ("absolute_gain", "absolute gain"),
    ("relative_gain", "relative gain"),
    ("wasserstein", "Wasserstein score"),
    ("energy", "energy score"),
)


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0: no −0.000


def _measures(summary: Summary) -> Table:
    """Gains, correlations, robustness on both scales, visibility, counts."""
    settings, scores, means = summary.settings, summary.scores, summary.means

    def interval(name: str) -> str:
        low, high = scores.intervals.get(name, (math.nan, math.nan))
        return f"{number(low)} … {number(high)}" if math.isfinite(low + high) else ""

    over = settings.constraint + (f" {settings.floor}" if settings.floor else "")
    below = f"{summary.budget} of " if summary.budget < settings.queries else ""
    # Text, not markup: names of models and folders may have brackets.
    title = Text(
        f"{summary.model.name} under {summary.attack}, {over}, {settings.objective}, "
        f"{below}{settings.queries} queries"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")

    def measured(label: str, value: float | None, name: str = "", digits: int = 3) -> None:
        table.add_row(label, number(value, digits), interval(name))

    measured("mean gain, of the score range", scores.mean_gain, "mean_gain")
    measured("RGO, of the largest possible change", scores.rgo, "rgo")
    measured("area under boundary crossing", scores.crossing.area, "crossing.area")
    for b, share in scores.crossing.success.items():
        measured(f"images past boundary {b}", share, f"crossing.success.{b}")
    for pair, what in PAIRS.items():
        values = getattr(scores, pair)
        if values is not None:
            table.add_section()
            for name in CORRELATIONS:
                measured(f"{name.upper()} {what}", getattr(values, name), f"{pair}.{name}")
    for scale, what in SCALES.items():
        table.add_section()
        values = getattr(scores, scale)
        low, high = (f"{end:.4g}" for end in values.scale)
        table.add_row(f"scale: {what}, {low} … {high}")
        epsilon = f"R, ε = {values.epsilon:g}" + (" added" if values.epsilon_added else "")
        for name, label in (("r", epsilon), *ROBUSTNESS):
            measured(f"  {label}", getattr(values, name), f"{scale}.{name}")
    table.add_section()
    measured("mean L∞, grey levels", means.linf, digits=2)
    measured("mean RMS, grey levels", means.rms, digits=2)
    measured("mean PSNR, dB", means.psnr, digits=1)
    measured("mean SSIM", means.ssim, digits=4)
    measured("mean MS-SSIM", means.ms_ssim, digits=4)
    measured("mean share of pixels over the JND", means.jnd_violation)
    table.add_section()
    measured("mean queries", means.queries, digits=1)
    table.add_row("images attacked", f"{summary.attacked} of {summary.images}")
    table.add_row("unchanged", str(summary.unchanged))
    table.add_row("failed", str(summary.failed))
    if summary.pending:
        table.add_row("still to do", str(summary.pending))
    return table


def show_summary(summary: Summary, folder: Path, console: Console | None = None) -> None:
    """Print the measures, how fast it went and where everything is."""
    console = console or Console()
    console.print(_measures(summary))
    if summary.session is not None:
        session = summary.session
        console.print(
            f"last session: {session.queries} queries in {session.seconds:.1f} s, "
            f"{session.queries_per_second:.1f} per second",
            highlight=False,
        )
    if summary.budget < summary.settings.queries:
        console.print(
            "What needs the pixels of the attacked images is not told of a smaller budget."
        )
    elif (folder / "results.csv").is_file():
        for what, name in (
            ("attacked images", "adversarial"),
            ("one row each", "results.csv"),
            ("all measures", "summary.json"),
        ):
            line = f"{what:15}  {folder / name}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
