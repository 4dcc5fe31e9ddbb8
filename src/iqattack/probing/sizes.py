"""Questions about the sizes that a model takes."""

from __future__ import annotations

import re
from collections.abc import Callable

from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.pictures import Picture, fitted
from iqattack.probing.session import Answer, Session, is_finite, reason
from iqattack.probing.subject import Subject

COMMON = (224, 256, 384, 512, 299, 336)  # inputs of usual networks
SIDES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
LARGE = 512
SHAPES = {"wide": (128, LARGE), "tall": (LARGE, 128), "odd": (253, 255)}  # height, width
NAMED = 4  # numbers of an error message that are tried as sides

Ask = Callable[[int, int], Answer]  # of a height and a width


def taken_size(session: Session, pictures: list[Picture]) -> tuple[tuple[int, int] | None, Answer]:
    """Height and width to give pictures so that the model takes them, None if as they are.

    With it, what the model says of one of them: no finite score, if it takes none of the usual
    sizes, nor those that its error message names.
    """
    answer: Answer = 0.0
    for picture in pictures[:2]:
        (answer,) = session.alone([picture.pixels])
        if is_finite(answer):
            return None, answer
    if getattr(answer, "transient", False):  # it is not the size
        return None, answer
    named = [int(n) for n in re.findall(r"(?<![\d.])\d{2,4}(?![\d.])", str(answer))]
    likely = [side for side in named if SIDES[0] <= side <= 2 * LARGE][:NAMED]
    for side in dict.fromkeys([*likely, *COMMON]):
        (found,) = session.alone([fitted(pictures[0].pixels, side, side)])
        if is_finite(found):
            return (side, side), found
    return None, answer


def sizes(subject: Subject) -> list[Finding]:
    """Smallest side, larger, wide, tall and odd shapes; whether only one size is taken."""
    pairs = zip(subject.images, subject.answers, strict=True)
    image = next(image for image, answer in pairs if is_finite(answer))
    height, width = image.shape[-2:]
    side = min(height, width)
    least = max(SIDES[0], subject.session.model.min_size)

    def ask(height: int, width: int) -> Answer:
        return subject.session.alone([fitted(image, height, width)])[0]

    larger = LARGE if side < LARGE else side + 64
    shapes = {"larger": (larger, larger), **SHAPES}
    others = {
        name: (shape, ask(*shape))
        for name, shape in shapes.items()
        if min(shape) >= least and shape != (height, width)
    }
    odd = "odd" in others and is_finite(others["odd"][1])
    square = 0.0 if height == width else ask(side, side)
    works, why = smallest(ask, least, side, odd=odd) if is_finite(square) else (side, "")
    any_other = works < side or any(is_finite(answer) for _, answer in others.values())
    if not any_other:
        return [_fixed(subject, height, width, reason(others["larger"][1]))]
    found = [_resized(subject)] if subject.size is not None else []
    found.append(_smallest(subject, works, why))
    return found + [_shape(subject, name, *other) for name, other in others.items()]


def smallest(ask: Ask, least: int, side: int, *, odd: bool) -> tuple[int, str]:
    """The least side of squares that have scores, up to one that has, and why a smaller has none.

    Halves a list of sides, and what lies between its members where sides need not be even.
    """
    answer = ask(least, least) if least < side else 0.0
    if is_finite(answer):
        return min(least, side), ""
    sides = [least, *(s for s in SIDES if least < s < side), side]
    works, fails, why = _halved(ask, sides, reason(answer))
    if odd:
        works, fails, why = _halved(ask, list(range(fails, works + 1)), why)
    return works, f"{fails}×{fails}: {why}"


def _halved(ask: Ask, sides: list[int], why: str) -> tuple[int, int, str]:
    """Neighbours in a list of which the larger works; its ends are known to fail and to work."""
    low, high = 0, len(sides) - 1
    while high - low > 1:
        middle = (low + high) // 2
        answer = ask(sides[middle], sides[middle])
        if is_finite(answer):
            high = middle
        else:
            low, why = middle, reason(answer)
    return sides[high], sides[low], why


def _fixed(subject: Subject, height: int, width: int, why: str) -> Finding:
    size = f"{height}" if height == width else f"{width}x{height}"
    return Finding(
        "sizes",
        f"{width}×{height} alone has scores; {why}",
        Verdict.NOTE if subject.size is None else Verdict.PROBLEM,
        "have images of other sizes resized for the model",
        f"--input size={size}",
    )


def _resized(subject: Subject) -> Finding:
    height, width = subject.images[0].shape[-2:]
    shrunk = min(height, width) < subject.long_side
    return Finding(
        "sizes",
        f"no scores for the pictures as they are; probed at {width}×{height}",
        Verdict.PROBLEM,
        "shrink the images" if shrunk else "have images enlarged for the model",
        f"--resize {width}" if shrunk else f"--input size={width}",
    )


def _smallest(subject: Subject, works: int, why: str) -> Finding:
    declared = subject.session.model.min_size
    said = f"{works}×{works} has a score; declared: {declared}"
    if not why:
        return Finding("smallest side", said)
    remedy = f"declare min_size {works} in the model; smaller images fail"
    return Finding("smallest side", f"{said}; {why}", Verdict.NOTE, remedy)


def _shape(subject: Subject, name: str, shape: tuple[int, int], answer: Answer) -> Finding:
    said = f"{shape[1]}×{shape[0]}"
    if is_finite(answer):
        return Finding(f"{name} pictures", f"{said} has a score")
    option = ""
    if name == "larger":
        option = f"--resize {max(max(image.shape[-2:]) for image in subject.images)}"
    remedy = "shrink or leave out such images; they fail"
    return Finding(f"{name} pictures", f"{said}: {reason(answer)}", Verdict.NOTE, remedy, option)
