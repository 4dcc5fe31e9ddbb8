"""Conversions of pixels: luma, NumPy arrays, local normalisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# ITU-R BT.601, which JPEG and the IQA literature use.
LUMA = (0.299, 0.587, 0.114)

BAND = 2**18  # pixels that are worked on at a time, few enough for a cache


def luma(image: Tensor) -> Tensor:
    """Luma (..., H, W) in grey levels of an RGB picture (..., 3, H, W)."""
    weights = torch.tensor(LUMA, dtype=torch.float32, device=image.device)
    return (image.float() * weights[:, None, None]).sum(dim=-3)


def grey_array(image: Tensor) -> NDArray[np.float32]:
    """Luma of one picture (3, H, W) as a NumPy array (H, W) float32."""
    channels = image.detach().cpu().numpy()
    grey = np.zeros(channels.shape[1:], np.float32)
    for channel, weight in zip(channels, LUMA, strict=True):
        grey += np.multiply(channel, np.float32(weight), dtype=np.float32)
    return grey


def bands(rows: slice, width: int) -> Iterator[slice]:
    """Slices of rows with about BAND pixels each, from first to last.

    Processing by bands avoids the memory of a whole picture in floats.
    """
    step = max(BAND // width, 1)
    for first in range(rows.start, rows.stop, step):
        yield slice(first, min(first + step, rows.stop))


def locally_normalised(planes: Tensor) -> Tensor:
    """Mean-subtracted contrast-normalised (MSCN) values of planes (N, 1, H, W), in 3×3 windows.

    Each value minus the mean of its window, over its standard deviation plus 1, as in models of
    natural scene statistics (Mittal et al., IEEE TIP 2012); the 1 is in the unit of the planes.
    Borders are padded symmetrically, which for windows of 3 repeats the outermost value.
    """
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    mean = F.avg_pool2d(padded, 3, 1)
    variance = F.avg_pool2d(padded * padded, 3, 1) - mean * mean
    # The floor keeps the root's gradient finite where the picture is flat.
    return (planes - mean) / (variance.clamp(min=1e-10).sqrt() + 1.0)
