"""Tests of the scores themselves, which need no further queries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from iqattack.evaluation import srocc
from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.session import is_finite, reason
from iqattack.probing.subject import Subject

NARROW = 0.02  # of the range: less suggests another range, or that all images are alike
SLIGHT = 0.01  # of the range: how far scores may lie outside it without harm
SPARSE = 0.2  # of the range: below it, differences look small
COMMON_RANGES = ((0.0, 1.0), (-1.0, 1.0), (1.0, 5.0), (0.0, 10.0), (0.0, 100.0))
COARSE = 0.01  # of the range: a step that hides the effect of small changes
LABELLED = 8  # labelled pictures: fewer do not show a direction
FOLLOWS = 0.3  # SROCC
AGAINST = -0.5


def failures(subject: Subject) -> Finding:
    """Failures on whole pictures, and calls that failed only the first time."""
    session = subject.session
    failed = [answer for answer in subject.answers if isinstance(answer, Exception)]
    if failed:
        return Finding(
            "failures",
            f"{len(failed)} of {len(subject.answers)} pictures failed twice: {failed[0]}",
            Verdict.PROBLEM,
            "correct the model, or leave out such images; they fail in a run",
        )
    if session.passing:
        transient = bool(getattr(session.error, "transient", False))
        return Finding(
            "failures",
            f"{session.passing} of {session.calls} calls failed and succeeded when repeated: "
            f"{session.error}",
            Verdict.NOTE if transient else Verdict.PROBLEM,
            "a run repeats such calls (--retries)"
            if transient
            else "raise iqattack.TransientError in the model for failures that a retry cures",
        )
    return Finding("failures", "none")


def non_finite(subject: Subject) -> Finding:
    """NaN and infinite scores of whole pictures."""
    pairs = zip(subject.pictures, subject.answers, strict=True)
    bad = [(p, a) for p, a in pairs if not isinstance(a, Exception) and not is_finite(a)]
    if not bad:
        return Finding("non-finite scores", "none")
    picture, score = bad[0]
    return Finding(
        "non-finite scores",
        f"{len(bad)} of {len(subject.answers)} pictures; {picture.name}: {reason(score)}",
        Verdict.PROBLEM,
        "correct the model; such images fail in a run",
    )


def range_filled(subject: Subject) -> Finding:
    """Whether scores vary, and lie within the declared range and fill it."""
    scores, declared = subject.scores, subject.session.model.score_range
    low, high = min(scores), max(scores)
    seen = f"observed {low:.4g} to {high:.4g}"
    if low == high and len(scores) > 1:
        return Finding(
            "score range",
            f"constant: {low:.6g} for all {len(scores)} pictures",
            Verdict.PROBLEM,
            "check the model; nothing can be said about its robustness",
        )
    option = f"--score-range {suggested_range(scores, declared)}"
    if declared is None:
        remedy = "declare the model's range; the proposal is a guess from these scores"
        return Finding("score range", f"{seen}; not declared", Verdict.NOTE, remedy, option)
    said = f"{seen}; declared {declared[0]:g} to {declared[1]:g}"
    beyond = max(declared[0] - low, high - declared[1])
    if beyond > 0.0:
        outside = sum(not declared[0] <= score <= declared[1] for score in scores)
        said += f"; outside: {outside} of {len(scores)} pictures"
        if beyond <= SLIGHT * subject.width:
            return Finding("score range", said, Verdict.NOTE, "check the range")
        return Finding("score range", said, Verdict.PROBLEM, "correct the range", option)
    filled = (high - low) / subject.width
    said += f"; fills {100 * filled:.2g} %"
    if filled >= SPARSE or len(scores) == 1:
        return Finding("score range", said)
    remedy = "gains are fractions of the range; check it"
    verdict = Verdict.PROBLEM if filled < NARROW else Verdict.NOTE
    return Finding("score range", said, verdict, remedy, option if filled < NARROW else "")


def suggested_range(scores: Sequence[float], declared: tuple[float, float] | None) -> str:
    """`LO,HI` for --score-range: a usual range that the scores fill, else their bounds, rounded.

    If the declared range includes all scores, it is too wide: the usual one is at most half of it.
    """
    low, high = min(scores), max(scores)
    too_wide = declared is not None and declared[0] <= low and high <= declared[1]
    widest = (declared[1] - declared[0]) / 2 if declared is not None and too_wide else math.inf
    for lo, hi in COMMON_RANGES:
        fills = high == low or high - low >= SPARSE * (hi - lo)
        if lo <= low and high <= hi and hi - lo <= widest and fills:
            return f"{lo:g},{hi:g}"
    # Decimals that leave two steps or more between the ends.
    unit = 10.0 ** math.floor(math.log10((high - low or abs(high) or 1.0) / 2.0))
    ends = math.floor(low / unit) * unit, (math.ceil(high / unit) + (low == high)) * unit
    return ",".join(f"{end:.6g}" for end in ends)


def resolution(subject: Subject) -> Finding:
    """The step between scores, if they have one, and how many distinct values there are."""
    values = np.unique(subject.session.seen)
    distinct = (
        f"{len(values)} distinct values in {len(subject.session.seen)} scores, repeats included"
    )
    step = common_step(values)
    if step is None:
        single = ", float32" if is_single(values) else ""
        return Finding("resolution", f"no step; {distinct}{single}")
    coarse = step >= COARSE * subject.width
    return Finding(
        "resolution",
        f"multiples of {step:.6g} ({100 * step / subject.width:.2g} % of the range); {distinct}",
        Verdict.PROBLEM if coarse else Verdict.NOTE,
        "return scores without rounding; changes below a step are invisible to an attack",
    )


def is_single(values: np.ndarray) -> bool:
    """Whether all of them are numbers of float32."""
    return bool((values == values.astype(np.float32)).all())


def common_step(values: np.ndarray) -> float | None:
    """The largest step of which all differences of sorted distinct values are multiples.

    None if there are fewer than four values, or the step is as small as rounding, in float32 if all
    of them are such numbers, else in float64.
    """
    if len(values) < 4:
        return None
    offsets = values - values[0]
    dtype = np.float32 if is_single(values) else np.float64
    rounding = 4 * float(np.finfo(dtype).eps) * float(np.abs(values).max())
    smallest = float(np.diff(values).min())
    decimals = [10.0**-k for k in range(-1, 7)]
    common = smallest / max(round(smallest / _common(offsets[1:], 100 * rounding)), 1)
    tried = {*decimals, common, *(smallest / k for k in range(1, 21))}
    for step in sorted(tried, reverse=True):
        apart = np.abs(offsets / step - np.rint(offsets / step)) * step
        if step > 100 * rounding and apart.max() <= max(rounding, 1e-6 * step):
            return step
    return None


def _common(offsets: np.ndarray, least: float) -> float:
    """About the greatest common divisor, by Euclid's algorithm: what remains below least is 0."""
    found = float(offsets[0])
    for offset in offsets[1:].tolist():
        rest = offset
        while rest > least:
            found, rest = rest, abs(found - rest * round(found / rest))
    return found


