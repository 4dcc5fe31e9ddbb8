"""CNNIQA: a small convolutional network over 32×32 blocks (Kang et al., CVPR 2014)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from iqattack.errors import InputError
from iqattack.imports import absolute
from iqattack.models.checked import per_image
from iqattack.models.device import sent, usable_device
from iqattack.models.inference import EAGER, Inference
from iqattack.paths import why_no_file
from iqattack.perception.pixels import locally_normalised, luma

BLOCK = 32
# Blocks in one pass on a GPU: about 1 GiB of activations.
CHUNK = 8192


class CnniqaNetwork(nn.Module):
    """The network with its normalisation, differentiable in the image.

    Layers as in the paper's fig. 2: convolution 7×7 to 50 maps, max and min pooling over each map,
    two layers of 800 with ReLU, one output. Blocks start at 0 while below side − 32, as in the
    public weights' own code (repository lidq92/CNNIQA).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 50, 7)
        self.fc1 = nn.Linear(2 * 50, 800)
        self.fc2 = nn.Linear(800, 800)
        self.fc3 = nn.Linear(800, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) float grey levels 0..255, H and W at least 33."""
        blocks = locally_normalised(blocks_of(luma(images) / 255.0))  # eq. 1
        maps = self.conv1(blocks)
        pooled = torch.cat([maps.amax((2, 3)), maps.amin((2, 3))], 1)
        hidden = F.relu(self.fc2(F.relu(self.fc1(pooled))))
        scores: Tensor = self.fc3(hidden).reshape(len(images), -1).mean(1)
        return scores


def blocks_of(grey: Tensor) -> Tensor:
    """All blocks of images (N, H, W), row by row: (N·blocks, 1, 32, 32)."""
    n, height, width = grey.shape
    rows, columns = (height - 1) // BLOCK, (width - 1) // BLOCK
    grey = grey[:, : rows * BLOCK, : columns * BLOCK]
    blocks = grey.reshape(n, rows, BLOCK, columns, BLOCK).transpose(2, 3)
    return blocks.reshape(-1, 1, BLOCK, BLOCK)


def load_network(weights: Path) -> CnniqaNetwork:
    """The network with the weights of a PyTorch state dict.

    Raises InputError for a file that is missing, is not a state dict, or fits another network.
    """
    expected = "expected a PyTorch state dict of CNNIQA (conv1, fc1, fc2, fc3)"
    if not weights.is_file():
        raise InputError(f"CNNIQA weights '{weights}': {why_no_file(weights)}; {expected}")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen types for files that are no checkpoints
        kind = type(error).__name__
        raise InputError(f"CNNIQA weights '{weights}': unreadable ({kind}); {expected}") from error
    network = CnniqaNetwork()
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"CNNIQA weights '{weights}': holds {type(state).__name__}; {expected}")
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"CNNIQA weights '{weights}': {name} is {found.get(name, 'missing')},"
                f" the network has {wanted.get(name, 'none')}; {expected}"
            )
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


class Cnniqa:
    """CNNIQA as a black box, `cnniqa:WEIGHTS`.

    Trained on the DMOS of LIVE: scores of about 0..100, lower is better. On the CPU, a score does
    not depend on the batch, to the last bit. On a GPU, the batch is one pass, without this
    guarantee.
    """

    score_range = (0.0, 100.0)
    lower_better = True
    min_size = BLOCK + 1

    def __init__(
        self, weights: Path | str, device: str = "cpu", inference: Inference = EAGER
    ) -> None:
        """Raises InputError for weights that cannot be used, or a device that is not available."""
        weights = Path(weights)
        self.name = f"cnniqa:{weights.stem}"
        self.files = (absolute(weights),)
        self.spec = f"cnniqa:{absolute(weights)}"
        self.network = load_network(weights)
        self.device = usable_device(device)
        self.network.to(self.device)
        self.inference = inference
        inference.compiled(self.network, self.name)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8."""
        if self.device.type == "cpu":
            # Also the fastest way: larger batches spill out of the cache.
            return per_image(self.differentiable, images).double()
        height, width = images.shape[-2:]
        blocks = ((height - 1) // BLOCK) * ((width - 1) // BLOCK)
        parts = torch.split(sent(images, self.device), max(CHUNK // blocks, 1))
        return torch.cat([self.differentiable(part) for part in parts]).to("cpu", torch.float64)

    def differentiable(self, images: Tensor) -> Tensor:
        """Raw scores (N,) of images (N, 3, H, W) of any type, with the autograd graph."""
        with self.inference.context(self.device):
            scores: Tensor = self.network(images.to(self.device).float())
        return scores
