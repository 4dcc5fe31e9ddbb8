"""A few queries before a search: is the model stochastic, does a score depend on its batch?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.models import MODEL_LOCK, Scorer, answers
from iqattack.probing.scores import NARROW, suggested_range
from iqattack.probing.session import Answer, is_finite, reason
from iqattack.probing.subject import TOLERANCE, amount, deviation

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
    """What the model said of each image.

    alone, together: scores of each, by whether it was the only one of its call. scores: all of
    them, in the order in which they came. unanswered: how often each was sent for nothing.
    """

    alone: list[list[float]]
    together: list[list[float]]
    scores: list[list[float]]
    unanswered: list[int]
    failed: str | None = field(default=None)

    @property
    def sent(self) -> int:
        """Images that were sent, answered or not."""
        return sum(map(len, self.scores)) + sum(self.unanswered)

    @property
    def check(self) -> Check:
        """What follows from it."""
        noise = deviation([*self.alone, *self.together])
        return Check(
            queries=sum(map(len, self.scores)),
            noise=noise,
            batch=max(_apart(*pair, noise) for pair in zip(self.alone, self.together, strict=True)),
            failed=self.failed,
        )


def ask(scorer: Scorer, images: Sequence[Tensor], *, batch: bool) -> Asked:
    """Have images scored alone, twice each, and twice more: together, if batch.

    images: one or two (3, H, W) uint8, of one size. It ends at the first failure.
    """
    n = len(images)
    asked = Asked([[] for _ in range(n)], [[] for _ in range(n)], [[] for _ in range(n)], [0] * n)
    alone, together = [[k] for k in range(n)], [list(range(n))]
    for call in alone * TIMES + (together if batch and n > 1 else alone) * TIMES:
        found = _answers(scorer, torch.stack([images[k] for k in call]))
        for k, answer in zip(call, found, strict=True):
            if isinstance(answer, Exception):
                asked.unanswered[k] += 1
            else:
                asked.scores[k].append(answer)
            if not is_finite(answer):
                asked.failed = asked.failed or reason(answer)
            else:
                (asked.alone if len(call) == 1 else asked.together)[k].append(answer)
        if asked.failed is not None:
            break
    return asked


def _answers(scorer: Scorer, batch: Tensor) -> Sequence[Answer]:
    try:
        with MODEL_LOCK:
            return answers(scorer, batch)
    except Exception as error:  # the check is not to end a run
        return [error] * len(batch)


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
