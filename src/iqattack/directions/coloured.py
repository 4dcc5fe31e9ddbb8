"""Checkerboards of opponent colours: for models that see colour, what grey ones are for others.

A network's first filters look at opponent colours as well as at luma, and a pattern whose channels
move against each other reaches them where one that moves all alike does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

OPPONENTS = {"red": (1, -1, -1), "yellow": (1, 1, -1), "magenta": (1, -1, 1)}
SIDES = (1, 2)  # of a square, pixels


def coloured_checkerboards(image: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Names and signs (3, H, W) int8, of squares of each colour and of its opponent.

    image: (3, H, W); only its size counts.
    """
    down, across = np.ogrid[: image.shape[1], : image.shape[2]]
    for side in SIDES:
        squares = np.where((down // side + across // side) % 2 == 0, 1, -1).astype(np.int8)
        for name, colour in OPPONENTS.items():
            signs = np.array(colour, np.int8)[:, None, None] * squares
            yield f"{name} checkerboard {side}", torch.from_numpy(signs)
