"""Architectures of students: small, differentiable networks with different kinds of pooling.

NR-IQA models differ most in how they pool: a change that moves a model with average pooling does
not move one with max pooling. The kind of a black box is unknown, so one student of each kind is
trained, and their ascents are tried in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from iqattack.perception.pixels import locally_normalised, luma

LEAST_SIDE = 64  # of an image, pixels
CONTRAST = 10.0  # makes locally normalised luma of 0..1 about as large as what towers read


class BlockExtremes(nn.Module):
    """Patch-based pooling: the largest and smallest filter responses of each block, rated block by
    block, then averaged.

    Input is luma minus its local mean; one convolution, then two 1×1 layers per block. CNNIQA and
    other patch-based networks pool like this (Kang et al., CVPR 2014).
    """

    def __init__(self, filters: int = 32, side: int = 7, block: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.block = block
        self.filters = nn.Conv2d(1, filters, side)
        self.hidden = nn.Conv2d(2 * filters, hidden, 1)
        self.score = nn.Conv2d(hidden, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) in grey levels 0..255."""
        planes = CONTRAST * locally_normalised(luma(images)[:, None] / 255.0)
        maps = self.filters(F.pad(planes, (self.filters.kernel_size[0] // 2,) * 4, mode="reflect"))
        largest, smallest = (sign * F.max_pool2d(sign * maps, self.block) for sign in (1.0, -1.0))
        hidden = F.relu(self.hidden(torch.cat([largest, smallest], 1)))
        scores: Tensor = self.score(hidden).mean((1, 2, 3))
        return scores


class Tower(nn.Module):
    """Convolutions of the three channels with global pooling and two final layers.

    Pooling is by the mean, with strided convolutions; or by the maximum over the whole image and a
    spatial pyramid (Lazebnik et al., CVPR 2006), with 2×2 max pooling in between.
    """

    def __init__(
        self, widths: tuple[int, ...], pyramid: tuple[int, ...] = (), hidden: int = 48
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        stride = 1 if pyramid else 2
        self.layers = nn.ModuleList(
            nn.Conv2d(inside, outside, 3, stride, padding=1)
            for inside, outside in itertools.pairwise((3, *widths))
        )
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))
        regions = sum(side**2 for side in pyramid) or 1
        self.hidden = nn.Linear(regions * widths[-1], hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) in grey levels 0..255."""
        maps = images / 127.5 - 1.0
        for number, layer in enumerate(self.layers):
            maps = F.relu(layer(maps))
            if self.pyramid and number < len(self.layers) - 1:
                maps = F.max_pool2d(maps, 2)
        if self.pyramid:
            parts = [F.adaptive_max_pool2d(maps, side).flatten(1) for side in self.pyramid]
            pooled = torch.cat(parts, 1)
        else:
            pooled = maps.mean((2, 3))
        scores: Tensor = self.score(F.relu(self.hidden(pooled)))[:, 0]
        return scores


KINDS: dict[str, Callable[[], nn.Module]] = {
    "block extremes": BlockExtremes,
    "mean": lambda: Tower((16, 24, 32)),
    "maxima": lambda: Tower((16, 24, 32, 32), pyramid=(1, 2, 4)),
}
