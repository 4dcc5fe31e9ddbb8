"""Unsharp masking: a low score that a blur was to bring about is brought back."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from iqattack.defences.base import Amount, Pixels, Purifier

SIGMA = 1.0  # pixels


class Unsharp(Purifier):
    """So much of what a Gaussian blur of one pixel takes away is added."""

    name: ClassVar[str] = "unsharp"
    amount: Amount

    def purified(self, pixels: Pixels) -> NDArray[np.float32]:
        """See `Purifier`."""
        exact = pixels.astype(np.float32)
        away: NDArray[np.float32] = exact - cv2.GaussianBlur(exact, (0, 0), SIGMA)
        return exact + np.float32(self.amount) * away
