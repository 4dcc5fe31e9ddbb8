"""`builtin`: the model that comes with the package, trained by training/train.py on pseudo-MOS."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from iqattack.models.checked import per_image
from iqattack.models.device import usable_device

WIDTHS = (16, 32, 64, 96)  # channels of the stem and of the three stages
HIDDEN = 128
FLOOR = 0.01  # of what logarithms are taken of
# Images in one pass on a GPU: well under 1 GiB of activations at 512×512.
CHUNK = 64


class Block(nn.Module):
    """Two convolutions 3×3 around an identity path (He et al., ECCV 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) of the same shape."""
        changed: Tensor = self.conv2(F.relu(self.conv1(F.relu(maps))))
        return maps + changed


class BuiltinNetwork(nn.Module):
    """A small residual network, differentiable in the image.

    A stem 5×5 and three stages, each at half the resolution of the one before. The logarithms of
    the means and deviations of each one's maps over the image, each relative to its spread in
    training, and of the last one's maxima go into two linear layers: what blur, noise and contrast
    change are ratios of energies, which logarithms turn into differences.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2)
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.blocks = nn.ModuleList(Block(b) for _, b in pairs)
        pooled = 2 * sum(WIDTHS) + WIDTHS[-1]
        self.norm = nn.BatchNorm1d(pooled)
        self.hidden = nn.Linear(pooled, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1)

    def pooled(self, images: Tensor) -> Tensor:
        """Features (N, 512) of images (N, 3, H, W) float grey levels, H and W at least 64."""
        # In float32 whatever the rest runs in: 8 bits of mantissa would lose fine noise.
        with torch.autocast(images.device.type, enabled=False):
            maps = F.relu(self.stem((images - 127.5) / 127.5))
        pooled = log_moments(maps)
        for down, block in zip(self.down, self.blocks, strict=True):
            maps = F.relu(block(down(maps)))
            pooled += log_moments(maps)
        # The sharpest part tells intended blur of a background from blur.
        pooled.append(torch.log(maps.float().amax((2, 3)) + FLOOR))
        features: Tensor = self.norm(torch.cat(pooled, 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) in 0..100 of the same."""
        hidden = F.relu(self.hidden(self.pooled(images)))
        scores: Tensor = 100.0 * torch.sigmoid(self.score(hidden).float().flatten())
        return scores


def log_moments(maps: Tensor) -> list[Tensor]:
    """Logarithms (N, C) of the mean and of the deviation of maps (N, C, h, w) of no negatives.

    The floors keep gradients finite where a map is constant.
    """
    maps = maps.float()
    mean = maps.mean((2, 3))
    variance = maps.square().mean((2, 3)) - mean.square()
    return [torch.log(mean + FLOOR), 0.5 * torch.log(variance.clamp(min=0) + FLOOR**2)]


def load_network() -> BuiltinNetwork:
    """The network with the weights in the package."""
    network = BuiltinNetwork()
    network.load_state_dict(load((files("iqattack.models") / "builtin.safetensors").read_bytes()))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def card() -> str:
    """The model card: what it was trained on, what it can do, what it cannot. Markdown."""
    return (files("iqattack.models") / "builtin.md").read_text(encoding="utf-8")


class Builtin:
    """The built-in model as a black box: pseudo-MOS 0..100, higher is better.

    On the CPU an image's score does not depend on its batch, to the last bit; on a GPU the batch is
    one pass, and the library promises no such thing.
    """

    name = "builtin"
    score_range = (0.0, 100.0)
    lower_better = False
    min_size = 64

    def __init__(self, device: str = "cpu") -> None:
        """Raises InputError for a device that is not there."""
        self.network = load_network()
        self.device = usable_device(device)
        self.network.to(self.device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8."""
        if self.device.type == "cpu":
            return per_image(self._score, images)
        return torch.cat([self._score(part) for part in torch.split(images, CHUNK)])

    def _score(self, images: Tensor) -> Tensor:
        images = images.to(self.device).float()
        scores: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return scores.to("cpu", torch.float64)
