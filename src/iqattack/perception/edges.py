"""Edges, which mask noise and to which NR-IQA models respond."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from iqattack.perception.pixels import grey_array


def canny(image: Tensor, low: float = 50.0, high: float = 150.0) -> Tensor:
    """Canny edges of a picture (3, H, W) in grey levels: (H, W) bool.

    Canny, IEEE TPAMI 1986, in OpenCV's implementation. low, high: hysteresis thresholds on the L1
    norm of the 3×3 Sobel gradient.
    """
    grey = np.rint(grey_array(image)).astype(np.uint8)
    return torch.from_numpy(cv2.Canny(grey, low, high) > 0)
