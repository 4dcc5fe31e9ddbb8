"""Tests that score the same picture again: noise, batches, positions in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from iqattack.models.checked import ONE_IMAGE, WrongAnswerError
from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.pictures import alike
from iqattack.probing.session import Answer, finite, is_finite, reason
from iqattack.probing.subject import TOLERANCE, Subject, deviation

REPEATED, REPEATS, MORE = 3, 3, 4  # pictures, further scores of each, and more if they differ


AMBIGUOUS = (
    f"{ONE_IMAGE}; use --batch 1 only if it accepts a batch (1, 3, H, W), and returns one score "
    "for it"
)


def noise(subject: Subject) -> list[Finding]:
    """Whether the same picture has the same score; sets the subject's noise."""
    return [_noise(subject)]


def _noise(subject: Subject) -> Finding:
    first = zip(subject.images, subject.answers, strict=True)
    known = [(image, answer) for image, answer in first if is_finite(answer)][:REPEATED]
    groups = [finite([a, *subject.session.alone([image] * REPEATS)]) for image, a in known]
    if deviation(groups) > 0.0 and subject.session.left >= 2 * MORE * len(known):
        for group, (image, _) in zip(groups, known, strict=True):
            group.extend(finite(subject.session.alone([image] * MORE)))
    subject.noise = deviation(groups)
    n = sum(map(len, groups))
    if subject.noise == 0.0:
        return Finding("determinism", f"identical scores ({len(groups)} pictures, {n} scores)")
    said = f"scores of one picture deviate by {subject.amount(subject.noise)}"
    verdict = subject.verdict(subject.noise)
    if verdict is Verdict.OK:
        return Finding("determinism", said)
    return Finding(
        "determinism",
        said,
        verdict,
        "fix seeds, turn off dropout (eval mode), or average several calls in the model; the best "
        "of many noisy scores is optimistically biased",
    )


def batches(subject: Subject) -> list[Finding]:
    """Whether a score depends on the batch, its size, or the position in it."""
    session = subject.session
    limit = session.traits.batch
    if limit is not None and limit < 2:
        subject.together = False
        return [Finding("batch", "one image per call, as the model declares")]
    images = alike(subject.scored, min(4, limit or 4))
    session.reserve(6 * len(images) + 2)
    pairs = zip(images, session.alone(images), strict=True)
    known = [(image, answer) for image, answer in pairs if is_finite(answer)]
    if len(known) < 2:
        return [Finding("batch", "too few pictures with scores to compare")]
    images, alone = [image for image, _ in known], [answer for _, answer in known]
    forward = session.together(images)
    missing = [answer for answer in forward if not is_finite(answer)]
    if missing:
        subject.together = False
        lost = (
            f"{len(missing)} of {len(images)} images have no score in one call, but do one by one"
        )
        said = f"{lost}: {reason(missing[0])}"
        if isinstance(missing[0], WrongAnswerError):
            # A function of one image accepts a batch of one, with other scores.
            return [Finding("batch", said, Verdict.PROBLEM, AMBIGUOUS)]
        remedy = "images are scored one at a time"
        return [Finding("batch", said, Verdict.NOTE, remedy, "--batch 1")]
    backward = session.together(images[::-1])[::-1]
    others = largest_difference(alone, forward), largest_difference(alone, backward)
    sizes = [largest_difference(forward, found) for found in _other_sizes(subject, images, limit)]
    place = largest_difference(forward, backward)
    return [
        _dependence(subject, "batch", "alone and with others", max(others)),
        _dependence(subject, "batch size", "batches of different size", max(sizes, default=0.0)),
        _dependence(subject, "position in the batch", "forward and reversed order", place),
    ]


def _other_sizes(
    subject: Subject, images: Sequence[Tensor], limit: int | None
) -> list[list[Answer]]:
    """The scores of the first images in larger and smaller batches, at the same positions."""
    n, session = len(images), subject.session
    found = [session.together(images[:2])]
    if limit is None or limit >= 2 * n:
        found.append(session.together([*images, *images])[:n])
    return found


def _dependence(subject: Subject, topic: str, between: str, difference: float) -> Finding:
    if difference == 0.0:
        return Finding(topic, "identical scores")
    said = f"{between}: scores differ by up to {subject.amount(difference)}"
    if difference <= subject.threshold:
        noisy = difference > TOLERANCE * subject.width
        return Finding(topic, said + ("; within the noise" if noisy else ""))
    if subject.verdict(difference) is Verdict.NOTE:
        remedy = "verify may report such differences; --batch 1 avoids them"
        return Finding(topic, said, Verdict.NOTE, remedy)
    remedy = (
        "score one image per call; otherwise results depend on --batch, and verify reports "
        "differences"
    )
    return Finding(topic, said, Verdict.PROBLEM, remedy, "--batch 1")


def largest_difference(one: Sequence[Answer], other: Sequence[Answer]) -> float:
    """The largest difference between two lists of scores of the same images; 0 if none can be
    compared."""
    pairs = zip(one, other, strict=False)
    return max((abs(a - b) for a, b in pairs if is_finite(a) and is_finite(b)), default=0.0)
