"""Gaussian noise on the image: small differences of scores drown in it (Byun et al., WACV 2022)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from iqattack.defences.base import Randomised, Sigma


class Noise(Randomised):
    """Of that deviation in grey levels, other in each pass; clipped and rounded to 8 bits."""

    name: ClassVar[str] = "noise"
    sigma: Sigma

    def version(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Randomised`."""
        noise = self.sigma * rng.standard_normal(tuple(image.shape), dtype=np.float32)
        noisy = np.rint(image.numpy().astype(np.float32) + noise)
        return torch.from_numpy(np.clip(noisy, 0, 255).astype(np.uint8))
