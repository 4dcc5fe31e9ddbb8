"""Unsharp masking, x + amount·(x − blurred x) (Siniukov et al. 2021)."""

from __future__ import annotations

import cv2
import numpy as np

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.unrestricted.parameters import Parameter, Picture, search_parameters

AMOUNT = Parameter(-1.0, 5.0)  # below 0 it blurs
SIGMA = Parameter(0.5, 10.0, log=True)  # of the Gaussian, in pixels


def sharpened(image: Picture, amount: float, sigma: float) -> Picture:
    """The picture (H, W, 3), sharpened, or blurred for a negative amount."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    return cv2.addWeighted(image, 1.0 + amount, blurred, -amount, 0.0).astype(np.uint8)


def unsharp(task: Task) -> Search:
    """Search the amount and the standard deviation of the Gaussian with CMA-ES."""
    return search_parameters(task, sharpened, (AMOUNT, SIGMA))
