"""Sparse noise: texture on edges and salient regions, within the rest of the box.

Yang et al. (arXiv 2401.05217, sec. III-C). Our additions are windows, a third support (everywhere),
and drawing those kinds more often that succeeded on the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from iqattack.directions.choice import Choice
from iqattack.directions.textures import BUNDLED, Source, crop, textures
from iqattack.perception import canny, salient_region

# 3×3 Gaussian by which edges are widened (released).
GAUSSIAN = (
    torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], dtype=torch.float32) / 16.0
)


def widened_edges(image: Tensor) -> Tensor:
    """Canny edges after a 3×3 Gaussian, (H, W) in [0, 1]."""
    edges = pad(canny(image).float()[None, None], (1, 1, 1, 1), mode="replicate")
    return conv2d(edges, GAUSSIAN[None, None])[0, 0]


Support = Literal["edges", "salient", "everywhere"]
SUPPORTS: dict[Support, Callable[[Tensor], Tensor]] = {
    "edges": lambda image: widened_edges(image) > 0.0,
    "salient": salient_region,
    "everywhere": lambda image: torch.ones(image.shape[-2:], dtype=torch.bool),
}


@dataclass(frozen=True)
class Draw:
    """A candidate (3, H, W), and the options from which it was made."""

    candidate: Tensor
    options: tuple[int, ...]


class SparseNoise:
    """Draws initial candidates for one image.

    image, lower, upper: the clean image and its box, (3, H, W) float32 or uint8.
    supports: keys of SUPPORTS, the regions of the noise; empty regions of this image are left out.
    sources: keys of `textures.SOURCES`, the textures of the noise.
    bands: structure sizes in pixels. amplitudes: standard deviations of the noise, in units of the
        box.
    """

    def __init__(
        self,
        image: Tensor,
        lower: Tensor,
        upper: Tensor,
        *,
        supports: Sequence[Support] = ("edges", "salient", "everywhere"),
        sources: Sequence[Source] = ("sharp", "degraded"),
        bands: Sequence[int] = (3, 5),
        amplitudes: Sequence[float] = (1.0, 30.0),
        folder: Path = BUNDLED,
    ) -> None:
        masks = [SUPPORTS[name](image) for name in supports]
        masks = [mask for mask in masks if mask.any()] or [SUPPORTS["everywhere"](image)]
        self._image = image.numpy()
        self._height, self._width = image.shape[-2:]
        self._radius = torch.maximum(upper - image, image - lower).float().numpy()
        self._masks = Choice([mask.numpy() for mask in masks])
        self._textures = Choice([textures(s, band, folder) for s in sources for band in bands])
        self._amplitudes = Choice([sign * a for a in amplitudes for sign in (1.0, -1.0)])
        self._modes = Choice(("add", "replace"))
        self._choices: tuple[Choice[Any], ...] = (
            self._masks,
            self._textures,
            self._amplitudes,
            self._modes,
        )

    def draw(self, start: Tensor, share: float, rng: torch.Generator) -> Draw:
        """A candidate that changes `start` (3, H, W) in a window with this share of the area.

        In the window and on the support, texture is either added to the perturbation or replaces
        it. The candidate has the type of `start`, float32 or uint8.
        """
        *places, row, column, which, y, x = torch.rand(
            9, generator=rng, dtype=torch.float32
        ).tolist()
        picks = tuple(
            choice.draw(place) for choice, place in zip(self._choices, places, strict=True)
        )
        mask, bank = self._masks.options[picks[0]], self._textures.options[picks[1]]
        amplitude, mode = self._amplitudes.options[picks[2]], self._modes.options[picks[3]]
        rows = interval(self._height, share**0.5, row)
        columns = interval(self._width, share**0.5, column)
        texture = bank[int(which * len(bank))]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        noise = crop(texture, height, width, y, x).numpy() * amplitude
        candidate = start.clone()
        # In NumPy, which takes a third of PyTorch's time on windows this small.
        window = candidate.numpy()[:, rows, columns]
        base = window if mode == "add" else self._image[:, rows, columns]
        noise *= self._radius[:, rows, columns]
        noise += base
        if start.dtype == torch.uint8:
            np.rint(noise, out=noise)
            np.clip(noise, 0.0, 255.0, out=noise)
        np.copyto(window, noise, where=mask[rows, columns], casting="unsafe")
        return Draw(candidate, picks)

    def learn(self, draw: Draw, success: bool) -> None:
        """Record whether a candidate succeeded."""
        for choice, pick in zip(self._choices, draw.options, strict=True):
            choice.learn(pick, success)


def interval(length: int, share: float, place: float) -> slice:
    """An interval of about this share of 0..length; `place`, in [0, 1), selects its position.

    Positions are uniform so that border pixels are as likely as others, so the interval may be cut
    off at an end.
    """
    part = max(1, round(length * share))
    if part >= length:
        return slice(0, length)
    start = int(place * (length + part - 1)) - part + 1
    return slice(max(start, 0), min(start + part, length))
