"""Viewing conditions: the display that shows a picture, and how far the eye is from it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from iqattack.errors import InputError, unknown

INSTALL = "pip install 'iqattack[visibility]'"
DISPLAY = "standard_fhd"
# As ColorVideoVDP has that display, so that its name means something without the package.
FULL_HD = {"resolution": [1920, 1080], "diagonal_size_inches": 24, "viewing_distance_meters": 0.6}
INCH = 0.0254  # metres
FEWEST, MOST = 5.0, 500.0  # pixels per degree that an eye and a display can have


@dataclass(frozen=True)
class Viewing:
    """What both measures of visibility have to know.

    display: its name in ColorVideoVDP's table. distance: of the eye, in metres.
    pixels_per_degree: of visual angle, in the middle of the display.
    """

    display: str
    distance: float
    pixels_per_degree: float

    @classmethod
    def of(cls, display: str | None = None, distance: float | None = None) -> Self:
        """A display of ColorVideoVDP's table that shows 8-bit sRGB pictures, at its own distance by
        default.

        Raises InputError for another name, a distance that is none, and without the package for
        any display but `standard_fhd`.
        """
        name = display or DISPLAY
        if name == DISPLAY:
            model: dict[str, Any] = FULL_HD
        else:
            known = displays()
            if name not in known:
                raise unknown("display", name, known)
            model = known[name]
        width, height = model["resolution"]
        # The width of a pixel of a display whose pixels are squares.
        pixel = model["diagonal_size_inches"] * INCH / math.hypot(width, height)
        metres = _own_distance(model) if distance is None else distance
        nearest, farthest = (0.5 * pixel / math.tan(math.radians(0.5 / n)) for n in (FEWEST, MOST))
        if not nearest <= metres <= farthest:
            raise InputError(
                f"distance {metres:g}: expected {nearest:.2f} to {farthest:.1f} metres, where "
                f"{name} has {FEWEST:g} to {MOST:g} pixels per degree"
            )
        return cls(name, metres, 1.0 / math.degrees(2.0 * math.atan(0.5 * pixel / metres)))


def _own_distance(model: dict[str, Any]) -> float:
    metres: float | None = model.get("viewing_distance_meters")
    return metres if metres is not None else model["viewing_distance_inches"] * INCH


def displays() -> dict[str, dict[str, Any]]:
    """The displays of ColorVideoVDP's table that show 8-bit sRGB pictures and have a size, by name.

    Raises InputError without the package.
    """
    table = json.loads((data_folder() / "display_models.json").read_text(encoding="utf-8"))
    return {
        name: model
        for name, model in table.items()
        if model.get("colorspace", "sRGB") == "sRGB" and "diagonal_size_inches" in model
    }


def data_folder() -> Path:
    """Where ColorVideoVDP keeps its tables; found without importing it. InputError without it."""
    found = find_spec("pycvvdp")
    if found is None or found.origin is None:
        raise InputError(f"displays are those of the package 'cvvdp', not installed: {INSTALL}")
    return Path(found.origin).parent / "vvdp_data"
