"""A function of one NumPy array for iqattack.

iqattack attack PHOTOS --model FILE.py:load --input numpy,nhwc,single --out runs/first

--input says how the function wants its images: here one (H, W, 3) uint8 RGB array a call.
"""

import numpy as np


def contrast(image: np.ndarray) -> float:
    """Put your function here; it returns one number."""
    luma = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    return float(np.abs(np.diff(luma, axis=1)).mean())


# Needed by iqattack: the lowest and highest score, and whether a low one means good quality.
contrast.score_range = (0.0, 100.0)
contrast.lower_better = False


def load():
    """Called once, and returns the function."""
    return contrast
