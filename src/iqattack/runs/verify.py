"""Whether a run's reports agree with its files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iqattack.constraints import is_scale, parse_constraint, parse_floor
from iqattack.engine import QueryLog, image_hash
from iqattack.engine.log import End, Rows, refuse_links
from iqattack.errors import InputError, RunError
from iqattack.images import ImageEntry, pixels_sha256, read_image, read_mos
from iqattack.models import Scorer
from iqattack.notebook import block, items, lines
from iqattack.objectives import parse_objective, towards_end
from iqattack.perception import linf, rms
from iqattack.perception.viewing import Viewing
from iqattack.runs.best import miscounted, misreported
from iqattack.runs.cells import csv_of
from iqattack.runs.columns import Results
from iqattack.runs.files import read_json, read_text
from iqattack.runs.losses import misfit
from iqattack.runs.pairs import Scored
from iqattack.runs.ranking import ORDER, better_choice
from iqattack.runs.rescored import (
    KEPT,
    RESCORED,
    Rescored,
    Rescoring,
    Scores,
    each_rescored,
)
from iqattack.runs.results import REWRITE, SEEN, Result, each_csv_row, same, visibility
from iqattack.runs.run import LOG, REPAIRED, Run
from iqattack.runs.summary import Visibility, summarise
from iqattack.runs.visibility import VISIBILITY, Measurements, Meter
from iqattack.scoring import DEFAULT_RETRY, Ceiling, InProcess, Request, Retry, ScorePool
from iqattack.specs import printable

TOLERANCE, MOST_TOLERANCE = 1e-6, 0.1  # of the score range: tolerances of scores
TABLE, SUMMARY = "results.csv", "summary.json"
# Fields that results.csv and summary.json of earlier versions lack.
NEWER = (
    "queries", "attempts", "findings", "constant", "check", "changes", "check.unpaired",
    "check.still", "means.ssim_images", "jod", "flip", "means.jod", "means.jod_least",
    "means.jod_below", "means.jod_images", "means.flip", "visibility", "check.workers",
    "check.drift", "nonfinite", "scores.draw_size", "settings.compile",
    "settings.budget_total", "ranking", "rescored", "model.drawn",
)  # fmt: skip
NOT_LOGGED = "is not among the scored images in the log"
NOT_REPEATED = "fresh scores are noisy, and were not repeated"
UNSEEN = "JOD and FLIP were not checked, or only one of them"
# Tolerances of JOD and FLIP: their packages compute in float32, which varies between processors.
CLOSE = 0.03  # relative tolerance of a constraint's scale between machines
SEEN_TOLERANCE = {"jod": 2e-3, "flip": 1e-4}
# Unchecked fields of summary.json: they follow from checked numbers, and their words may change.
WORDS = {"session", "verdict", "findings", "spread"}


@dataclass(frozen=True)
class Difference:
    """A difference from the report, on one line. image: an image, a file of the run, or the model;
    of_image: whether it is an image.
    """

    image: str
    what: str
    of_image: bool = True

    def __str__(self) -> str:
        return f"{self.image}: {self.what}"


@dataclass(frozen=True)
class VerifyResult:
    """checked: number of checked images; failed, pending: numbers of images without a result.

    notes: what could not be checked, and why. scored: number of scores, two per checked image, that
    the model gave again; None without a model. tolerance: of these scores, as a fraction of the
    score range.
    """

    checked: int
    failed: int
    pending: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    scored: int | None = None
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether everything is as reported."""
        return not self.differences

    @property
    def text(self) -> str:
        """The outcome, and how many scores were queried again, if not all."""
        files = dict.fromkeys(found.image for found in self.differences if not found.of_image)
        differ = len({found.image for found in self.differences if found.of_image})
        parts = [f"{differ} differ"] if differ else []
        parts += [f"{printable(name)} differs" for name in files]
        every = 2 * self.checked
        if self.scored is not None and self.scored < every:
            parts.append(f"{self.scored} of {every} scores were queried again")
            if self.ok:
                parts.append("everything checked is as reported")
        parts = parts or ["all as reported"]
        if self.scored and self.tolerance != TOLERANCE:
            parts.append(f"scores within {self.tolerance:g} of the range")
        left = ((self.failed, "failed before"), (self.pending, "pending"))
        parts += [f"{number} {what}" for number, what in left if number]
        return f"{self.checked} images checked: {', '.join(parts)}"

    def __repr__(self) -> str:
        notes = (f"note: {note}" for note in self.notes)
        return lines(self.text, (), (*map(str, self.differences), *notes))

    def _repr_html_(self) -> str:
        notes = [f"note: {note}" for note in self.notes]
        return block(self.text, items([*map(str, self.differences), *notes]))


