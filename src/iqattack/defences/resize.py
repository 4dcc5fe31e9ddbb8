"""Shrunk and back: what is finer than a share of the pixels is gone (Guo et al., ICLR 2018)."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from iqattack.defences.base import Pixels, Purifier, Share


class Resize(Purifier):
    """To that share of each side by averaging areas, and back to its size by bicubic."""

    name: ClassVar[str] = "resize"
    share: Share

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        height, width = pixels.shape[:2]
        small = (max(round(width * self.share), 1), max(round(height * self.share), 1))
        shrunk = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC))
