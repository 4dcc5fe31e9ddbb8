"""Parsing of detector specs such as `blacklight:window=20,matches=30`."""

from __future__ import annotations

from pydantic import ValidationError

from iqattack.detection.blacklight import Blacklight
from iqattack.detection.contract import DetectorKind
from iqattack.errors import InputError, unknown

DEFAULT = "blacklight"
KINDS: dict[str, type[Blacklight]] = {DEFAULT: Blacklight}


def parse_detector(spec: str) -> DetectorKind:
    """Parse the spec of a detector.

    spec: `NAME`, or `NAME:constant=value,…`.

    Raises InputError for an unknown detector or constant, and for a value out of range.

    >>> from iqattack.detection import parse_detector
    >>> from iqattack.images import read_image
    >>> account = parse_detector("blacklight:matches=25").open()
    >>> image = read_image("photos/01_astronaut_clean.png").pixels
    >>> other = read_image("photos/06_coffee_white_noise5.png").pixels
    >>> account.flags(image), account.flags(other)
    (False, False)
    >>> image[:, :8, :8] = 0  # a small change
    >>> account.flags(image)
    True
    """
    if not isinstance(spec, str):
        raise InputError(f"detector {spec!r}: expected text, such as 'blacklight:matches=25'")
    name, colon, given = spec.partition(":")
    if name not in KINDS:
        raise unknown("detector", name, KINDS)
    kind = KINDS[name]
    values: dict[str, str] = {}
    for part in given.split(",") if colon else ():
        constant, equals, value = part.partition("=")
        if constant not in kind.model_fields or not equals or constant in values:
            raise InputError(
                f"detector '{spec}': '{part}' is none of its constants, each at most once: "
                f"{', '.join(kind.model_fields)}; write them as blacklight:window=20,matches=30"
            )
        values[constant] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        least, most = bounds(kind, name)
        expected = f"at least {least:,}" if most is None else f"{least:,} to {most:,}"
        raise InputError(
            f"detector '{spec}': {name}={values[name]}: expected a whole number, {expected}"
        ) from None


def bounds(kind: type[Blacklight], name: str) -> tuple[int, int | None]:
    """The minimum of a constant, and its maximum, None without one."""
    limits = kind.model_json_schema()["properties"][name]
    return limits["minimum"], limits.get("maximum")
