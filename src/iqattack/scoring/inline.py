"""The model in this process, called from the thread that waits."""

from __future__ import annotations

import threading
import time
from collections import deque

import torch

from iqattack.models import MODEL_LOCK, Scorer, answers
from iqattack.scoring.contract import Call, Done


def ask(scorer: Scorer, call: Call) -> Done:
    """Have a model score one call."""
    requests = call.requests
    # A stack of one is a view: large pictures are not copied.
    images = (
        requests[0].image[None] if len(requests) == 1 else torch.stack([r.image for r in requests])
    )
    started = time.perf_counter()
    found: list[float | Exception] | BaseException
    try:
        found = answers(scorer, images)
    except BaseException as error:
        found = error
    return Done(call, found, time.perf_counter() - started)


class Inline:
    """One call at a time, in `finished`: what waits is scored by the thread that waits for it."""

    slots = 1

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._calls: deque[Call] = deque()
        self._woken = threading.Event()

    @property
    def running(self) -> int:
        """Calls that wait."""
        return len(self._calls)

    def start(self, call: Call) -> None:
        """See `Backend`."""
        self._calls.append(call)

    def finished(self, timeout: float | None) -> list[Done]:
        """Score the next call; without one, wait."""
        if self._calls:
            with MODEL_LOCK, torch.no_grad():
                return [ask(self._scorer, self._calls.popleft())]
        self._woken.wait(timeout)
        self._woken.clear()
        return []

    def wake(self) -> None:
        """See `Backend`."""
        self._woken.set()

    def close(self) -> None:
        """Forget what waits."""
        self._calls.clear()
