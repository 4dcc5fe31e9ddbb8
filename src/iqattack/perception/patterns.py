"""Patterns that test a constraint: the worst changes of a picture that an attack could make.

Attacks work at the limits of a constraint with some structure: squares, stripes, noise, or the
picture's own detail. A constraint limits visibility only if it does so for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iqattack.perception.pixels import grey_array

Signs = NDArray[np.int8]
"""(3, H, W): which end of what is allowed each value goes to; 0 is neither."""

SIDES = (1, 2, 4, 8, 16)  # pixels, of squares and stripes
SLANTING = (2, 4)  # of one pixel they are a checkerboard
BLURS = (1.0, 2.0, 4.0)  # deviation in pixels, of smooth noise
FINE = 1.0  # likewise: noise and detail that are finer
PATCH = 48  # side of patches, pixels
HUES = {"red–green": (1, -1, 1), "blue": (0, 0, 1), "yellow–violet": (-1, -1, 1)}


def patterns(image: Tensor) -> Iterator[tuple[str, Signs]]:
    """The patterns, with names, for a picture (3, H, W) in grey levels; the same on every call.

    Checkerboards, and vertical, horizontal and diagonal stripes, of 1 to 16 pixels; white noise in
    colour and in grey, smooth and high-passed noise; uniform shifts of brightness and hue; the
    picture's own detail, amplified, removed and filtered; and patches of different patterns.
    """
    grey = grey_array(image)
    height, width = grey.shape
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    found: dict[str, Signs] = {}

    def add(name: str, field: NDArray[np.generic]) -> None:
        signs = np.sign(field.astype(np.float32)).astype(np.int8)
        found[name] = np.array(np.broadcast_to(signs, (3, height, width)))

    for side in SIDES:
        add(f"checkerboard {side} px", (x // side + y // side) % 2 - 0.5)
    for side in SIDES:
        add(f"stripes {side} px", x // side % 2 - 0.5)
        add(f"level stripes {side} px", y // side % 2 - 0.5)
    for side in SLANTING:
        add(f"slanting stripes {side} px", (x + y) // side % 2 - 0.5)
    noise = rng.standard_normal((3, height, width)).astype(np.float32)
    add("noise, coloured", noise)
    add("noise", noise[:1])
    for blur in BLURS:
        add(f"noise, smooth {blur:g} px", _smooth(noise[0], blur))
    add("noise, high-passed", noise[0] - _smooth(noise[0], FINE))
    add("brighter", np.ones((1, height, width)))
    add("darker", -np.ones((1, height, width)))
    for name, hue in HUES.items():
        add(name, np.array(hue)[:, None, None] * np.ones((1, height, width)))
    detail = grey - _smooth(grey, FINE)
    add("detail", detail)
    add("detail, taken away", -detail)
    kernel = rng.standard_normal((5, 5)).astype(np.float32)
    add("detail, filtered", cv2.filter2D(detail, -1, kernel - kernel.mean()))
    names = [*found]
    choice = rng.permutation(len(names))
    patches = np.zeros((3, height, width), np.int8)
    across = -(-width // PATCH)
    for name, signs in found.items():
        mine = choice[(y // PATCH * across + x // PATCH) % len(names)] == names.index(name)
        patches += signs * mine
    found["patches"] = patches
    yield from found.items()


def _smooth(plane: NDArray[np.float32], blur: float) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(plane, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, dtype=np.float32)
