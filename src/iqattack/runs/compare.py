"""Runs side by side: the measures of each, and its differences from the first, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from iqattack.errors import InputError, RunError, unknown
from iqattack.evaluation import (
    EPSILON,
    holm,
    wilcoxon_p,
)
from iqattack.notebook import block, items, table
from iqattack.perception.viewing import Viewing
from iqattack.runs.columns import Results
from iqattack.runs.numbers import NONE, images, number, percent, without_folders
from iqattack.runs.run import Run
from iqattack.runs.settings import Settings
from iqattack.runs.summary import Measured, Summary, Visibility, mean_measured, summarise
from iqattack.runs.traces import results_at
from iqattack.runs.visibility import measured
from iqattack.specs import printable


class Row(BaseModel):
    """One run of a comparison, over the images that all runs have finished.

    gain: mean, of the score range. srocc: clean–attacked; srocc_drop: clean–MOS minus attacked–MOS.
    r: R robustness on the scale of the score range; crossing_area: under the boundary-crossing
    curve. jod, ssim, queries: means; jod_least: the least. None if not measured. difference: mean
    over images of the gain minus that of the first run; p: of Wilcoxon's signed-rank test of it,
    p_holm: corrected for all comparisons. None in the first row. differs: settings that differ from
    those of the first run and were allowed to, with values. notes: what of the run was not trusted,
    one phrase each. verdict: in a few words. summary: of the images of the comparison, with all
    measures.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")

    run: str
    model: str
    attack: str
    gain: Measured
    srocc: Measured
    srocc_drop: Measured | None
    r: Measured
    crossing_area: Measured
    jod: Measured | None = None
    jod_least: float | None = None
    ssim: Measured | None
    queries: Measured
    difference: Measured | None = None
    p: float | None = None
    p_holm: float | None = None
    differs: str = ""
    notes: tuple[str, ...] = ()
    verdict: str
    summary: Summary = Field(exclude=True, repr=False)


