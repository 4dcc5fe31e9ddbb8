"""Gaussian blur."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from iqattack.defences.base import Pixels, Purifier, Size


class Blur(Purifier):
    """By OpenCV's kernel with `size` pixels a side: binomial weights up to seven, above a deviation
    of 0.3·(size/2 − 1.5) + 0.8.
    """

    name: ClassVar[str] = "blur"
    size: Size

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        return np.asarray(cv2.GaussianBlur(pixels, (self.size, self.size), 0))
