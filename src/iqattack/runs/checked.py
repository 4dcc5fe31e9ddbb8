"""What a run keeps of the check of its model."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ValidationError

from iqattack.engine import QueryLog
from iqattack.probing import Check, evaluated
from iqattack.specs import printable

CHECK = "check"  # its name in the log


class Checked(BaseModel):
    """What the log keeps of the check of the model; the scores are among those of the images.

    images: that were asked about. batch: whether the second half of their scores is of both
    together. failed: why it was not completed.
    """

    images: tuple[str, ...]
    batch: bool
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
        if found.failed is not None:
            found.failed = printable(found.failed)
        return found

    def keep(self, log: QueryLog) -> None:
        """Store it."""
        log.keep(CHECK, self.model_dump_json())

    def scores(self, log: QueryLog) -> dict[str, list[float]]:
        """Of each image beside its clean score: those of the clean image again."""
        return {name: log.again(name) for name in self.images}

    def done(self, log: QueryLog) -> dict[str, int]:
        """How many scores there are of images whose search has not begun."""
        found = self.scores(log)
        return {
            name: len(found[name]) for name in found if log.queries(name) == len(found[name]) + 1
        }

    def evaluated(self, log: QueryLog) -> Check:
        """What follows from them."""
        found = evaluated(self.images, self.scores(log), batch=self.batch, failed=self.failed)
        return found.model_copy(update={"still": _still(log)})


def _still(log: QueryLog) -> bool:
    """Whether no query of any image has another score than its clean image."""
    scores = (log.rows(image)["score"] for image in log.images())
    return all(
        np.array_equal(found, np.broadcast_to(found[:1], found.shape), equal_nan=True)
        for found in scores
    )
