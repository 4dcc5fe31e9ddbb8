"""The median of a window: feature squeezing (Xu, Evans & Qi, NDSS 2018)."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from iqattack.defences.base import Pixels, Purifier, Size


class Median(Purifier):
    """Median of a square of `size` pixels a side, channel by channel."""

    name: ClassVar[str] = "median"
    size: Size

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        return np.asarray(cv2.medianBlur(pixels, self.size))
