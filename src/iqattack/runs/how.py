"""How a run is executed: where scoring and attacks run. None of this changes a result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from iqattack.attacks import ATTACKED, Attack, Gradient, as_guest, load_attack, name_of
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.engine import Limits, QueryLog, Searcher, Searching, Workers, cluster
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import EAGER, Scorer, Traits, dealt, gradient_of, load_model
from iqattack.runs.elsewhere import differences, named
from iqattack.runs.results import Saved
from iqattack.runs.settings import Record, Settings
from iqattack.scoring import (
    DEFAULT_RETRY,
    Ceiling,
    InProcess,
    Pool,
    Processes,
    Retry,
    ScorePool,
    Threads,
    check_batch,
    threads_each,
)

MOST_THREADS = 1024  # any system supports that many
LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class How:
    """How a run is executed; none of this changes a result.

    batch: images per call; None for the model's own, or the one found by timing. workers: processes
    with their own model; None for the model in this process. concurrency: concurrent calls, from
    threads; None for the model's own, or one. pool: replaces the model in this process. retry: of
    transient failures. device: of models, as torch names it. timeout: seconds that a call may take;
    None for no limit, or the service's own. max_requests: images that may be sent, retries
    included; max_cost: what they may cost. elsewhere: images sent under the same limit that are not
    in the run's own log, by the other runs of an audit. ceiling_of: what the limit applies to.
    engine: `local`, or `ray` for workers on a Ray cluster, by default as many as it has room for;
    address: of the cluster; gpus_per_worker: a share of a GPU, or several, by default one if the
    device is a GPU.
    """

    batch: int | None = None
    workers: int | None = None
    concurrency: int | None = None
    pool: ScorePool | None = None
    retry: Retry = DEFAULT_RETRY
    device: str = "cpu"
    timeout: float | None = None
    max_requests: int | None = None
    max_cost: float | None = None
    engine: str = LOCAL
    address: str | None = None
    gpus_per_worker: float | None = None
    elsewhere: int = 0
    ceiling_of: str = "the run"

    def __post_init__(self) -> None:
        self._check_engine()
        check_batch(self.batch)
        given = [
            name for name in ("workers", "concurrency", "pool") if getattr(self, name) is not None
        ]
        if self.concurrency is not None and self.concurrency < 1:
            raise InputError(f"concurrency {self.concurrency}: expected at least 1")
        if self.concurrency is not None and self.concurrency > MOST_THREADS:
            raise InputError(f"concurrency {self.concurrency}: expected at most {MOST_THREADS}")
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)}: expected at most one of them")
        for name in ("max_requests", "max_cost"):
            value = getattr(self, name)
            if value is None:
                continue
            if not value > 0:
                raise InputError(f"--{name.replace('_', '-')} {value}: expected more than 0")
            if self.apart or self.pool is not None:
                several = "pool" if self.pool is not None else "workers"
                raise InputError(
                    f"{name}: needs a single process that counts all requests; leave out "
                    f"{'engine ray' if self.engine == RAY else several}"
                )

    def _check_engine(self) -> None:
        if self.engine not in (LOCAL, RAY):
            raise InputError(f"engine {self.engine}: expected {LOCAL} or {RAY}")
        if self.engine == LOCAL:
            for name in ("address", "gpus_per_worker"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"{name} {getattr(self, name)} applies to engine ray; add "
                        "--engine ray, or leave it out"
                    )
            return
        for name in ("concurrency", "pool"):
            if getattr(self, name) is not None:
                raise InputError(f"engine ray: each worker has its own model; leave out {name}")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus < 1 or (gpus >= 1 and gpus % 1 == 0)):
            raise InputError(f"gpus_per_worker {gpus:g}: expected a share such as 0.25, or 1, 2, …")

    @property
    def apart(self) -> bool:
        """Whether models in other processes score the images."""
        return self.workers is not None or self.engine == RAY

    @property
    def gpus(self) -> float:
        """GPUs of each worker on a cluster."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return float(self.device.startswith("cuda"))

    def ceiling(self, scorer: Scorer, log: QueryLog) -> Ceiling | None:
        """The limit on images that may be sent, minus those that earlier sessions sent, according
        to the log.

        InputError for a limit on cost if the model's price is not known.
        """
        ceiling = self.empty_ceiling(scorer)
        if ceiling is not None:
            ceiling.sent = log.sent() + self.elsewhere
            ceiling.reserve = lambda images: log.reserve(images - self.elsewhere)
        return ceiling

    def empty_ceiling(self, scorer: Scorer) -> Ceiling | None:
        """The ceiling before anything was sent; InputError as in `ceiling`."""
        most = []
        if self.max_requests is not None:
            why = f"the ceiling of {self.max_requests:,} requests"
            most.append((self.max_requests, why, "--max-requests"))
        if self.max_cost is not None:
            price = Traits.of(scorer).price
            if price is None:
                raise InputError(
                    f"--max-cost {self.max_cost:g}: the price of model '{scorer.name}' is not "
                    "known; give it as price in its description, or use --max-requests"
                )
            # The largest number of images whose exact price does not exceed it.
            images = math.floor(self.max_cost / price + 1e-9) if price else sys.maxsize
            why = f"the ceiling of {self.max_cost:g} at {price:g} per image"
            most.append((images, why, "--max-cost"))
        if not most:
            return None
        images, why, option = min(most)
        ceiling = Ceiling(images, why, kept=self.ceiling_of)
        if self.ceiling_of != "the run":  # whose options may be those of another command
            ceiling.remedy = f"continue with --resume and a higher {option}"
        return ceiling

    def may_batch(self, scorer: Scorer) -> bool:
        """Whether a call may contain several images."""
        traits = Traits.of(scorer)
        one_each = self.concurrency is not None or traits.concurrency is not None
        return (self.batch_of(scorer) or (1 if one_each else 2)) > 1

    def batch_of(self, scorer: Scorer) -> int | None:
        """The largest number of images per call; None if it is found by timing."""
        return self.batch or Traits.of(scorer).batch

    def may_cost(
        self, scorer: Scorer, images: int, sent: int, ceiling: Ceiling | None
    ) -> str | None:
        """The note before `images` images are scored, if the model is remote or has a ceiling."""
        traits = Traits.of(scorer)
        if self.pool is not None or (traits.concurrency is None and ceiling is None):
            return None
        text = f"will score up to {images:,} images"
        if traits.price is not None:
            text += f", {images * traits.price:,.2f} at {traits.price:g} each, without retries"
        calls = self.concurrency or traits.concurrency
        if calls is not None:
            text += f", up to {calls} call{'' if calls == 1 else 's'} at once"
        if traits.rate is not None:
            text += f", at most {traits.rate:g} per second"
        if sent:
            text += f", of which {sent:,} were sent before"
        if ceiling is not None:
            text += f"; stops before {ceiling.why}"
        return text

    @contextmanager
    def pool_of(
        self, scorer: Scorer, spec: str | None = None, ceiling: Ceiling | None = None
    ) -> Iterator[ScorePool]:
        """The scorer pool; if it was made here, it is closed in the end.

        spec: from which workers can load the scorer. ceiling: limit on what is sent.
        """
        if self.pool is not None:
            yield self.pool
            return
        traits = Traits.of(scorer)
        batch, concurrency = self.batch or traits.batch, self.concurrency or traits.concurrency
        made: Pool
        if self.workers is not None:
            if spec is None:
                raise InputError("workers load the model by its spec; give the model as a spec")
            check_workers(self.workers, scorer)
            inference = getattr(scorer, "inference", EAGER)
            made = Processes(
                spec,
                self.workers,
                score_range=scorer.score_range,
                lower_better=scorer.lower_better,
                input=getattr(scorer, "input", None),
                timeout=self.timeout,
                device=self.device,
                compile=inference.compile,
                autocast=inference.autocast,
                batch=batch,
                retry=self.retry,
            )
        elif concurrency is not None:
            made = Threads(scorer, concurrency, batch=batch or 1, retry=self.retry, ceiling=ceiling)
        else:
            made = InProcess(scorer, batch=batch, retry=self.retry, ceiling=ceiling)
        try:
            yield made
        finally:
            made.close()


