"""Viewing conditions: the display and the viewing distance."""

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
    """The viewing conditions of JOD and FLIP.

    display: name in ColorVideoVDP's table. distance: between eye and display, in metres.
    pixels_per_degree: of visual angle, at the centre of the display.
    """

    display: str
    distance: float
    pixels_per_degree: float

    @classmethod
    def of(cls, display: str | None = None, distance: float | None = None) -> Self:
        """The viewing conditions of a display.

        display: name of an 8-bit sRGB display in ColorVideoVDP's table; `standard_fhd` by default.
        distance: in metres; by default that of the display. Raises InputError for an unknown
        display or an invalid distance, and, without the package, for any display other than
        `standard_fhd`.
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
    """The 8-bit sRGB displays with a known size in ColorVideoVDP's table, by name.

    Raises InputError without the package.
    """
    table = json.loads((data_folder() / "display_models.json").read_text(encoding="utf-8"))
    return {
        name: model
        for name, model in table.items()
        if model.get("colorspace", "sRGB") == "sRGB" and "diagonal_size_inches" in model
    }


def data_folder() -> Path:
    """The folder of ColorVideoVDP's tables, found without importing it; InputError without it."""
    found = find_spec("pycvvdp")
    if found is None or found.origin is None:
        raise InputError(f"displays are those of the package 'cvvdp', not installed: {INSTALL}")
    return Path(found.origin).parent / "vvdp_data"
