"""What no card can hold, whatever it is of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from iqattack.auditing.card import Card

NEAR = 1e-9


def impossible(card: Card) -> Iterator[str]:
    """Numbers that no audit writes: none at all, intervals without their value, odd counts."""
    low, high = card.model.score_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        yield f"model.score_range is {low:g} to {high:g}; expected finite ends that rise"
    images = card.images
    if not 0 <= images.partly <= images.attacked <= images.count:
        yield (
            f"images.count is {images.count}, attacked {images.attacked}, partly {images.partly}: "
            "each is part of the one before"
        )
    keys = [(line.attack, line.constraint, line.queries) for line in card.lines]
    for number, line in enumerate(card.lines):
        if keys.index(keys[number]) != number:
            yield f"lines[{number}] is there twice"
        for name, value in line.measures.items():
            known = [x for x in (value.value, value.low, value.high) if x is not None]
            where = f"lines[{number}].measures.{name}"
            if not all(map(math.isfinite, known)):
                yield f"{where} is not finite"
            elif value.low is not None and value.high is not None and value.low > value.high:
                yield f"{where} has an interval from {value.low:g} to {value.high:g}"
        if not all(0.0 <= share <= 1.0 for share in line.best.values()):
            yield f"lines[{number}].best is no share of images"
    for number, curve in enumerate(card.curves):
        columns = (curve.gain, curve.low, curve.high)
        if any(len(column) != len(curve.queries) for column in columns):
            yield f"curves[{number}] has other numbers of values and queries"
        elif not all(x is None or math.isfinite(x) for column in columns for x in column):
            yield f"curves[{number}] is not finite"


def implausible(card: Card) -> Iterator[str]:
    """Gains that are believed only where they follow from runs."""
    for number, line in enumerate(card.lines):
        gain = line.measures.get("gain")
        if gain is None or gain.value is None:
            continue
        where = f"lines[{number}].measures.gain"
        if abs(gain.value) > 1.0 + NEAR:
            yield f"{where} is {gain.value:g} of the score range"
        low = gain.value if gain.low is None else gain.low
        high = gain.value if gain.high is None else gain.high
        if not low - NEAR <= gain.value <= high + NEAR:
            yield f"{where} is {gain.value:g}, outside of its interval from {low:g} to {high:g}"
