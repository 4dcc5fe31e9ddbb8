"""A victim whose score rests on maxima: convolutions, then the largest response of each region.

Networks that pool by maxima over the whole picture and a spatial pyramid (Lazebnik et al., CVPR
2006; He et al., ECCV 2014) are moved by what stands in few places, where those that average are
moved by a texture that stands everywhere. `training/train_max_pooling.py` makes its weights from
the pictures and labels of the built-in model; it is a victim for development, not a product.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from iqattack.models import Scorer, wrap

WEIGHTS = Path(__file__).with_suffix(".safetensors")
WIDTHS = (16, 32, 48, 64, 64)
PYRAMID = (1, 2, 4)  # regions a side
HIDDEN = 64


class MaxPooling(nn.Module):
    """From images (N, 3, H, W), RGB in 0..1, to qualities (N,) in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, *WIDTHS)
        self.layers = nn.ModuleList(
            nn.Conv2d(inside, outside, 3, padding=1)
            for inside, outside in itertools.pairwise(sizes)
        )
        regions = sum(side**2 for side in PYRAMID)
        self.hidden = nn.Linear(regions * WIDTHS[-1], HIDDEN)
        self.score = nn.Linear(HIDDEN, 1)

    def pooled(self, images: Tensor) -> Tensor:
        """The largest response of each channel in each region of the pyramid (N, regions · 64)."""
        maps = 2.0 * images - 1.0
        for number, layer in enumerate(self.layers):
            maps = F.relu(layer(maps))
            if number < len(self.layers) - 1:
                maps = F.max_pool2d(maps, 2)
        return torch.cat([F.adaptive_max_pool2d(maps, side).flatten(1) for side in PYRAMID], 1)

    def judged(self, pooled: Tensor, dropout: float = 0.0) -> Tensor:
        """Qualities (N,) before the sigmoid."""
        hidden = F.relu(self.hidden(F.dropout(pooled, dropout, self.training)))
        judged: Tensor = self.score(hidden)[:, 0]
        return judged

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return torch.sigmoid(self.judged(self.pooled(images)))


def max_pooling(weights: Path = WEIGHTS) -> Scorer:
    """The network as `training/train_max_pooling.py` left it."""
    network = MaxPooling()
    network.load_state_dict(load_file(weights))
    return wrap(
        network.eval(),
        name="max-pooling",
        input="float01",
        score_range=(0.0, 1.0),
        lower_better=False,
        min_size=64,
    )
