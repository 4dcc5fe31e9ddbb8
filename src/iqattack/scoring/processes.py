"""Scoring in worker processes, each with its own model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait

import torch

from iqattack.children import Child
from iqattack.errors import InputError, IqattackError
from iqattack.models import Scorer, dealt, in_turn, load_model
from iqattack.scoring.batching import largest_on
from iqattack.scoring.contract import Call, Done
from iqattack.scoring.inline import ask
from iqattack.scoring.pool import Pool, WorkerDiedError, check_batch
from iqattack.scoring.retry import DEFAULT_RETRY, Retry

STARTS = 3  # workers in a row that end before their model is loaded
Make = Callable[[], Scorer]


def serve(make: Make, connection: Connection) -> None:
    """Run in a worker: load the model, then answer calls."""
    try:
        scorer = make()
    except IqattackError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        images = connection.recv()
        if images is None:
            return
        connection.send(ask(scorer, [torch.from_numpy(image) for image in images]))


@dataclass(eq=False)
class Worker:
    """A worker process and its calls, of which it is scoring the first.

    make: index of the function that made its model.
    """

    child: Child
    make: int = 0
    ready: bool = False
    calls: list[Call] = field(default_factory=list)


class Workers:
    """A backend of worker processes, each with one call to score and one in reserve.

    makes: functions that make models, such as one for each GPU; processes take turns.
    """

    def __init__(self, name: str, makes: Sequence[Make], processes: int, threads: int) -> None:
        self.name = name
        self.slots = 2 * processes
        self._starts = [partial(Child, partial(serve, make), threads) for make in makes]
        self._dead: list[Done] = []
        self._failed_starts = 0
        self._error: Exception | None = None
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)  # a full pipe wakes as well as one more byte
        self._workers: list[Worker] = []
        try:
            for _ in range(processes):
                self._workers.append(self._begun())
        except BaseException:
            self.close()
            raise

    def _begun(self) -> Worker:
        """Start another process, with the model that the fewest processes have."""
        number = in_turn(len(self._starts), (worker.make for worker in self._workers))
        return Worker(self._starts[number](), number)

    @property
    def running(self) -> int:
        """The number of calls of all processes."""
        return sum(len(worker.calls) for worker in self._workers) + len(self._dead)

    def start(self, call: Call) -> None:
        """Send the call to the least busy process."""
        worker = min(self._workers, key=lambda worker: len(worker.calls))
        worker.calls.append(call)
        if worker.ready:
            self._send(worker, call)

    def _send(self, worker: Worker, call: Call) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # reading from it says so, too
            worker.child.connection.send([request.image.numpy() for request in call.requests])

    def finished(self, timeout: float | None) -> list[Done]:
        """The answers of all processes; blocks until there is one.

        Raises InputError if the model cannot be loaded, after returning answers that arrived
        before.
        """
        found, self._dead = self._dead, []
        if self._error is not None:
            raise self._error
        connections = {worker.child.connection: worker for worker in self._workers}
        for ready in wait([*connections, self._woken], 0.0 if found else timeout):
            if ready == self._woken:
                os.read(self._woken, 4096)
            elif isinstance(ready, Connection):
                try:
                    found += self._received(connections[ready])
                except InputError as error:
                    self._error = error
        if self._error is not None and not found:
            raise self._error
        return found

    def _received(self, worker: Worker) -> list[Done]:
        try:
            message = worker.child.connection.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            return self._died(worker)
        if not worker.ready:
            if isinstance(message, Exception):
                raise message
            worker.ready, self._failed_starts = True, 0
            for call in worker.calls:
                self._send(worker, call)
            return []
        answers, seconds = message
        return [Done(worker.calls.pop(0), answers, seconds)]

    def _died(self, worker: Worker) -> list[Done]:
        """Replace a dead process; the call that it was scoring failed, the others are resent."""
        how = worker.child.how_it_ended()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise InputError(
                    f"model '{self.name}': {STARTS} workers in a row ended while loading it; the "
                    f"last one {how}"
                )
        lost = worker.calls[:1] if worker.ready else []
        rest = worker.calls[len(lost) :]
        self._workers.remove(worker)
        self._workers.append(self._begun())
        self._workers[-1].calls += rest
        return [
            Done(call, WorkerDiedError(f"model '{self.name}': a worker {how} while scoring"))
            for call in lost
        ]

    def wake(self) -> None:
        """See `Backend`."""
        with suppress(BlockingIOError, OSError):
            os.write(self._waker, b"w")

    def forget(self) -> None:
        """See `Backend`; a process answers all calls that it received."""

    def hold(self) -> None:
        """See `Backend`; no call waits for its turn."""

    def close(self) -> None:
        """End the processes at once."""
        for worker in self._workers:
            worker.child.kill()
        self._workers = []
        for descriptor in (self._woken, self._waker):
            if descriptor >= 0:
                os.close(descriptor)
        self._woken = self._waker = -1


class Processes(Pool):
    """A scorer pool of worker processes, each with its own copy of a model.

    spec: of the model, as for `load_model`. processes: their number. threads: of torch in each
    process; by default, they share the threads of this process. batch: images per call; None finds
    it by timing. retry: of timeouts, lost connections and `TransientError`. Other arguments as in
    `load_model`. Raises InputError for `processes` below 1, and as `load_model` does.

    >>> import iqattack
    >>> pool = iqattack.Processes("builtin", processes=1)
    >>> run = iqattack.attack(
    ...     "photos", "builtin", pool=pool, attack="noise", queries=5, limit=2, out="runs/pool"
    ... )
    >>> pool.close()
    >>> [row.queries for row in run.results]
    [5, 5]
    """

    def __init__(
        self,
        spec: str,
        processes: int,
        *,
        score_range: tuple[float, float] | None = None,
        lower_better: bool | None = None,
        input: str | None = None,  # noqa: A002 - as `load_model` calls it
        timeout: float | None = None,
        device: str = "cpu",
        compile: bool = False,  # noqa: A002 - likewise
        autocast: str | None = None,
        threads: int | None = None,
        batch: int | None = None,
        retry: Retry = DEFAULT_RETRY,
    ) -> None:
        makes = [
            partial(
                load_model,
                spec,
                score_range=score_range,
                lower_better=lower_better,
                input=input,
                timeout=timeout,
                device=one,
                compile=compile,
                autocast=autocast,
            )
            for one in dealt(device)
        ]
        if processes < 1:
            raise InputError(f"processes {processes}: expected at least 1")
        check_batch(batch)
        each = threads or threads_each(processes)
        super().__init__(
            Workers(spec, makes, processes, each),
            batch=batch,
            retry=retry,
            largest=largest_on(device),
        )


def threads_each(processes: int) -> int:
    """The number of torch threads for each of `processes` processes, at least 1."""
    return max(1, torch.get_num_threads() // max(1, processes))
