"""At which query a detector of similar queries would have blocked a finished attack.

The log of a run has hashes and scores, but no pixels. A search replayed from it generates the same
images again, as on a resume, without querying the model. The detector sees these images in the
order of the queries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.attacks import (
    ATTACKED,
    ATTACKS,
    GIVEN,
    Attack,
    Gradient,
    as_guest,
    load_attack,
    name_of,
    taken_files,
)
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.detection import Detector, DetectorKind, parse_detector
from iqattack.engine import (
    Event,
    Failure,
    Limits,
    Outcome,
    Plan,
    QueryLog,
    Searcher,
    image_hash,
    plan_of,
)
from iqattack.errors import InputError, RunError
from iqattack.evaluation.bootstrap import bootstrap_draws
from iqattack.images import ImageEntry, read_image
from iqattack.imports import split
from iqattack.models import gradient_of, load_model
from iqattack.objectives import WithBoundary, parse_objective, towards_end
from iqattack.plugins import installed, trusted
from iqattack.probing import EACH
from iqattack.runs.best import gains_of
from iqattack.runs.cells import csv_of
from iqattack.runs.checked import Checked
from iqattack.runs.columns import Results
from iqattack.runs.files import write_text
from iqattack.runs.owner import is_own
from iqattack.runs.results import Result
from iqattack.runs.run import Run
from iqattack.runs.settings import file_sha256
from iqattack.runs.summary import Measured, mean_measured
from iqattack.runs.trust import runs_code
from iqattack.scoring import InProcess

PER_IMAGE: Literal["image"] = "image"
Accounts = int | Literal["image"]
MOST_ACCOUNTS = 10**6


class Detected(BaseModel):
    """One image.

    queries: those that the detector saw, beginning with the clean image; repeats of the clean image
    by the check of the model do not belong to the attack, and are left out. first: number of the
    first flagged query, None if none was. flagged: number of flagged queries. gain: as the attack
    reports it; gain_before: the largest gain of a query before the first flagged one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    queries: int
    first: int | None
    flagged: int
    gain: float
    gain_before: float


class Median(BaseModel):
    """A median over images and its 95 % bootstrap interval; None stands for never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int | None
    interval: tuple[int | None, int | None]


class Detection(BaseModel):
    """A detector's findings in a run.

    run: its folder. attack: as in tables. detector: its spec. accounts: number between which
    queries alternate, or `image` for one per image. images: one row each, in the order of the run;
    left_out: number of unfinished images. first: number of the first flagged query; never: share of
    images without one. flagged: share of queries. gain, gain_before: means over images, see
    `Detected`. false_positives: share of clean images that are flagged when the detector sees only
    these, one after the other, in one account.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    attack: str
    detector: str
    accounts: Accounts
    images: tuple[Detected, ...]
    left_out: int
    first: Median
    never: Measured
    flagged: float
    gain: Measured
    gain_before: Measured
    false_positives: float

    def write(self, path: Path) -> None:
        """Write the rows as CSV; InputError if that fails."""
        write_text(path, csv_of(Detected, self.images))


