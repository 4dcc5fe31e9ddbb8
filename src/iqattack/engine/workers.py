"""Workers: each searches a share of the images with its own model.

A crew starts them, as processes of this or of other machines. They send events; only the process
that started them writes. The unit of work is an image: a worker requests another one whenever it
has capacity.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from iqattack.attacks import SetAttack
from iqattack.children import Lost, Serve
from iqattack.engine.crew import Crew, Link, LocalCrew, Member
from iqattack.engine.events import (
    Attacked,
    Busy,
    CleanScore,
    Event,
    Events,
    Failure,
    Found,
    Note,
    Replies,
)
from iqattack.engine.log import PAIR, ROW, Row
from iqattack.engine.schedule import Interrupted, Opener
from iqattack.engine.searcher import Carried, Job, Plan, Searcher, failure_of
from iqattack.errors import InputError, IqattackError
from iqattack.images import ImageEntry
from iqattack.objectives import Standing

STARTS = 3  # workers in a row that end before their model is loaded
LOSSES = 3  # of workers at the same query of an image: two may be accidents
POLL_S = 0.2  # between two looks at whether the run is to stop
SAID_S = 1.0  # between two times that a person hears what is waited for

Setup = Callable[[Callable[[], bool]], Searcher]
"""Makes a searcher that is asked to stop by a function; it is sent to the worker."""
CrewOf = Callable[[Sequence[Serve], int], Crew]
"""Makes a crew of what its members run, and torch's threads in each."""


# -- in the worker ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """The model is loaded. notes: on the place where it runs, for the user."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The worker has capacity for another image."""


@dataclass(frozen=True)
class Stop:
    """Stop scoring."""


class Assigned:
    """A source of drivers for the images that arrive over a connection.

    A thread reads the connection, since both ends would deadlock if they sent long messages at
    once.
    """

    def __init__(self, connection: Link) -> None:
        self.opener: Callable[[Job | Carried], Opener] | None = None
        self._connection = connection
        self._inbox: SimpleQueue[Any] = SimpleQueue()  # jobs, Stop, and None at the end
        self._jobs: deque[Job | Carried] = deque()
        self._stopped = False
        self._asked = False
        threading.Thread(target=self._listen, name="iqattack-listen", daemon=True).start()

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._inbox.put(self._connection.recv())
        self._inbox.put(None)

    def stopped(self) -> bool:
        """Whether scoring has to stop."""
        while not self._stopped and not self._inbox.empty():
            self._receive()
        return self._stopped

    def _receive(self) -> None:
        message = self._inbox.get()
        if message is None:
            raise EOFError("nobody is there any more")
        if isinstance(message, Stop):
            self._stopped = True
        else:
            self._jobs.append(message)
            self._asked = False

    def take(self, *, wait: bool) -> Opener | None:
        """The next image; requests one if there is none."""
        if not self._jobs and not self._asked:
            self._asked = True
            self._connection.send(Wanted())
        while not self._jobs and not self._stopped and (wait or not self._inbox.empty()):
            self._receive()
        if not self._jobs or self.opener is None:
            return None
        return self.opener(self._jobs.popleft())


def serve(setup: Setup, connection: Link) -> None:
    """Run in a worker: load the model, search the images that arrive, and send the events."""
    try:
        source = Assigned(connection)
        searcher = setup(source.stopped)
        source.opener = searcher.opener
        connection.send(Ready(searcher.notes))
        for event in searcher.play(source):
            connection.send(event)
    except Interrupted:
        return
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise  # nobody is there any more
    except IqattackError as error:
        connection.send(error)
    except Exception:  # a bug of iqattack: it ends the run with a traceback
        connection.send(RuntimeError(traceback.format_exc()))


# -- in the process that writes -------------------------------------------------------------------


