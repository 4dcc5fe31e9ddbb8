"""Evaluation of the fresh scores in a run's log.

The best of many noisy scores is optimistically biased: it was also selected for its noise. Scores
that had no part in the choice have no such bias.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iqattack.engine import QueryLog
from iqattack.errors import RunError
from iqattack.evaluation import Interval, bootstrap_interval, mean_gain
from iqattack.objectives import towards_end
from iqattack.runs.numbers import images, number
from iqattack.runs.pairs import Scored
from iqattack.runs.results import Result
from iqattack.runs.settings import ModelRecord

FRESH = "fresh scores"  # name in the log of their number, unanswered ones included
RESCORED = "rescored.csv"
KEPT = "rescored "  # prefix of an image's entry in the log
MOST_TIMES = 10_000

Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Fresh = Annotated[tuple[float, ...], Field(max_length=MOST_TIMES)]


class Scores(BaseModel):
    """Raw fresh scores of an image, in the order of their queries. clean_hash, attacked_hash: of
    the pixels, as in the log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    clean_hash: Hash
    attacked_hash: Hash
    clean: Fresh = ()
    attacked: Fresh = ()

    @classmethod
    def read(cls, log: QueryLog, image: str) -> Self | None:
        """The fresh scores of an image, if there are any; RunError if they are invalid."""
        text = log.kept(f"{KEPT}{image}")
        if text is None:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            raise RunError(
                f"{image}: the log has invalid fresh scores; restore a copy of the log"
            ) from None

    def keep(self, log: QueryLog, image: str) -> None:
        """Store them."""
        log.keep(f"{KEPT}{image}", self.model_dump_json())

    def are_of(self, scored: Scored) -> bool:
        """Whether they belong to the clean and attacked pictures in the log."""
        return int(self.clean_hash, 16) == scored.clean and (
            int(self.attacked_hash, 16) in scored.attacked
        )


class Rescored(BaseModel):
    """One image. score_clean_fresh, score_adv_fresh: means of finite fresh scores, at least `times`
    of each. gain: as reported; gain_fresh: of these means, as a fraction of the score range,
    negative if the score moved the other way; error: its standard error. An image that the attack
    left unchanged needs no scores, and has a fresh gain of 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    times: int
    score_clean_fresh: float | None
    score_adv_fresh: float | None
    gain: float
    gain_fresh: float
    error: float

    @property
    def bias(self) -> float:
        """The selection bias of the reported gain."""
        return self.gain - self.gain_fresh

    @classmethod
    def of(cls, result: Result, scores: Scores | None, model: ModelRecord) -> Self | None:
        """Evaluate a finished image; None with fewer than two fresh scores of a picture."""
        gain = result.gain or 0.0
        if unchanged(result):
            return cls(
                image=result.image,
                times=0,
                score_clean_fresh=None,
                score_adv_fresh=None,
                gain=gain,
                gain_fresh=0.0,
                error=0.0,
            )
        if scores is None or result.direction is None:
            return None
        both = [
            finite[np.isfinite(finite)]
            for finite in (np.array(scores.clean), np.array(scores.attacked))
        ]
        times = min(map(len, both))
        if times < 2:
            return None
        clean, attacked = (float(np.mean(values)) for values in both)
        target = towards_end(result.direction, clean, model.score_range, model.lower_better)
        squares = sum(float(np.var(values, ddof=1)) / len(values) for values in both)
        return cls(
            image=result.image,
            times=times,
            score_clean_fresh=clean,
            score_adv_fresh=attacked,
            gain=gain,
            gain_fresh=target.gain(attacked),
            error=squares**0.5 / target.width,
        )


class Rescoring(BaseModel):
    """Evaluation of a run's fresh scores: means over the images that have some.

    images: number with fresh scores, or left unchanged; scored: number with fresh scores; times:
    fewest per picture. queries: images that the model scored for this, outside the budget. gain: as
    reported for these images; gain_fresh: without selection bias; bias: the difference. error:
    standard error of the mean fresh gain due to noise alone, for these images. intervals: 95 %,
    over images, of gain_fresh and bias.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    images: int
    scored: int
    times: int
    queries: int
    gain: float
    gain_fresh: float
    bias: float
    error: float
    intervals: dict[str, Interval] = {}

    @property
    def text(self) -> str:
        """The result in a phrase."""
        rest = self.images - self.scored
        left = f" ({rest:,} more {'was' if rest == 1 else 'were'} left unchanged)" if rest else ""
        return (
            f"fresh scores of {images(self.scored)}, {self.times:,} or more of each picture{left}, "
            f"put the mean gain at {number(self.gain_fresh)} ± {number(self.error)} of the range, "
            f"instead of the reported {number(self.gain)}: {number(self.bias)} of that is "
            f"selection bias; these {self.queries:,} queries do not count towards the budget"
        )


def unchanged(result: Result) -> bool:
    """Whether the attack left an image unchanged."""
    return result.linf == 0.0


def each_rescored(
    log: QueryLog, results: Iterator[Result], model: ModelRecord
) -> Iterator[Rescored]:
    """The finished images that have fresh scores, in order; scores of other pictures do not
    count."""
    for result in results:
        scores = Scores.read(log, result.image)
        scored = None if scores is None else Scored.read(result, log)
        if scores is not None and (scored is None or not scores.are_of(scored)):
            continue
        found = Rescored.of(result, scores, model)
        if found is not None:
            yield found


def rescoring_of(rows: list[Rescored], queries: int, *, intervals: bool = True) -> Rescoring | None:
    """The means of rows; None if no row has fresh scores. queries: see `Rescoring`."""
    times = [row.times for row in rows if row.times]
    if not times:
        return None
    fresh = np.array([row.gain_fresh for row in rows])
    bias = np.array([row.bias for row in rows])
    return Rescoring(
        images=len(rows),
        scored=len(times),
        times=min(times),
        queries=queries,
        gain=statistics.fmean(row.gain for row in rows),
        gain_fresh=float(fresh.mean()),
        bias=float(bias.mean()),
        error=sum(row.error**2 for row in rows) ** 0.5 / len(rows),
        intervals={
            name: bootstrap_interval(mean_gain, values)
            for name, values in (("gain_fresh", fresh), ("bias", bias))
            if intervals
        },
    )
