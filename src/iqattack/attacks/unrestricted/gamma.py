"""Gamma correction, s = c·r^γ on [0, 1] (the power law; Siniukov et al. 2021)."""

from __future__ import annotations

import cv2
import numpy as np

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.unrestricted.parameters import Parameter, Picture, search_parameters

GAMMA = Parameter(0.25, 4.0, log=True)
C = Parameter(0.5, 2.0, log=True)


def corrected(image: Picture, gamma: float, c: float) -> Picture:
    """The picture (H, W, 3) after the power law."""
    levels = 255.0 * c * (np.arange(256) / 255.0) ** gamma
    table = np.clip(np.rint(levels), 0.0, 255.0).astype(np.uint8)
    return cv2.LUT(image, table).astype(np.uint8)


def gamma(task: Task) -> Search:
    """Search γ and c with CMA-ES; γ = c = 1 is the clean image."""
    return search_parameters(task, corrected, (GAMMA, C))