@dataclass(eq=False)
class Work:
    """An image in progress.

    rows: replies so far, with the type `ROW`. lost_at: number of queries when a worker with this
    image was lost, possibly because of it. losses: number of workers lost at that query.
    """

    job: Job
    rows: bytearray = field(default_factory=bytearray)
    early: dict[int, Row] = field(default_factory=dict)
    lost_at: int | None = None
    losses: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.job, Plan):
            self.early |= self.job.early

    @property
    def entry(self) -> ImageEntry:
        """The image."""
        return self.job.entry if isinstance(self.job, Plan) else self.job

    @property
    def spent(self) -> int:
        """The number of queries so far."""
        return self._logged + len(self.early)

    @property
    def _logged(self) -> int:
        before = len(self.job.logged) if isinstance(self.job, Plan) else 0
        return before + len(self.rows) // PAIR.size

    def take(self, replies: Replies) -> None:
        """Store replies."""
        name = self.entry.name
        _, rows = replies.rows.get(name, (0, ()))
        self.rows += b"".join(PAIR.pack(*row) for row in rows)
        self.early |= replies.early.get(name, {})
        if self.early:
            self.early = {k: row for k, row in self.early.items() if k >= self._logged}

    def find(self, value: float) -> None:
        """Store the value that the constraint determined, on which the rows depend: another worker,
        perhaps on another machine, might determine a slightly different one.
        """
        if isinstance(self.job, Plan) and self.job.found is None:
            self.job = replace(self.job, found=value)

    def again(self) -> Job:
        """The job, to continue from the last reply."""
        if not isinstance(self.job, Plan):
            return self.job
        logged = np.concatenate([self.job.logged, np.frombuffer(bytes(self.rows), dtype=ROW)])
        return replace(self.job, logged=logged, early=self.early)


