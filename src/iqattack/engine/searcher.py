"""What runs beside a model: it scores and searches, and writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from iqattack.attacks import Attack, SetAttack
from iqattack.constraints import Constraint, Floor
from iqattack.engine.account import Account, Watch
from iqattack.engine.drivers import CleanDriver, ImageDriver, SetDriver
from iqattack.engine.events import Event, Events, Failure
from iqattack.engine.log import Row, Rows
from iqattack.engine.schedule import Finish, Listed, Opener, Schedule, Source
from iqattack.errors import InputError
from iqattack.images import ImageEntry, Picture, read_file, read_image
from iqattack.models import Scorer
from iqattack.objectives import Standing, Target
from iqattack.scoring import ScorePool


@dataclass(frozen=True)
class Plan:
    """What is to be done with one image.

    queries: that the model may score in all. logged, early: those of earlier sessions, as the log
    has them; the clean image's at least. late: whether the clean image is scored once more when the
    search has ended, beside those queries. found: by the constraint, about it, in earlier sessions.
    """

    entry: ImageEntry
    target: Target
    queries: int
    logged: Rows
    early: Mapping[int, Row]
    late: bool = False
    found: float | None = None

    @property
    def spent(self) -> int:
        """Queries of earlier sessions."""
        return len(self.logged) + len(self.early)


Job = ImageEntry | Plan  # one to score, or to attack


@dataclass(frozen=True)
class Carried:
    """A job for a machine that may not have the image: with the bytes of its file, or with why
    there are none.
    """

    job: Job
    file: bytes | InputError


def carried(job: Job) -> Carried:
    """A job with its image's file."""
    path = job.entry.path if isinstance(job, Plan) else job.path
    try:
        return Carried(job, read_file(path))
    except InputError as error:  # that of the image, as on this machine
        return Carried(job, error)


@dataclass(frozen=True)
class Limits:
    """What the engine has to know of a model beside its scores."""

    name: str
    min_size: int

    @classmethod
    def of(cls, scorer: Scorer) -> Limits:
        """Those of a scorer."""
        return cls(scorer.name, scorer.min_size)


@dataclass(frozen=True)
class Searcher:
    """Scores clean images and attacks images through one pool.

    limits: of the model. attack, constraint, floor, seed: of the search. convert, resize: how
    images are read. finish: what is made of an outcome where it came about. stop: asked between
    calls. notes: what a person should know of where it runs. watch: is given the number and the
    image of each query of a search, see `Account`.
    """

    pool: ScorePool
    limits: Limits
    attack: Attack
    constraint: Constraint
    floor: Floor | None = None
    seed: int = 0
    convert: bool = False
    resize: int | None = None
    finish: Finish = lambda outcome: outcome
    stop: Callable[[], bool] = lambda: False
    notes: tuple[str, ...] = ()
    watch: Watch | None = None

    def survey(self, entries: Iterable[ImageEntry]) -> Events:
        """A `CleanScore` for each image, or a `Failure`; notes and replies on the way."""
        return self.play(Listed(map(self.opener, entries)))

    def search(self, plans: Iterable[Plan]) -> Events:
        """An outcome, as `finish` makes it, or a `Failure` for each plan; replies on the way."""
        return self.play(Listed(map(self.opener, plans)))

    def search_set(
        self,
        plans: Sequence[Plan],
        attack: SetAttack,
        *,
        total: int | None = None,
        standing: Standing | None = None,
        tolerant: bool = False,
    ) -> Events:
        """The same for an attack on all of them, and in the end `Returned`. total: queries about
        all of them; standing: of an objective of the set; tolerant: see `Engine.run_set`.

        InputError for a floor of the result, which one query of each image is kept for.
        """
        if self.floor is not None and self.floor.of_result:
            raise InputError(
                f"floor {self.floor.spec}: is for attacks on one image; use ssim:0.95, or none"
            )

        def opened() -> SetDriver:
            return SetDriver(
                [plan.entry for plan in plans],
                [partial(self._account, plan) for plan in plans],
                attack,
                image_generator(self.seed, ""),
                model_failed,
                total=total,
                standing=standing,
                tolerant=tolerant,
            )

        def failed(error: InputError, _queries: int) -> Event:
            raise error

        return self.play(Listed(iter([Opener(opened, failed)])))

    def play(self, source: Source) -> Events:
        """What comes of drivers, wherever they are from; `opener` makes some."""
        return Schedule(self.pool, stop=self.stop, finish=self.finish).run(source)

    def opener(self, given: Job | Carried) -> Opener:
        """A driver for the clean score of an image, or for an attack on it."""
        job, file = (given.job, given.file) if isinstance(given, Carried) else (given, None)
        if isinstance(job, ImageEntry):
            return Opener(partial(self._clean, job, file), partial(failure_of, job), patient=True)
        return Opener(
            lambda: ImageDriver(
                job.entry, self._account(job, file), self.attack, model_failed, late=job.late
            ),
            lambda error, queries: failure_of(job.entry, error, queries or job.spent),
        )

    def _clean(self, entry: ImageEntry, file: bytes | InputError | None) -> CleanDriver:
        picture = self._read(entry, file)
        return CleanDriver(entry, picture.pixels, picture.notes, model_failed)

    def _account(self, plan: Plan, file: bytes | InputError | None = None) -> Account:
        return Account(
            plan.entry.name,
            self._read(plan.entry, file).pixels,
            target=plan.target,
            constraint=self.constraint.knowing(plan.found),
            floor=self.floor,
            queries=plan.queries,
            rng=image_generator(self.seed, plan.entry.name),
            logged=plan.logged,
            early=plan.early,
            watch=self.watch,
        )

    def _read(self, entry: ImageEntry, file: bytes | InputError | None) -> Picture:
        """file: of the image, where it came with the job."""
        if isinstance(file, InputError):
            raise file
        picture = read_image(entry.path, convert=self.convert, resize=self.resize, data=file)
        height, width = picture.pixels.shape[-2:]
        least = self.limits.min_size
        if min(height, width) < least:
            raise InputError(
                f"{entry.shown}: {width}×{height} pixels, {self.limits.name} takes at least "
                f"{least}×{least}; leave it out or enlarge it"
            )
        return picture


def failure_of(entry: ImageEntry, error: Exception, queries: int = 0) -> Failure:
    """An image that cannot be attacked; its path is named."""
    reason = str(error).replace(str(entry.path), entry.shown)
    return Failure(entry, reason if entry.shown in reason else f"{entry.shown}: {reason}", queries)


def model_failed(entry: ImageEntry, error: Exception, queries: int, transient: bool) -> Failure:
    """One that the model failed on."""
    failure = failure_of(entry, error, queries)
    return replace(failure, of_model=True, transient=transient)


def image_generator(seed: int, name: str) -> torch.Generator:
    """The random generator of one image, from the run's seed and the image's name alone."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
