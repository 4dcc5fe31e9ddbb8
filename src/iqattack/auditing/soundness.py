"""What must hold on an untrusted card, besides the types of its fields, before it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from iqattack.auditing.card import Card, CardImages, Curve, Fresh, Line, Value

NEEDED = ("gain", "srocc")  # required in every line: the verdict and all tables show them
MOST = 10**9  # queries and images
LARGEST = 1e6  # of a measure: gains may exceed 1 if scores leave the declared range
LARGEST_SD = 1e12  # of a gain in standard deviations of the clean scores, which may be tiny
LARGEST_SEED = 2**64  # that torch takes
LONGEST = 1000  # characters of a name or spec
ROUNDING = 1e-6
RANGES = {"srocc": 1.0, "plcc": 1.0, "krocc": 1.0, "srocc_mos": 1.0, "gain_sd": LARGEST_SD} | {
    f"{name}_drop": 2.0 for name in ("srocc", "plcc", "krocc")
}


def fault_of(card: Card) -> str | None:
    """The first impossible field of a card, and why; None if there is none."""
    return next(faults(card), None)


def faults(card: Card) -> Iterator[str]:
    """Every impossible field."""
    yield from _texts("model.name", card.model.name)
    for text in (card.model.input, card.model.autocast):
        yield from _texts("model", text or "none")
    for name in card.model.files:
        yield from _texts("model.files", name)
    low, high = card.model.score_range
    if not (low < high and math.isfinite(high - low)):
        yield f"model.score_range {low:g},{high:g}: expected two finite numbers, lower first"
    yield from _images(card.images)
    for k, run in enumerate(card.runs):
        place = f"runs.{k}"
        yield from _texts(place, run.folder, run.attack, run.constraint)
        yield from _number(f"{place}.queries", run.queries, 0, MOST * MOST)
        yield from _number(f"{place}.seed", run.seed, -LARGEST_SEED, LARGEST_SEED)
        for name in ("noise", "batch"):
            yield from _number(f"{place}.{name}", getattr(run, name), 0.0, LARGEST)
        if run.fresh is not None:
            yield from _fresh(f"{place}.fresh", run.fresh)
    if not card.lines:
        yield "lines: there are none"
    for k, line in enumerate(card.lines):
        yield from _line(f"lines.{k}", line)
    keys = [(line.attack, line.constraint, line.queries) for line in card.lines]
    if len(set(keys)) < len(keys):
        again = next(key for k, key in enumerate(keys) if key in keys[:k])
        yield f"lines: {', '.join(map(str, again))} is given twice"
    for k, curve in enumerate(card.curves):
        yield from _curve(f"curves.{k}", curve)
    for k, seen in enumerate(card.seen):
        yield from _texts(f"seen.{k}", seen.attack, seen.constraint)
        yield from _number(f"seen.{k}.seed", seen.seed, -LARGEST_SEED, LARGEST_SEED)
        for name in ("jod", "jod_least", "ssim"):
            yield from _number(f"seen.{k}.{name}", getattr(seen, name), -LARGEST, LARGEST)


def implausible(card: Card) -> Iterator[str]:
    """Gains that are trusted only if they follow from runs.

    They may be honest: scores of NIQE, for example, leave its declared range.
    """
    for number, line in enumerate(card.lines):
        gain = line.measures.get("gain")
        if gain is not None and gain.value is not None and abs(gain.value) > 1.0 + ROUNDING:
            value = f"{gain.value:g} of the score range"
            yield f"lines[{number}].measures.gain is {value}, which only runs can show"


def _images(images: CardImages) -> Iterator[str]:
    yield from _number("images.twice", images.twice, 0, MOST)
    if not 0 <= images.partly <= images.attacked <= images.count <= MOST:
        yield (
            f"images: partly {_short(images.partly)}, attacked {_short(images.attacked)}, "
            f"count {_short(images.count)}: expected ascending numbers from 0 to {MOST:,}"
        )


def _fresh(place: str, fresh: Fresh) -> Iterator[str]:
    yield from _number(f"{place}.times", fresh.times, 1, MOST)
    gain = Value(value=fresh.gain, low=fresh.low, high=fresh.high)
    yield from _value(place, gain, LARGEST, inside=True)
    yield from _number(f"{place}.bias", fresh.bias, -LARGEST, LARGEST)
    yield from _number(f"{place}.error", fresh.error, 0.0, LARGEST)


def _line(place: str, line: Line) -> Iterator[str]:
    yield from _texts(place, line.attack, line.constraint)
    yield from _number(f"{place}.queries", line.queries, 1, MOST)
    yield from _number(f"{place}.images", line.images, 0, MOST)
    missing = [name for name in NEEDED if name not in line.measures]
    if missing:
        yield f"{place}.measures: {missing[0]} is missing"
    for name, value in line.measures.items():
        most = RANGES.get(name, LARGEST)
        yield from _value(
            f"{place}.measures.{name[:40]}", value, most, inside=name in ("gain", "gain_sd")
        )
    for name, share in line.best.items():
        yield from _number(f"{place}.best.{name[:40]}", share, 0.0, 1.0)


def _value(place: str, value: Value, most: float, *, inside: bool) -> Iterator[str]:
    """inside: whether the value lies in its interval, as a mean does."""
    for name in ("value", "low", "high"):
        yield from _number(f"{place}.{name}", getattr(value, name), -most, most)
    ends = [value.low, value.value, value.high] if inside else [value.low, value.high]
    there = [end for end in ends if end is not None]
    scale = ROUNDING * max([1.0, *map(abs, there)])
    if any(first > second + scale for first, second in pairwise(there)):
        yield f"{place}: expected low ≤ value ≤ high, got {there}"


def _curve(place: str, curve: Curve) -> Iterator[str]:
    yield from _texts(place, curve.attack, curve.constraint)
    lengths = [len(getattr(curve, name)) for name in ("queries", "gain", "low", "high")]
    if len(set(lengths)) > 1:
        yield f"{place}: queries, gain, low and high have {lengths} values; expected equal numbers"
        return
    if list(curve.queries) != sorted(set(curve.queries)):
        yield f"{place}.queries: expected ascending numbers"
    for queries in curve.queries:
        yield from _number(f"{place}.queries", queries, 1, MOST)
    for name in ("gain", "low", "high"):
        for value in getattr(curve, name):
            yield from _number(f"{place}.{name}", value, -LARGEST, LARGEST)


def _number(place: str, value: float | None, least: float, most: float) -> Iterator[str]:
    """None, or a finite number between the two."""
    if value is not None and not least - ROUNDING <= value <= most + ROUNDING:
        yield f"{place} {_short(value)}: expected a number from {least:g} to {most:g}"


def _short(value: float) -> str:
    """A number as text, however many digits it has."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else "with too many digits"
    return f"{value:g}"


def _texts(place: str, *texts: str) -> Iterator[str]:
    for text in texts:
        if len(text) > LONGEST:
            yield (
                f"{place} {text[:40]!a}: has {len(text):,} characters, expected at most {LONGEST:,}"
            )
