"""Whether what a run reports is true of the files that it left."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from iqattack.constraints import Constraint, Floor, parse_constraint, parse_floor
from iqattack.engine import QueryLog, image_hash
from iqattack.errors import InputError, RunError
from iqattack.images import pixels_sha256, read_image
from iqattack.models import Scorer
from iqattack.objectives import towards_end
from iqattack.perception import linf, rms
from iqattack.runs.results import REWRITE, Result, read_csv
from iqattack.runs.run import Run
from iqattack.runs.settings import ModelRecord
from iqattack.runs.summary import summarise
from iqattack.scoring import DEFAULT_RETRY, InProcess, Request, Retry, ScorePool

# What results.csv and summary.json of a run of before do not have.
NEWER = ("queries", "attempts", "findings", "constant", "check")


@dataclass(frozen=True)
class Difference:
    """Something that is not as reported, in one line."""

    image: str
    what: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what}"


@dataclass(frozen=True)
class VerifyResult:
    """checked: images looked at; failed, pending: images of the run that have no result."""

    checked: int
    failed: int
    pending: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as reported."""
        return not self.differences


def verify(
    run: Run,
    scorer: Scorer,
    *,
    tolerance: float = 1e-6,
    retry: Retry = DEFAULT_RETRY,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> VerifyResult:
    """Read every saved PNG and its clean image again, score both, and compare with the run.

    Checked are: both scores; gain, L-infinity and RMS; that the attacked image satisfies the
    constraint and the floor; that both images and their scores are in the log, which has as many
    rows as queries were reported, within the budget; and results.csv and summary.json, the latter
    but for the intervals.

    tolerance: by how much scores may differ, as a fraction of the score range, for models whose
        scores depend on the batch; here each image is scored alone.
    retry: of failures that may pass. progress: is notified of (images checked, images).

    Raises RunError when the model is another one than the run's, or nothing is finished.
    """
    model = ModelRecord.of(scorer)
    for name in ("name", "score_range", "lower_better"):
        there, here = getattr(run.model, name), getattr(model, name)
        if there != here:
            raise RunError(
                f"{run.folder}: its model's {name} is {there}, not {here}; give that one"
            )
    if not tolerance >= 0.0:
        raise InputError(f"tolerance {tolerance}: expected 0 or more, of the score range")
    results, pending = run.state()
    done = [result for result in results if not result.failed]
    if not done:
        raise RunError(f"{run.folder}: no image is finished yet, nothing to verify")
    differences: list[Difference] = []
    changed = run.model.changed(model) if model.hashes and run.model.hashes else None
    if changed is not None:
        differences.append(Difference("model", f"{changed} has changed since the run began"))
    pool = InProcess(scorer, batch=1, retry=retry)
    with run.open_log() as log, closing(pool):
        for number, result in enumerate(done, start=1):
            found = _check(run, scorer, pool, log, result, tolerance)
            differences += [Difference(result.image, what) for what in found]
            progress(number, len(done))
    differences += _check_csv(run, results, complete=pending == 0)
    if pending == 0:
        differences += _check_summary(run, results)
    return VerifyResult(len(done), len(results) - len(done), pending, tuple(differences))


def _check(
    run: Run, scorer: Scorer, pool: ScorePool, log: QueryLog, result: Result, tolerance: float
) -> Iterator[str]:
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
    yield from _check_scores(scorer, pool, result, clean, adversarial, tolerance)
    floor = None if settings.floor is None else parse_floor(settings.floor)
    yield from _check_pixels(
        parse_constraint(settings.constraint), floor, result, clean, adversarial
    )
    rows = log.rows(result.image)
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


def _check_scores(
    scorer: Scorer,
    pool: ScorePool,
    result: Result,
    clean: Tensor,
    adversarial: Tensor,
    tolerance: float,
) -> Iterator[str]:
    low, high = scorer.score_range
    # One by one: some models take no more.
    reported = (result.score_clean, result.score_adv)
    for index, (which, image, there) in enumerate(
        zip(("clean", "attacked"), (clean, adversarial), reported, strict=True)
    ):
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
                    "attack with --batch 1"
                )
    if result.direction is not None and None not in (*reported, result.gain):
        target = towards_end(
            result.direction, float(reported[0] or 0.0), (low, high), scorer.lower_better
        )
        gain = target.gain(float(reported[1] or 0.0))
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
                yield Difference(result.image, f"no row in {path}; write it again with --resume")
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
    for name, value in _leaves(json.loads(computed.model_dump_json(exclude={"session"}))):
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
