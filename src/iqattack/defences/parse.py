"""From text such as `jpeg:75+median:3` or `mine.py:purify` to defences."""

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
from iqattack.defences.naming import is_built_in, label_of, parts_of
from iqattack.defences.noise import Noise
from iqattack.defences.own import Own, load_own
from iqattack.defences.resize import Resize
from iqattack.defences.rounding import Rounding
from iqattack.defences.score_noise import ScoreNoise
from iqattack.defences.smoothing import Smoothing
from iqattack.defences.total_variation import TotalVariation
from iqattack.defences.unsharp import Unsharp
from iqattack.defences.webp import WebP
from iqattack.errors import InputError

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

    One that is not built in, `FILE.py:name`, `package.module:name` or that of an installed package,
    is imported. InputError for one that does not exist, or that does not take these values.

    >>> from iqattack.defences import parse_defence
    >>> chain = parse_defence("jpeg:75+median:3")
    >>> [defence.spec for defence in chain.defences]
    ['jpeg:75', 'median:3']
    """
    return checked_chain(Chain(tuple(_parse_one(part) for part in _parts(spec))), spec)


def checked_chain(chain: Chain, spec: str) -> Chain:
    """The same defences; InputError where they score too many versions of an image."""
    if chain.scored > MOST:
        raise InputError(
            f"defence '{spec}': scores {chain.scored:,} versions of each image; expected at most "
            f"{MOST:,}"
        )
    return chain


def label(chain: Chain) -> str:
    """What defences are called in the name of a model: specs, files without their folders."""
    return "+".join(one.label if isinstance(one, Own) else one.spec for one in chain.defences)


def read_label(spec: str) -> str:
    """The label of a spec that somebody else wrote, of which nothing is imported.

    InputError for a built-in defence that does not take its values.
    """
    return "+".join(
        _built_in(part).spec if is_built_in(part) else label_of(part) for part in _parts(spec)
    )


def _parts(spec: str) -> list[str]:
    if not isinstance(spec, str):
        raise InputError(f"defence {spec!r}: expected text, such as 'jpeg:75+median:3'")
    parts = parts_of(spec)
    if not all(parts):
        raise InputError(
            f"defence '{spec}': expected defences joined by +, such as jpeg:75+median:3"
        )
    return parts


def _parse_one(spec: str) -> Defence:
    return _built_in(spec) if is_built_in(spec) else load_own(spec)


def _built_in(spec: str) -> Defence:
    name, *values = spec.split(":")
    kind, about = KINDS[name], DEFENCES[name]
    try:
        if len(values) > len(kind.values()):
            raise ValueError(spec)
        return kind.model_validate(dict(zip(kind.values(), values, strict=False)))
    except ValueError:  # of which pydantic's are
        raise InputError(
            f"defence '{spec}': expected {about.form}, such as {about.spec}; {about.limits}"
        ) from None
