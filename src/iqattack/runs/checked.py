"""The record of the check of a run's model."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iqattack.engine import QueryLog
from iqattack.probing import EACH, Check, Elsewhere, evaluated
from iqattack.probing.subject import TOLERANCE
from iqattack.specs import printable

CHECK = "check"  # its name in the log


class Asked(BaseModel):
    """An image of the check. hash: of its pixels, as in the log, 16 hexadecimal digits, empty
    without a score. scores: of the clean image, the first one and those of the check, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    hash: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    scores: Annotated[tuple[float, ...], Field(max_length=1 + EACH)]


class Checked(BaseModel):
    """The log's record of the check of the model; the scores are among those of the images.

    images: the images of the check. batch: whether the second half of their scores is of both
    together. late: whether their clean images are also scored after their search. wide: whether the
    survey may have sent more than two images per call. workers: whether the survey ran in other
    processes. sessions: scores of the clean images at the beginning of each later session. failed:
    why the check was not completed. others: images that the log does not have, in a shard.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    images: tuple[str, ...]
    batch: bool
    late: bool = False
    wide: bool = False
    workers: bool = False
    sessions: tuple[dict[str, float], ...] = ()
    failed: str | None = None
    others: dict[str, Asked] = {}

    @classmethod
    def read(cls, log: QueryLog) -> Self | None:
        """The record, if there is one."""
        text = log.kept(CHECK)
        try:
            found = None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None  # from another version
        if found is None or not set(found.images) <= {*log.images(), *found.others}:
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
        """For each image, the repeated scores of the clean image before its search."""
        others = self.others
        return {
            name: list(others[name].scores[1:]) if name in others else log.again(name)
            for name in self.images
        }

    def hash_of(self, name: str, log: QueryLog) -> int:
        """The hash of the clean pixels of an image that has a score."""
        if name in self.others:
            return int(self.others[name].hash, 16)
        return int(log.rows(name)["hash"][0])

    def done(self, log: QueryLog) -> dict[str, int]:
        """The number of scores of images whose search has not begun."""
        found = self.scores(log)
        return {
            name: len(found[name])
            for name in found
            if name not in self.others and log.queries(name) == len(found[name]) + 1
        }

    def evaluated(self, log: QueryLog, score_range: tuple[float, float]) -> Check:
        """The findings that follow from the scores."""
        others = {name: asked.scores[0] for name, asked in self.others.items() if asked.scores}
        survey = {name: others.get(name, log.clean_score(name)) for name in self.images}
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
    """The share of the attack's images without a finite score; 0 without any images."""
    candidates = without = 0
    for _, _, rows in log.each_rows():
        scores = rows["score"][rows["hash"] != rows["hash"][:1]]
        candidates += len(scores)
        without += len(scores) - int(np.isfinite(scores).sum())
    return without / candidates if candidates else 0.0


def _still(log: QueryLog) -> bool:
    """Whether every query of every image has the score of its clean image."""
    scores = (rows["score"] for _, _, rows in log.each_rows())
    return all(
        np.array_equal(found, np.broadcast_to(found[:1], found.shape), equal_nan=True)
        for found in scores
    )
