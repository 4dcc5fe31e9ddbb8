"""Textures of natural images, from which initial directions are made.

Yang et al. (arXiv 2401.05217, sec. III-C) use high-frequency natural images, since they have the
statistics that a model associates with quality. A set of textures is a folder of such images; a
small one ships with the package (`benchmarks/make_textures.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from iqattack.images import ImageSet, read_image
from iqattack.pillow import Image

Pixels = NDArray[Any]

BUNDLED = Path(__file__).parent / "textures"


def _jpeg(pixels: Pixels) -> Pixels:
    """Blocks and ringing: JPEG at quality 10."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=10)
    return np.asarray(Image.open(file))


def _smooth(pixels: Pixels) -> Pixels:
    return gaussian_filter(pixels.astype(np.float32), (3.0, 3.0, 0.0))


def _gaussian(pixels: Pixels) -> Pixels:
    return np.random.default_rng(0).standard_normal(pixels.shape)


def _uniform(pixels: Pixels) -> Pixels:
    return np.random.default_rng(0).uniform(-1.0, 1.0, pixels.shape)


# What is done to the reference images: as they are (high quality), degraded (low quality), smooth,
# or noise of the same size in their place.
Source = Literal["sharp", "degraded", "smooth", "gaussian", "uniform"]
SOURCES: dict[Source, Callable[[Pixels], Pixels]] = {
    "sharp": lambda pixels: pixels,
    "degraded": _jpeg,
    "smooth": _smooth,
    "gaussian": _gaussian,
    "uniform": _uniform,
}


@cache
def textures(source: Source, band: int, folder: Path = BUNDLED) -> tuple[Tensor, ...]:
    """High-pass filtered images, each (3, H, W) float32 with standard deviation 1 and mean about 0.

    source: a key of SOURCES. band: side in pixels of the box filter whose output is subtracted, so
    that structures up to about this size remain. folder: of the images.
    Raises InputError for a folder without readable images.
    """
    return tuple(
        _high_pass(SOURCES[source](read_image(entry.path).pixels.permute(1, 2, 0).numpy()), band)
        for entry in ImageSet.from_folder(folder)
    )


def _high_pass(pixels: Pixels, band: int) -> Tensor:
    values = pixels.astype(np.float32)
    values = values - uniform_filter(values, (band, band, 0), mode="reflect")
    deviation = float(values.std())
    if deviation > 0.0:
        values /= deviation
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def crop(texture: Tensor, height: int, width: int, row: float, column: float) -> Tensor:
    """A crop (3, height, width) of a texture, which is mirrored beyond its border.

    row, column: relative position among all possible ones, each in [0, 1).
    """
    rows = _mirrored(texture.shape[1], height, row)
    columns = _mirrored(texture.shape[2], width, column)
    if isinstance(rows, slice) and isinstance(columns, slice):
        return texture[:, rows, columns]
    return texture[:, rows][:, :, columns]


def _mirrored(side: int, length: int, place: float) -> slice | Tensor:
    if length <= side:
        start = int(place * (side - length + 1))
        return slice(start, start + length)
    index = (int(place * side) + torch.arange(length, dtype=torch.int64)) % (2 * side)
    return torch.where(index < side, index, 2 * side - 1 - index)
