"""A few queries before a search: is the model stochastic, does a score depend on its batch?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.probing.scores import NARROW, suggested_range
from iqattack.probing.session import is_finite, reason
from iqattack.probing.subject import TOLERANCE, amount, deviation
from iqattack.scoring import Reply, Request, ScorePool

TIMES = 2
EACH = 2 * TIMES  # queries of an image
APART = 5.0  # standard errors between means that do not come from noise


class Check(BaseModel):
    """What the check found.

    images: names of those that were asked about. queries: images that the model scored.
    noise: standard deviation of the scores of one image, in score units, 0 if they are equal.
    batch: largest difference between the score of an image alone and in a batch, in score units, 0
    where noise may explain it. failed: why the check has no answer, or not all.
    """

    model_config = ConfigDict(frozen=True)

    images: tuple[str, ...] = ()
    queries: int = 0
    noise: float = 0.0
    batch: float = 0.0
    failed: str | None = None


@dataclass
class Asked:
    """What the model said of each image, by name.

    alone, together: scores, by whether it was the only one of its call. scores: all of them, in the
    order in which they came. unanswered: how often each was sent for nothing.
    """

    alone: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    together: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unanswered: Counter[str] = field(default_factory=Counter)
    failed: str | None = None

    @property
    def check(self) -> Check:
        """What follows from it."""
        noise = deviation([*self.alone.values(), *self.together.values()])
        apart = [_apart(self.alone[name], self.together[name], noise) for name in self.scores]
        return Check(
            queries=sum(map(len, self.scores.values())),
            noise=noise,
            batch=max(apart, default=0.0),
            failed=self.failed,
        )

    def add(self, reply: Reply, *, alone: bool) -> None:
        """Take a reply; what is sent again is sent again by the pool."""
        name = reply.request.name
        if reply.score is None:
            self.unanswered[name] += 1
            if reply.final:
                self.failed = self.failed or str(reply.error)
            return
        self.scores[name].append(reply.score)
        if is_finite(reply.score):
            (self.alone if alone else self.together)[name].append(reply.score)
        else:
            self.failed = self.failed or reason(reply.score)


def ask(
    pool: ScorePool,
    images: Mapping[str, Tensor],
    asked: Asked,
    *,
    batch: bool,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Have images scored alone, twice each, and twice more: together, if batch.

    images: one or two (3, H, W) uint8, of one size. asked: is filled. It ends at the first failure
    that the pool has given up on, and when asked to stop.
    """
    alone, together = [[name] for name in images], [list(images)]
    for call in alone * TIMES + (together if batch and len(images) > 1 else alone) * TIMES:
        pool.submit([Request(name, 0, images[name]) for name in call])
        whole = True  # it was not sent again in parts
        while pool.pending:
            if stop():
                pool.forget()
                asked.failed = "the run was stopped"
                return
            for reply in pool.wait():
                whole = whole and reply.error is None
                asked.add(reply, alone=len(call) == 1 or not whole)
        if asked.failed is not None:
            return


def findings(
    check: Check,
    scores: Sequence[float],
    score_range: tuple[float, float],
    tolerance: float = TOLERANCE,
) -> list[str]:
    """What a person should know before a run, a phrase with its cause and remedy for each.

    scores: of the clean images. tolerance: differences up to that fraction of the range are
    rounding. Scores outside the range are left to the engine, which reports them.
    """
    width = score_range[1] - score_range[0]
    known = [score for score in scores if is_finite(score)]
    phrases = [*_spread(known, score_range)]
    if check.noise > tolerance * width:
        phrases.append(
            "the model is stochastic: scores of one image have a standard deviation of "
            f"{amount(check.noise, width)}; the best of many scores is optimistically biased, and "
            "verify finds others: average several calls in the model, or make it deterministic "
            "(eval mode, fixed seeds)"
        )
    if check.batch > tolerance * width:
        phrases.append(
            "scores depend on the batch: alone and with another image they differ by "
            f"{amount(check.batch, width)}, so that verify finds other scores: attack with "
            "--batch 1"
        )
    return phrases


def is_constant(scores: Sequence[float]) -> bool:
    """Whether a model gives several images all the same score."""
    return len(scores) > 1 and min(scores) == max(scores)


def _spread(scores: Sequence[float], score_range: tuple[float, float]) -> list[str]:
    if len(scores) < 2:
        return []
    low, high, width = min(scores), max(scores), score_range[1] - score_range[0]
    if is_constant(scores):
        return [
            f"all {len(scores)} clean scores are equal ({low:g}): nothing can be said about "
            "robustness; check the model"
        ]
    inside = score_range[0] <= low and high <= score_range[1]
    if inside and high - low < NARROW * width:
        return [
            f"the clean scores, {low:.4g} to {high:.4g}, fill {100 * (high - low) / width:.2g} % "
            f"of the score range {score_range[0]:g} to {score_range[1]:g}, and gains are fractions "
            f"of it: check the range, perhaps --score-range {suggested_range(scores, score_range)}"
        ]
    return []


def _apart(alone: Sequence[float], together: Sequence[float], noise: float) -> float:
    """Difference of the means, 0 where it is no more than noise makes it."""
    if not (alone and together):
        return 0.0
    difference = float(abs(np.mean(alone) - np.mean(together)))
    error = noise * float(np.sqrt(1 / len(alone) + 1 / len(together)))
    return difference if difference > APART * error else 0.0
