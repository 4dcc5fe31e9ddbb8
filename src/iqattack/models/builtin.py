"""`builtin`: a hand-made statistic that stands in until a trained model ships.

Four measures of what blur, JPEG and noise do to a photograph. Their weights were rounded from a
least-squares fit to the scores that CNNIQA, trained on LIVE, gives to distorted Kodak photographs;
no opinion score was used directly. Good for trying the tool and for tests; its scores say nothing
about published models.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.models.checked import per_image
from iqattack.perception.pixels import grey_array

Grey = NDArray[np.float32]

# Second differences both ways, which vanish on edges and ramps (Immerkær, CVIU 1996, eq. 2); over 6
# its response to white noise has the noise's deviation.
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32) / 6.0
JPEG_BLOCK = 8

# Weights of the terms in the logit of the quality.
BASE, CONTRAST, BLUR, BLOCKING, NOISE = 0.85, 0.7, 5.0, 0.85, 1.7
NOISE_OF_PHOTOS = 0.6  # log of 1 + deviation, in grey levels, that clean photographs reach


def log_contrast(grey: Grey) -> float:
    """Mean of log(1 + gradient), the L1 norm of the differences to the next pixels."""
    dx = np.abs(np.diff(grey, axis=1))[:-1]
    dy = np.abs(np.diff(grey, axis=0))[:, :-1]
    return float(np.log1p(dx + dy).mean())


def blocking(grey: Grey) -> float:
    """Log ratio of differences across the borders of JPEG blocks to those everywhere."""
    dx, dy = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    last = JPEG_BLOCK - 1
    across = dx[:, last::JPEG_BLOCK].mean() + dy[last::JPEG_BLOCK].mean()
    return float(np.log((across + 0.5) / (dx.mean() + dy.mean() + 0.5)))


def noise(grey: Grey) -> float:
    """Log of 1 + noise in grey levels, in the tenth of the picture that has least detail."""
    response = np.abs(cv2.filter2D(grey, cv2.CV_32F, NOISE_MASK))
    local = cv2.boxFilter(response, cv2.CV_32F, (9, 9))[4:-4, 4:-4]
    return float(np.log1p(np.percentile(local, 10)))


def quality(image: Tensor) -> float:
    """Quality 0..100 of one picture (3, H, W) in grey levels."""
    grey = grey_array(image)
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    fine, coarse = log_contrast(grey), log_contrast(half)
    logit = (
        BASE
        + CONTRAST * coarse
        - BLUR * max(coarse - fine, 0.0)  # detail that only the larger scale still has
        - BLOCKING * max(blocking(grey), 0.0)
        - NOISE * max(noise(grey) - NOISE_OF_PHOTOS, 0.0)
    )
    return 100.0 / (1.0 + float(np.exp(-logit)))


class Builtin:
    """The stand-in model: quality 0..100, higher is better, the same in any batch."""

    name = "builtin"
    score_range = (0.0, 100.0)
    lower_better = False
    min_size = 32

    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8."""

        def score(image: Tensor) -> Tensor:
            return torch.tensor(quality(image[0]), dtype=torch.float64)

        return per_image(score, images)