def detect(
    run: Run,
    detector: str = "blacklight",
    *,
    accounts: Accounts = 1,
    attack: Attack | None = None,
    trust: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Detection:
    """Replay the search of each finished image, and show its queries to a detector.

    The clean images come first, as in a survey, then one search after the other. Query k of all,
    counted from 0, belongs to account k mod `accounts`, and each account has its own state; with
    `image`, each image has its own account. attack: replaces the one in the settings. trust: load
    code that the run names, although this user did not begin it. progress: called with (images
    done, images).

    Raises InputError for a detector or accounts that do not exist; RunError for a run that cannot
    be replayed, or whose replay generates images that the log does not have.
    """
    kind = parse_detector(detector)
    if accounts != PER_IMAGE and not (isinstance(accounts, int) and 1 <= accounts <= MOST_ACCOUNTS):
        raise InputError(
            f"accounts {accounts}: expected 1 to {MOST_ACCOUNTS:,}, or {PER_IMAGE} for an account "
            "for each image"
        )
    if run.settings.together:
        raise RunError(
            f"{run.folder}: its images were attacked together ({run.settings.label}), so their "
            "searches cannot be replayed one by one; give a run of an attack on single images"
        )
    results, pending, _ = run.checked_state(pictures=False)
    done = results.done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet; wait, or resume the run")
    replay = Replay(run, _attack_of(run, attack, trust=trust))
    rows: list[Detected] = []
    with run.open_log() as log:
        clean = [_clean_of(run, result) for result in done]
        false = _false_positives(kind, done, clean)
        seen = _Accounts(kind, accounts)
        flags = [[] if accounts == PER_IMAGE else [seen.flags(read())] for read in clean]
        for number, result in enumerate(done):
            progress(number, len(done))
            if accounts == PER_IMAGE:
                seen = _Accounts(kind, 1)
            rows.append(_detected(log, run, replay, result, seen, flags[number]))
        progress(len(done), len(done))
    firsts = [math.inf if row.first is None else row.first for row in rows]
    return Detection(
        run=str(run.folder),
        attack=run.settings.label,
        detector=kind.spec,
        accounts=accounts,
        images=tuple(rows),
        left_out=len(results) - len(done) + pending,
        first=median_of(firsts),
        never=mean_measured([float(math.isinf(first)) for first in firsts]),
        flagged=sum(row.flagged for row in rows) / sum(row.queries for row in rows),
        gain=mean_measured([row.gain for row in rows]),
        gain_before=mean_measured([row.gain_before for row in rows]),
        false_positives=false,
    )


class _Accounts:
    """States of a detector, between which queries alternate."""

    def __init__(self, kind: DetectorKind, accounts: Accounts) -> None:
        self._kind = kind
        self._count = 1 if accounts == PER_IMAGE else accounts
        self._states: dict[int, Detector] = {}
        self._asked = 0

    def flags(self, image: Tensor) -> bool:
        """Whether the next account has sent a similar image before."""
        account = self._asked % self._count
        self._asked += 1
        if account not in self._states:
            self._states[account] = self._kind.open()
        return self._states[account].flags(image)


class Replay:
    """Replays the searches of a run's images from its log."""

    def __init__(self, run: Run, attack: Attack) -> None:
        self._run, self._attack = run, attack
        self._objective = parse_objective(run.settings.objective)

    def __call__(self, log: QueryLog, result: Result, watch: Callable[[int, Tensor], None]) -> None:
        """Replay the search of a finished image.

        watch: called with number and image (3, H, W) uint8 of each query; the clean image is 0.
        RunError if the result differs from the run's.
        """
        for event in self._played(self._plan(log, result), watch):
            if isinstance(event, Failure):
                raise RunError(f"{self._run.folder}: cannot be replayed: {event.reason}")
            if isinstance(event, Outcome):
                self._check(result, event)

    def up_to_failure(self, log: QueryLog, result: Result) -> tuple[int, Tensor] | None:
        """Replay the search of an image that failed up to where it did.

        Number and picture (3, H, W) uint8 of the first query that the log has no score for, the
        clean image being 0, also where its score is not finite; None where there is none: the image
        cannot be read, or the search ends in an error before it asks that.

        RunError where the search asks for other images than the log has, or for fewer.
        """
        name, rows, early = result.image, log.rows(result.image), log.early(result.image)
        where = f"{self._run.folder}: {name}: failed, and"
        convert, resize = self._run.settings.convert, self._run.settings.resize
        try:
            clean = read_image(result.path, convert=convert, resize=resize).pixels
        except InputError as error:
            if not len(rows):
                return None
            what = f"the log has scores of an image that cannot be read: {error}"
            raise RunError(f"{where} {what}") from None
        if not len(rows):
            return 0, clean
        if int(rows["hash"][0]) != image_hash(clean):
            raise RunError(f"{where} the first query of the log is not the clean image")
        if not np.isfinite(rows["score"][0]):
            return 0, clean
        missing = next(k for k in itertools.count(len(rows)) if k not in early)
        asked = 0
        found: list[tuple[int, Tensor]] = []

        def watch(number: int, image: Tensor) -> None:
            nonlocal asked
            asked = max(asked, number + 1)
            if number == missing:
                found.append((number, image.clone()))

        plan = replace(self._plan(log, result), early=early)
        for event in self._played(plan, watch):
            if isinstance(event, Outcome):
                raise RunError(
                    f"{where} its search ends after {event.queries} queries, of which the log has "
                    "every score"
                )
        # Of the last candidates that it asked for, later ones may have had replies.
        logged = max([len(rows), *(number + 1 for number in early)])
        only_clean = not early and bool((rows["hash"] == rows["hash"][0]).all())
        if asked < logged and not only_clean:
            raise RunError(
                f"{where} the log has query {logged} of it, where its search asks for {asked}"
            )
        return found[0] if found else None

    def _played(self, plan: Plan, watch: Callable[[int, Tensor], None]) -> Iterator[Event]:
        settings = self._run.settings
        floor = None if settings.floor is None else parse_floor(settings.floor)
        searcher = Searcher(
            InProcess(_Silent(self._run)),
            Limits(self._run.model.name, 1),
            self._attack,
            parse_constraint(settings.constraint),
            floor=floor,
            seed=settings.seed,
            convert=settings.convert,
            resize=settings.resize,
            watch=watch,
        )
        yield from searcher.search([plan])

    def _plan(self, log: QueryLog, result: Result) -> Plan:
        """The plan of the search as the engine made it, without replies that came early."""
        name, settings, model = result.image, self._run.settings, self._run.model
        rows = log.rows(name)
        direction = log.directions().get(name)
        if direction is None or not len(rows):
            raise RunError(f"{self._run.folder}: {name}: has no queries in the log")
        ends = model.score_range, model.lower_better
        target = towards_end(direction, float(rows["score"][0]), *ends)
        if isinstance(self._objective, WithBoundary):
            target = replace(target, fraction=self._objective.fraction)
        checked = Checked.read(log) if settings.check else None
        of_check = checked is not None and name in checked.images
        plan = plan_of(
            log,
            ImageEntry(name, Path(result.path)),
            target,
            settings.queries,
            reserved=EACH if of_check else 0,
            late=of_check and checked is not None and checked.late,
        )
        return replace(plan, early={})

    def _check(self, result: Result, outcome: Outcome) -> None:
        if (outcome.gain, outcome.queries) != (result.gain, result.queries):
            raise RunError(
                f"{self._run.folder}: {result.image}: the replay gains {outcome.gain!r} with "
                f"{outcome.queries} queries, the run reports {result.gain!r} with "
                f"{result.queries}; the attack or a library has changed since"
            )


class _Silent:
    """Replaces the run's model, which is not queried."""

    def __init__(self, run: Run) -> None:
        self.name = run.model.name
        self.score_range = run.model.score_range
        self.lower_better = run.model.lower_better
        self.min_size = 1

    def __call__(self, images: Tensor) -> Tensor:
        """InputError."""
        raise InputError(
            f"the search generates images that the log does not have ({len(images)}); the image, "
            "the attack or a library has changed since"
        )


def _detected(
    log: QueryLog,
    run: Run,
    replay: Replay,
    result: Result,
    seen: _Accounts,
    flags: list[bool],
) -> Detected:
    """One image. flags: of its clean image, if that was sent before."""
    rows = log.rows(result.image)
    numbers = [0] if flags else list[int]()
    of_clean = int(rows["hash"][0])

    def watch(number: int, image: Tensor) -> None:
        # The clean image may have been sent before; its repeats belong to the check.
        if image_hash(image) == of_clean if number else numbers:
            return
        numbers.append(number)
        flags.append(seen.flags(image))

    replay(log, result, watch)
    first = flags.index(True) if any(flags) else None
    ends = run.model.score_range, run.model.lower_better
    target = towards_end(result.direction or "up", float(rows["score"][0]), *ends)
    before = gains_of(rows, target, run.model)[: None if first is None else numbers[first]]
    finite = before[np.isfinite(before)]
    return Detected(
        image=result.image,
        queries=len(flags),
        first=None if first is None else first + 1,
        flagged=sum(flags),
        gain=result.gain or 0.0,
        gain_before=max(0.0, float(finite.max())) if len(finite) else 0.0,
    )


def _clean_of(run: Run, result: Result) -> Callable[[], Tensor]:
    """Return a function that reads the pixels of a clean image; RunError if they are not those that
    were attacked."""

    def read() -> Tensor:
        pixels = run.read_clean(result.path)
        if not result.is_of(pixels):
            raise RunError(f"{result.path}: is not the image that was attacked; restore it")
        return pixels

    return read


def _false_positives(
    kind: DetectorKind, done: Results, clean: Sequence[Callable[[], Tensor]]
) -> float:
    alone = kind.open()
    return sum(alone.flags(read()) for read in clean) / len(done)


def median_of(values: Sequence[float]) -> Median:
    """The lower median of numbers of queries, of which some may be infinite, and its interval."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    draws = np.sort(ordered[bootstrap_draws(len(ordered))], axis=1)
    medians = np.sort(draws[:, (draws.shape[1] - 1) // 2])
    last = len(medians) - 1
    ends = medians[math.floor(0.025 * last)], medians[math.ceil(0.975 * last)]

    def whole(value: float) -> int | None:
        return int(value) if math.isfinite(value) else None

    low, high = map(whole, ends)
    return Median(value=whole(float(ordered[(len(ordered) - 1) // 2])), interval=(low, high))


# -- the attack -----------------------------------------------------------------------------------


def _attack_of(run: Run, given: Attack | None, *, trust: bool) -> Attack:
    """The attack of a run; RunError if it needs the model, or is somebody else's code."""
    if given is not None:
        return as_guest(given, name_of(given))
    spec, folder = run.settings.attack, run.folder
    name = split(spec)[0]
    if name == GIVEN:
        raise RunError(
            f"{folder}: its attack was given as a Python function; give it again: "
            "iqattack.detect(run, attack=function)"
        )
    point = installed("iqattack.attacks").get(spec.partition(":")[0])
    if name not in ATTACKS and (point is None or not trusted(point)):
        _check_trusted(run, f"attack '{spec}'", trust=trust)
    for option, path in taken_files(spec).items():
        recorded = run.record.files.get(option)
        if recorded is not None and file_sha256(path) != recorded:
            raise RunError(
                f"{path}: has changed since the run, and would replay another search; restore that "
                "file"
            )
    return load_attack(spec, lambda model: _gradients(run, model, trust=trust))


def _gradients(run: Run, spec: str, *, trust: bool) -> Gradient:
    if spec == ATTACKED:
        raise RunError(
            f"{run.folder}: {run.settings.label} uses the model's gradients, which the log does "
            "not have; give a run of a black-box attack"
        )
    if runs_code(spec):
        _check_trusted(run, f"substitute '{spec}'", trust=trust)
    return gradient_of(load_model(spec, score_range=(0.0, 1.0), lower_better=False))


def _check_trusted(run: Run, what: str, *, trust: bool) -> None:
    if not (trust or is_own(run.home / "run.toml")):
        raise RunError(
            f"{run.folder}: its {what} is code, and this user did not begin the run; read it, then "
            "repeat with --trust"
        )
