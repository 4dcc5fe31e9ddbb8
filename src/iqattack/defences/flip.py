"""Mirrored by chance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from iqattack.defences.base import Randomised


class Flip(Randomised):
    """Left to right or not, with equal chances in each pass."""

    name: ClassVar[str] = "flip"

    def version(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Randomised`."""
        return image.flip(2) if rng.integers(2) else image
