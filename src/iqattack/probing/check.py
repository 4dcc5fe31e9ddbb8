"""A few queries before a run: is the model noisy, and does a score depend on its batch?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.models.base import Loaded
from iqattack.probing.pictures import alike
from iqattack.probing.scores import NARROW, suggested_range
from iqattack.probing.session import Answer, OutOfQueries, Session, is_finite, reason
from iqattack.probing.subject import TOLERANCE, amount, deviation

IMAGES, TIMES = 2, 2
QUERIES = 16  # at most
APART = 5.0  # standard errors between means that do not come from noise


class Check(BaseModel):
    """What the check found.

    queries: images sent to the model. noise: standard deviation of the scores of one image, in
    score units, 0 if they are equal. batch: largest difference between the score of an image alone
    and in a batch, in score units, 0 where noise may explain it. failed: why the check has no
    answer, or not all.
    """

    model_config = ConfigDict(frozen=True)

    queries: int
    noise: float = 0.0
    batch: float = 0.0
    failed: str | None = None


class _Failed(Exception):  # noqa: N818 - carries a reason, is never seen outside
    pass


def check(scorer: Loaded, images: Sequence[Tensor], *, batch: bool) -> Check:
    """Score two images alone, twice each, and together, twice, if batch.

    images: clean ones (3, H, W) uint8, at least one; where no two have one size, a mirrored one is
    the second. 8 queries with batch, else 4; 8 more where scores differ, for a better estimate.
    """
    session = Session(scorer, QUERIES)
    pair = alike(images, IMAGES)
    alone: list[list[float]] = [[] for _ in pair]
    together: list[list[float]] = [[] for _ in pair]
    failed = None
    try:
        _ask(session, pair, alone, together if batch else [])
        if deviation([*alone, *together]) > 0.0:
            _ask(session, pair, alone, together if batch else [])
    except _Failed as error:
        failed = str(error)
    except OutOfQueries:  # calls that had to be repeated took them
        pass
    noise = deviation([*alone, *together])
    return Check(
        queries=session.queries,
        noise=noise,
        batch=max(_apart(*groups, noise) for groups in zip(alone, together, strict=True)),
        failed=failed,
    )


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
            f"the model is noisy: scores of one image deviate by {amount(check.noise, width)}; the "
            "best of many noisy scores is optimistically biased, and verify finds other scores: "
            "average several calls in the model, or make it deterministic (eval mode, fixed seeds)"
        )
    if check.batch > tolerance * width:
        phrases.append(
            "scores depend on the batch: alone and with another image they differ by "
            f"{amount(check.batch, width)}, so that verify finds other scores: give --batch 1"
        )
    return phrases


def _spread(scores: Sequence[float], score_range: tuple[float, float]) -> list[str]:
    if len(scores) < 2:
        return []
    low, high, width = min(scores), max(scores), score_range[1] - score_range[0]
    if low == high:
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


def _ask(
    session: Session,
    pair: Sequence[Tensor],
    alone: Sequence[list[float]],
    together: Sequence[list[float]],
) -> None:
    """Add scores of each image to those that it has alone, and, if given, together."""
    for _ in range(TIMES):
        for group, image in zip(alone, pair, strict=True):
            _add([group], session.alone([image]))
    for _ in range(TIMES if together else 0):
        _add(together, session.together(pair))


def _add(groups: Sequence[list[float]], answers: Sequence[Answer]) -> None:
    for group, answer in zip(groups, answers, strict=True):
        if not is_finite(answer):
            raise _Failed(reason(answer))
        group.append(answer)


def _apart(alone: Sequence[float], together: Sequence[float], noise: float) -> float:
    """Difference of the means, 0 where it is no more than noise makes it."""
    if not (alone and together):
        return 0.0
    difference = float(abs(np.mean(alone) - np.mean(together)))
    error = noise * float(np.sqrt(1 / len(alone) + 1 / len(together)))
    return difference if difference > APART * error else 0.0
