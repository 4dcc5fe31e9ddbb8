"""The engine: survey, plan, search, and one recorder that writes the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from iqattack.attacks import Attack, SetAttack
from iqattack.constraints import Constraint, Floor
from iqattack.engine.events import (
    Attacked,
    CleanScore,
    Event,
    Events,
    Failure,
    Returned,
)
from iqattack.engine.log import QueryLog
from iqattack.engine.recorder import GIVE_UP, Progress, Recorder
from iqattack.engine.schedule import Finish
from iqattack.engine.searcher import Limits, Plan, Searcher
from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet
from iqattack.models import Scorer
from iqattack.objectives import Objective, SetObjective, Standing, Target, towards_end
from iqattack.scoring import DEFAULT_RETRY, InProcess, Retry, ScorePool


class Searching(Protocol):
    """Where images are scored and attacked: a `Searcher` in this process, or workers."""

    def survey(self, entries: Iterable[ImageEntry]) -> Events:
        """See `Searcher`."""
        ...

    def search(self, plans: Iterable[Plan]) -> Events:
        """See `Searcher`."""
        ...

    def search_set(
        self,
        plans: Sequence[Plan],
        attack: SetAttack,
        *,
        total: int | None = None,
        standing: Standing | None = None,
        tolerant: bool = False,
    ) -> Events:
        """See `Searcher`."""
        ...


class Check(Protocol):
    """A check of the model: it asks about clean images once they have a score.

    reserved: queries of images that are not the search's, whether the check takes them or not.
    late: images whose clean image is scored once more, when their search has ended.
    """

    @property
    def reserved(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def late(self) -> Collection[str]: ...  # noqa: D102

    def before(self) -> Iterable[Event]:
        """What happens before anything else of this session is asked."""
        ...

    def __call__(self, scores: Mapping[str, float]) -> Iterable[Event]:
        """What happens; scores: of the clean images, by name."""
        ...


class Engine:
    """Surveys a set of images, plans, has it searched, and records what happens.

    scorer: the model, of which only range and direction matter here. searching: where images are
    scored and attacked. queries: budget per image, which no path exceeds. note: called with (image
    name, phrase) for the user. progress: called with the state of the run, after every reply.
    check: of the model, between survey and search. whole: clean scores of the set that the images
    are part of, by name, which directions follow from; None if they are the whole set.
    """

    def __init__(
        self,
        scorer: Scorer,
        objective: Objective,
        searching: Searching,
        *,
        queries: int,
        log: QueryLog | None = None,
        note: Callable[[str, str], None] = lambda _image, _phrase: None,
        progress: Callable[[Progress], None] = lambda _state: None,
        check: Check | None = None,
        whole: Mapping[str, float] | None = None,
    ) -> None:
        if queries < 1:
            raise InputError(f"queries {queries}: expected at least 1, for the clean image")
        self._scorer = scorer
        self._objective = objective
        self._searching = searching
        self._queries = queries
        self._log = QueryLog() if log is None else log
        self._note = note
        self._progress = progress
        self._check = check
        self._whole = whole

    @classmethod
    def in_process(
        cls,
        scorer: Scorer,
        attack: Attack,
        constraint: Constraint,
        objective: Objective,
        *,
        queries: int,
        seed: int = 0,
        floor: Floor | None = None,
        convert: bool = False,
        resize: int | None = None,
        batch: int | None = None,
        retry: Retry = DEFAULT_RETRY,
        pool: ScorePool | None = None,
        stop: Callable[[], bool] = lambda: False,
        finish: Finish = lambda outcome: outcome,
        **watching: Any,
    ) -> Engine:
        """An engine that searches in this process.

        batch: images per call; None finds it by timing. retry: of what is transient. pool: replaces
        the model in this process. stop: asked between calls; True ends the run with `Interrupted`.
        The rest as in `Searcher` and `Engine`.
        """
        constraint.check()
        if floor is not None:
            floor.check()
        searcher = Searcher(
            InProcess(scorer, batch=batch, retry=retry) if pool is None else pool,
            Limits.of(scorer),
            attack,
            constraint,
            floor=floor,
            seed=seed,
            convert=convert,
            resize=resize,
            finish=finish,
            stop=stop,
        )
        return cls(scorer, objective, searcher, queries=queries, **watching)

    def run(self, images: ImageSet) -> Iterator[Attacked | Failure]:
        """An outcome, as `finish` makes it, or a failure for each image, as they end.

        Images that the log has a result for are left out, but their clean scores still count in
        the objective. An image of which the model fails to score something is a failure; the
        others go on. Raises InputError when nothing could be scored since the start; RunError when
        the log does not replay, Interrupted when asked to stop.
        """
        recorder = self._recorder(images)
        targets = self._targets((yield from self._surveyed(images, recorder)))
        finished = self._log.finished()
        todo = [entry for entry in images if entry.name in targets and entry.name not in finished]
        late = () if self._check is None else self._check.late
        todo.sort(
            key=lambda entry: entry.name in late
        )  # the last ones are the most informative about changes
        self._begin(recorder, targets, finished, len(images) - len(todo))
        yield from self._recorded(recorder, self._searching.search(self._plans(todo, targets)))

    def survey(self, images: ImageSet) -> Iterator[Failure]:
        """Score all clean images and check the model, and nothing else: a failure for each image
        that has no finite score; errors as in `run`.
        """
        scores = yield from self._surveyed(images, self._recorder(images))
        self._check_range(scores)

    def run_set(
        self,
        images: ImageSet,
        attack: SetAttack,
        *,
        total: int | None = None,
        tolerant: bool = False,
    ) -> tuple[list[Attacked | Failure], Returned]:
        """Outcomes and failures of an attack on all images, and what it returned; errors as in
        `run`. total: queries about all images, which no path exceeds; InputError where it does not
        suffice for the clean ones. tolerant: whether a candidate that the model fails on for good
        counts as one without a finite score, instead of as the failure of its image; with an
        objective of the set it always does.

        An image whose clean image cannot be scored is left out of the set.
        """
        check_set(self._objective, images, total)
        failed = self._log.failures()
        items: list[Attacked | Failure] = []
        recorder = self._recorder(images, total, together=tolerant or total is not None)
        survey = self._surveyed(self._in_set(images, failed), recorder)
        while True:
            try:
                items.append(next(survey))
            except StopIteration as stop:
                targets = self._targets(stop.value)
                break
        todo = [entry for entry in images if entry.name in targets]
        self._begin(recorder, targets, {}, len(images) - len(todo))
        standing = None
        if isinstance(self._objective, SetObjective):
            self._check_named(images, targets)
            names = [entry.name for entry in todo]
            standing = self._objective.standing(names, [targets[name] for name in names])
        if total is not None:  # that a clean image without a finite score took is spent, too
            out = [entry.name for entry in images if entry.name not in targets]
            total = max(total - sum(map(self._log.queries, out)), 0)
        returned = Returned(None)
        with closing(
            self._searching.search_set(
                list(self._plans(todo, targets)),
                attack,
                total=total,
                standing=standing,
                tolerant=tolerant or standing is not None,
            )
        ) as events:
            for event in events:
                recorder.record(event)
                if isinstance(event, Returned):
                    returned = event
                elif isinstance(event, Attacked | Failure):
                    items.append(event)
        return items, returned

    def _check_named(self, images: ImageSet, targets: Mapping[str, Target]) -> None:
        """InputError for an image that the objective names and that has no clean score."""
        named = getattr(self._objective, "named", ())
        lost = [e.name for e in images if e.name in named and e.name not in targets]
        if lost:
            reason = self._log.failures().get(lost[0], "its clean image has no finite score")
            raise InputError(f"objective '{self._objective.name}': {lost[0]}: {reason}")

    def _in_set(self, images: ImageSet, failed: Mapping[str, str]) -> ImageSet:
        """The images that a search is on. Once it has begun, images without a clean score stay out,
        and failed, as it would not replay with them.
        """
        log = self._log
        names = [entry.name for entry in images]
        if not any(log.queries(name) > 1 + len(log.again(name)) for name in names):
            return images
        out = {name for name in names if log.clean_score(name) is None}
        for name in out & failed.keys():
            log.fail(name, failed[name])
        return ImageSet(tuple(entry for entry in images if entry.name not in out))

    def _recorder(
        self, images: ImageSet, total: int | None = None, *, together: bool = False
    ) -> Recorder:
        self._log.open_tasks([entry.name for entry in images])
        self._log.forget_failures()
        return Recorder(
            self._log,
            images=len(images),
            queries=self._queries,
            total=total,
            together=together,
            note=self._note,
            progress=self._progress,
        )

    def _recorded(self, recorder: Recorder, events: Events) -> Iterator[Attacked | Failure]:
        with closing(events):
            for event in events:
                recorder.record(event)
                if isinstance(event, Attacked | Failure):
                    yield event

    def _begin(
        self,
        recorder: Recorder,
        targets: dict[str, Target],
        finished: Iterable[str],
        done: int,
    ) -> None:
        gains = [
            targets[name].gain(self._best_logged(name, targets[name]))
            for name in finished
            if name in targets
        ]
        recorder.begin("attack", done=done, gains=gains)

    def _best_logged(self, name: str, target: Target) -> float:
        scores = self._log.rows(name)["score"]
        return max((float(score) for score in scores[np.isfinite(scores)]), key=target.gain)

    def _plans(self, todo: Iterable[ImageEntry], targets: dict[str, Target]) -> Iterator[Plan]:
        for entry in todo:
            name, check = entry.name, self._check
            yield plan_of(
                self._log,
                entry,
                targets[name],
                self._queries,
                reserved=0 if check is None else check.reserved.get(name, 0),
                late=check is not None and name in check.late,
            )

    # -- clean scores ---------------------------------------------------------------------------

    def _surveyed(
        self, images: ImageSet, recorder: Recorder
    ) -> Generator[Failure, None, dict[str, float]]:
        """All clean scores that are finite; yields the images that have none."""
        clean: dict[str, float] = {}
        unknown = []
        for entry in images:
            score = self._log.clean_score(entry.name)
            if score is None:
                unknown.append(entry)
            else:
                clean[entry.name] = score
        spent = sum(self._log.queries(entry.name) for entry in images)
        recorder.begin("clean", done=len(clean), spent=spent)
        for event in self._check.before() if self._check is not None else ():
            recorder.record(event)
        with closing(self._searching.survey(spread(unknown))) as events:
            for event in events:
                recorder.record(event)
                if isinstance(event, CleanScore):
                    clean[event.entry.name] = event.score
                elif isinstance(event, Failure):
                    yield event
        for entry in images:
            score = clean.get(entry.name, 0.0)
            if not math.isfinite(score):
                failure = Failure(
                    entry,
                    f"{entry.shown}: {self._scorer.name} gave it the score {score}, expected a "
                    "finite number",
                    queries=1,
                )
                recorder.record(failure)
                yield failure
        finite = [e.name for e in images if math.isfinite(clean.get(e.name, math.nan))]
        scores = {name: clean[name] for name in finite}
        for event in self._check(scores) if self._check is not None else ():
            recorder.record(event)
        return scores

    def _targets(self, clean: dict[str, float]) -> dict[str, Target]:
        """The direction of each score.

        An image keeps the direction that it was given first, or its log would not replay: one that
        failed and was repaired meanwhile shifts the median of `rank`.
        """
        ends = self._scorer.score_range, self._scorer.lower_better
        self._check_range(clean)
        whole = clean if self._whole is None else self._whole
        scores = list(whole.values())
        found = dict(zip(whole, self._objective.targets(scores, *ends), strict=True))
        for name in clean.keys() - found.keys():  # it failed when the whole set was scored
            found[name] = self._objective.targets([*scores, clean[name]], *ends)[-1]
        targets = {name: found[name] for name in clean}
        for name, direction in self._log.directions().items():
            if name in targets and targets[name].direction != direction:
                other = towards_end(direction, clean[name], *ends)
                targets[name] = replace(other, fraction=targets[name].fraction)
        self._log.keep_directions({name: target.direction for name, target in targets.items()})
        return targets

    def _check_range(self, clean: dict[str, float]) -> None:
        """Note clean scores outside the model's range, which is then probably wrong."""
        low, high = self._scorer.score_range
        outside = [name for name, score in clean.items() if not low <= score <= high]
        if outside:
            others = f", and so do those of {len(outside) - 1} more" if len(outside) > 1 else ""
            self._note(
                outside[0],
                f"its clean score {clean[outside[0]]:g} lies outside the model's score range "
                f"{low:g} to {high:g}{others}; gains are fractions of that range, and an image "
                "beyond the target end is not attacked: check the range",
            )


