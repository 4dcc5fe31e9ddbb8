"""Contrast-limited adaptive histogram equalisation of the lightness, CIELAB (Zuiderveld, 1994)."""

from __future__ import annotations

import cv2
import numpy as np

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.unrestricted.parameters import Parameter, Picture, search_parameters

CLIP = Parameter(0.1, 40.0, log=True)  # clip limit, in mean counts of a bin
TILES = Parameter(1.0, 16.0, log=True)  # per side of the image


def equalised(image: Picture, clip: float, tiles: float) -> Picture:
    """The picture (H, W, 3) with this clip limit and number of tiles per side."""
    height, width = image.shape[:2]
    grid = (min(round(tiles), width), min(round(tiles), height))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, grid).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8)


def clahe(task: Task) -> Search:
    """Search the clip limit and the number of tiles with CMA-ES."""
    return search_parameters(task, equalised, (CLIP, TILES))
