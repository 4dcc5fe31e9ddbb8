"""Random windows (Guo et al., ICLR 2018)."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from torch import Tensor

from iqattack.defences.base import Randomised, Share


class Crop(Randomised):
    """Windows of that share of each side, one for each pass."""

    name: ClassVar[str] = "crop"
    share: Share

    def smallest(self, min_size: int) -> int:
        """See `Defence`."""
        if min_size <= 1:
            return 1
        side = max(math.ceil(min_size / self.share) - 1, 1)  # products are rounded either way
        while self._inside(side) < min_size:
            side += 1
        return side

    def _inside(self, side: int) -> int:
        return max(math.floor(side * self.share), 1)

    def version(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Randomised`."""
        inside = [self._inside(side) for side in image.shape[1:]]
        down, across = (
            int(rng.integers(side - window + 1))
            for side, window in zip(image.shape[1:], inside, strict=True)
        )
        return image[:, down : down + inside[0], across : across + inside[1]]
