"""The measures of a run as rows, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from iqattack.evaluation import Interval
from iqattack.runs import Summary
from iqattack.runs.numbers import jod
from iqattack.runs.results import JND_SCALE
from iqattack.runs.summary import JOD_SEEN

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
GAIN, CROSSING = "mean gain, of the score range", "area under boundary crossing"
FRESH, BIAS = "mean gain of fresh scores", "selection bias of the mean gain"
RANKING, AGREEMENT, DROP = "SROCC clean–attacked", "SROCC clean–MOS", "SROCC drop"
SSIM, JND = "mean SSIM", f"mean share of pixels over {JND_SCALE} of the JND"
JOD, LEAST_JOD = "mean JOD, 10 is no visible difference", "least JOD"
UNKNOWN: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """A measure. digits: after the point. interval: 95 %, NaN if there is none."""

    label: str
    value: float | None
    digits: int
    interval: Interval


@dataclass(frozen=True)
class Group:
    """Measures under one title."""

    title: str
    rows: tuple[Row, ...]


def main_measures(summary: Summary) -> tuple[Row, ...]:
    """The eight main measures, each of which answers one question and can be read alone.

    How far did scores move (mean gain), and what share of the remaining range (crossing area)? How
    much did the ranking change (SROCC), the agreement with opinion scores, if there are any
    (before, and its drop), and the field's measure of robustness (R)? How visible is the change, by
    structure (SSIM) and to the eye (JOD, mean and least)? What did it cost (queries)? The others
    are variants: RGO and success rates of the first two, KROCC and PLCC of SROCC, gains and
    distances of R, L∞ to FLIP of visibility. Requested metrics of pyiqa follow.
    """
    scores, means, row = summary.scores, summary.means, _rows(summary)
    drop: tuple[Row, ...] = ()
    if scores.clean_mos is not None and scores.drops is not None:
        before = row(AGREEMENT, scores.clean_mos.srocc, "clean_mos.srocc")
        drop = (before, row(DROP, scores.drops.srocc, "drops.srocc"))
    return (
        row(GAIN, scores.mean_gain, "mean_gain"),
        *_fresh(summary),
        row(CROSSING, scores.crossing.area, "crossing.area"),
        row(RANKING, scores.clean_attacked.srocc, "clean_attacked.srocc"),
        *drop,
        row("R robustness, on the score range", scores.by_range.r, "by_range.r"),
        row(SSIM, means.ssim, digits=4),
        *_jods(summary),
        row("mean queries per image", means.queries, digits=1),
        *_asked_for(summary),
    )


def _rows(summary: Summary) -> Callable[..., Row]:
    """Return a function that makes a row from a label, a value, the name of its interval and
    digits."""

    def row(label: str, value: float | None, name: str = "", digits: int = 3) -> Row:
        return Row(label, value, digits, summary.scores.intervals.get(name, UNKNOWN))

    return row


def _fresh(summary: Summary) -> Iterator[Row]:
    """Measures of fresh scores, if there are any."""
    found = summary.rescored
    if found is not None:
        for label, name in ((FRESH, "gain_fresh"), (BIAS, "bias")):
            yield Row(label, getattr(found, name), 3, found.intervals.get(name, UNKNOWN))


def _jods(summary: Summary) -> tuple[Row, ...]:
    """Mean and least JOD, if measured."""
    means = summary.means
    if means.jod is None:
        return ()
    rows = ((JOD, means.jod), (LEAST_JOD, means.jod_least))
    # As many digits as it takes to distinguish it from 10.
    return tuple(Row(name, x, len(jod(x).partition(".")[2]), UNKNOWN) for name, x in rows)


def _asked_for(summary: Summary) -> Iterator[Row]:
    """The metrics of pyiqa."""
    for name, found in summary.full_reference.items():
        yield Row(f"mean {name}, of pyiqa", found.value, 4, found.interval)


def measures(summary: Summary) -> list[Group]:
    """What summary.json measures: gains, correlations, robustness on both scales, visibility."""
    scores, means, row = summary.scores, summary.means, _rows(summary)
    moved = [
        row(GAIN, scores.mean_gain, "mean_gain"),
        *_fresh(summary),
        row("RGO, of the largest possible change", scores.rgo, "rgo"),
        row(CROSSING, scores.crossing.area, "crossing.area"),
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
        row(SSIM, means.ssim, digits=4),
        row("mean MS-SSIM", means.ms_ssim, digits=4),
        row(JND, means.jnd_violation),
        *_jods(summary),
    )
    if means.jod is not None:
        visible += (row(f"share of images below JOD {JOD_SEEN}", means.jod_below),)
    if means.flip is not None:
        visible += (row("mean FLIP", means.flip, digits=4),)
    groups.append(Group("How visible it is", (*visible, *_asked_for(summary))))
    return groups
