"""The engine: it alone asks the model, for many searches at once.

Everything that has to be right for every attack is here or in `search`: batches across images,
the budget, the log and its replay, the clean scores and the directions that follow from them.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iqattack.attacks.contract import Attack
from iqattack.constraints import Constraint, Floor
from iqattack.engine.batching import BatchSize
from iqattack.engine.log import QueryLog, image_hash
from iqattack.engine.search import Query, Search
from iqattack.errors import InputError, IqattackError
from iqattack.images import ImageEntry, ImageSet, read_image
from iqattack.models import ModelFailedError, Scorer, score_checked
from iqattack.objectives import Objective, Target, towards_end

MOST_WAITING = 16  # clean images of all sizes that wait for others of theirs
MOST_SEARCHES = 16  # open at once; each holds about twenty float images, most of them SurFree's
REFUSALS = 3  # images in a row that the model fails to score, after which it is held to be broken


class Interrupted(IqattackError):  # noqa: N818 - like KeyboardInterrupt, no fault
    """The run was asked to stop; what was scored is in the log."""

    exit_status = 130


@dataclass(frozen=True)
class Outcome:
    """What came of one image.

    clean, adversarial: uint8 (3, H, W); the adversarial image is the best that was scored, the
        clean one where nothing was gained.
    score_clean, score_adv: raw scores of exactly these pixels.
    queries: images that the model scored for it, the clean one included.
    stages: of the search, as the attack told them: number of the first query, the clean image being
        1, and name.
    """

    entry: ImageEntry
    clean: Tensor
    adversarial: Tensor
    target: Target
    score_clean: float
    score_adv: float
    gain: float
    queries: int
    stages: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Failure:
    """An image that cannot be attacked, and why, in one line that names it."""

    entry: ImageEntry
    reason: str
    queries: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    queries: scored in this session; spent: those and the replayed ones, of at most `budget`.
    gain: mean over the images that are done and those in progress, of the score range.
    """

    stage: str
    done: int
    images: int
    queries: int
    spent: int
    budget: int
    gain: float
    batch: int
    seconds: float


