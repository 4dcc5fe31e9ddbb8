"""How far apart two pictures are.

Every function compares a picture (3, H, W) with others (..., 3, H, W) of the same size, 8-bit
values as uint8 or float, and returns one value for each, (...) float64 on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from iqattack.errors import InputError
from iqattack.perception.pixels import grey_array

WHITE = 255.0
SSIM_WINDOW = 11  # pixels: Gaussian of deviation 1.5, cut at 3.5 deviations
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, from the finest

Array = NDArray[np.float64]


def _difference(image: Tensor, other: Tensor) -> Tensor:
    _check(image, other)
    # Doubles before subtracting: uint8 would wrap around.
    return (other.double() - image.double()).cpu()


def _check(image: Tensor, other: Tensor) -> None:
    if image.dim() != 3 or image.shape[0] != 3 or other.shape[-3:] != image.shape:
        raise InputError(
            f"cannot compare pictures of shapes {tuple(image.shape)} and {tuple(other.shape)}: "
            "expected (3, H, W) and (..., 3, H, W) of one size"
        )


def linf(image: Tensor, other: Tensor) -> Tensor:
    """Largest change of any value in grey levels, whichever its sign."""
    return _difference(image, other).abs().amax(dim=(-3, -2, -1))


def rms(image: Tensor, other: Tensor) -> Tensor:
    """Root of the mean squared change over all values, in grey levels."""
    return _difference(image, other).square().mean(dim=(-3, -2, -1)).sqrt()


def psnr(image: Tensor, other: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all values, peak 255; infinite if identical."""
    return 20.0 * torch.log10(WHITE / rms(image, other))


def ssim(image: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of the luma (Wang et al., IEEE TIP 2004), 1 if identical.

    11×11 Gaussian window, σ = 1.5, K = (0.01, 0.03), averaged where the window lies inside the
    picture, as in the authors' code without its downsampling. NaN where height or width is below
    11 pixels: no window fits, so SSIM is not defined.

    Each picture is compared on its own, so a value never depends on the others in the batch.
    """
    _check(image, other)
    if min(image.shape[-2:]) < SSIM_WINDOW:
        return torch.full(other.shape[:-3], torch.nan, dtype=torch.float64)
    reference = grey_array(image).astype(float)
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            reference,
            grey_array(one).astype(float),
            data_range=WHITE,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one in other.reshape(-1, *image.shape)
    ]
    return torch.tensor(values, dtype=torch.float64).reshape(other.shape[:-3])


def ms_ssim(image: Tensor, other: Tensor) -> Tensor:
    """Multi-scale structural similarity of the luma, 1 if identical.

    Wang, Simoncelli & Bovik, Asilomar 2003: contrast and structure at five scales, each half of the
    one before, luminance at the last, with the constants of `ssim`. Negative terms count as 0. NaN
    where height or width is below 176 pixels: no window fits at the last scale.
    """
    _check(image, other)
    if min(image.shape[-2:]) < SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1):
        return torch.full(other.shape[:-3], torch.nan, dtype=torch.float64)
    reference = grey_array(image).astype(float)
    values = [
        _ms_ssim(reference, grey_array(one).astype(float))
        for one in other.reshape(-1, *image.shape)
    ]
    return torch.tensor(values, dtype=torch.float64).reshape(other.shape[:-3])


def _ms_ssim(x: Array, y: Array) -> float:
    value = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS, start=1):
        luminance, structure = _ssim_terms(x, y)
        last = scale == len(SCALE_WEIGHTS)
        term = float((luminance * structure).mean() if last else structure.mean())
        value *= max(term, 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return value


def _ssim_terms(x: Array, y: Array) -> tuple[Array, Array]:
    """Luminance, and contrast times structure, wherever the window lies inside (H, W) pictures."""
    margin = SSIM_WINDOW // 2

    def local_mean(plane: Array) -> Array:
        blurred: Array = gaussian_filter(plane, 1.5, radius=margin)
        return blurred[margin:-margin, margin:-margin]

    mx, my = local_mean(x), local_mean(y)
    c1, c2 = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2
    variances = local_mean(x * x) - mx * mx + local_mean(y * y) - my * my
    covariance = local_mean(x * y) - mx * my
    luminance = (2.0 * mx * my + c1) / (mx * mx + my * my + c1)
    return luminance, (2.0 * covariance + c2) / (variances + c2)


def _halved(plane: Array) -> Array:
    """Means of 2×2 blocks; an odd last row or column is left out."""
    height, width = (side // 2 for side in plane.shape)
    blocks = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return np.asarray(blocks.mean(axis=(1, 3)))


def jnd_violation(image: Tensor, other: Tensor, jnd: Tensor) -> Tensor:
    """Share in [0, 1] of pixels whose largest channel change exceeds `jnd` (H, W) grey levels."""
    change = _difference(image, other).abs().amax(dim=-3)
    return (change > jnd.double().cpu()).double().mean(dim=(-2, -1))