class Comparison(BaseModel):
    """Runs on the same images.

    images: number finished in all runs; left_out: number of the others. epsilon: of R.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")

    images: int
    left_out: int
    epsilon: float = EPSILON
    rows: tuple[Row, ...]

    @property
    def sentence(self) -> str:
        """Which run gained most; `p_holm` says whether the others differ from the first."""
        best = max(self.rows, key=lambda row: row.gain.value)
        low, high = best.gain.interval
        left = f", {self.left_out:,} left out" if self.left_out else ""
        return (
            f"Of {len(self.rows)} runs on {images(self.images)}{left}, {best.run} "
            f"({without_folders(best.attack)}) gained most: {percent(best.gain.value)} "
            f"[{number(100.0 * low, 1)}, {number(100.0 * high, 1)}] of the score range."
        )

    def _table(self) -> list[list[str]]:
        """The header, and a row for each run."""

        def cell(found: Measured | None, digits: int) -> str:
            return NONE if found is None else number(found.value, digits)

        seen = any(row.jod is not None for row in self.rows)
        found = [["run", "attack", "model", "gain", "minus the first's", "p (Holm)", "SROCC"]]
        found[0] += ["SSIM", *(["JOD"] if seen else []), "queries", "verdict"]
        for row in self.rows:
            p = number(row.p_holm, 3)
            names = [row.run, without_folders(row.attack), row.model]
            gains = [cell(row.gain, 3), cell(row.difference, 3), p, cell(row.srocc, 3)]
            jods = [cell(row.jod, 2)] if seen else []
            rest = [cell(row.ssim, 4), *jods, cell(row.queries, 1), row.verdict]
            found.append([*names, *gains, *rest])
        return found

    def __repr__(self) -> str:
        table = [[printable(text) for text in row] for row in self._table()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        padded = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        )
        return "\n".join([printable(self.sentence), *padded])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        differing = [f"{row.run}: {row.differs}" for row in self.rows if row.differs]
        texts = ("attack", "model", "verdict")
        return block(self.sentence, table(head, rows, texts), items(differing))


def _budget(settings: Settings) -> int | str:
    if settings.budget_total is None:
        return settings.queries
    return f"{settings.budget_total:,} for all images"


# Properties that two runs must share, by the name that allows them to differ.
_COMMON: dict[str, Callable[[Run], object]] = {
    "constraint": lambda run: run.settings.constraint,
    "floor": lambda run: run.settings.floor or "none",
    "objective": lambda run: run.settings.objective,
    "budget": lambda run: _budget(run.settings),
    "seed": lambda run: run.settings.seed,
}
ALLOWED = ("images", "mos", "range", *_COMMON)


def compare(
    runs: Sequence[Run],
    *,
    allow: Sequence[str] = (),
    queries: int | None = None,
    viewing: Viewing | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    measuring: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """Compute the measures of several runs, and paired tests of each against the first.

    allow: those of `images`, `mos`, `range`, `constraint`, `floor`, `objective`, `budget`, `seed`
    that may differ, which the comparison then reports. Images are paired by name. queries: compare
    as if this had been every budget, from the logs; see `results_at`. viewing: conditions for the
    measures of visibility, see `measured`; None for the default, which leaves them out if they
    cannot be measured. progress: called with (runs done, runs); most of the time goes into the
    intervals. measuring: called with (images done, images) while visibility is measured.

    Raises InputError for fewer than two runs or an unknown name in allow; RunError for an unfair
    comparison, with the reason, and for runs without a finished image in common.
    """
    for name, times in Counter(allow).items():
        if name not in ALLOWED:
            raise unknown("difference", name, ALLOWED)
        if times > 1:
            raise InputError(f"allow: {name} is given {times} times; give it once")
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run to compare: expected two or more")
    refuse_twice(runs)
    states = [run.checked_state() if queries is None else results_at(run, queries) for run in runs]
    notes = [state.notes for state in states]
    done = [state.results.done for state in states]
    common = _common(done)
    differing = [
        _differences(runs[0], run, *_common([done[0], found]), at_budget=queries is not None)
        for run, found in zip(runs, done, strict=True)
    ]
    del done, states
    _refuse(runs, differing, allow)
    if not len(common[0]):
        folders = ", ".join(str(run.folder) for run in runs)
        raise RunError(f"{folders}: no image is finished in all of them; try again later")
    views: list[Visibility | None] = [None] * len(runs)
    if queries is None:
        for k, run in enumerate(runs):
            common[k], views[k] = measured(run, common[k], viewing, progress=measuring)
    first = _gains(common[0])
    p = [wilcoxon_p(_gains(rows), first) for rows in common[1:]]
    tested = [
        {"difference": mean_measured(_gains(rows) - first), "p": once, "p_holm": float(corrected)}
        for rows, once, corrected in zip(common[1:], p, holm(p), strict=True)
    ]
    rows: list[Row] = []
    of_each = zip(runs, notes, common, views, differing, [{}, *tested], strict=True)
    for run, noted, found, seen, differs, test in of_each:
        progress(len(rows), len(runs))
        summary = summarise(
            run.record,
            found,
            0,
            check=run.check,
            nonfinite=run.nonfinite,
            budget=queries,
            visibility=seen,
        )
        rows.append(_row(run, summary, found, differs, notes=noted, **test))
    progress(len(rows), len(runs))
    every = {name for run in runs for name in run.image_names()}
    finished = len(common[0])
    return Comparison(images=finished, left_out=len(every) - finished, rows=tuple(rows))


def _common(done: Sequence[Results]) -> list[Results]:
    """The rows of the images in all runs, in the order of the first."""
    if all(found.images == done[0].images for found in done):
        return list(done)
    numbers = [found.numbers() for found in done]
    names = [name for name in done[0].images if all(name in found for found in numbers)]
    return [
        found.take([known[name] for name in names])
        for found, known in zip(done, numbers, strict=True)
    ]


def refuse_twice(runs: Sequence[Run]) -> None:
    """Raise InputError if a run is given more than once."""
    homes = [run.home.resolve() for run in runs]
    for k, (home, run) in enumerate(zip(homes, runs, strict=True)):
        if home in homes[:k]:
            first = runs[homes.index(home)].folder
            raise InputError(f"{run.folder}: is the same run as {first}; give each run once")


def _row(run: Run, summary: Summary, results: Results, differs: dict[str, str], **test: Any) -> Row:
    scores = summary.scores

    def measured(name: str, value: float) -> Measured:
        return Measured(value=value, interval=scores.intervals[name])

    similarities, jods = results.values("ssim"), results.values("jod")
    return Row(
        run=str(run.folder),
        model=summary.model.name,
        attack=summary.attack,
        gain=measured("mean_gain", scores.mean_gain),
        srocc=measured("clean_attacked.srocc", scores.clean_attacked.srocc),
        srocc_drop=measured("drops.srocc", scores.drops.srocc) if scores.drops else None,
        r=measured("by_range.r", scores.by_range.r),
        crossing_area=measured("crossing.area", scores.crossing.area),
        jod=mean_measured(jods) if jods else None,
        jod_least=summary.means.jod_least,
        ssim=mean_measured(similarities) if similarities else None,
        queries=mean_measured(results.counts["queries"].astype(np.float64)),
        differs="; ".join(differs.values()),
        verdict=summary.verdict.short,
        summary=summary,
        **test,
    )


def _gains(results: Results) -> NDArray[np.float64]:
    return results.real("gain")


def _differences(
    first: Run, run: Run, there: Results, here: Results, *, at_budget: bool
) -> dict[str, str]:
    """What makes a comparison with the first run unfair, one phrase each. there, here: the rows of
    the images that both have finished.
    """
    found = {}
    names = set(first.image_names()), set(run.image_names())
    hashes = zip(there.hashes, here.hashes, strict=True)
    changed = [k for k, (one, other) in enumerate(hashes) if _differ(one, other)]
    if odd := names[0] ^ names[1]:
        found["images"] = f"images differ, such as {min(odd)}"
    elif changed:
        found["images"] = f"pixels of images differ, such as {min(here.images[k] for k in changed)}"
    same = (there.real("mos") == here.real("mos")) | ~(there.known["mos"] | here.known["mos"])
    rated = np.flatnonzero(~same).tolist()
    if rated:
        found["mos"] = f"mos differs, such as for {min(here.images[k] for k in rated)}"
    same_model = (first.model.name, first.model.sha256) == (run.model.name, run.model.sha256)
    if same_model and first.model.score_range != run.model.score_range:
        found["range"] = f"range is {run.model.score_range}, not {first.model.score_range}"
    for name, value in _COMMON.items():
        if value(first) != value(run) and not (at_budget and name == "budget"):
            found[name] = f"{name} is {value(run)}, not {value(first)}"
    return found


def _differ(one: str | None, other: str | None) -> bool:
    """Whether two hashes are known and differ."""
    return None not in (one, other) and one != other


def _refuse(runs: Sequence[Run], differing: Sequence[dict[str, str]], allow: Sequence[str]) -> None:
    for run, differs in zip(runs, differing, strict=True):
        unfair = [name for name in differs if name not in allow]
        if unfair:
            reasons = "; ".join(differs[name] for name in unfair)
            cut = ", or use --queries N up to the smaller budget" if "budget" in unfair else ""
            raise RunError(
                f"{run.folder}: an unfair comparison with {runs[0].folder}: {reasons}; attack "
                f"again with equal settings, or compare with --allow {','.join(unfair)}{cut}"
            )
