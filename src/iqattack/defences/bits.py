"""Fewer bits a channel: feature squeezing (Xu, Evans & Qi, NDSS 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from iqattack.defences.base import Pixels, Purifier


class Bits(Purifier):
    """Each value becomes the nearest of 2^depth levels, evenly spread from 0 to 255."""

    name: ClassVar[str] = "bits"
    depth: Annotated[int, Field(ge=1, le=8)]

    def purified(self, pixels: Pixels) -> Pixels:
        """See `Purifier`."""
        most = 2**self.depth - 1
        levels = np.rint(np.arange(256) * most / 255.0)
        table: Pixels = np.rint(levels * 255.0 / most).astype(np.uint8)
        return np.take(table, pixels)