def verify(
    run: Run,
    scorer: Scorer | None,
    *,
    tolerance: float = TOLERANCE,
    retry: Retry = DEFAULT_RETRY,
    accept_changed_model: bool = False,
    only: Collection[str] | None = None,
    ceiling: Ceiling | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> VerifyResult:
    """Read every saved PNG and its clean image again, score both, and compare with the run.

    It checks both scores; gain, L-infinity, RMS and visibility; that the attacked image satisfies
    the constraint and the floor; that both images and their scores are in the log, which has as
    many rows as reported queries, within the budget, and none that is better; that directions
    follow from the clean scores, and opinion scores from their table, if that exists; that the log
    is complete and unchanged; and results.csv and summary.json, the latter without the intervals.
    JOD and FLIP are measured again if their packages are installed.

    scorer: None for only the checks that need no model. tolerance: of scores, as a fraction of the
    score range, at most 0.1, for models whose scores depend on the batch; here each image is scored
    alone. retry: of transient failures. accept_changed_model: note changed files of the model,
    rather than report a difference. only: names of the images to score again; None for all.
    ceiling: limits what is sent; CeilingReached before anything is sent if it is too low for all
    scores. progress: called with (images checked, images).

    Raises RunError if the model is not the run's, nothing is finished, or the log is missing.
    """
    changed = None if scorer is None else run.changed_file(scorer)
    if not 0.0 <= tolerance <= MOST_TOLERANCE:
        raise InputError(
            f"tolerance {tolerance}: expected 0 to {MOST_TOLERANCE}, as a fraction of the score "
            "range"
        )
    run.refuse_lost()
    results, pending = run.state()
    done = results.done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet, nothing to verify")
    differences: list[Difference] = []
    notes = list(run.record.accepted)
    if changed is not None:
        what = f"{changed} has changed since the run began"
        if accept_changed_model:
            notes.append(what)
        else:
            differences.append(Difference("model", what, False))
    seen = _Seen(run, Meter(Viewing.of()))
    if ceiling is not None and ceiling.left < 2 * len(done):  # clean and attacked
        raise ceiling.reached()
    pool = None if scorer is None else InProcess(scorer, batch=1, retry=retry, ceiling=ceiling)
    with run.open_log() as log, closing(pool) if pool is not None else nullcontext():
        try:
            before = run.before_change(log)
        except RunError as error:
            what = str(error).removeprefix(f"{run.folder}: ")
            differences.append(Difference("run.toml", what, False))
            before = {}
        asked = None if scorer is None or pool is None else _Asked(scorer, pool, tolerance, before)
        for number, result in enumerate(done, start=1):
            again = asked if only is None or result.image in only else None
            found = _check(run, again, log, result, seen)
            differences += [Difference(result.image, what) for what in found]
            progress(number, len(done))
        differences += _check_log(run, log, results)
        differences += _check_directions(run, log, done, notes)
        notes += _not_checked(run, log, before)
        differences += _check_choice(run, log, results)
    differences += _check_mos(run, done, notes)
    differences += _check_csv(run, results, complete=pending == 0)
    if pending == 0:
        differences += _check_summary(run, results, seen, notes)
    differences += _check_rescored(run, notes)
    notes += seen.notes()
    failed = len(results) - len(done)
    scored = None if asked is None else asked.scored
    return VerifyResult(
        len(done), failed, pending, tuple(differences), tuple(notes), scored, tolerance
    )


@dataclass
class _Asked:
    """A model that is queried again. before: queries of each image that an earlier model answered;
    scored: number of repeated scores, each counted once.
    """

    scorer: Scorer
    pool: ScorePool
    tolerance: float
    before: Mapping[str, int]
    scored: int = 0


class _Seen:
    """JOD and FLIP as the run reports them, and as measured here.

    They are not in the log: results.csv has them, summary.json their means, and visibility.json the
    measurements.
    """

    def __init__(self, run: Run, meter: Meter) -> None:
        self.unchecked: dict[str, str] = {}  # other things, and why
        self._meter = meter
        self._kept = Measurements.parse(run.home).of(meter.viewing)
        self._table: dict[str, dict[str, float]] = {}
        with suppress(RunError):  # reported elsewhere
            table = {
                row["image"]: {name: _number_of(row[name]) for name in SEEN if row.get(name)}
                for row in each_csv_row(run.home / TABLE)
                if any(row.get(name) for name in SEEN)
            }
            self._table = table

    def check(self, result: Result, clean: Tensor, attacked: Tensor) -> Iterator[str]:
        """Measure a pair for which something was reported, and compare."""
        table = self._table.get(result.image, {})
        kept = None if self._kept is None else self._kept.images.get(result.image)
        if not table and kept is None:
            return
        for name, value in self._meter.values(clean, attacked).items():
            if getattr(self._meter, name) is None:
                continue
            for where, there in ((TABLE, table.get(name)), (VISIBILITY, getattr(kept, name, None))):
                if there is not None and not _close(name, there, value):
                    yield f"{name} is {value!r}, {there!r} in {where}"

    def reported(self, results: Results) -> tuple[Results, Visibility | None]:
        """Results from results.csv, and the reported viewing conditions."""
        if not self._table:
            return results, None
        known = ((k, self._table.get(image)) for k, image in enumerate(results.images))
        joined = results.with_reals({k: found for k, found in known if found is not None})
        at = self._meter.viewing
        return joined, Visibility(
            display=at.display,
            distance=at.distance,
            pixels_per_degree=at.pixels_per_degree,
            versions={},
        )

    def notes(self) -> Iterator[str]:
        """Why reported values are not checked."""
        if self._meter.missing is not None and self._table:
            yield f"{UNSEEN}: {self._meter.missing}"
        for what, why in self.unchecked.items():
            yield f"{what} is not checked: {why}"


def reported(run: Run, results: Results) -> Results:
    """Results with JOD and FLIP from visibility.json, or else results.csv, whoever wrote these;
    nothing is measured.
    """
    seen = _Seen(run, Meter(Viewing.of()))
    kept = Measurements.parse(run.home).of(Viewing.of())
    if kept is None:
        return seen.reported(results)[0]
    known = ((k, kept.images.get(image)) for k, image in enumerate(results.images))
    return results.with_reals(
        {k: {"jod": found.jod, "flip": found.flip} for k, found in known if found is not None}
    )


def _number_of(text: str) -> float:
    """The number in a cell; NaN, which is never a valid value, for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _close(name: str, there: float, value: float | None) -> bool:
    return value is not None and abs(there - value) <= SEEN_TOLERANCE[name]


def _check_log(run: Run, log: QueryLog, results: Results) -> Iterator[Difference]:
    """Check that the log is complete: images without a result, and its end."""
    budget, number, failed = run.settings.queries, 0, results.failed
    for image in log.images():
        there = number < len(results) and results.images[number] == image
        done = there and not failed[number]
        number += there
        late = [number + 1 for number in log.early(image) if number >= budget]
        if late:
            yield Difference(
                image, f"has query {late[0]} in the log, beyond the budget of {budget}"
            )
        if done:
            continue
        fault = log.fault(image)
        if fault is not None:
            yield Difference(image, fault.what)
            continue
        rows = log.rows(image)
        if len(rows) > budget:
            yield Difference(
                image, f"{len(rows)} queries in the log, beyond the budget of {budget}"
            )
        elif there and len(rows) == budget and math.isfinite(rows["score"][0]):
            yield Difference(image, f"failed, but the log has all its {budget} queries")
    if run.settings.budget_total is not None:
        yield from _check_total(run.settings.budget_total, log, results)
    wrong = misfit(log, End.read(run.home / LOG))
    if wrong is not None:
        yield Difference(LOG, wrong, False)


def _check_total(total: int, log: QueryLog, results: Results) -> Iterator[Difference]:
    """Check that a budget for all images was kept, and the order of its queries."""
    asked = sum(map(log.queries, log.images()))
    if asked > total:
        yield Difference(LOG, f"has {asked} queries, beyond the budget of {total} for all", False)
    if len(results) == log.count() and log.kept(ORDER) is None:
        yield Difference(
            LOG, f"has no {ORDER}, which determines the ranking at smaller budgets", False
        )


def _check_directions(
    run: Run, log: QueryLog, done: Results, notes: list[str]
) -> Iterator[Difference]:
    """Check the direction of each image. With `rank`, directions depend on which images could be
    scored by then: if images failed before, or may have, a difference is only noted.
    """
    clean = {image: log.clean_score(image) for image in log.images()}
    known = {n: s for n, s in clean.items() if s is not None and math.isfinite(s)}
    objective = parse_objective(run.settings.objective)
    targets = objective.targets(list(known.values()), run.model.score_range, run.model.lower_better)
    expected = {name: target.direction for name, target in zip(known, targets, strict=True)}
    if run.settings.shard is not None and objective.of_set:
        expected = {}
        notes.append(
            "directions follow from the clean scores of all shards, and can be checked once these "
            "are merged"
        )
    there = log.directions()
    reported = {result.image: result.direction for result in done}
    for image, way in reported.items():
        if there.get(image) != way:
            yield Difference(image, f"direction {way} reported, {there.get(image)} in the log")
    wrong = {n: way for n, way in there.items() if n in expected and way != expected[n]}
    unsure = log.kept(REPAIRED) is not None or not run.record.digests
    if wrong and unsure and objective.of_set:
        notes.append(
            f"{len(wrong)} images, such as {next(iter(wrong))}, do not have the direction that "
            "follows from all clean scores, perhaps because images failed at first"
        )
        return
    for image, way in wrong.items():
        yield Difference(image, f"direction is {expected[image]}, reported {way}")


def _check_choice(run: Run, log: QueryLog, results: Results) -> Iterator[Difference]:
    """Check that the best choice for a set objective was saved."""
    try:
        better = better_choice(log, run.record, results)
    except RunError as error:
        better = str(error)
    if better is not None:
        yield Difference("ranking", better, False)


def _check_mos(run: Run, done: Sequence[Result], notes: list[str]) -> Iterator[Difference]:
    """Check opinion scores against their table, if that still exists."""
    scored = [result for result in done if result.mos is not None]
    path = run.mos_table
    if path is None:
        if scored:
            where = "came with the images" if run.settings.mos is None else "have no table here"
            notes.append(f"opinion scores {where}, and were not checked")
        return
    try:
        table = read_mos(path, run.settings.mos_columns)
    except InputError as error:
        notes.append(f"opinion scores were not checked: {error}")
        return
    if table.lower_better != run.settings.mos_lower_better:
        what = f"lower is better: {table.lower_better} in {path}"
        yield Difference(
            "run.toml", f"{what}, {run.settings.mos_lower_better} reported", of_image=False
        )
    for result in done:
        found = table.find(ImageEntry(result.image, Path(result.path)))
        mos = None if found is None else table[found]
        if mos != result.mos:
            yield Difference(result.image, f"mos is {mos!r} in {path}, reported {result.mos!r}")


def _not_checked(run: Run, log: QueryLog, before: Mapping[str, int]) -> Iterator[str]:
    """What the verification leaves open."""
    if not log.has_digests:
        yield (
            "the log, or its beginning, was written by a version without digests: changes to it "
            "are detected only if they contradict the results"
        )
    elif End.read(run.home / LOG) is None:
        yield "log.end is missing: queries may have been removed from the log's end"
    if before:
        yield (
            f"scores of {len(before)} images come, in whole or in part, from the model before it "
            "was changed; these were not repeated"
        )


def _check(
    run: Run, asked: _Asked | None, log: QueryLog, result: Result, seen: _Seen
) -> Iterator[str]:
    settings = run.settings
    if not result.path:
        yield "the run does not record the path of its clean image"
        return
    png = run.images / result.png_name
    try:
        refuse_links(run.images, png)
        clean = run.read_clean(result.path)
        adversarial = read_image(png).pixels
    except (InputError, RunError) as error:
        yield str(error)
        return
    if clean.shape != adversarial.shape or clean.shape[1:] != (result.height, result.width):
        sizes = [f"{i.shape[2]}×{i.shape[1]}" for i in (clean, adversarial)]
        reported = f"{result.width}×{result.height}"
        yield f"is {sizes[0]} clean and {sizes[1]} attacked, reported {reported}"
        return
    if not result.is_of(clean):
        yield f"the clean image's SHA-256 is {pixels_sha256(clean)}, reported {result.sha256}"
    fault = log.fault(result.image)
    rows = None if fault is not None else log.rows(result.image)
    if asked is not None:
        yield from _check_scores(asked, rows, result, clean, adversarial)
    yield from _check_gain(run, result)
    if result.attack != (label := settings.label):
        yield f"attack is {label}, reported {result.attack}"
    yield from _check_allowed(run, result, clean, adversarial, seen)
    yield from _check_pixels(result, clean, adversarial)
    yield from seen.check(result, clean, adversarial)
    if fault is not None or rows is None:
        yield fault.what if fault is not None else "has no rows in the log"
        return
    yield from _check_rows(run, rows, result, clean, adversarial)


def _check_rows(
    run: Run, rows: Rows, result: Result, clean: Tensor, adversarial: Tensor
) -> Iterator[str]:
    """Check a result against the rows of its image."""
    yield from miscounted(result, rows, run.record)
    # If an image was scored several times, to check the model, the first score counts.
    logged = {int(row["hash"]): float(row["score"]) for row in reversed(rows)}
    for which, image, score in (
        ("clean", clean, result.score_clean),
        ("attacked", adversarial, result.score_adv),
    ):
        if image_hash(image) not in logged:
            yield f"the {which} image {NOT_LOGGED}"
        elif logged[image_hash(image)] != score:
            yield f"{which} score {score} reported, {logged[image_hash(image)]} in the log"
    if len(rows) and int(rows["hash"][0]) != image_hash(clean):
        yield "the first query of the log is not the clean image"
    for number, name in result.stages:
        if not 1 <= number <= len(rows) + 1:
            yield f"stage {name} begins at query {number}, of {len(rows)} in the log"
    if [number for number, _ in result.stages] != sorted(number for number, _ in result.stages):
        yield "its stages are out of order"
    wrong = misreported(result, rows, run.record)
    if wrong is not None:
        yield wrong


def _check_scores(
    asked: _Asked, rows: Rows | None, result: Result, clean: Tensor, adversarial: Tensor
) -> Iterator[str]:
    scorer, pool, tolerance = asked.scorer, asked.pool, asked.tolerance
    low, high = scorer.score_range
    earlier = asked.before.get(result.image, 0)
    # One by one: some models accept no more.
    reported = (result.score_clean, result.score_adv)
    for index, (which, image, there) in enumerate(
        zip(("clean", "attacked"), (clean, adversarial), reported, strict=True)
    ):
        if _row_of(rows, image) < earlier:
            continue  # that score is from another model
        asked.scored += 1
        (score,) = scores_of(pool, image)
        if there is None or not abs(score - there) <= tolerance * (high - low):
            yield f"{which} score is {score!r}, reported {there!r}"
            (again,) = scores_of(pool, image)
            if again != score:
                yield (
                    f"{which} score is {again!r} when queried again: the model is stochastic, and "
                    "the best of many scores is optimistically biased"
                )
            elif scores_of(pool, clean, adversarial)[index] != score:
                yield (
                    f"{which} score depends on the rest of the batch, and is {score!r} alone; "
                    "attack again, as 'iqattack attack --batch 1' does"
                )


def _row_of(rows: Rows | None, image: Tensor) -> float:
    """The number of the query that scored an image first; infinite if there is none."""
    if rows is None:
        return math.inf
    found = np.flatnonzero(rows["hash"] == np.uint64(image_hash(image)))
    return float(found[0]) if len(found) else math.inf


def _check_gain(run: Run, result: Result) -> Iterator[str]:
    clean, attacked = result.score_clean, result.score_adv
    if result.direction is None or clean is None or attacked is None or result.gain is None:
        return
    ends = run.model.score_range, run.model.lower_better
    gain = towards_end(result.direction, clean, *ends).gain(attacked)
    if gain != result.gain:
        yield f"gain is {gain!r}, reported {result.gain!r}"


def scores_of(pool: ScorePool, *images: Tensor) -> list[float]:
    """Scores of images of equal size, in one call; raises the error of a query that the pool has
    given up."""
    requests = [Request(str(k), 0, image) for k, image in enumerate(images)]
    pool.submit(requests)
    found: dict[str, float] = {}
    while pool.pending:
        for reply in pool.wait():
            if reply.score is not None:
                found[reply.request.name] = reply.score
            elif reply.final and reply.error is not None:
                pool.forget()
                raise reply.error
    return [found[request.name] for request in requests]


def _check_allowed(
    run: Run, result: Result, clean: Tensor, adversarial: Tensor, seen: _Seen
) -> Iterator[str]:
    """Check the attacked image against constraint and floor.

    A scale that the constraint found for an image is computed again, if its package is installed;
    it may differ slightly between machines.
    """
    constraint = parse_constraint(run.settings.constraint)
    grey, candidate = clean.float(), adversarial[None].float()
    if result.scale is not None and not is_scale(result.scale):
        yield f"scale is {result.scale}, which is impossible"
        return
    try:
        region = constraint.knowing(result.scale).around(clean)
        if not torch.equal(region.project(candidate).round(), candidate):
            yield f"leaves the constraint {constraint.spec}"
        if result.scale is not None:
            found = constraint.around(clean).found
            if found is None or abs(found - result.scale) > CLOSE * result.scale:
                yield f"scale is {found}, reported {result.scale}"
    except InputError as error:
        seen.unchecked[f"constraint {constraint.spec}"] = str(error)
    if run.settings.floor is not None:
        floor = parse_floor(run.settings.floor).loosened()
        try:
            if not torch.equal(floor.enforce(grey, candidate), candidate):
                yield f"lies below the floor {run.settings.floor}"
        except InputError as error:
            seen.unchecked[f"floor {run.settings.floor}"] = str(error)


def _check_pixels(result: Result, clean: Tensor, adversarial: Tensor) -> Iterator[str]:
    for name, value, there in (
        ("linf", float(linf(clean, adversarial)), result.linf),
        ("rms", float(rms(clean, adversarial)), result.rms),
    ):
        if value != there:
            yield f"{name} is {value!r} grey levels, reported {there!r}"
    for name, value in visibility(clean, adversarial).items():
        there = getattr(result, name)
        if name == "ms_ssim" and there is None and result.sha256 is None:
            continue  # a run of a version that did not record it
        if not same(there, value):
            yield f"{name} is {value!r}, reported {there!r}"


def _check_csv(run: Run, results: Results, *, complete: bool) -> Iterator[Difference]:
    """Check results.csv against the log; rows of images that finished later may be missing."""
    path = run.home / TABLE
    numbers, failed, rows = results.numbers(), results.failed, Counter[str]()
    wrong: dict[str, list[Difference]] = {}  # for an image with several rows, of the last one
    try:
        for row in each_csv_row(path):
            image = row["image"]
            rows[image] += 1
            number = numbers.get(image)
            if number is None or failed[number]:
                continue
            found = list(_differing_cells(path, results[number], row))
            if found or rows[image] > 1:
                wrong[image] = found
    except RunError as error:
        yield Difference(TABLE, str(error), of_image=False)
        return
    for image, count in rows.items():
        if count > 1:
            yield Difference(image, f"has {count} rows in {path.name}, expected one")
    for image in results.images:
        if image in rows:
            yield from wrong.get(image, ())
        elif complete:
            yield Difference(image, f"no row in {path}; {REWRITE}")
    for image in rows:
        if image not in numbers:
            yield Difference(image, f"has a row in {path.name}, but no result in the log")


def _differing_cells(path: Path, result: Result, row: dict[str, str]) -> Iterator[Difference]:
    for column, expected in result.cells().items():
        if (column in NEWER and column not in row) or column in SEEN:
            continue
        if row.get(column) != expected:
            what = f"{column} is {row.get(column)} in {path.name}, {expected} in the log"
            yield Difference(result.image, what)


def _fresh_of(
    run: Run, results: Results, there: Mapping[str, object], notes: list[str]
) -> Rescoring | None:
    """The evaluation of fresh scores expected in summary.json: that of the log, unless later scores
    were added.
    """
    found = run.rescoring(results, intervals=False)
    reported = there.get("rescored.queries")
    if found is None or reported == found.queries:
        return found
    if reported is not None:
        notes.append(f"fresh scores in {SUMMARY} were not checked: the log has later ones")
    return None


def _check_rescored(run: Run, notes: list[str]) -> Iterator[Difference]:
    """Check fresh scores against their pictures, and rescored.csv against the log."""
    results = run.state()[0]
    with run.open_log() as log:
        if not log.keeps_any(KEPT):
            return
        for result in results.done:
            try:
                scores, scored = Scores.read(log, result.image), Scored.read(result, log)
            except RunError as error:
                yield Difference(result.image, str(error).removeprefix(f"{result.image}: "))
                return
            if scores is not None and (scored is None or not scores.are_of(scored)):
                yield Difference(result.image, "its fresh scores belong to other pictures")
        rows = list(each_rescored(log, iter(results.done), run.model))
    notes.append(NOT_REPEATED)
    path = run.home / RESCORED
    if not path.exists():
        return
    try:
        same_text = read_text(path) == "".join(csv_of(Rescored, rows, "bias"))
    except (OSError, ValueError) as error:
        yield Difference(RESCORED, f"cannot be read ({error}); delete it", of_image=False)
        return
    if not same_text:
        yield Difference(
            RESCORED,
            "differs from the log; delete it: 'iqattack rescore' writes it again",
            of_image=False,
        )


def _check_summary(
    run: Run, results: Results, seen: _Seen, notes: list[str]
) -> Iterator[Difference]:
    """Check summary.json against the results, if it exists."""
    path = run.home / SUMMARY
    if not path.exists():
        return
    try:
        there = dict(_leaves(read_json(read_text(path))))
    except (OSError, ValueError, RecursionError) as error:
        yield Difference(SUMMARY, f"cannot be read ({error}); {REWRITE}", of_image=False)
        return
    try:
        results, visibility_ = seen.reported(results)
        computed = summarise(
            run.record,
            results,
            0,
            check=run.check,
            nonfinite=run.nonfinite,
            intervals=False,
            visibility=visibility_,
            ranking=run.ranking(results),
            rescored=_fresh_of(run, results, there, notes),
        )
    except RunError as error:
        yield Difference(SUMMARY, f"cannot be checked: {error}", of_image=False)
        return
    for name, value in _leaves(read_json(computed.model_dump_json(exclude=WORDS))):
        if name in NEWER and name not in there:
            continue
        if not same(there.get(name), value):
            what = f"{name} is {there.get(name)!r}, computed {value!r}"
            yield Difference(SUMMARY, what, of_image=False)


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}.{number}")
    else:
        yield name, value
