"""Pixels as pictures for pages and notebooks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]


def to_array(pixels: Tensor) -> Picture:
    """(3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def to_png(array: Picture) -> bytes:
    """The PNG file of (H, W) or (H, W, 3) RGB; OpenCV takes half of Pillow's time for it."""
    return cv2.imencode(".png", array if array.ndim == 2 else array[..., ::-1])[1].tobytes()


def fitted(array: Picture, side: int) -> Picture:
    """Resize a picture to a longer side between half of `side` and `side` pixels; pixels of smaller
    pictures become squares.
    """
    height, width = array.shape[:2]
    longest = max(height, width)
    if longest > side:
        scale = side / longest
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    times = max(1, side // (2 * longest)) if 2 * longest <= side else 1
    return np.repeat(np.repeat(array, times, axis=0), times, axis=1)
