"""The backend that calls the model in this process, in the thread that waits."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from iqattack.models import MODEL_LOCK, Model, Scorer, answers
from iqattack.scoring.contract import Call, Done

Answered = tuple[list[float | Exception] | BaseException, float]


def ask(scorer: Scorer, images: Sequence[Tensor]) -> Answered:
    """Score images of one size; returns the answers and the duration in seconds.

    A model must not be able to modify the attack's images: a `Model` ensures this itself, and any
    other scorer receives a copy, even of a single image.

    The duration includes asynchronous work on a device, since copying the scores to the CPU waits
    for it, and the next call finds the device idle.
    """
    single = len(images) == 1 and isinstance(scorer, Model)
    batch = images[0][None] if single else torch.stack(list(images))
    started = time.perf_counter()
    found: list[float | Exception] | BaseException
    try:
        found = answers(scorer, batch)
    except torch.OutOfMemoryError as error:
        # Its traceback holds the model's activations, and torch keeps what it freed: the halves of
        # this batch need that memory, and so do other processes on the device.
        found = error.with_traceback(None)
        found.__context__ = found.__cause__ = None
        freed()
    except BaseException as error:
        found = error
    return found, time.perf_counter() - started


def freed() -> None:
    """Release device memory that torch has cached but does not use."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


class Inline:
    """One call at a time, made by the thread that calls `finished`."""

    slots = 1

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._calls: deque[Call] = deque()
        self._woken = threading.Event()

    @property
    def running(self) -> int:
        """The number of waiting calls."""
        return len(self._calls)

    def start(self, call: Call) -> None:
        """See `Backend`."""
        self._calls.append(call)

    def finished(self, timeout: float | None) -> list[Done]:
        """Make the next call; without one, block."""
        if self._calls:
            with MODEL_LOCK, torch.no_grad():
                call = self._calls.popleft()
                return [Done(call, *ask(self._scorer, call.images))]
        self._woken.wait(timeout)
        self._woken.clear()
        return []

    def wake(self) -> None:
        """See `Backend`."""
        self._woken.set()

    def forget(self) -> None:
        """See `Backend`."""
        self._calls.clear()

    def hold(self) -> None:
        """See `Backend`; no call waits for its turn."""

    def close(self) -> None:
        """See `Backend`."""
        self._calls.clear()