@dataclass(eq=False)
class Worker:
    """A member of the crew, and its images. hungry: whether it requested another image."""

    member: Member
    ready: bool = False
    hungry: bool = False
    works: dict[str, Work] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether it has an image that must be searched alone."""
        return any(work.lost_at is not None for work in self.works.values())


class Workers:
    """Scores and searches in workers; a drop-in replacement for a `Searcher`.

    number: of workers, at least 1; InputError otherwise. setup: makes the searcher of a worker; of
    several, such as one for each GPU, workers take turns. threads: of torch in each worker. stop:
    called regularly; True ends the workers with `Interrupted`, after the scores in progress have
    arrived. crew: starts the workers, with the first image; `close` ends them.

    A worker that ends is replaced, and its images continue from the last replies. As one of them
    may have been the cause, each continues alone until it is past the query at which it was lost;
    if the worker ends there again, the image has failed. After a loss with an external cause, all
    images simply continue.
    """

    def __init__(
        self,
        number: int,
        setup: Setup | Sequence[Setup],
        *,
        threads: int = 1,
        stop: Callable[[], bool],
        crew: CrewOf = LocalCrew,
    ) -> None:
        if number < 1:
            raise InputError(f"workers {number}: expected at least 1, or auto")
        setups = setup if isinstance(setup, Sequence) else [setup]
        self._crew = crew([partial(serve, each) for each in setups], threads)
        self._number = number
        self._stop = stop
        self._failed_starts = 0
        self._lost: deque[Work] = deque()
        self._workers: list[Worker] = []
        self._noted: set[str] = set()

    def survey(self, entries: Iterable[ImageEntry]) -> Events:
        """See `Searcher`."""
        return self._run(iter(entries))

    def search(self, plans: Iterable[Plan]) -> Events:
        """See `Searcher`."""
        return self._run(iter(plans))

    def search_set(
        self,
        plans: Sequence[Plan],  # noqa: ARG002
        attack: SetAttack,  # noqa: ARG002
        *,
        total: int | None = None,  # noqa: ARG002
        standing: Standing | None = None,  # noqa: ARG002
        tolerant: bool = False,  # noqa: ARG002
    ) -> Events:
        """Raise InputError: processes cannot share a search; a pool of processes can score it."""
        raise InputError(
            "workers each attack images of their own; for an attack on a set give a pool"
        )

    def close(self) -> None:
        """End the workers at once."""
        for worker in self._workers:
            worker.member.kill()
        self._workers = []

    def _run(self, jobs: Iterator[Job]) -> Events:
        job, said = next(jobs, None), time.monotonic()
        while job is not None and len(self._workers) < self._number:
            self._workers.append(self._start())
        while job is not None or self._lost or any(worker.works for worker in self._workers):
            if self._stop():
                yield from self._ended()
                raise Interrupted("stopped; all scores are kept; continue with --resume")
            for worker in self._workers:
                if not worker.hungry or worker.alone:
                    continue
                lost = self._lost_for(worker)
                if lost is not None:
                    self._lost.remove(lost)
                    self._assign(worker, lost)
                elif job is not None:
                    self._assign(worker, Work(job))
                    job = next(jobs, None)
            yield from self._received(POLL_S)
            if time.monotonic() - said > SAID_S:
                said = time.monotonic()
                if (what := self._crew.waiting()) is not None:
                    yield Busy(what)

    def _lost_for(self, worker: Worker) -> Work | None:
        """The next lost image for a worker; one that may have ended a worker needs an idle one."""
        return next((it for it in self._lost if it.lost_at is None or not worker.works), None)

    def _start(self) -> Worker:
        return Worker(self._crew.start())

    def _assign(self, worker: Worker, work: Work) -> None:
        worker.works[work.entry.name] = work
        worker.hungry = False
        worker.member.send(work.job)

    def _received(self, timeout: float) -> Iterator[Event]:
        """The events of workers, with all replies as one event; raises an error that one sent."""
        replies: list[Replies] = []
        error: Exception | None = None
        for event in self._came(timeout):
            if isinstance(event, Exception):
                error = error or event  # raised once what came beside it is kept
            elif isinstance(event, Replies):
                replies.append(event)
            else:
                if replies:
                    yield merged(replies)
                    replies = []
                yield event
        if replies:
            yield merged(replies)
        if error is not None:
            raise error

    def _came(self, timeout: float) -> Iterator[Event | Exception]:
        workers = {worker.member: worker for worker in self._workers}
        for member, message in self._crew.received(timeout):
            worker = workers[member]
            match message:
                case Exception():
                    yield message
                case Ready():
                    worker.ready, self._failed_starts = True, 0
                    yield from (Note("workers", n) for n in message.notes if n not in self._noted)
                    self._noted.update(message.notes)
                case Wanted():
                    worker.hungry = True
                case Event():
                    self._keep(worker, message)
                    yield message
                case Lost():
                    yield from self._died(worker, message)

    def _keep(self, worker: Worker, event: Event) -> None:
        match event:
            case Replies():
                for name in event.rows.keys() | event.early.keys():
                    work = worker.works[name]
                    work.take(event)
                    work.lost_at, work.losses = None, 0  # it is past the place
            case Found():
                worker.works[event.image].find(event.value)
            case CleanScore() | Attacked() | Failure():
                del worker.works[event.entry.name]

    def _died(self, worker: Worker, lost: Lost) -> Iterator[Event | Exception]:
        self._workers.remove(worker)
        if not worker.ready and not lost.outside:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                yield InputError(
                    f"{STARTS} workers in a row ended as they started; the last one {lost.how}"
                )
                return
        for work in worker.works.values():
            if isinstance(work.job, ImageEntry) and work.rows:  # all there was to ask
                yield CleanScore(work.entry, PAIR.unpack_from(work.rows)[1])
                continue
            if lost.outside:
                self._lost.append(Work(work.again(), lost_at=work.lost_at, losses=work.losses))
                continue
            losses = work.losses + 1 if work.lost_at == work.spent else 1
            if losses < LOSSES:
                self._lost.append(Work(work.again(), lost_at=work.spent, losses=losses))
                continue
            error = InputError(f"{LOSSES} workers were lost over it, the last one {lost.how}")
            yield replace(failure_of(work.entry, error, work.spent), of_model=True)
        self._workers.append(self._start())

    def _ended(self) -> Iterator[Event]:
        """Stop all workers, and return their last events."""
        for worker in list(self._workers):
            if worker.ready:
                worker.member.send(Stop())
            else:  # nothing was asked of it
                worker.member.kill()
                self._workers.remove(worker)
        workers = {worker.member: worker for worker in self._workers}
        while self._workers:
            for member, message in self._crew.received(None):
                if isinstance(message, Lost):
                    self._workers.remove(workers[member])
                elif isinstance(message, Event):
                    yield message


def merged(events: Iterable[Replies]) -> Replies:
    """Merge replies; each image is in one of them, or its rows are consecutive."""
    every = list(events)
    if len(every) == 1:
        return every[0]
    rows: dict[str, tuple[int, list[Row]]] = {}
    early: dict[str, dict[int, Row]] = {}
    attempts: dict[str, int] = {}
    gains: dict[str, float] = {}
    for event in every:
        for name, (first, more) in event.rows.items():
            known = rows.setdefault(name, (first, []))[1]
            known.extend(more)
        for name, replies in event.early.items():
            early.setdefault(name, {}).update(replies)
        for name, count in event.attempts.items():
            attempts[name] = attempts.get(name, 0) + count
        gains |= event.gains
    for name, (first, known) in rows.items():
        waiting = early.get(name, {})
        early[name] = {k: row for k, row in waiting.items() if k >= first + len(known)}
    early = {name: replies for name, replies in early.items() if replies}
    scored = sum(event.scored for event in every)
    return Replies(rows, early, attempts, scored, gains, every[-1].batch)
