"""The measures of a run as rows, for the terminal and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from iqattack.evaluation import Interval
from iqattack.runs import Summary
from iqattack.runs.results import JND_SCALE

CORRELATIONS = ("srocc", "krocc", "plcc")
PAIRS = {
    "clean_attacked": ("Clean and attacked scores", "clean–attacked"),
    "clean_mos": ("Clean scores and opinion", "clean–MOS"),
    "attacked_mos": ("Attacked scores and opinion", "attacked–MOS"),
    "drops": ("What the attack took from the agreement with opinion", "drop"),
}
SCALES = {"by_range": "score range", "minmax_on_clean": "clean scores (MSU)"}
ROBUSTNESS = (
    ("absolute_gain", "absolute gain"),
    ("relative_gain", "relative gain"),
    ("wasserstein", "Wasserstein score"),
    ("energy", "energy score"),
)
UNKNOWN: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """A measure; digits: after the point. interval: 95 %, NaN where there is none."""

    label: str
    value: float | None
    digits: int
    interval: Interval


@dataclass(frozen=True)
class Group:
    """Measures under one title."""

    title: str
    rows: tuple[Row, ...]


def measures(summary: Summary) -> list[Group]:
    """What summary.json measures: gains, correlations, robustness on both scales, visibility."""
    scores, means = summary.scores, summary.means

    def row(label: str, value: float | None, name: str = "", digits: int = 3) -> Row:
        return Row(label, value, digits, scores.intervals.get(name, UNKNOWN))

    moved = [
        row("mean gain, of the score range", scores.mean_gain, "mean_gain"),
        row("RGO, of the largest possible change", scores.rgo, "rgo"),
        row("area under boundary crossing", scores.crossing.area, "crossing.area"),
    ]
    for b, share in scores.crossing.success.items():
        moved.append(row(f"images past boundary {b}", share, f"crossing.success.{b}"))
    groups = [Group("How far scores moved", tuple(moved))]
    for pair, (title, what) in PAIRS.items():
        values = getattr(scores, pair)
        if values is not None:
            correlations = (
                row(f"{name.upper()} {what}", getattr(values, name), f"{pair}.{name}")
                for name in CORRELATIONS
            )
            groups.append(Group(title, tuple(correlations)))
    for scale, what in SCALES.items():
        values = getattr(scores, scale)
        low, high = (f"{end:.4g}" for end in values.scale)
        epsilon = f"R, ε = {values.epsilon:g}" + (" added" if values.epsilon_added else "")
        rows = (
            row(label, getattr(values, name), f"{scale}.{name}")
            for name, label in (("r", epsilon), *ROBUSTNESS)
        )
        groups.append(Group(f"Robustness, scale: {what}, {low} … {high}", tuple(rows)))
    visible = (
        row("mean L∞, grey levels", means.linf, digits=2),
        row("mean RMS, grey levels", means.rms, digits=2),
        row("mean PSNR, dB", means.psnr, digits=1),
        row("mean SSIM", means.ssim, digits=4),
        row("mean MS-SSIM", means.ms_ssim, digits=4),
        row(f"mean share of pixels over {JND_SCALE} of the JND", means.jnd_violation),
    )
    others = (
        Row(f"mean {name}, of pyiqa", found.value, 4, found.interval)
        for name, found in summary.full_reference.items()
    )
    groups.append(Group("How visible it is", (*visible, *others)))
    return groups