def direction(subject: Subject) -> list[Finding]:
    """Whether scores follow the quality labels in the declared direction."""
    return [_direction(subject)]


def _direction(subject: Subject) -> Finding:
    pairs = zip(subject.judged(), subject.labelled, strict=True)
    found = [(a, p.mos) for a, p in pairs if is_finite(a) and p.mos is not None]
    lower_better = subject.session.model.lower_better
    rank = srocc(*np.array(found).T) if len(found) >= LABELLED else math.nan
    if math.isnan(rank):
        few = len(found) < LABELLED
        why = f"{len(found)} labelled pictures are too few" if few else "all scores are equal"
        remedy = "raise --queries, or give more labelled pictures" if few else "check the model"
        return Finding("direction", f"unknown: {why}", Verdict.NOTE, remedy)
    said = f"SROCC with the labels of {len(found)} pictures {rank:+.2f}"
    right = "--no-lower-better" if rank > 0 else "--lower-better"
    if lower_better is None:
        if abs(rank) < FOLLOWS:
            remedy = "the labels do not show it; give --lower-better or --no-lower-better"
            return Finding("direction", f"{said}; not declared", Verdict.NOTE, remedy)
        return Finding("direction", f"{said}; not declared", Verdict.NOTE, "declare it", right)
    said += f"; declared: {'lower' if lower_better else 'higher'} is better"
    follows = -rank if lower_better else rank
    if follows <= AGAINST:
        return Finding("direction", said, Verdict.PROBLEM, "reverse the direction", right)
    if follows < FOLLOWS:
        remedy = "the scores hardly follow the labels; check the direction and --input"
        return Finding("direction", said, Verdict.NOTE, remedy)
    return Finding("direction", said)
