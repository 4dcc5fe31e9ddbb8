"""Querying a model, with a ceiling on the images sent, and failures as answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from iqattack.models import MODEL_LOCK, Model, ModelFailedError, answers
from iqattack.models.base import Loaded, Traits
from iqattack.scoring import DEFAULT_RETRY
from iqattack.scoring.executor import DaemonThreads

Answer = float | Exception
Progress = Callable[[str, int, int], None]  # topic, images sent, ceiling


class OutOfQueries(Exception):  # noqa: N818 - an event, not an error
    """The ceiling leaves too few queries for a call."""


class Session:
    """Sends images to a model, never more than the ceiling.

    A failed call is repeated once, to distinguish transient from permanent failures.

    model: its range and direction may be undeclared. ceiling: images that may be sent. queries:
    images sent so far. calls, passing: number of calls, and of those that succeeded only the second
    time. error: of the first of these. seen: all finite scores.
    """

    def __init__(
        self,
        model: Loaded,
        ceiling: int,
        progress: Progress = lambda _topic, _queries, _ceiling: None,
    ) -> None:
        self.traits = Traits.of(model)
        self.ceiling = ceiling
        self.topic = ""
        self.queries = self.calls = self.passing = 0
        self.error: Exception | None = None
        self.seen: list[float] = []
        self._progress = progress
        self.use(model)

    def use(self, model: Loaded) -> None:
        """Use this model from now on: the same one, with another input convention."""
        self.model = model
        # Range and direction do not matter for queries.
        self._scorer = Model(model, model.name, (0.0, 1.0), False, model.min_size)

    @property
    def left(self) -> int:
        """Images that may still be sent."""
        return self.ceiling - self.queries

    def reserve(self, queries: int) -> None:
        """Raise OutOfQueries if fewer are left than a test needs."""
        if queries > self.left:
            raise OutOfQueries

    def alone(self, images: Sequence[Tensor]) -> list[Answer]:
        """Scores of images (3, H, W) uint8, one call each; an exception in place of a failure."""
        return [self.together([image])[0] for image in images]

    def together(self, images: Sequence[Tensor]) -> list[Answer]:
        """Scores of images of equal size, in one call."""
        return self.timed(images)[0]

    def timed(self, images: Sequence[Tensor]) -> tuple[list[Answer], float]:
        """The same, with the duration of the call in seconds."""
        found, seconds = self._call(images)
        failed = [answer for answer in found if isinstance(answer, Exception)]
        if failed and self.left >= len(images) and not _refused(failed[0]):
            if isinstance(failed[0], ModelFailedError) and failed[0].transient:
                time.sleep(DEFAULT_RETRY.pause(1, failed[0].retry_after))
            again, seconds = self._call(images)
            pairs = zip(found, again, strict=True)
            found = [new if isinstance(old, Exception) else old for old, new in pairs]
            if not any(isinstance(answer, Exception) for answer in found):
                self.passing += 1
                self.error = self.error or failed[0]
        self.seen += finite(found)
        return found, seconds

    def at_once(self, images: Sequence[Tensor], threads: int) -> float:
        """Duration in seconds of calls with one image each, from `threads` threads."""
        self._spend(len(images))
        pool = DaemonThreads(threads)
        started = time.perf_counter()
        futures = [pool.submit(answers, self._scorer, image[None].clone()) for image in images]
        for future in futures:
            future.exception()  # waits; failures were reported before
        pool.close()
        return time.perf_counter() - started

    def _call(self, images: Sequence[Tensor]) -> tuple[list[Answer], float]:
        if min(images[0].shape[-2:]) >= self.model.min_size:  # otherwise nothing is sent
            self._spend(len(images))
        batch = torch.stack(list(images))  # a copy, which the model may change
        started = time.perf_counter()
        found: list[Answer]
        try:
            with MODEL_LOCK:
                found = answers(self._scorer, batch)
        except Exception as error:
            found = [error] * len(images)
        return found, time.perf_counter() - started

    def count(self, images: int) -> None:
        """Count images that are sent."""
        self.queries += images
        self._progress(self.topic, self.queries, self.ceiling)

    def _spend(self, queries: int) -> None:
        self.reserve(queries)
        self.calls += 1
        self.count(queries)


def _refused(error: Exception) -> bool:
    """Whether a retry is useless: an answer of the wrong shape, no memory, too small."""
    return not isinstance(error, ModelFailedError)


def finite(found: Sequence[Answer]) -> list[float]:
    """The finite scores among answers."""
    return [score for score in found if is_finite(score)]


def is_finite(answer: Answer) -> TypeGuard[float]:
    """Whether an answer is a finite score."""
    return not isinstance(answer, Exception) and abs(answer) < float("inf")


def reason(answer: Answer) -> str:
    """Why an answer is not a finite score."""
    return str(answer) if isinstance(answer, Exception) else f"the score is {answer}"
