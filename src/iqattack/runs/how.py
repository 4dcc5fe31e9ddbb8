"""How a run is carried out: who scores, and where attacks run. Nothing of it changes a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from iqattack.attacks import ATTACKED, Gradient, labelled, load_attack
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.engine import Limits, Searcher, Searching, Workers
from iqattack.errors import InputError
from iqattack.models import Scorer, gradient_of, load_model
from iqattack.runs.results import Saved
from iqattack.runs.settings import Settings
from iqattack.scoring import (
    DEFAULT_RETRY,
    InProcess,
    Pool,
    Processes,
    Retry,
    ScorePool,
    Threads,
    threads_each,
)


@dataclass(frozen=True)
class How:
    """How a run is carried out; nothing of it changes a result.

    batch: images per call; None finds it by timing.
    workers: processes with a model each; None for the model in this process.
    concurrency: calls at once, from threads, of a model that may be called so; None for one.
    pool: who answers, in place of the model in this process.
    retry: of failures that may pass. device: of models, as torch names it.
    """

    batch: int | None = None
    workers: int | None = None
    concurrency: int | None = None
    pool: ScorePool | None = None
    retry: Retry = DEFAULT_RETRY
    device: str = "cpu"

    def __post_init__(self) -> None:
        given = [
            name for name in ("workers", "concurrency", "pool") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)}: expected one of them at most")

    @contextmanager
    def pool_of(self, scorer: Scorer, spec: str | None = None) -> Iterator[ScorePool]:
        """Who answers; what was made here is closed in the end.

        spec: that workers can load the scorer from.
        """
        if self.pool is not None:
            yield self.pool
            return
        made: Pool
        if self.workers is not None:
            if spec is None:
                raise InputError("workers: each loads the model by its spec; give it as a spec")
            made = Processes(
                spec,
                self.workers,
                score_range=scorer.score_range,
                lower_better=scorer.lower_better,
                device=self.device,
                batch=self.batch,
                retry=self.retry,
            )
        elif self.concurrency is not None:
            made = Threads(scorer, self.concurrency, batch=self.batch or 1, retry=self.retry)
        else:
            made = InProcess(scorer, batch=self.batch, retry=self.retry)
        try:
            yield made
        finally:
            made.close()


DEFAULT_HOW = How()


@dataclass(frozen=True)
class Setup:
    """Makes what searches, in this process or in a worker, which it is sent to."""

    settings: Settings
    model: Scorer | str
    how: How

    def __call__(self, stop: Callable[[], bool], pool: ScorePool | None = None) -> Searcher:
        """A searcher that is asked to stop by that function."""
        settings, scorer = self.settings, self._scorer()
        return Searcher(
            InProcess(scorer, batch=self.how.batch, retry=self.how.retry) if pool is None else pool,
            Limits.of(scorer),
            load_attack(settings.attack, partial(self._gradients, scorer)),
            parse_constraint(settings.constraint),
            floor=None if settings.floor is None else parse_floor(settings.floor),
            seed=settings.seed,
            convert=settings.convert,
            resize=settings.resize,
            finish=partial(Saved.of, attack=labelled(settings.attack, settings.model)),
            stop=stop,
        )

    def _scorer(self) -> Scorer:
        if not isinstance(self.model, str):
            return self.model
        settings = self.settings
        return load_model(
            self.model,
            score_range=settings.score_range,
            lower_better=settings.lower_better,
            device=self.how.device,
        )

    def _gradients(self, scorer: Scorer, spec: str) -> Gradient:
        if spec == ATTACKED:
            return gradient_of(scorer)
        # Of a substitute neither range nor direction matters.
        substitute = load_model(
            spec, score_range=(0.0, 1.0), lower_better=False, device=self.how.device
        )
        return gradient_of(substitute)


@contextmanager
def searching(
    setup: Setup, scorer: Scorer, images: int, stop: Callable[[], bool]
) -> Iterator[Searching]:
    """What searches for a run on so many images, as its `How` says."""
    how = setup.how
    if how.workers is None:
        with how.pool_of(scorer) as pool:
            yield replace(setup, model=scorer)(stop, pool)
        return
    each = replace(setup, how=replace(how, workers=None))
    number = min(how.workers, images) if how.workers > 0 else how.workers
    workers = Workers(number, each, threads=threads_each(number), stop=stop)
    try:
        yield workers
    finally:
        workers.close()
