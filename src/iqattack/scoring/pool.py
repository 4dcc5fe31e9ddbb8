"""The scorer pool: batches calls to a backend and handles failures."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Sequence

import torch

from iqattack.errors import InputError, NotSentError
from iqattack.isolation import changes
from iqattack.models import ModelFailedError, WrongAnswerError
from iqattack.scoring.batching import LARGEST, BatchSize
from iqattack.scoring.ceiling import Ceiling
from iqattack.scoring.contract import Backend, Call, Done, Reply, Request
from iqattack.scoring.retry import DEFAULT_RETRY, Retry

OutOfMemory = MemoryError | torch.OutOfMemoryError
DEATHS = 2  # workers that one image may take with it
POLL_S = 0.2  # of a pause after which `wait` returns, so that a run that is to stop does not wait


class WorkerDiedError(InputError):
    """The worker process with these images ended without an answer."""


class Pool:
    """A `ScorePool` on any backend.

    batch: images per call; None finds it by timing, up to `largest`. retry: of transient failures.
    ceiling: limit on the images sent; once it is reached, `wait` raises CeilingReached.

    A call that fails as a whole is repeated in halves, down to single images, to find the image
    that causes it. A model that does not accept batches gets single images from then on. An image
    that fails by itself is retried if the failure is transient, or once if a worker died of it; any
    other failure is final. Scores that arrive together with failures are kept.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        batch: int | None = None,
        retry: Retry = DEFAULT_RETRY,
        ceiling: Ceiling | None = None,
        largest: int = LARGEST,
    ) -> None:
        check_batch(batch)
        self._ceiling = ceiling
        self.notes: list[str] = []
        self._changes: set[str] = set()  # of the process, by the model, that were noted
        self._backend = backend
        self._batch = BatchSize(batch, largest)
        self._retry = retry
        self._pending = 0
        self._round = 0  # of calls that have not been forgotten
        self._fatal: BaseException | None = None
        self._holding = False  # the run is to stop: what was not sent yet is not to be
        self._tries: Counter[Request] = Counter()
        self._later: list[tuple[float, int, Call]] = []  # when it is due, for equal ones a number
        self._numbers = itertools.count()

    @property
    def batch(self) -> int:
        """The best number of images of one size per call."""
        return self._batch.current

    @property
    def capacity(self) -> int:
        """The number of images that can be in flight."""
        return self._backend.slots * self._batch.current

    @property
    def pending(self) -> int:
        """The number of images without a final reply."""
        return self._pending

    @property
    def sent(self) -> int:
        """The number of pending images that are not pausing before a retry."""
        return self._pending - sum(len(call.requests) for _, _, call in self._later)

    @property
    def running(self) -> int:
        """The number of calls of the backend; the others are pausing before a retry."""
        return self._backend.running

    def submit(self, requests: Sequence[Request]) -> None:
        """Submit images of one size in one call."""
        self._pending += len(requests)
        self._start(Call(requests, round=self._round))

    def short(self) -> None:
        """See `ScorePool`."""
        self._batch.give_up_growing()

    def wake(self) -> None:
        """See `ScorePool`."""
        self._backend.wake()

    def forget(self) -> None:
        """See `ScorePool`."""
        self._backend.forget()
        self._later.clear()
        self._tries.clear()
        self.notes.clear()
        self._pending, self._fatal = 0, None
        self._round += 1

    def close(self) -> None:
        """See `ScorePool`."""
        self._backend.close()

    def wait(self, *, resend: bool = True) -> list[Reply]:
        """See `ScorePool`; raises exceptions that are not answers, such as KeyboardInterrupt, once
        concurrent calls have finished.
        """
        running = self._backend.running
        self._holding = not resend
        if running and self._holding:
            self._backend.hold()
        now, timeout = time.monotonic(), None
        later = self._later if resend and self._fatal is None else []
        while later and later[0][0] <= now and self._backend.running < self._backend.slots:
            self._start(heapq.heappop(later)[2])
        if self._fatal is not None and not self._backend.running:
            raise self._fatal
        if not self._pending or not (running or resend):
            return []
        if later and self._backend.running < self._backend.slots:
            timeout = min(later[0][0] - now, POLL_S)
        replies = [r for done in self._backend.finished(timeout) for r in self._replies(done)]
        for phrase in changes():
            if phrase not in self._changes:
                self._changes.add(phrase)
                self.notes.append(phrase)
        self._pending -= sum(reply.final for reply in replies)
        if self._fatal is not None and not replies and not self._backend.running:
            raise self._fatal
        return replies

    def _start(self, call: Call) -> None:
        if self._fatal is not None:
            return
        if self._ceiling is not None:
            taken = self._ceiling.take(len(call.requests))
            if taken < len(call.requests):
                self._fatal = self._ceiling.reached()
                call.requests = call.requests[:taken]
        if call.requests:
            self._backend.start(call)

    def _replies(self, done: Done) -> list[Reply]:
        requests, found = done.call.requests, done.answers
        if done.call.round != self._round:
            return []
        if isinstance(found, list):
            self._batch.record(len(requests), done.seconds)
            self._came_back(done.call, spoilt=any(isinstance(a, Exception) for a in found))
            pairs = zip(requests, found, strict=True)
            return [reply for pair in pairs for reply in self._reply(*pair)]
        if not isinstance(found, Exception):
            self._fatal = found  # raised once what came with it is kept
            return []
        if len(requests) > 1:
            return self._halved(done.call, found)
        self._came_back(done.call, spoilt=True)
        return self._reply(requests[0], found)

    def _reply(self, request: Request, answer: float | Exception) -> list[Reply]:
        """The reply for an image; none for one that was not sent after all."""
        if not isinstance(answer, Exception):
            self._tries.pop(request, None)
            return [Reply(request, score=answer)]
        if isinstance(answer, OutOfMemory):
            height, width = request.image.shape[-2:]
            answer = InputError(
                f"model '{self._backend.name}': out of memory on one image of {width}×{height} "
                "pixels; use smaller images (--resize) or another device"
            )
        if isinstance(answer, NotSentError) and self._holding:
            self._send_later(Call([request], round=self._round), 0.0)
            if self._ceiling is not None:
                self._ceiling.give_back(1)
            return []
        self._tries[request] += 1
        tries, passing = self._tries[request], _passing(answer)
        if passing is not None:
            again, pause = (
                tries <= self._retry.retries,
                self._retry.pause(tries, passing.retry_after),
            )
        else:
            again, pause = isinstance(answer, WorkerDiedError) and tries < DEATHS, 0.0
        if again:
            self._send_later(Call([request], round=self._round), pause)
        else:
            del self._tries[request]
        return [_error(request, answer, final=not again)]

    def _halved(self, call: Call, error: Exception) -> list[Reply]:
        """Of a call that failed as a whole, no image has an answer: each one is asked again."""
        requests, half = call.requests, len(call.requests) // 2
        parts = [requests[:half], requests[half:]]
        passing = _passing(error)
        # Only what the model itself raised, and would raise again, can be the batch's size.
        call.spoilt = passing is not None or not isinstance(error, ModelFailedError)
        if isinstance(error, OutOfMemory):
            self._batch.too_large(len(requests))
        elif isinstance(error, WrongAnswerError):
            if self.batch > 1:
                self.notes.append(f"{error}; so it is queried one image at a time")
            self._batch.too_large(2)
            parts = [[request] for request in requests]
        pause = 0.0 if passing is None else self._retry.pause(1, passing.retry_after)
        call.parts = len(parts)
        for part in parts:
            self._send_later(Call(part, whole=call, round=self._round), pause)
        return [_error(request, error, final=False) for request in requests]

    def _came_back(self, call: Call, *, spoilt: bool = False) -> None:
        """A batch whose halves were all answered was too large, unless it failed for a time."""
        whole = call.whole
        if whole is None:
            return
        whole.parts -= 1
        whole.spoilt |= spoilt
        if whole.parts == 0:
            if not whole.spoilt:
                self._batch.refused(len(whole.requests))
            self._came_back(whole, spoilt=whole.spoilt)

    def _send_later(self, call: Call, pause: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + pause, next(self._numbers), call))


def check_batch(batch: int | None) -> None:
    """Raise InputError for a batch size below 1."""
    if batch is not None and batch < 1:
        raise InputError(f"batch size {batch}: expected at least 1")


def _passing(error: Exception) -> ModelFailedError | None:
    """The error if it is transient, else None."""
    return error if isinstance(error, ModelFailedError) and error.transient else None


def _error(request: Request, error: Exception, *, final: bool) -> Reply:
    billed = isinstance(error, ModelFailedError) and error.billed
    return Reply(
        request, error=error, final=final, transient=_passing(error) is not None, billed=billed
    )
