"""Scoring on any executor, and in threads for scorers that wait for a service."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import torch

from iqattack.errors import InputError
from iqattack.models import Scorer, as_failure
from iqattack.scoring.ceiling import Ceiling
from iqattack.scoring.contract import Call, Done
from iqattack.scoring.inline import ask
from iqattack.scoring.pool import Pool
from iqattack.scoring.retry import DEFAULT_RETRY, Retry


class FutureLike(Protocol):
    """A future, as of concurrent.futures or dask.distributed."""

    def result(self) -> Any: ...  # noqa: D102
    def add_done_callback(self, function: Callable[[Any], object], /) -> object: ...  # noqa: D102


class ExecutorLike(Protocol):
    """Anything with `submit(function, *arguments)` that returns a future."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> FutureLike: ...  # noqa: D102


class Submitted:
    """A backend of calls to an executor, which finish in any order."""

    def __init__(self, scorer: Scorer, executor: ExecutorLike, slots: int) -> None:
        self.name = scorer.name
        self.slots = slots
        self.running = 0
        self._scorer = scorer
        self._executor = executor
        self._inbox: SimpleQueue[tuple[Call, FutureLike] | None] = SimpleQueue()

    def start(self, call: Call) -> None:
        """See `Backend`."""
        self.running += 1
        try:
            future = self._executor.submit(ask, self._scorer, call.images)
        except Exception as error:  # an executor that is broken says so here
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._inbox.put((call, done)))

    def finished(self, timeout: float | None) -> list[Done]:
        """All finished calls; blocks until there is one."""
        found: list[Done] = []
        try:
            item = self._inbox.get(timeout=timeout)
            while True:
                if item is not None:
                    found.append(self._done(*item))
                item = self._inbox.get_nowait()
        except Empty:
            return found

    def _done(self, call: Call, future: FutureLike) -> Done:
        self.running -= 1
        try:
            answers, seconds = future.result()
        except BaseException as error:
            broken = isinstance(error, Exception)
            return Done(call, as_failure(self.name, error) if broken else error)
        return Done(call, answers, seconds)

    def wake(self) -> None:
        """See `Backend`."""
        self._inbox.put(None)

    def forget(self) -> None:
        """See `Backend`; submitted calls count as started."""

    def hold(self) -> None:
        """See `Backend`; for models with such a method."""
        hold = getattr(self._scorer, "hold", None)
        if hold is not None:
            hold()

    def close(self) -> None:
        """Keep the executor running; its owner closes it."""


class Executor(Pool):
    """A scorer pool on any executor, such as one of concurrent.futures, Dask or MPI.

    scorer: a loaded model, which the executor must be able to transfer to where it runs. executor:
    any object with `submit(function, *arguments)` that returns a future; it stays open. calls:
    number of concurrent calls. batch: images per call; None finds it by timing. retry: of timeouts,
    lost connections and `TransientError`.

    >>> import iqattack
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> executor = ThreadPoolExecutor(4)
    >>> run = iqattack.attack(
    ...     "photos", model, pool=iqattack.Executor(model, executor, calls=4),
    ...     attack="noise", queries=5, limit=2, out="runs/brightness",
    ... )
    >>> [row.queries for row in run.results]
    [5, 5]
    """

    def __init__(
        self,
        scorer: Scorer,
        executor: ExecutorLike,
        calls: int,
        *,
        batch: int | None = 1,
        retry: Retry = DEFAULT_RETRY,
        ceiling: Ceiling | None = None,
    ) -> None:
        super().__init__(
            Submitted(scorer, executor, calls), batch=batch, retry=retry, ceiling=ceiling
        )


Submission = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class DaemonThreads:
    """Daemon threads, which do not keep the program alive if one hangs in a request.

    Threads of `ThreadPoolExecutor` are joined at exit, so Ctrl-C would not end a waiting program.
    """

    def __init__(self, threads: int) -> None:
        todo: SimpleQueue[Submission | None] = SimpleQueue()
        self._todo = todo
        given = (todo, torch.get_num_threads())
        for number in range(threads):
            name = f"iqattack-score {number}"
            threading.Thread(target=_work, args=given, name=name, daemon=True).start()
        self._end = weakref.finalize(self, _end, todo, threads)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Call a function in one of the threads."""
        future: Future[Any] = Future()
        self._todo.put((future, function, arguments))
        return future

    def close(self) -> None:
        """End each thread after its current call."""
        self._end()


def _work(todo: SimpleQueue[Submission | None], torch_threads: int) -> None:
    torch.set_num_threads(torch_threads)
    while (item := todo.get()) is not None:
        future, function, arguments = item
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        del item, future, function, arguments  # a thread that waits holds no images


def _end(todo: SimpleQueue[Submission | None], threads: int) -> None:
    for _ in range(threads):
        todo.put(None)


class Threads(Executor):
    """A scorer pool of threads, for a thread-safe scorer that waits for a service.

    scorer: a loaded model that may be called from several threads. calls: number of concurrent
    calls. batch: images per call; None finds it by timing. retry: of timeouts, lost connections and
    `TransientError`. Raises InputError for `calls` below 1.

    >>> import iqattack
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> run = iqattack.attack(
    ...     "photos", model, pool=iqattack.Threads(model, calls=4),
    ...     attack="noise", queries=5, limit=2, out="runs/brightness",
    ... )
    >>> [row.queries for row in run.results]
    [5, 5]
    """

    def __init__(
        self,
        scorer: Scorer,
        calls: int,
        *,
        batch: int | None = 1,
        retry: Retry = DEFAULT_RETRY,
        ceiling: Ceiling | None = None,
    ) -> None:
        if calls < 1:
            raise InputError(f"concurrent calls {calls}: expected at least 1")
        self._threads = DaemonThreads(calls)
        super().__init__(scorer, self._threads, calls, batch=batch, retry=retry, ceiling=ceiling)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