def plan_of(
    log: QueryLog,
    entry: ImageEntry,
    target: Target,
    queries: int,
    *,
    reserved: int = 0,
    late: bool = False,
) -> Plan:
    """What is to be done with an image that may have `queries` queries. reserved: of these, for the
    check before the search, made or not; late: one more, for the check after it.
    """
    name = entry.name
    if reserved:
        reserved = max(reserved - len(log.again(name)), 0)
    left = queries - reserved - late
    return Plan(entry, target, left, log.rows(name), log.early(name), late, log.found(name))


def check_set(objective: Objective, images: ImageSet, total: int | None) -> None:
    """InputError where an objective or a budget of all images is none of these."""
    if total is not None and total <= len(images):
        raise InputError(
            f"budget of {total} queries for all images: the clean images take {len(images)}; use "
            "more, or fewer images with --limit"
        )
    if isinstance(objective, SetObjective):
        objective.check([entry.name for entry in images])


def spread(entries: Sequence[ImageEntry]) -> Iterator[ImageEntry]:
    """All entries, spread over the set first, so that a series of bad ones is not misleading."""
    first = list(dict.fromkeys(int(k * len(entries) / GIVE_UP) for k in range(GIVE_UP)))
    first = first if len(entries) > GIVE_UP else []
    yield from (entries[k] for k in first)
    taken = set(first)
    yield from (entry for k, entry in enumerate(entries) if k not in taken)
