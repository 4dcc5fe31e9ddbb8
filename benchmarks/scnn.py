"""S-CNN, the half of DBCNN that was trained on synthetic distortions, as a victim.

Zhang et al., IEEE TCSVT 2020; its 39 classes are kinds of distortion at levels of 0 to 4, and the
score is the expected level *(ours)*: 0 to 4, lower is better.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from iqattack.models import Scorer, wrap

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTHS = (48, 48, 64, 64, 64, 64, 128, 128, 128)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 2)
FIVE = (0, 1, 2, 3, 4)
# Blur, contrast, exposure (two levels each way), noise, JPEG, JPEG 2000 and two more.
LEVELS = (*FIVE, *FIVE, 1, 3, 1, 3, *FIVE, *FIVE, *FIVE, *FIVE, *FIVE)


def _layers(sizes: tuple[int, ...], kernel: int, strides: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside, stride in zip(sizes, sizes[1:], strides, strict=False):
        layers += [
            nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class Scnn(nn.Module):
    """From images (N, 3, H, W), RGB in 0..1, to expected levels (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _layers((3, *WIDTHS), 3, STRIDES)
        self.projection = _layers((128, 256, 256), 1, (1, 1))
        self.classifier = nn.Linear(256, len(LEVELS))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        inside = ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)
        pooled = self.features(inside).mean((2, 3), keepdim=True)
        shares = self.classifier(self.projection(pooled).flatten(1)).softmax(1)
        levels: Tensor = shares @ torch.tensor(LEVELS, dtype=shares.dtype)
        return levels


def _folded(layers: nn.Sequential) -> nn.Sequential:
    """The layers with batch normalisation folded into the preceding convolutions."""
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            found.append(fuse_conv_bn_eval(found.pop(), layer))  # type: ignore[type-var]
        else:
            found.append(layer)
    return nn.Sequential(*found)


def scnn(weights: str) -> Scorer:
    """The network with the weights of a state dict, optimised for CPUs."""
    network = Scnn()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    network.eval()
    network.features, network.projection = map(_folded, (network.features, network.projection))
    fast = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast.files = (weights,)
    return wrap(
        fast,
        name="scnn",
        input="float01",
        score_range=(0.0, 4.0),
        lower_better=True,
        min_size=64,
    )
