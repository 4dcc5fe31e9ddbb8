"""Total variation minimised: edges stay, texture goes (Guo et al., ICLR 2018)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from iqattack.defences.base import Amount, Pixels, Purifier


class TotalVariation(Purifier):
    """By Chambolle's algorithm; the weight is for values from 0 to 1."""

    name: ClassVar[str] = "tv"
    weight: Amount

    def purified(self, pixels: Pixels) -> NDArray[np.float64]:
        """See `Purifier`."""
        from skimage.restoration import denoise_tv_chambolle  # noqa: PLC0415 - see jnd.py

        smooth = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
            pixels / 255.0, weight=self.weight, channel_axis=-1
        )
        return np.asarray(smooth) * 255.0
