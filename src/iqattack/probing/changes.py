"""Tests of what moves a score: small changes, and colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from torch import Tensor

from iqattack.evaluation import srocc
from iqattack.models import Input
from iqattack.probing.conventions import given, option
from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.pictures import blurred, brighter, grey, jpeg, noisy, spread, swapped
from iqattack.probing.session import Answer, is_finite
from iqattack.probing.subject import Subject

CHANGED = 4  # pictures
SIGNIFICANT = 0.01  # of Wilcoxon's signed-rank test


def small_changes(subject: Subject) -> list[Finding]:
    """How far JPEG 95 and one grey level move a score: a scale for the gains of attacks."""
    topics = {
        "JPEG 95 against PNG": lambda image: jpeg(image, 95),
        "one grey level brighter": brighter,
    }
    known = _known(subject.images, subject.answers, CHANGED)
    subject.session.reserve(len(topics) * len(known))
    findings = []
    for topic, change in topics.items():
        after = subject.session.alone([change(image) for image, _ in known])
        moved = differences([score for _, score in known], after)
        if not moved.size:
            findings.append(Finding(topic, "no scores"))
            continue
        said = f"moves scores by {subject.amount(float(np.abs(moved).mean()))} on average"
        if float(np.abs(moved).max()) <= subject.threshold:
            said = "no change in the scores beyond noise" if subject.noise else "no change"
        findings.append(Finding(topic, said))
    return findings


def colours(subject: Subject) -> list[Finding]:
    """Whether a score depends on colour, and whether the model seems to expect BGR."""
    session = subject.session
    images = [picture.pixels for picture in subject.labelled]
    judged = subject.judged()
    session.reserve(CHANGED + 5 * len(images))
    few = _known(images, judged, CHANGED)
    greyed = differences([s for _, s in few], session.alone([grey(image) for image, _ in few]))
    turned = session.alone([swapped(image) for image in images])
    swap = differences(judged, turned)
    findings = [
        _moved(subject, "red and blue swapped", swap),
        _moved(subject, "converted to grey", greyed),
    ]
    if swap.size and float(np.abs(swap).max()) > subject.threshold:
        findings.append(_order(subject, turned))
    return findings


def _moved(subject: Subject, topic: str, moved: np.ndarray) -> Finding:
    if not moved.size or float(np.abs(moved).max()) <= subject.threshold:
        return Finding(topic, "no change in the scores")
    return Finding(topic, f"moves scores by {subject.amount(float(np.abs(moved).mean()))}")


def _order(subject: Subject, turned: Sequence[Answer]) -> Finding:
    """RGB or BGR, as far as scores show it.

    The eye, and luma with it, sees red better than blue (0.299 against 0.114 in BT.601), and
    quality models learn from people: for most, blur and noise move scores more in red than in blue.
    Otherwise, the two are most likely swapped.
    """
    topic, judged = "order of colours", subject.judged()
    images = [picture.pixels for picture in subject.labelled]
    moved = np.zeros((2, len(images)))  # by red, by blue
    for change in (blurred, noisy):
        for row, channel in zip(moved, (0, 2), strict=True):
            after = subject.session.alone([change(image, channel) for image in images])
            row += [_moved_by(*pair) for pair in zip(judged, after, strict=True)]
    moved = moved[:, np.isfinite(moved).all(0)]
    red, blue = moved
    as_bgr = given(subject.session.model).colour == "bgr"
    order, other = ("BGR", "RGB") if as_bgr else ("RGB", "BGR")  # as given, and swapped
    if not (red != blue).any():
        return Finding(topic, f"no sign of {other}")
    chance = float(scipy.stats.wilcoxon(red, blue).pvalue)
    said = f"changes in red move scores by {red.mean() / 2:.2g}, in blue by {blue.mean() / 2:.2g}"
    said += f" (p = {chance:.2g})" if chance >= 1e-4 else " (p < 0.0001)"
    if chance >= SIGNIFICANT:
        return Finding(topic, f"no sign of {other}: {said}")
    if red.mean() > blue.mean():
        return Finding(topic, f"probably {order}: {said}")
    labels = [picture.mos for picture in subject.labelled]
    as_is, if_swapped = (_agreement(found, labels) for found in (judged, turned))
    agreement = f"SROCC with the labels {as_is:.3f}, with {other} {if_swapped:.3f}"
    said = f"probably {other}: {said}; {agreement}"
    remedy = "check which order the model expects"
    if if_swapped <= as_is:  # one indication for it, one against it
        return Finding(topic, said, Verdict.NOTE, remedy)
    swap = option(subject.session.model, Input(colour="rgb" if as_bgr else "bgr"))
    return Finding(topic, said, Verdict.PROBLEM, remedy, swap)


def _moved_by(before: Answer, after: Answer) -> float:
    """How far a score moved; NaN where one is missing."""
    return abs(after - before) if is_finite(before) and is_finite(after) else math.nan


def _agreement(answers: Sequence[Answer], labels: Sequence[float | None]) -> float:
    """SROCC of the available scores, ignoring the direction."""
    pairs = zip(answers, labels, strict=True)
    found = [(a, mos) for a, mos in pairs if is_finite(a) and mos is not None]
    return abs(srocc(*np.array(found).T))


def _known(
    images: Sequence[Tensor], answers: Sequence[Answer], n: int
) -> list[tuple[Tensor, float]]:
    """At most n images with scores, spread evenly, with their scores."""
    pairs = zip(images, answers, strict=True)
    return spread([(image, a) for image, a in pairs if is_finite(a)], n)


def differences(before: Sequence[Answer], after: Sequence[Answer]) -> np.ndarray:
    """After minus before, where both are finite."""
    pairs = zip(before, after, strict=True)
    return np.array([b - a for a, b in pairs if is_finite(a) and is_finite(b)])