def check_workers(workers: int | None, scorer: Scorer) -> None:
    """Raise InputError for workers with a model that waits for a remote answer."""
    if Traits.of(scorer).concurrency is not None:
        which = "engine ray" if workers is None else f"workers {workers}"
        raise InputError(f"{which}: model '{scorer.name}' is remote; use concurrency")


def paid_again(scorer: Scorer, log: QueryLog) -> str | None:
    """The note before a run with a paid model is resumed: if its last session was killed, the log
    lacks the queries in flight.
    """
    if Traits.of(scorer).price is None or not log.sent():
        return None
    return (
        "queries in flight when a session was killed are not in the log, and are repeated and paid "
        "again; those in flight at Ctrl-C are in it"
    )


DEFAULT_HOW = How()


@dataclass(frozen=True)
class Needed:
    """Optional packages that the pending images need.

    constraint: it still has to measure one of them. floor: there is one.
    """

    constraint: bool = True
    floor: bool = True

    @classmethod
    def of(cls, log: QueryLog, images: ImageSet) -> Needed:
        """The needs of the images without a result in the log."""
        finished = log.finished()
        todo = [entry.name for entry in images if entry.name not in finished]
        return cls(any(log.found(name) is None for name in todo), bool(todo))

    def check(self, settings: Settings) -> None:
        """Raise InputError if a package is missing."""
        if self.constraint:
            parse_constraint(settings.constraint).check()
        if self.floor and settings.floor is not None:
            parse_floor(settings.floor).check()


EVERYTHING = Needed()


