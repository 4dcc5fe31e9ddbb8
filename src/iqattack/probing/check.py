"""A few queries around a search: is the model stochastic, and what else affects a score?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import stdtrit
from torch import Tensor

from iqattack.probing.scores import NARROW, suggested_range
from iqattack.probing.session import is_finite
from iqattack.probing.subject import TOLERANCE, amount, deviation
from iqattack.scoring import Reply, Request, ScorePool

TIMES = 2
EACH = 2 * TIMES  # queries per image before its search
# Times rounding: the effect of another number of threads, or of kernels for another batch size,
# which does not count as a different model.
KERNELS = 100.0
ALARMS = 0.01  # probability that a whole check takes Gaussian noise for something else


class Check(BaseModel):
    """The findings of the check.

    images: names of the images. queries: images that the model scored, including those at the
    beginning of later sessions, which count towards no budget. noise: standard deviation of the
    scores of one image, in score units, 0 if they are equal. batch: largest difference between the
    score of an image alone and in a batch, in score units, 0 if noise may explain it. workers:
    likewise between two processes with their own models. drift: likewise between two times of the
    run, or two sessions, 0 if one of the others may explain it. unpaired: whether dependence on the
    batch could not be measured, since no two images of equal size had finite scores. still: whether
    every score of the whole run, including the search, equals that of its clean image. failed: why
    the check has no answer, or not all.
    """

    model_config = ConfigDict(frozen=True)

    images: tuple[str, ...] = ()
    queries: int = 0
    noise: float = 0.0
    batch: float = 0.0
    workers: float = 0.0
    drift: float = 0.0
    unpaired: bool = False
    still: bool = False
    failed: str | None = None


@dataclass(frozen=True)
class Elsewhere:
    """Scores of the same images from outside the check.

    survey: the first one of each, perhaps in a call with others; wide: with more than one other.
    late: alone, after the search. workers: whether both come from another process. sessions: alone,
    at the beginning of each later session.
    """

    survey: Mapping[str, float] = field(default_factory=dict)
    late: Mapping[str, float] = field(default_factory=dict)
    wide: bool = False
    workers: bool = False
    sessions: Sequence[Mapping[str, float]] = ()


NOWHERE = Elsewhere()


def evaluated(
    images: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    *,
    batch: bool,
    failed: str | None,
    elsewhere: Elsewhere = NOWHERE,
    rounding: float = 0.0,
) -> Check:
    """Evaluate the scores of each image, in the order of `ask`.

    batch: whether the second half was scored together. rounding: in score units; smaller
    differences count as equal.
    """
    finite = {name: [s for s in scores.get(name, ()) if is_finite(s)] for name in images}
    alone = {name: found[:TIMES] if batch else found for name, found in finite.items()}
    together = {name: found[TIMES:] if batch else [] for name, found in finite.items()}
    paired = sum(len(scores.get(name, ())) > TIMES for name in images) > 1
    compared = paired and any(alone[name] and together[name] for name in images)
    others = (elsewhere.survey, elsewhere.late, *elsewhere.sessions)
    differing = Differing.of(alone, together, kinds=len(others) + batch)
    least = (KERNELS if differing.noise > rounding else 1.0) * rounding
    by_batch = differing.by(together, least)
    survey, *afterwards = [{name: [s] for name, s in found.items()} for found in others]
    noisy = differing.noise > rounding
    late, *sessions = (
        differing.by(found, KERNELS * rounding, all_images=noisy) for found in afterwards
    )
    by_workers = drift = 0.0
    same_there = not late and any(map(is_finite, elsewhere.late.values()))  # for an image alone
    if elsewhere.wide and (same_there or not elsewhere.workers):
        by_batch = max(by_batch, differing.by(survey, least))
    elif elsewhere.workers:
        by_workers = 0.0 if by_batch else differing.by(survey, KERNELS * rounding)
    else:  # not a larger batch: a later time
        drift = differing.by(survey, KERNELS * rounding, all_images=noisy)
    drift = 0.0 if by_batch or by_workers else max(drift, late)
    return Check(
        images=tuple(images),
        queries=sum(len(scores.get(name, ())) for name in images)
        + sum(name in found for found in others[1:] for name in images),
        noise=deviation([*alone.values(), *together.values()]),
        batch=by_batch,
        workers=by_workers,
        drift=max(drift, *sessions) if sessions else drift,
        unpaired=batch and not compared,
        failed=failed,
    )


@dataclass(frozen=True)
class Differing:
    """Compares scores of each image alone with others of it: t tests, with Bonferroni's correction.

    alone: scores of each image. noise: standard deviation, the largest over images. freedom: its
    degrees of freedom, by image, if any. level: probability that noise makes one comparison of all
    images differ.
    """

    alone: Mapping[str, Sequence[float]]
    noise: float
    freedom: Mapping[str, int]
    level: float

    @classmethod
    def of(
        cls,
        alone: Mapping[str, Sequence[float]],
        together: Mapping[str, Sequence[float]],
        *,
        kinds: int,
    ) -> Differing:
        """Estimate noise from scores alone, and from scores together.

        kinds: number of comparisons to make.
        """
        groups = {name: (alone[name], together[name]) for name in alone}
        freedom = {name: sum(len(g) - 1 for g in pair if g) for name, pair in groups.items()}
        known = {name: free for name, free in freedom.items() if free}
        noise = max((deviation(groups[name]) for name in known), default=0.0)
        return cls(alone, noise, known, ALARMS / kinds)

    def by(
        self,
        others: Mapping[str, Sequence[float]],
        least: float,
        *,
        all_images: bool = False,
    ) -> float:
        """The largest difference of means, 0 if noise may explain it or it does not exceed `least`.

        Either all images differ, each perhaps slightly, or one differs enough by itself, unless
        all_images is set. The noise of images is independent, so the probabilities of the former
        multiply.
        """
        found, errors = {}, {}
        for name, free in self.freedom.items():
            other = [score for score in others.get(name, ()) if is_finite(score)]
            if other:
                lone = self.alone[name]
                found[name] = float(abs(np.mean(lone) - np.mean(other)))
                errors[name] = self.noise * math.sqrt(1 / len(lone) + 1 / len(other)), free
        if not found:
            return 0.0
        n = len(found)
        every, one = (
            [
                found[name]
                for name, (error, free) in errors.items()
                if found[name] > max(least, error * -float(stdtrit(free, level / 2)))
            ]
            for level in ((self.level / 2) ** (1 / n), self.level / 2 / n)
        )
        return max(every if len(every) == n else [] if all_images else one, default=0.0)


def ask(
    pool: ScorePool,
    images: Mapping[str, Tensor],
    *,
    batch: bool,
    done: Mapping[str, int],
    times: int = EACH,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Reply]]:
    """Score images alone, twice each, and twice more, together if batch.

    images: one or two (3, H, W) uint8, of equal size. done: how often each was scored before an
    interruption. times: at most how often. Ends after the first failure that the pool has given up,
    and on a stop, once the running calls have returned.
    """
    number = Counter[str]()
    alone, together = [[name] for name in images], [list(images)]
    for call in alone * TIMES + (together if batch else alone) * TIMES:
        if min(number[name] for name in call) >= times:
            return
        number.update(call)
        wanted = [name for name in call if number[name] > done.get(name, 0)]
        if not wanted:
            continue
        if stop():
            return
        pool.submit([Request(name, 0, images[name]) for name in wanted])
        failed = False
        while pool.pending:
            stopping = stop()
            if stopping and not pool.running:
                pool.forget()
                return
            replies = pool.wait(resend=not stopping)
            failed = failed or any(r.final and r.error is not None for r in replies)
            yield replies
        if failed:
            return


def findings(
    check: Check,
    scores: Sequence[float],
    score_range: tuple[float, float],
    tolerance: float = TOLERANCE,
) -> list[str]:
    """What the user should know before a run, one phrase each with cause and remedy.

    scores: of the clean images. tolerance: differences up to this fraction of the range are
    rounding. Scores outside the range are left to the engine, which reports them.
    """
    width = score_range[1] - score_range[0]
    known = [score for score in scores if is_finite(score)]
    phrases = [*_spread(known, score_range)]
    if check.noise > tolerance * width:
        phrases.append(
            "the model is stochastic: scores of one image have a standard deviation of "
            f"{amount(check.noise, width)}; the best of many scores is optimistically biased, and "
            "verify reports differences: average several calls in the model, or make it "
            "deterministic (eval mode, fixed seeds)"
        )
    if check.batch > tolerance * width:
        phrases.append(
            "scores depend on the batch: alone and with other images they differ by "
            f"{amount(check.batch, width)}, and verify reports differences: attack with --batch 1"
        )
    if check.workers > tolerance * width:
        phrases.append(
            "the models of the workers differ: the scores of one image from two processes differ "
            f"by {amount(check.workers, width)}: fix the seeds of the model's initialisation, or "
            "attack without --workers"
        )
    if check.drift > tolerance * width:
        phrases.append(
            "scores drift: those of one image changed during the run by "
            f"{amount(check.drift, width)}, which gains include: find out which state the model "
            "keeps between calls, or what changed behind it, and attack again"
        )
    return phrases


def ends(low: float, high: float) -> str:
    """Two numbers with as many digits as it takes to distinguish them, for example `1 to 2.5`."""
    digits = 4
    if 0.0 < high - low < math.inf:
        magnitude = math.floor(math.log10(max(abs(low), abs(high))))
        digits = max(digits, min(17, 2 + magnitude - math.floor(math.log10(high - low))))
    return f"{low:.{digits}g} to {high:.{digits}g}"


def is_constant(scores: Sequence[float], width: float) -> bool:
    """Whether a model gives several images the same score, up to rounding.

    width: of the score range.
    """
    return len(scores) > 1 and max(scores) - min(scores) <= TOLERANCE * width


def _spread(scores: Sequence[float], score_range: tuple[float, float]) -> list[str]:
    if len(scores) < 2:
        return []
    low, high, width = min(scores), max(scores), score_range[1] - score_range[0]
    if is_constant(scores, width):
        return [
            f"all {len(scores)} clean scores are equal ({low:g}): nothing can be said about "
            "robustness; check the model"
        ]
    inside = score_range[0] <= low and high <= score_range[1]
    if inside and high - low < NARROW * width:
        return [
            f"the clean scores, {ends(low, high)}, fill {100 * (high - low) / width:.2g} % "
            f"of the score range {score_range[0]:g} to {score_range[1]:g}, and gains are fractions "
            f"of it: check the range, perhaps --score-range {suggested_range(scores, score_range)}"
        ]
    return []