def image_generator(seed: int, name: str) -> torch.Generator:
    """The random generator of one image, from the run's seed and the image's name alone."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


class Engine:
    """Attacks the images of a set.

    queries: the model scores at most that many images for each, on every path.
    batch: images per forward pass; None finds it by timing.
    stop: asked between batches; True ends the run with `Interrupted`.
    note: is told what a person should know about an image: (image name, phrase).
    progress: is told where the run stands, after every batch.
    """

    def __init__(
        self,
        scorer: Scorer,
        attack: Attack,
        constraint: Constraint,
        objective: Objective,
        *,
        queries: int,
        seed: int = 0,
        floor: Floor | None = None,
        batch: int | None = None,
        convert: bool = False,
        log: QueryLog | None = None,
        stop: Callable[[], bool] = lambda: False,
        note: Callable[[str, str], None] = lambda _image, _phrase: None,
        progress: Callable[[Progress], None] = lambda _state: None,
    ) -> None:
        if queries < 1:
            raise InputError(f"queries {queries}: expected at least 1, for the clean image")
        if batch is not None and batch < 1:
            raise InputError(f"batch size {batch}: expected at least 1")
        self._scorer = scorer
        self._attack = attack
        self._constraint = constraint
        self._objective = objective
        self._queries = queries
        self._seed = seed
        self._floor = floor
        self._batch = BatchSize(batch)
        self._convert = convert
        self._log = QueryLog() if log is None else log
        self._stop = stop
        self._note = note
        self._progress = progress
        self._stage = "clean"
        self._paid = 0  # queries of this session
        self._spent = 0  # those and the logged ones
        self._done = 0
        self._attacked = 0  # of them, those with an outcome
        self._gains = 0.0  # of these
        self._refused = 0  # images in a row
        self._broken: ModelFailedError | None = None  # what the model fails with, whatever it gets
        self._started = time.monotonic()
        self._images = 0
        self._active: list[Search] = []
        self._told: set[str] = set()  # images of which a score is known to be no number

    def run(self, images: ImageSet) -> Iterator[Outcome | Failure]:
        """One outcome or failure per image, as they end.

        Images that the log has a result for are left out, but their clean scores still count in
        the objective. An image of which the model fails to score something is a failure. Raises
        InputError when the model is at fault, and fails on whatever it is asked; RunError when the
        log does not replay, Interrupted when asked to stop.
        """
        self._images = len(images)
        self._log.open_tasks([entry.name for entry in images])
        finished = self._log.results()
        clean: dict[str, float] = {}
        for item in self._score_clean(images):
            if isinstance(item, Failure):
                if item.entry.name not in finished:
                    yield self._count(item)
            else:
                clean[item[0]] = item[1]
        targets = self._targets(clean)
        todo = [entry for entry in images if entry.name in targets and entry.name not in finished]
        self._done = len(images) - len(todo)
        self._attacked = sum(name in targets for name in finished)
        self._stage = "attack"
        self._gains = sum(
            targets[name].gain(self._best_logged(name, targets[name]))
            for name in finished
            if name in targets
        )
        yield from self._search(todo, targets)

    def _targets(self, clean: dict[str, float]) -> dict[str, Target]:
        """Where each score is to go.

        An image keeps the direction that it was given first, or its log would not replay: one that
        failed and was repaired meanwhile shifts the median of `rank`.
        """
        ends = self._scorer.score_range, self._scorer.lower_better
        self._tell_of_range(clean)
        targets = dict(
            zip(clean, self._objective.targets(list(clean.values()), *ends), strict=True)
        )
        for name, direction in self._log.directions().items():
            if name in targets and targets[name].direction != direction:
                other = towards_end(direction, clean[name], *ends)
                targets[name] = replace(other, fraction=targets[name].fraction)
        self._log.keep_directions({name: target.direction for name, target in targets.items()})
        return targets

    def _tell_of_range(self, clean: dict[str, float]) -> None:
        """Where clean scores lie outside the model's range: most likely it is another one."""
        low, high = self._scorer.score_range
        outside = [name for name, score in clean.items() if not low <= score <= high]
        if outside:
            others = f", and so do those of {len(outside) - 1} more" if len(outside) > 1 else ""
            self._note(
                outside[0],
                f"its clean score {clean[outside[0]]:g} lies outside the model's score range "
                f"{low:g} to {high:g}{others}; gains are fractions of that range, and an image "
                "beyond the end that it is to reach is not attacked: check the range",
            )

    def _best_logged(self, name: str, target: Target) -> float:
        scores = self._log.rows(name)["score"]
        return max((float(score) for score in scores[np.isfinite(scores)]), key=target.gain)

    # -- clean scores ---------------------------------------------------------------------------

    def _score_clean(self, images: ImageSet) -> Iterator[tuple[str, float] | Failure]:
        """The clean score of every image, from the log or from the model, or why there is none."""
        waiting: defaultdict[torch.Size, list[tuple[ImageEntry, Tensor]]] = defaultdict(list)
        for entry in images:
            rows = self._log.rows(entry.name)
            if len(rows):
                self._spent += len(rows)
                yield self._clean_or_failure(entry, float(rows["score"][0]))
                continue
            try:
                pixels = self._read(entry, announce=True)
            except InputError as error:
                yield Failure(entry, str(error))
                continue
            waiting[pixels.shape].append((entry, pixels))
            if len(waiting[pixels.shape]) >= self._batch.current:
                yield from self._flush_clean(waiting.pop(pixels.shape))
            elif sum(map(len, waiting.values())) >= MOST_WAITING:
                yield from self._flush_clean(waiting.pop(next(iter(waiting))))
        for rest in waiting.values():
            yield from self._flush_clean(rest)

    def _flush_clean(
        self, waiting: list[tuple[ImageEntry, Tensor]]
    ) -> Iterator[tuple[str, float] | Failure]:
        scores = self._ask([pixels for _, pixels in waiting])
        self._log.append(
            {
                entry.name: (0, [(image_hash(pixels), score)])
                for (entry, pixels), score in zip(waiting, scores, strict=True)
                if not isinstance(score, InputError)
            }
        )
        named = zip(waiting, scores, strict=True)
        self._raise_if_broken([e.name for (e, _), s in named if isinstance(s, InputError)])
        self._report()
        for (entry, _), score in zip(waiting, scores, strict=True):
            if isinstance(score, InputError):
                yield self._failure(entry, score)
            else:
                yield self._clean_or_failure(entry, score)

    def _clean_or_failure(self, entry: ImageEntry, score: float) -> tuple[str, float] | Failure:
        if math.isfinite(score):
            return entry.name, score
        return Failure(
            entry,
            f"{entry.path}: {self._scorer.name} gave it the score {score}, expected a number",
            queries=1,
        )

    def _read(self, entry: ImageEntry, *, announce: bool) -> Tensor:
        picture = read_image(entry.path, convert=self._convert)
        height, width = picture.pixels.shape[-2:]
        least = self._scorer.min_size
        if min(height, width) < least:
            raise InputError(
                f"{entry.path}: {width}×{height} pixels, {self._scorer.name} takes at least "
                f"{least}×{least}; leave it out or enlarge it"
            )
        if announce:
            for phrase in picture.notes:
                self._note(entry.name, phrase)
        return picture.pixels

    # -- searches -------------------------------------------------------------------------------

    def _search(
        self, todo: Sequence[ImageEntry], targets: dict[str, Target]
    ) -> Iterator[Outcome | Failure]:
        entries = {entry.name: entry for entry in todo}
        rest = iter(todo)
        self._active = []
        while True:
            while self._fits_more():
                entry = next(rest, None)
                if entry is None:
                    break
                opened = self._open(entry, targets[entry.name])
                if isinstance(opened, Failure):
                    yield self._count(opened)
                elif opened.done:
                    yield self._count(self._outcome(entry, opened))
                else:
                    self._active.append(opened)
            if not self._active:
                return
            failures = self._forward()
            for search in [search for search in self._active if search.done]:
                self._active.remove(search)
                entry = entries[search.name]
                if search.name in failures:
                    yield self._count(self._failure(entry, failures[search.name]))
                else:
                    yield self._count(self._outcome(entry, search))

    def _open(self, entry: ImageEntry, target: Target) -> Search | Failure:
        try:
            return Search(
                entry.name,
                self._read(entry, announce=False),
                attack=self._attack,
                target=target,
                constraint=self._constraint,
                floor=self._floor,
                queries=self._queries,
                rng=image_generator(self._seed, entry.name),
                logged=self._log.rows(entry.name),
            )
        except InputError as error:
            return self._failure(entry, error)

    def _failure(self, entry: ImageEntry, error: InputError) -> Failure:
        reason, path = str(error), str(entry.path)
        if path not in reason:
            reason = f"{path}: {reason}"
        return Failure(entry, reason, queries=len(self._log.rows(entry.name)))

    def _pending(self) -> Counter[torch.Size]:
        """How many images of each size wait for a score."""
        pending: Counter[torch.Size] = Counter()
        for search in self._active:
            pending[search.clean.shape] += len(search.waiting)
        return pending

    def _fits_more(self) -> bool:
        """Whether another search may be opened: the next batch has room, and memory too."""
        most = min(MOST_SEARCHES, 2 * self._batch.current)  # twice: sizes may alternate
        waiting = max(self._pending().values(), default=0)
        return len(self._active) < most and waiting < self._batch.current

    def _forward(self) -> dict[str, InputError]:
        """Score one batch: images of the size that most wait for, oldest searches first."""
        ((size, _),) = self._pending().most_common(1)
        batch: list[tuple[Search, Query]] = []
        for search in self._active:
            while (
                search.clean.shape == size and search.waiting and len(batch) < self._batch.current
            ):
                batch.append((search, search.waiting.popleft()))
        if len(batch) < self._batch.current:
            self._batch.give_up_growing()
        answers = self._ask([query.image for _, query in batch])
        failures: dict[str, InputError] = {}
        scored: list[tuple[Search, Query, float]] = []
        for (search, query), answer in zip(batch, answers, strict=True):
            if isinstance(answer, InputError):
                failures.setdefault(search.name, answer)
                search.close()
            elif not search.done:  # in the order in which they were asked, up to a failure
                scored.append((search, query, answer))
        rows: dict[str, tuple[int, list[tuple[int, float]]]] = {}
        for search, query, score in scored:
            rows.setdefault(search.name, (search.spent, []))[1].append((query.digest, score))
        self._log.append(rows)
        self._raise_if_broken(list(failures))
        for search, query, score in scored:
            if search.name in failures:
                continue
            self._tell_of_score(search, score)
            try:
                search.score(query, score)
            except InputError as error:  # of the attack
                failures[search.name] = error
        self._report()
        return failures

    def _tell_of_score(self, search: Search, score: float) -> None:
        """Where a candidate has none, once for each image."""
        if not math.isfinite(score) and search.name not in self._told:
            self._told.add(search.name)
            self._note(
                search.name,
                f"the model's score of query {search.spent + 1} is {score}, expected a number; "
                "such a query counts, and is held to have gained nothing",
            )

    def _outcome(self, entry: ImageEntry, search: Search) -> Outcome:
        return Outcome(
            entry=entry,
            clean=search.clean,
            adversarial=search.best,
            target=search.target,
            score_clean=search.target.clean,
            score_adv=search.best_score,
            gain=search.best_gain,
            queries=search.spent,
            stages=tuple(search.stages),
        )

    # -- the model ------------------------------------------------------------------------------

    def _ask(self, images: Sequence[Tensor]) -> list[float | ModelFailedError]:
        """The only place where the model is asked; a failure for each image that it fails on."""
        if self._broken is not None:
            return [self._broken] * len(images)
        if self._stop():
            raise Interrupted("stopped; what was scored is kept, go on with --resume")
        started = time.perf_counter()
        try:
            scores = score_checked(self._scorer, torch.stack(list(images))).tolist()
        except (MemoryError, torch.OutOfMemoryError):
            half = len(images) // 2
            if not half:
                height, width = images[0].shape[-2:]
                raise InputError(
                    f"model '{self._scorer.name}': out of memory on one image of {width}×{height} "
                    "pixels; use smaller images or another device"
                ) from None
            self._batch.too_large(len(images))
            return self._ask(images[:half]) + self._ask(images[half:])
        except ModelFailedError as error:
            return self._ask_apart(images, error)
        self._refused = 0
        self._batch.record(len(images), time.perf_counter() - started)
        self._paid += len(images)
        self._spent += len(images)
        return [float(score) for score in scores]

    def _ask_apart(
        self, images: Sequence[Tensor], error: ModelFailedError
    ) -> list[float | ModelFailedError]:
        """In halves, down to the images that the model fails on."""
        half = len(images) // 2
        if not half:
            self._refused += 1
            self._broken = error if self._refused == REFUSALS else None
            return [error]
        answers = self._ask(images[:half]) + self._ask(images[half:])
        if not any(isinstance(answer, ModelFailedError) for answer in answers):
            self._batch.too_large(len(images))  # it takes each, but not so many at once
        return answers

    def _raise_if_broken(self, failed: Sequence[str]) -> None:
        """Once all that was answered is in the log; failed: names of images of the last batch."""
        if self._broken is not None:
            raise InputError(f"{self._broken} ({REFUSALS} times in a row, last on {failed[-1]})")

    # -- telling --------------------------------------------------------------------------------

    def _count(self, item: Outcome | Failure) -> Outcome | Failure:
        self._done += 1
        if isinstance(item, Outcome):
            self._attacked += 1
            self._gains += item.gain
        self._report()
        return item

    def _report(self) -> None:
        gains = self._gains + sum(search.best_gain for search in self._active)
        self._progress(
            Progress(
                stage=self._stage,
                done=self._done,
                images=self._images,
                queries=self._paid,
                spent=self._spent,
                budget=self._images * self._queries,
                gain=gains / max(1, self._attacked + len(self._active)),
                batch=self._batch.current,
                seconds=time.monotonic() - self._started,
            )
        )