@dataclass(frozen=True)
class Setup:
    """Makes a searcher, in this process or in a worker, to which it is sent."""

    settings: Settings
    model: Scorer | str
    how: How
    attack: Attack | None = None  # replaces the one in the settings
    begun: Record | None = None  # for comparison on another machine
    needed: Needed = EVERYTHING

    def __call__(self, stop: Callable[[], bool], pool: ScorePool | None = None) -> Searcher:
        """Make a searcher that stops when `stop` returns True."""
        notes: tuple[str, ...] = ()
        if self.begun is None:
            scorer, attack = self._loaded()
        else:
            with named():
                self.needed.check(self.settings)
                scorer, attack = self._loaded()
                notes = differences(self.begun, scorer)
        settings = self.settings
        return Searcher(
            self._in_process(scorer) if pool is None else pool,
            Limits.of(scorer),
            attack,
            parse_constraint(settings.constraint),
            floor=None if settings.floor is None else parse_floor(settings.floor),
            seed=settings.seed,
            convert=settings.convert,
            resize=settings.resize,
            finish=partial(Saved.of, attack=settings.label),
            stop=stop,
            notes=notes,
        )

    def _loaded(self) -> tuple[Scorer, Attack]:
        scorer = self._scorer()
        return scorer, self.load_attack(scorer)

    def _in_process(self, scorer: Scorer) -> ScorePool:
        batch = self.how.batch or Traits.of(scorer).batch
        return InProcess(scorer, batch=batch, retry=self.how.retry)

    def _scorer(self) -> Scorer:
        if not isinstance(self.model, str):
            return self.model
        settings = self.settings
        return load_model(
            self.model,
            score_range=settings.score_range,
            lower_better=settings.lower_better,
            input=settings.input,
            timeout=self.how.timeout,
            device=self.how.device,
            compile=settings.compile,
            autocast=settings.autocast,
        )

    def load_attack(self, scorer: Scorer) -> Attack:
        """The attack on one image; InputError if it cannot be used with this model."""
        if self.attack is not None:
            return as_guest(self.attack, name_of(self.attack))
        return load_attack(self.settings.attack, partial(self._gradients, scorer))

    def _gradients(self, scorer: Scorer, spec: str) -> Gradient:
        if spec == ATTACKED:
            return gradient_of(scorer)
        # The range and the direction of a substitute do not matter.
        substitute = load_model(
            spec, score_range=(0.0, 1.0), lower_better=False, device=self.how.device
        )
        return gradient_of(substitute)


@contextmanager
def searching(
    setup: Setup,
    scorer: Scorer,
    images: int,
    stop: Callable[[], bool],
    ceiling: Ceiling | None = None,
) -> Iterator[Searching]:
    """The searcher of a run, according to its `How`.

    ceiling: limit on what is sent to the model. InputError if a required package is not installed.
    """
    how = setup.how
    setup.needed.check(setup.settings)  # before any query, here and on other machines
    if setup.settings.together:
        if how.engine == RAY:
            objective, shared = setup.settings.objective, setup.settings.budget_total is not None
            why = f"objective {objective} shares a budget among them"
            if not shared:
                why = f"{setup.settings.attack} learns from one for the others"
            raise InputError(
                f"engine {RAY}: attacks images one by one, but {why}; leave out --engine"
            )
        spec = setup.model if isinstance(setup.model, str) else None
        with how.pool_of(scorer, spec, ceiling) as pool:
            yield replace(setup, model=scorer)(stop, pool)
        return
    if how.engine == RAY:
        with _on_cluster(setup, scorer, images, stop) as workers:
            yield workers
        return
    if how.workers is None:
        with how.pool_of(scorer, ceiling=ceiling) as pool:
            yield replace(setup, model=scorer)(stop, pool)
        return
    check_workers(how.workers, scorer)
    each = replace(setup, how=replace(how, workers=None))
    number = min(how.workers, images) if how.workers > 0 else how.workers
    on_each = [replace(each, how=replace(each.how, device=d)) for d in dealt(how.device)]
    workers = Workers(number, on_each, threads=threads_each(number), stop=stop)
    try:
        yield workers
    finally:
        workers.close()


@contextmanager
def _on_cluster(
    setup: Setup, scorer: Scorer, images: int, stop: Callable[[], bool]
) -> Iterator[Workers]:
    """Workers on a Ray cluster."""
    how = setup.how
    check_workers(how.workers, scorer)
    each = replace(
        setup,
        how=How(batch=how.batch, retry=how.retry, device=how.device, timeout=how.timeout),
        begun=Record.now(setup.settings, scorer),
    )
    with ExitStack() as stack:
        stack.enter_context(cluster.connected(how.address))
        number = cluster.offered(how.gpus) if how.workers is None else how.workers
        number = min(number, images) if number > 0 else number
        crew = partial(cluster.RayCrew, gpus=how.gpus)
        workers = Workers(number, each, stop=stop, crew=crew)
        stack.callback(workers.close)
        yield workers
