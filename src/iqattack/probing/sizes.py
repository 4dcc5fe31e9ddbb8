"""Tests of the sizes that a model accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from iqattack.models import Input
from iqattack.probing.conventions import option
from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.pictures import Picture, fitted
from iqattack.probing.session import Answer, Session, is_finite, reason
from iqattack.probing.subject import Subject

COMMON = (224, 256, 384, 512, 299, 336)  # inputs of common networks
SIDES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
LARGE = 512
SHAPES = {"wide": (128, LARGE), "tall": (LARGE, 128), "odd": (253, 255)}  # height, width
NAMED = 4  # numbers in an error message to try as sides
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # possible divisors of sides

Ask = Callable[[int, int], Answer]  # from height and width


def taken_size(session: Session, pictures: list[Picture]) -> tuple[tuple[int, int] | None, Answer]:
    """Height and width that the model accepts, None if it accepts pictures unchanged.

    Also returns the answer for one of them, which is not a finite score if the model accepts
    neither the usual sizes nor those in its error message.
    """
    answer: Answer = 0.0
    for picture in pictures[:2]:
        (answer,) = session.alone([picture.pixels])
        if is_finite(answer):
            return None, answer
    if getattr(answer, "transient", False):  # it is not the size
        return None, answer
    image = pictures[0].pixels
    shape = image.shape[-2:]
    for size in dict.fromkeys(_likely(str(answer), *shape)):
        if size == shape:
            continue
        if session.left < 2:  # report the failure
            break
        (found,) = session.alone([fitted(image, *size)])
        if is_finite(found):
            return size, found
    return None, answer


def _likely(message: str, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Heights and widths to try, from a model's error message."""
    step = MULTIPLES[-1]
    if min(height, width) >= step:
        yield height // step * step, width // step * step
    numbers = [int(n) for n in re.findall(r"(?<![\d.])\d{2,4}(?![\d.])", message)]
    named = [side for side in numbers if SIDES[0] <= side <= 2 * LARGE][:NAMED]
    yield from ((side, side) for side in named)
    for one, other in pairwise(named):  # some models name the width first
        yield from ((one, other), (other, one))
    yield from ((side, side) for side in COMMON)


def sizes(subject: Subject) -> list[Finding]:
    """Smallest side, larger, wide, tall and odd shapes; whether only one size is accepted."""
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
    taken = any(is_finite(answer) for _, answer in others.values())
    multiple, refused = (1, "")
    if "odd" in others and taken and not odd:
        multiple, refused = needed_multiple(ask, side)
    square = 0.0 if height == width else ask(side, side)
    works, why = side, ""
    if is_finite(square):
        works, why = smallest(ask, least, side, odd=odd, multiple=multiple)
    if not taken and works == side:
        return [_fixed(subject, height, width, reason(others["larger"][1]))]
    found = [_resized(subject)] if subject.size is not None else []
    if multiple > 1:
        found.append(_multiples(multiple, refused))
        del others["odd"]
    found.append(_smallest(subject, works, why))
    return found + [_shape(subject, name, *other) for name, other in others.items()]


def needed_multiple(ask: Ask, side: int) -> tuple[int, str]:
    """The divisor of all accepted sides near one, 1 if there is none, and the answer for other
    sides.

    Only powers of two up to 64: the smallest of which a multiple has a score, while odd multiples
    of its half, smaller and larger, have none.
    """
    base = max(side // 128, 1) * 128
    why = ""
    for multiple in MULTIPLES:
        answer = ask(base - multiple, base - multiple)
        if not is_finite(answer):
            why = reason(answer)
            continue
        if multiple == 1:
            break
        larger = base + multiple // 2  # so that it is not a least or a largest size
        return (1, "") if is_finite(ask(larger, larger)) else (multiple, why)
    return 1, ""


def smallest(ask: Ask, least: int, side: int, *, odd: bool, multiple: int = 1) -> tuple[int, str]:
    """The smallest side of squares with scores, and why a smaller square has none.

    Bisects a list of sides, then the gaps between its members if sides may be odd. With a multiple,
    only sides that are multiples of it.
    """
    least = -(-least // multiple) * multiple
    answer = ask(least, least) if least < side else 0.0
    if is_finite(answer):
        return min(least, side), ""
    sides = [least, *(s for s in SIDES if least < s < side and s % multiple == 0), side]
    works, fails, why = _halved(ask, sides, reason(answer))
    if odd:
        works, fails, why = _halved(ask, list(range(fails, works + 1)), why)
    return works, f"{fails}×{fails}: {why}"


def _halved(ask: Ask, sides: list[int], why: str) -> tuple[int, int, str]:
    """Neighbours in a list of which only the larger works; the first element fails, the last
    works."""
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
    return Finding(
        "sizes",
        f"{width}×{height} alone has scores; {why}",
        Verdict.NOTE if subject.size is None else Verdict.PROBLEM,
        "resize images of other sizes for the model",
        option(subject.session.model, Input(size=(width, height))),
    )


def _resized(subject: Subject) -> Finding:
    height, width = subject.images[0].shape[-2:]
    shrunk = min(height, width) < subject.long_side
    return Finding(
        "sizes",
        f"no scores at the original size; probed at {width}×{height}",
        Verdict.PROBLEM,
        "shrink the images" if shrunk else "enlarge the images for the model",
        f"--resize {max(height, width)}"
        if shrunk
        else option(subject.session.model, Input(size=(width, height))),
    )


def _multiples(multiple: int, why: str) -> Finding:
    return Finding(
        "multiples",
        f"sides must be multiples of {multiple}; {why}",
        Verdict.NOTE,
        "pad or resize images in the model, or give --input size=WxH or crop=WxH; others fail",
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
    if name == "larger" and isinstance(answer, Exception):  # else it may be this picture
        option = f"--resize {max(max(image.shape[-2:]) for image in subject.images)}"
    remedy = "shrink or leave out such images; they fail"
    return Finding(f"{name} pictures", f"{said}: {reason(answer)}", Verdict.NOTE, remedy, option)
