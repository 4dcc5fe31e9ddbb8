"""Saliency: the parts of a picture that attract attention."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter
from torch import Tensor

# Hou, Harel & Koch 2012, as in their released parameters.
MAP_SIDE = 64  # pixels on the longer side
BLUR = 0.045  # Gaussian deviation, as a fraction of the longer side

# DCT coefficients of CIELAB values 0..100 below this are rounding, whose sign means nothing; so are
# differences in the map, which is of order 1.
_ROUNDING = 1e-6


def _resize(planes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear and antialiased, (C, H, W)."""
    from skimage.transform import resize  # noqa: PLC0415 - slow, and only l0 needs it

    shape = (len(planes), height, width)
    out: NDArray[np.float64] = resize(planes, shape, order=1, anti_aliasing=True)  # type: ignore[no-untyped-call]
    return out


def saliency(image: Tensor) -> Tensor:
    """Saliency of a picture (3, H, W) in grey levels: (H, W) float32 in [0, 1], largest 1.

    Image signature (Hou, Harel & Koch, IEEE TPAMI 2012): the sign of the DCT of each CIELAB channel
    retains a sparse foreground and suppresses the background. The mean of a channel is left out, so
    that a uniform channel contributes nothing. All zeros for a uniform picture.
    """
    from skimage.color import rgb2lab  # noqa: PLC0415 - slow

    height, width = image.shape[-2:]
    planes = image.detach().cpu().double().numpy()
    longer = max(height, width)
    if longer > MAP_SIDE:
        scale = MAP_SIDE / longer
        planes = _resize(planes, max(1, round(height * scale)), max(1, round(width * scale)))
    lab = rgb2lab(planes.clip(0.0, 255.0) / 255.0, channel_axis=0)
    lab -= lab.mean(axis=(-2, -1), keepdims=True)

    spectrum = dctn(lab, axes=(-2, -1), norm="ortho")
    spectrum[np.abs(spectrum) < _ROUNDING] = 0.0
    figure = idctn(np.sign(spectrum), axes=(-2, -1), norm="ortho")
    energy = gaussian_filter((figure**2).sum(axis=0), BLUR * max(lab.shape[-2:]))
    full = _resize(energy[None], height, width)[0]

    full -= full.min()
    peak = full.max()
    full = full / peak if peak > _ROUNDING else np.zeros_like(full)
    return torch.from_numpy(full.astype(np.float32))


def salient_region(image: Tensor, factor: float = 2.0) -> Tensor:
    """The pixels of a picture (3, H, W) that are more salient than `factor` times the mean: (H, W)
    bool.

    Twice the mean is the adaptive threshold of Achanta et al., CVPR 2009. In a uniform picture, no
    pixel is salient.
    """
    values = saliency(image)
    return values > factor * values.mean()
