"""Windows and the pattern in them that Square Attack searches by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def window(shape: Sequence[int], h: int, rng: torch.Generator) -> tuple[slice, slice, slice]:
    """A random h×h window of an image (3, H, W); all of a side that is shorter than h."""
    r, s = torch.rand(2, generator=rng, dtype=torch.float32).tolist()
    height, width = min(h, shape[1]), min(h, shape[2])
    r, s = int(r * (shape[1] - height + 1)), int(s * (shape[2] - width + 1))
    return slice(None), slice(r, r + height), slice(s, s + width)


@lru_cache(maxsize=16)
def eta(h: int) -> Tensor:
    """Two peaks of opposite sign side by side, (h, h) float32 of length 1.

    Andriushchenko et al. (ECCV 2020, sec. 3.4): halves η^(h, ⌊h/2⌋) and −η^(h, h − ⌊h/2⌋).
    """

    def peak(h1: int, h2: int) -> NDArray[Any]:
        n = h1 // 2
        heights = np.cumsum(1.0 / (n + 1.0 - np.arange(n + 1)) ** 2)
        r, s = np.abs(np.arange(h1) - n), np.abs(np.arange(h2) - h2 // 2)
        found: NDArray[Any] = heights[n - np.maximum(r[:, None], s)]
        return found

    both = np.concatenate([peak(h, h // 2), -peak(h, h - h // 2)], axis=1)
    return torch.from_numpy(both / np.linalg.norm(both)).float()
