"""Pseudo-MOS: full-reference measures of a distorted picture, fused by rank.

No person has rated these pictures. Three complementary measures compare each with its pristine
original. Each value becomes a rank: the share of a fixed set of distorted pictures (the training
set of the built-in model) that is worse. The pseudo-MOS is 100 times the mean rank. Ranks need no
assumption about the scales of the measures, which differ widely.

All pictures are (H, W, 3) uint8 RGB, at least 176 pixels high and wide.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from iqattack.errors import InputError
from iqattack.samples.distortions import Picture

Floats = NDArray[np.float32]
MIN_SIZE = 176  # for the windows of VIF's fourth scale at half the resolution, several times


def vif(reference: Picture, picture: Picture) -> float:
    """Visual information fidelity of the luma, pixel domain, four scales: 0..1, 1 if identical.

    Sheikh & Bovik, IEEE TIP 2006. Values above 1, of enhanced contrast, are clipped to 1.
    """
    return _information([_luma(reference)], [_luma(picture)])


def chroma_vif(reference: Picture, picture: Picture) -> float:
    """`vif` of both colour differences (Cb, Cr) at half the resolution: 0..1, 1 if identical.

    Half, because the eye resolves colour less finely than luminance, as 4:2:0 coding assumes.
    """
    return _information(_chroma(reference), _chroma(picture))


def gmsd(reference: Picture, picture: Picture) -> float:
    """Gradient magnitude similarity deviation of the luma, 0 if identical; lower is better.

    Xue et al., IEEE TIP 2014. Sensitive to localised damage, such as blocking and clipping.
    """
    x, y = (_gradient(_halved(_luma(image))) for image in (reference, picture))
    return float(((2 * x * y + 170) / (x**2 + y**2 + 170)).std(dtype=np.float64))


# Measures and whether a low value means good quality.
MEASURES: dict[str, tuple[Callable[[Picture, Picture], float], bool]] = {
    "vif": (vif, False),
    "chroma_vif": (chroma_vif, False),
    "gmsd": (gmsd, True),
}


def measured(reference: Picture, picture: Picture) -> NDArray[np.float64]:
    """The measures (3,) in the order of `MEASURES`, signed so that higher is better.

    Raises InputError for pictures of different or too small sizes.
    """
    if reference.shape != picture.shape or min(reference.shape[:2]) < MIN_SIZE:
        raise InputError(
            f"cannot compare pictures of shapes {reference.shape} and {picture.shape}: "
            f"expected (H, W, 3) of one size, at least {MIN_SIZE}×{MIN_SIZE}"
        )
    return np.array([(-1 if low else 1) * f(reference, picture) for f, low in MEASURES.values()])


def ranks(values: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks 0..1 (N, 3) of measures (N, 3).

    table: (K, 3), quantiles of each measure over the reference set, at equal steps from 0 to 1.
    """
    share = np.linspace(0.0, 1.0, len(table))
    columns = zip(values.T, table.T, strict=True)
    return np.stack([np.interp(column, known, share) for column, known in columns], axis=1)


def fused(values: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-MOS (N,), 0..100, of measures (N, 3): the mean rank. table: as in `ranks`."""
    return np.asarray(100.0 * ranks(values, table).mean(axis=1))


def pseudo_mos(reference: Picture, picture: Picture) -> float:
    """The pseudo-MOS of a distorted picture, 0..100; 100 for the pristine one.

    reference: the pristine original, (H, W, 3) uint8 RGB. picture: of the same size. Raises
    InputError for pictures of different sizes, or below 176×176 pixels.

    >>> from iqattack.samples.distortions import distort
    >>> from iqattack.samples.labels import pseudo_mos
    >>> from iqattack.samples.photos import photographs
    >>> import numpy as np
    >>> photo = photographs()["chelsea"]
    >>> blurred = distort(photo, [("gaussian_blur", 5)], np.random.default_rng(0))
    >>> pseudo_mos(photo, photo), pseudo_mos(photo, blurred) < 50
    (100.0, True)
    """
    return float(fused(measured(reference, picture)[None], ranking())[0])


@cache
def ranking() -> NDArray[np.float64]:
    """The table for `fused`, as training/train.py wrote it."""
    text = (files("iqattack.samples") / "ranking.csv").read_text(encoding="utf-8")
    return np.array([line.split(",") for line in text.splitlines()[1:]], dtype=np.float64)


def _luma(picture: Picture) -> Floats:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def _chroma(picture: Picture) -> list[Floats]:
    """Cb and Cr (ITU-R BT.601) without their offset, at half the resolution."""
    luma = _luma(picture)
    red, blue = (picture[..., channel].astype(np.float32) for channel in (0, 2))
    return [_halved(0.564 * (blue - luma)), _halved(0.713 * (red - luma))]


def _information(reference: list[Floats], picture: list[Floats]) -> float:
    """Share of the information of the reference's planes that is left, at most 1."""
    noise = 2.0
    left = there = 0.0
    for planes in zip(reference, picture, strict=True):
        x, y = planes
        for scale in range(4):
            window = 2 ** (4 - scale) + 1
            if scale:
                x, y = (_window(plane, window, window / 5)[::2, ::2] for plane in (x, y))
            _, _, var_x, var_y, cov = _moments(x, y, window, window / 5)
            var_x, var_y = np.maximum(var_x, 0), np.maximum(var_y, 0)
            gain = cov / (var_x + 1e-10)
            rest = var_y - gain * cov
            rest = np.where(var_x < 1e-10, var_y, rest)
            gain = np.where((var_x < 1e-10) | (var_y < 1e-10), 0, gain)
            rest = np.where(var_y < 1e-10, 0, rest)
            rest = np.where(gain < 0, var_y, rest)
            gain = np.maximum(gain, 0)
            rest = np.maximum(rest, 1e-10)
            left += float(np.log10(1 + gain**2 * var_x / (rest + noise)).sum(dtype=np.float64))
            there += float(np.log10(1 + var_x / noise).sum(dtype=np.float64))
    return min(left / there, 1.0) if there > 0 else 1.0


def _halved(image: Floats) -> Floats:
    """Means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in image.shape)
    return np.asarray(
        cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    )


def _window(image: Floats, size: int, sigma: float) -> Floats:
    """Gaussian means wherever the window lies inside the picture."""
    edge = size // 2
    return np.asarray(cv2.GaussianBlur(image, (size, size), sigma)[edge:-edge, edge:-edge])


def _moments(x: Floats, y: Floats, size: int, sigma: float) -> tuple[Floats, ...]:
    """Local means of both, variances of both and the covariance."""
    mu_x, mu_y = _window(x, size, sigma), _window(y, size, sigma)
    var_x = _window(x * x, size, sigma) - mu_x * mu_x
    var_y = _window(y * y, size, sigma) - mu_y * mu_y
    cov = _window(x * y, size, sigma) - mu_x * mu_y
    return mu_x, mu_y, var_x, var_y, cov


def _gradient(image: Floats) -> Floats:
    """Magnitude under Prewitt's operator, inside the picture."""
    kernel = np.array([[1, 0, -1]] * 3, dtype=np.float32) / 3
    dx, dy = (cv2.filter2D(image, cv2.CV_32F, k)[1:-1, 1:-1] for k in (kernel, kernel.T))
    return np.asarray(np.sqrt(dx * dx + dy * dy))
