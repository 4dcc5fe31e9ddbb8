"""What a run keeps of the check of its model."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ValidationError

from iqattack.engine import QueryLog
from iqattack.probing import Check, Elsewhere, evaluated
from iqattack.probing.subject import TOLERANCE
from iqattack.specs import printable

CHECK = "check"  # its name in the log


class Checked(BaseModel):
    """What the log keeps of the check of the model; the scores are among those of the images.

    images: that were asked about. batch: whether the second half of their scores is of both
    together. late: whether their clean images are scored after their search, too. wide: whether the
    survey may have sent more than two images in a call. workers: whether it was in other processes.
    sessions: scores of the clean images at the beginning of each later session. failed: why it was
    not completed.
    """

    images: tuple[str, ...]
    batch: bool
    late: bool = False
    wide: bool = False
    workers: bool = False
    sessions: tuple[dict[str, float], ...] = ()
    failed: str | None = None

    @classmethod
    def read(cls, log: QueryLog) -> Self | None:
        """What is kept, if anything is."""
        text = log.kept(CHECK)
        try:
            found = None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None  # another version's
        if found is None or not set(found.images) <= set(log.images()):
            return None
        if any(not set(scores) <= set(found.images) for scores in found.sessions):
            return None
        if found.failed is not None:
            found.failed = printable(found.failed)
        return found

    def keep(self, log: QueryLog) -> None:
        """Store it."""
        log.keep(CHECK, self.model_dump_json())

    def scores(self, log: QueryLog) -> dict[str, list[float]]:
        """Of each image beside its clean score: those of the clean image before its search."""
        return {name: log.again(name) for name in self.images}

    def done(self, log: QueryLog) -> dict[str, int]:
        """How many scores there are of images whose search has not begun."""
        found = self.scores(log)
        return {
            name: len(found[name]) for name in found if log.queries(name) == len(found[name]) + 1
        }

    def evaluated(self, log: QueryLog, score_range: tuple[float, float]) -> Check:
        """What follows from them."""
        survey = {name: log.clean_score(name) for name in self.images}
        late = {name: log.late(name) for name in self.images} if self.late else {}
        found = evaluated(
            self.images,
            self.scores(log),
            batch=self.batch,
            failed=self.failed,
            elsewhere=Elsewhere(
                survey={name: score for name, score in survey.items() if score is not None},
                late={name: score for name, score in late.items() if score is not None},
                wide=self.wide,
                workers=self.workers,
                sessions=self.sessions,
            ),
            rounding=TOLERANCE * (score_range[1] - score_range[0]),
        )
        return found.model_copy(update={"still": _still(log)})


def nonfinite(log: QueryLog) -> float:
    """To what share of the attack's images the model gave no finite score; 0 without any."""
    candidates = without = 0
    for image in log.images():
        rows = log.rows(image)
        scores = rows["score"][rows["hash"] != rows["hash"][:1]]
        candidates += len(scores)
        without += len(scores) - int(np.isfinite(scores).sum())
    return without / candidates if candidates else 0.0


def _still(log: QueryLog) -> bool:
    """Whether no query of any image has another score than its clean image."""
    scores = (log.rows(image)["score"] for image in log.images())
    return all(
        np.array_equal(found, np.broadcast_to(found[:1], found.shape), equal_nan=True)
        for found in scores
    )
