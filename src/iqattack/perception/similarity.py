"""Distance and similarity of pictures.

Every function compares a picture (3, H, W) with others (..., 3, H, W) of the same size, 8-bit
values as uint8 or float, and returns one value for each, (...) float64 on the CPU. It raises
InputError for pictures of different sizes.

Pictures are processed in bands of rows that fit in a processor's cache, so memory hardly grows with
their size. Changes and their squares are summed in float64, which is exact for whole grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError
from iqattack.perception.pixels import grey_array

WHITE = 255.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, from the finest
BAND = 2**17  # pixels, a megabyte of doubles

Array = NDArray[np.float64]
Rows = Callable[[slice], Array]  # some rows of a plane


def each(image: Tensor, other: Tensor, measure: Callable[[Tensor, Tensor], float]) -> Tensor:
    """Apply `measure` to the image and each other, one by one, so that no value depends on the
    batch.
    """
    if image.dim() != 3 or image.shape[0] != 3 or other.shape[-3:] != image.shape:
        raise InputError(
            f"cannot compare pictures of shapes {tuple(image.shape)} and {tuple(other.shape)}: "
            "expected (3, H, W) and (..., 3, H, W) of one size"
        )
    image = image.cpu()
    values = [measure(image, one) for one in other.cpu().reshape(-1, *image.shape)]
    return torch.tensor(values, dtype=torch.float64).reshape(other.shape[:-3])


def _bands(height: int, width: int, overlap: int = 0) -> Iterator[slice]:
    """Slices of an even number of rows, each extended by `overlap` rows of the next."""
    step = max(2, BAND // width // 2 * 2)
    for top in range(0, height - overlap, step):
        yield slice(top, min(top + step + overlap, height))


def _differences(image: Tensor, other: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in _bands(*image.shape[-2:]):
        # In doubles: uint8 would wrap around.
        yield rows, other[:, rows].to(torch.float64, copy=True).sub_(image[:, rows])


def linf(image: Tensor, other: Tensor) -> Tensor:
    """The largest absolute change of any value, in grey levels.

    >>> import torch
    >>> from iqattack.perception import linf, psnr, rms, ssim
    >>> image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    >>> others = torch.stack([image, image - 3])
    >>> linf(image, others).tolist(), rms(image, others).tolist()
    ([0.0, 3.0], [0.0, 3.0])
    """

    def measure(image: Tensor, other: Tensor) -> float:
        return max(float(change.abs_().amax()) for _, change in _differences(image, other))

    return each(image, other, measure)


def rms(image: Tensor, other: Tensor) -> Tensor:
    """The root-mean-square change over all values, in grey levels."""

    def mean_square(image: Tensor, other: Tensor) -> float:
        changes = (change.flatten() for _, change in _differences(image, other))
        return sum(float(change @ change) for change in changes) / image.numel()

    # PyTorch's root: it can differ from Python's in the last bit, and runs keep the value.
    return each(image, other, mean_square).sqrt()


def psnr(image: Tensor, other: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB over all values, with peak 255; infinite if identical.

    >>> import torch
    >>> from iqattack.perception import psnr
    >>> image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    >>> round(psnr(image, image - 3).item(), 2)
    38.59
    """
    return 20.0 * torch.log10(WHITE / rms(image, other))


def ssim(image: Tensor, other: Tensor) -> Tensor:
    """The structural similarity (SSIM) of the luma, −1..1, 1 if identical.

    Wang et al., IEEE TIP 2004: 11×11 Gaussian window with σ = 1.5, K = (0.01, 0.03), averaged over
    windows inside the picture, as in the authors' code without its downsampling. NaN if height or
    width is below 11 pixels, where no window fits.

    >>> import torch
    >>> from iqattack.perception import ssim
    >>> image = torch.arange(64 * 64, dtype=torch.uint8).reshape(64, 64).expand(3, -1, -1)
    >>> ssim(image, image).item(), ssim(image, 255 - image).item() < 0
    (1.0, True)
    """

    def measure(image: Tensor, other: Tensor) -> float:
        if min(image.shape[-2:]) < SSIM_WINDOW:
            return math.nan
        return _mean_terms(_luma(image), _luma(other), *image.shape[-2:])[0]

    return each(image, other, measure)


def ms_ssim(image: Tensor, other: Tensor) -> Tensor:
    """The multi-scale structural similarity (MS-SSIM) of the luma, 0..1, 1 if identical.

    Wang, Simoncelli & Bovik, Asilomar 2003: contrast and structure at five scales, each at half the
    resolution of the one before, luminance at the last, with the constants of `ssim`. Negative
    terms count as 0. NaN if height or width is below 176 pixels, where no window fits at the last
    scale.
    """

    def measure(image: Tensor, other: Tensor) -> float:
        height, width = image.shape[-2:]
        if min(height, width) < SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1):
            return math.nan
        x, y = _luma(image), _luma(other)
        value = 1.0
        for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
            similarity, structure = _mean_terms(x, y, height, width)
            last = scale == len(SCALE_WEIGHTS)
            value *= max(similarity if last else structure, 0.0) ** weight
            x, y = (_halved(plane, height, width).__getitem__ for plane in (x, y))
            height, width = height // 2, width // 2
        return value

    return each(image, other, measure)


def _luma(image: Tensor) -> Rows:
    return lambda rows: grey_array(image[:, rows]).astype(float)


def _mean_terms(x: Rows, y: Rows, height: int, width: int) -> tuple[float, float]:
    """The means of SSIM and of contrast times structure over all windows inside the plane."""
    margin = SSIM_WINDOW // 2
    c1, c2 = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2

    def local_mean(plane: Array) -> Array:
        blurred = cv2.GaussianBlur(plane, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)
        return np.asarray(blurred[margin:-margin, margin:-margin], dtype=float)

    similarities = structures = 0.0
    for rows in _bands(height, width, overlap=2 * margin):
        a, b = x(rows), y(rows)
        ma, mb = local_mean(a), local_mean(b)
        product, power = ma * mb, ma * ma + mb * mb
        covariance = local_mean(a * b) - product
        variances = local_mean(a * a + b * b) - power
        structure = (2.0 * covariance + c2) / (variances + c2)
        structures += float(structure.sum())
        similarities += float((structure * (2.0 * product + c1) / (power + c1)).sum())
    windows = (height - 2 * margin) * (width - 2 * margin)
    return similarities / windows, structures / windows


def _halved(plane: Rows, height: int, width: int) -> Array:
    """Means of 2×2 blocks; an odd last row or column is dropped."""
    height, width = height // 2 * 2, width // 2 * 2
    half = np.empty((height // 2, width // 2))
    for rows in _bands(height, width):
        band = plane(rows)[:, :width]
        sums = band[::2] + band[1::2]
        half[rows.start // 2 : rows.stop // 2] = (sums[:, ::2] + sums[:, 1::2]) / 4.0
    return half


def jnd_violation(image: Tensor, other: Tensor, jnd: Tensor) -> Tensor:
    """The share of pixels, 0..1, with a change in any channel above `jnd` (H, W) grey levels."""
    jnd = jnd.cpu()

    def measure(image: Tensor, other: Tensor) -> float:
        over = sum(
            int((change.abs_().amax(dim=0) > jnd[rows]).sum())
            for rows, change in _differences(image, other)
        )
        return over / jnd.numel()

    return each(image, other, measure)
