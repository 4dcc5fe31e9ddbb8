"""Checkerboards of opponent colours: the counterpart of grey ones for models that use colour.

The first filters of a network respond to opponent colours as well as to luma. A pattern whose
channels move in opposite directions reaches them, while one that moves all channels alike does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

OPPONENTS = {"red": (1, -1, -1), "yellow": (1, 1, -1), "magenta": (1, -1, 1)}
SIDES = (1, 2)  # of a square, pixels
COLOURED = tuple(f"{name} checkerboard {side}" for side in SIDES for name in OPPONENTS)


def coloured_checkerboards(image: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Checkerboards of each colour and its opponent, with names: signs (3, H, W) int8.

    image: (3, H, W), of which only the size is used.
    """
    down, across = np.ogrid[: image.shape[1], : image.shape[2]]
    for side in SIDES:
        squares = np.where((down // side + across // side) % 2 == 0, 1, -1).astype(np.int8)
        for name, colour in OPPONENTS.items():
            signs = np.array(colour, np.int8)[:, None, None] * squares
            yield f"{name} checkerboard {side}", torch.from_numpy(signs)
