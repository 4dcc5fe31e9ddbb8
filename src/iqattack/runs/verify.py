"""Whether what a run reports is true of the files that it left."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iqattack.constraints import Constraint, Floor, parse_constraint, parse_floor
from iqattack.engine import QueryLog, image_hash
from iqattack.engine.log import End, Rows
from iqattack.errors import InputError, RunError
from iqattack.images import pixels_sha256, read_image
from iqattack.models import Scorer
from iqattack.objectives import towards_end
from iqattack.perception import linf, rms
from iqattack.runs.results import REWRITE, Result, read_csv
from iqattack.runs.run import LOG, Run
from iqattack.runs.settings import ModelRecord
from iqattack.runs.summary import summarise
from iqattack.scoring import DEFAULT_RETRY, InProcess, Request, Retry, ScorePool

# What results.csv and summary.json of a run of before do not have.
NEWER = ("queries", "attempts", "findings", "constant", "check", "changes")
# Of summary.json, what is not checked: it follows from numbers that are, and its words change.
WORDS = {"session", "verdict", "findings", "spread"}


@dataclass(frozen=True)
class Difference:
    """Something that is not as reported, in one line."""

    image: str
    what: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what}"


@dataclass(frozen=True)
class VerifyResult:
    """checked: images looked at; failed, pending: images of the run that have no result.

    notes: what could not be checked, and why.
    """

    checked: int
    failed: int
    pending: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as reported."""
        return not self.differences


