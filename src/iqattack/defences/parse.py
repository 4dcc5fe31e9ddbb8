"""From text such as `jpeg:75+median:3` to defences."""

from __future__ import annotations

from iqattack.catalogue.defences import DEFENCES
from iqattack.defences.aaa import Aaa
from iqattack.defences.base import Chain, Defence
from iqattack.defences.bits import Bits
from iqattack.defences.blur import Blur
from iqattack.defences.crop import Crop
from iqattack.defences.flip import Flip
from iqattack.defences.jpeg import Jpeg
from iqattack.defences.median import Median
from iqattack.defences.noise import Noise
from iqattack.defences.resize import Resize
from iqattack.defences.rounding import Rounding
from iqattack.defences.score_noise import ScoreNoise
from iqattack.defences.smoothing import Smoothing
from iqattack.defences.total_variation import TotalVariation
from iqattack.defences.unsharp import Unsharp
from iqattack.defences.webp import WebP
from iqattack.errors import InputError, unknown

MOST = 10_000  # versions of an image, of all defences together

KINDS: dict[str, type[Defence]] = {
    kind.name: kind
    for kind in (
        Jpeg,
        WebP,
        Resize,
        Bits,
        Median,
        Blur,
        Unsharp,
        TotalVariation,
        Crop,
        Flip,
        Noise,
        Smoothing,
        Rounding,
        ScoreNoise,
        Aaa,
    )
}


def parse_defence(spec: str) -> Chain:
    """Read `jpeg:75`, or several joined by +, of which the first sees the image first.

    InputError for one that does not exist, or that does not take these values.
    """
    if not isinstance(spec, str):
        raise InputError(f"defence {spec!r}: expected text, such as 'jpeg:75+median:3'")
    parts = spec.split("+")
    if not all(parts):
        raise InputError(
            f"defence '{spec}': expected defences joined by +, such as jpeg:75+median:3"
        )
    chain = Chain(tuple(map(_parse_one, parts)))
    if chain.scored > MOST:
        raise InputError(
            f"defence '{spec}': scores {chain.scored:,} versions of each image; expected at most "
            f"{MOST:,}"
        )
    return chain


def _parse_one(spec: str) -> Defence:
    name, *values = spec.split(":")
    if name not in KINDS:
        raise unknown("defence", name, KINDS)
    kind, about = KINDS[name], DEFENCES[name]
    try:
        if len(values) > len(kind.values()):
            raise ValueError(spec)
        return kind.model_validate(dict(zip(kind.values(), values, strict=False)))
    except ValueError:  # of which pydantic's are
        raise InputError(
            f"defence '{spec}': expected {about.form}, such as {about.spec}; {about.limits}"
        ) from None
