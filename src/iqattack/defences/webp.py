"""WebP and back, as JPEG."""

from __future__ import annotations

from typing import ClassVar

from iqattack.defences.base import Pixels, Purifier, Quality
from iqattack.defences.jpeg import coded


class WebP(Purifier):
    """Coded by libwebp in that quality, with loss, and decoded."""

    name: ClassVar[str] = "webp"
    quality: Quality

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        return coded(pixels, "WEBP", self.quality)