def verify(
    run: Run,
    scorer: Scorer | None,
    *,
    tolerance: float = 1e-6,
    retry: Retry = DEFAULT_RETRY,
    accept_changed_model: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> VerifyResult:
    """Read every saved PNG and its clean image again, score both, and compare with the run.

    Checked are: both scores; gain, L-infinity and RMS; that the attacked image satisfies the
    constraint and the floor; that both images and their scores are in the log, which has as many
    rows as queries were reported, within the budget, and none that is better; that the log is whole
    and as it was written; and results.csv and summary.json, the latter but for the intervals.

    scorer: None for all checks that need no model.
    tolerance: by how much scores may differ, as a fraction of the score range, for models whose
        scores depend on the batch; here each image is scored alone.
    retry: of failures that may pass. accept_changed_model: other contents of its files are noted,
        and are no difference. progress: is notified of (images checked, images).

    Raises RunError when the model is another one than the run's, nothing is finished, or the log is
    gone.
    """
    changed = None if scorer is None else _changed_file(run, scorer)
    if not tolerance >= 0.0:
        raise InputError(f"tolerance {tolerance}: expected 0 or more, of the score range")
    _refuse_lost(run)
    results, pending = run.state()
    done = [result for result in results if not result.failed]
    if not done:
        raise RunError(f"{run.folder}: no image is finished yet, nothing to verify")
    differences: list[Difference] = []
    notes = [change.told for change in run.record.changes]
    if changed is not None:
        what = f"{changed} has changed since the run began"
        if accept_changed_model:
            notes.append(what)
        else:
            differences.append(Difference("model", what))
    pool = None if scorer is None else InProcess(scorer, batch=1, retry=retry)
    with run.open_log() as log, closing(pool) if pool is not None else nullcontext():
        before = run.before_change(log)
        asked = None if scorer is None or pool is None else _Asked(scorer, pool, tolerance, before)
        for number, result in enumerate(done, start=1):
            found = _check(run, asked, log, result)
            differences += [Difference(result.image, what) for what in found]
            progress(number, len(done))
        differences += _check_log(run, log, [result.image for result in done])
        notes += _not_checked(run, log, before)
    differences += _check_csv(run, results, complete=pending == 0)
    if pending == 0:
        differences += _check_summary(run, results)
    failed = len(results) - len(done)
    return VerifyResult(len(done), failed, pending, tuple(differences), tuple(notes))


@dataclass(frozen=True)
class _Asked:
    """A model that is asked again. before: queries of each image that were of another one."""

    scorer: Scorer
    pool: ScorePool
    tolerance: float
    before: Mapping[str, int]


def _changed_file(run: Run, scorer: Scorer) -> str | None:
    """A file of the model that has changed; RunError for another model than the run's."""
    model = ModelRecord.of(scorer)
    for name in ("name", "score_range", "lower_better"):
        there, here = getattr(run.model, name), getattr(model, name)
        if there != here:
            raise RunError(
                f"{run.folder}: its model's {name} is {there}, not {here}; give that one"
            )
    return run.model.changed(model) if model.hashes and run.model.hashes else None


def _refuse_lost(run: Run) -> None:
    """RunError where there is no log at all, and there was one."""
    path = run.folder / LOG
    if path.is_file() and path.stat().st_size:
        return
    end = End.read(path)
    if (end is not None and end.queries) or read_csv(run.folder / "results.csv"):
        had = f", which had {end.queries:,} queries" if end is not None else ""
        raise RunError(
            f"{run.folder}: its {LOG}{had}, is gone or empty: nothing can be verified; put back a "
            "copy of it"
        )


def _check_log(run: Run, log: QueryLog, done: Sequence[str]) -> Iterator[Difference]:
    """That the log is whole: images without a result here, and where it ends."""
    for image in log.images():
        fault = None if image in done else log.fault(image)
        if fault is not None:
            yield Difference(image, fault.what)
    there, here = End.read(run.folder / LOG), log.end()
    if there is None:
        return
    if here.queries < there.queries:
        what = f"has {here.queries:,} queries, it had {there.queries:,}"
        yield Difference(LOG, f"{what}: the others were lost or taken out")
    elif here.queries == there.queries and log.has_digests and here != there:
        yield Difference(LOG, "was changed after it was written: it does not fit log.end")


def _not_checked(run: Run, log: QueryLog, before: Mapping[str, int]) -> Iterator[str]:
    """What an honest verdict has to leave open."""
    if not log.has_digests:
        yield (
            "the log, or its beginning, is of a version that kept no digests: changes to it are "
            "seen only where they contradict the results"
        )
    elif End.read(run.folder / LOG) is None:
        yield "log.end is not there: whether queries were taken out of the log's end is not known"
    if before:
        yield (
            f"scores of {len(before)} images were given, in whole or in part, by the model as it "
            "was before it was changed; those are not asked again"
        )


def _check(run: Run, asked: _Asked | None, log: QueryLog, result: Result) -> Iterator[str]:
    settings = run.settings
    try:
        clean = run.read_clean(result.path)
        adversarial = read_image(run.images / result.png_name).pixels
    except InputError as error:
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
    floor = None if settings.floor is None else parse_floor(settings.floor)
    yield from _check_pixels(
        parse_constraint(settings.constraint), floor, result, clean, adversarial
    )
    if fault is not None or rows is None:
        yield fault.what if fault is not None else "has no rows in the log"
        return
    if len(rows) != result.queries:
        yield f"{len(rows)} queries in the log, reported {result.queries}"
    if len(rows) > settings.queries:
        yield f"{len(rows)} queries in the log, more than the budget of {settings.queries}"
    # Of an image that was scored several times, to check the model, the first score counts.
    logged = {int(row["hash"]): float(row["score"]) for row in reversed(rows)}
    for which, image, score in (
        ("clean", clean, result.score_clean),
        ("attacked", adversarial, result.score_adv),
    ):
        if image_hash(image) not in logged:
            yield f"the {which} image is not among those that the log has as scored"
        elif logged[image_hash(image)] != score:
            yield f"{which} score {score} reported, {logged[image_hash(image)]} in the log"
    if len(rows) and int(rows["hash"][0]) != image_hash(clean):
        yield "the first query of the log is not the clean image"
    yield from _check_best(run, result, rows)


def _check_best(run: Run, result: Result, rows: Rows) -> Iterator[str]:
    """That the log has no better score than the one that is reported."""
    if not len(rows) or result.direction is None or result.gain is None:
        return
    ends = run.model.score_range, run.model.lower_better
    target = towards_end(result.direction, float(rows["score"][0]), *ends)
    # An image counts as it was scored first.
    _, first = np.unique(rows["hash"], return_index=True)
    boundary = ":" in run.settings.objective  # of those that cross it, the least different is kept
    gains = {int(k): target.gain(float(rows["score"][k])) for k in sorted(first)}
    best = max((k for k in gains if math.isfinite(gains[k])), key=gains.__getitem__, default=0)
    if not boundary and gains[best] > max(result.gain, 0.0):
        yield (
            f"query {best + 1} of the log has the better score {float(rows['score'][best])!r}, a "
            f"gain of {gains[best]!r}, reported {result.gain!r}"
        )


def _check_scores(
    asked: _Asked, rows: Rows | None, result: Result, clean: Tensor, adversarial: Tensor
) -> Iterator[str]:
    scorer, pool, tolerance = asked.scorer, asked.pool, asked.tolerance
    low, high = scorer.score_range
    earlier = asked.before.get(result.image, 0)
    # One by one: some models take no more.
    reported = (result.score_clean, result.score_adv)
    for index, (which, image, there) in enumerate(
        zip(("clean", "attacked"), (clean, adversarial), reported, strict=True)
    ):
        if _row_of(rows, image) < earlier:
            continue  # another model gave that score
        (score,) = _scores(pool, image)
        if there is None or not abs(score - there) <= tolerance * (high - low):
            yield f"{which} score is {score!r}, reported {there!r}"
            (again,) = _scores(pool, image)
            if again != score:
                yield (
                    f"{which} score is {again!r} when asked again: the model is stochastic, and "
                    "the best of many scores is optimistically biased"
                )
            elif _scores(pool, clean, adversarial)[index] != score:
                yield (
                    f"{which} score depends on the rest of the batch, and is {score!r} alone; "
                    "attack again, as 'iqattack attack --batch 1' does"
                )


def _row_of(rows: Rows | None, image: Tensor) -> float:
    """The number of the query that scored an image first; infinite where the log has none."""
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


def _scores(pool: ScorePool, *images: Tensor) -> list[float]:
    """Scores of images of one size, in one call; raises what the pool has given up on."""
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


def _check_pixels(
    constraint: Constraint, floor: Floor | None, result: Result, clean: Tensor, adversarial: Tensor
) -> Iterator[str]:
    grey, candidate = clean.float(), adversarial[None].float()
    if not torch.equal(constraint.project(grey, candidate).round(), candidate):
        yield f"leaves the constraint {constraint.spec}"
    if floor is not None and not torch.equal(floor.enforce(grey, candidate), candidate):
        yield f"lies under the floor {floor.spec}"
    for name, value, there in (
        ("linf", float(linf(clean, adversarial)), result.linf),
        ("rms", float(rms(clean, adversarial)), result.rms),
    ):
        if value != there:
            yield f"{name} is {value!r} grey levels, reported {there!r}"


def _check_csv(run: Run, results: list[Result], *, complete: bool) -> Iterator[Difference]:
    """results.csv against the log; rows of images that finished after it was written may lack."""
    path = run.folder / "results.csv"
    table = read_csv(path)
    rows = {row["image"]: row for row in table}
    for image, count in Counter(row["image"] for row in table).items():
        if count > 1:
            yield Difference(image, f"has {count} rows in {path.name}, expected one")
    for result in results:
        row = rows.pop(result.image, None)
        if row is None:
            if complete:
                yield Difference(result.image, f"no row in {path}; {REWRITE}")
            continue
        for column, expected in ({} if result.failed else result.cells()).items():
            if column in NEWER and column not in row:
                continue
            if row.get(column) != expected:
                what = f"{column} is {row.get(column)} in {Path(path).name}, {expected} in the log"
                yield Difference(result.image, what)
    for image in rows:
        yield Difference(image, f"has a row in {path.name}, but no result in the log")


def _check_summary(run: Run, results: list[Result]) -> Iterator[Difference]:
    """summary.json against the results, where it is there."""
    path = run.folder / "summary.json"
    if not path.is_file():
        return
    try:
        there = dict(_leaves(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        yield Difference(path.name, f"cannot be read ({error}); {REWRITE}")
        return
    computed = summarise(run.record, results, 0, check=run.check, intervals=False)
    for name, value in _leaves(json.loads(computed.model_dump_json(exclude=WORDS))):
        if name in NEWER and name not in there:
            continue
        if not _same(there.get(name), value):
            yield Difference(path.name, f"{name} is {there.get(name)!r}, computed {value!r}")


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _same(there: object, value: object) -> bool:
    if isinstance(value, float) and isinstance(there, float | int):
        # Another version of a library may differ in the last digits.
        return math.isclose(there, value, rel_tol=1e-6, abs_tol=1e-9)
    return there == value
