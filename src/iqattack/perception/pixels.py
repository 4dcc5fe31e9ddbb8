"""Conversions between the forms in which pictures travel here."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# ITU-R BT.601, which JPEG and the IQA literature use.
LUMA = (0.299, 0.587, 0.114)


def luma(image: Tensor) -> Tensor:
    """Luma (..., H, W) in grey levels of an RGB picture (..., 3, H, W)."""
    weights = torch.tensor(LUMA, dtype=torch.float32, device=image.device)
    return (image.float() * weights[:, None, None]).sum(dim=-3)


def grey_array(image: Tensor) -> NDArray[np.float32]:
    """Luma of one picture (3, H, W) as a NumPy array (H, W) float32."""
    return luma(image).cpu().numpy()
