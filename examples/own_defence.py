"""Defences of one's own: `--defence examples/own_defence.py:bilateral:sigma=30`.

Joined with built-in ones by +, as any defence: `jpeg:75+examples/own_defence.py:shifted:passes=4`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from iqattack.defences import Behind, Reshaping

Pixels = NDArray[np.uint8]


def bilateral(pixels: Pixels, sigma: float = 20.0, diameter: int = 5) -> Pixels:
    """Smooths where neighbours are alike, and keeps edges (Tomasi & Manduchi, ICCV 1998).

    A function of pixels (H, W, 3) uint8 that returns pixels: uint8, or other real numbers from 0 to
    255. Further parameters are its options. sigma: of grey levels; diameter: in pixels.
    """
    return np.asarray(cv2.bilateralFilter(pixels, diameter, sigma, diameter / 2))


def shifted(pixels: Pixels, rng: np.random.Generator, most: int = 2) -> Pixels:
    """Moves the image by up to so many pixels each way, and repeats its borders.

    With a parameter `rng` a defence is random. Take all randomness from it: it depends on the image
    and a key alone. `passes=4` averages the scores of four versions.
    """
    down, across = rng.integers(0, 2 * most + 1, size=2)
    padded = np.pad(pixels, ((most, most), (most, most), (0, 0)), mode="edge")
    return padded[down : down + pixels.shape[0], across : across + pixels.shape[1]]


class Contracted(Reshaping):
    """Tells scores nearer to the middle of the score range, so that gains seem small.

    A class for everything else. Its fields are its options; share: of the distance that is kept.
    """

    name: ClassVar[str] = "contracted"
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5

    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:  # noqa: ARG002
        """The score to report in place of a finite one, of an image (3, H, W) uint8."""
        middle = sum(behind.score_range) / 2
        return middle + self.share * (score - middle)
