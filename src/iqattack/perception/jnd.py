"""Just-noticeable difference: by how many grey levels a pixel may change without being noticed.

All three share Yang et al.'s nonlinear additivity model for masking (NAMM, Signal Processing:
Image Communication 2005): J = LA + CM − 0.3·min(LA, CM), with luminance adaptation LA and contrast
masking CM. They differ in how CM is measured. Every function takes a picture (3, H, W) in grey
levels 0..255 and returns the threshold per pixel, (H, W) float32 grey levels, never negative.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.perception.edges import canny
from iqattack.perception.pixels import grey_array

Grey = NDArray[np.float32]

OVERLAP = 0.3  # NAMM's gain reduction where both kinds of masking act
STRUCTURE, TEXTURE = 0.117, 0.351  # Liu et al. 2010: edges mask a third as well as texture
TV_WEIGHT = 0.1  # of the decomposition, for grey levels scaled to [0, 1]

# Yang et al. 2005, fig. 1: background luminance, sum 32.
BACKGROUND = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]],
    dtype=np.float32,
)
# Chou & Li, IEEE TCSVT 1995, fig. 2: gradients in four directions, each over 16.
_DIAGONAL = np.array(
    [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]],
    dtype=np.float32,
)
_HORIZONTAL = np.array(
    [[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]],
    dtype=np.float32,
)
GRADIENTS = (_HORIZONTAL, _DIAGONAL, _DIAGONAL[:, ::-1].copy(), _HORIZONTAL.T.copy())


def _filter(grey: Grey, kernel: Grey) -> Grey:
    filtered = cv2.filter2D(grey, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(filtered, dtype=np.float32)


def _spread(part: Grey) -> Grey:
    """The largest minus the smallest value of each 5×5 window."""
    window = np.ones((5, 5), np.uint8)
    return np.asarray(cv2.dilate(part, window) - cv2.erode(part, window), dtype=np.float32)


def background(grey: Grey) -> Grey:
    """Mean luminance around each pixel, weighted 5×5 (Yang et al. 2005)."""
    return _filter(grey, BACKGROUND / BACKGROUND.sum())


def luminance_adaptation(grey: Grey) -> Grey:
    """LA(g): the visibility threshold on a uniform background of luminance g (Chou & Li, IEEE TCSVT
    1995).
    """
    dark = 17.0 * (1.0 - np.sqrt(np.minimum(grey, 127.0) / 127.0)) + 3.0
    light = 3.0 * (grey - 127.0) / 128.0 + 3.0
    return np.where(grey <= 127.0, dark, light).astype(np.float32)


def _namm(luminance: Grey, contrast: Grey) -> Tensor:
    jnd = luminance + contrast - OVERLAP * np.minimum(luminance, contrast)
    return torch.from_numpy(np.ascontiguousarray(jnd, dtype=np.float32))


def liu2010(image: Tensor) -> Tensor:
    """CM from a total-variation decomposition (Liu et al., IEEE TCSVT 2010).

    Structure is the piecewise-smooth part, texture the rest; texture masks more. The discrete total
    variation is not symmetric: the thresholds of a mirrored picture differ by about 1 % on average.
    """
    from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415 - imports scipy.stats, which takes a second

    grey = grey_array(image)
    smooth = denoise_tv_chambolle(grey / 255.0, weight=TV_WEIGHT)  # type: ignore[no-untyped-call]
    structure = smooth.astype(np.float32) * 255.0
    contrast = STRUCTURE * _spread(structure) + TEXTURE * _spread(grey - structure)
    return _namm(luminance_adaptation(background(grey)), contrast)


def canny_structure(image: Tensor) -> Tensor:
    """CM with a binary Canny map as the structure, as in the released code of Yang et al. (arXiv
    2401.05217).

    The map, 0 or 1, is subtracted in floating point. The released code subtracts in 8 bits, where
    values wrap around; here, edges mask only by the contrast of the picture.
    """
    grey = grey_array(image)
    structure = canny(image).numpy().astype(np.float32)
    contrast = STRUCTURE * _spread(structure) + TEXTURE * _spread(grey - structure)
    return _namm(luminance_adaptation(background(grey)), contrast)


def yang2005(image: Tensor) -> Tensor:
    """CM from the largest of four directional gradients (NAMM; Yang et al. 2005).

    Their weight on that gradient, which protects edges, is omitted, so edges mask fully.
    """
    grey = grey_array(image)
    gradient = np.max([np.abs(_filter(grey, kernel)) / 16.0 for kernel in GRADIENTS], axis=0)
    return _namm(luminance_adaptation(background(grey)), STRUCTURE * gradient)


JND_MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "liu2010": liu2010,
    "canny": canny_structure,
    "yang2005": yang2005,
}
