"""Tone mapping by Drago's operator (Drago, Myszkowski, Annen & Chiba, Eurographics 2003)."""

from __future__ import annotations

import cv2
import numpy as np

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.unrestricted.parameters import Parameter, Picture, search_parameters

GAMMA = Parameter(0.4, 2.5, log=True)
SATURATION = Parameter(0.3, 2.0, log=True)
BIAS = Parameter(0.5, 1.0)  # how much shadows are lifted; the paper's range is 0.7 to 0.9


def mapped(image: Picture, gamma: float, saturation: float, bias: float) -> Picture:
    """The picture (H, W, 3), treated as linear light, after Drago's operator."""
    if image.min() == image.max():
        return image  # Drago's operator is undefined for it
    light = image.astype(np.float32) / 255.0
    # OpenCV 5 logs a warning about its own code here, which would garble the progress bar.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        shown = np.asarray(cv2.createTonemapDrago(gamma, saturation, bias).process(light))
    finally:
        cv2.utils.logging.setLogLevel(level)
    levels = np.clip(np.rint(255.0 * np.nan_to_num(shown)), 0.0, 255.0)
    return np.asarray(levels, dtype=np.uint8)


def tone_map(task: Task) -> Search:
    """Search γ, saturation and bias with CMA-ES."""
    return search_parameters(task, mapped, (GAMMA, SATURATION, BIAS))
