"""JPEG and back: what fine changes do not survive (Dziugaite et al., arXiv 1608.00853)."""

from __future__ import annotations

from io import BytesIO
from typing import ClassVar

import numpy as np

from iqattack.defences.base import Pixels, Purifier, Quality
from iqattack.pillow import Image


class Jpeg(Purifier):
    """Coded by libjpeg in that quality and decoded; chroma is subsampled, 4:2:0."""

    name: ClassVar[str] = "jpeg"
    quality: Quality

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        return coded(pixels, "JPEG", self.quality)


def coded(pixels: Pixels, form: str, quality: int) -> Pixels:
    """Pixels (H, W, 3) coded in a lossy format of Pillow's, and decoded."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, quality=quality)
    return np.array(Image.open(file))
