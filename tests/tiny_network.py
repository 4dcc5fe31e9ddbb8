"""A convolutional network of 1,800 weights, trained by training/train_tiny.py: a model for tests
that want a real one, whatever its quality. Its scores are 0 to 100, higher is better.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("tiny_network.safetensors")


class TinyNetwork(nn.Module):
    """Two convolutions, whose responses are averaged over the picture, and a linear layer."""

    score_range = (0.0, 100.0)
    lower_better = False
    min_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, 2)
        self.second = nn.Conv2d(8, 16, 3, 2)
        self.last = nn.Linear(16, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) float RGB in 0..1, H and W at least 16."""
        hidden = torch.relu(self.second(torch.relu(self.first(images - 0.5))))
        scores: Tensor = 100 * torch.sigmoid(self.last(hidden.mean((2, 3))))[:, 0]
        return scores


def load(device: str = "cpu") -> TinyNetwork:
    """The trained network, for `--input float01`."""
    network = TinyNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    return network.to(device)


class OneByOne:
    """The same for images (N, 3, H, W) uint8, so that a score hangs on no batch."""

    score_range = TinyNetwork.score_range
    lower_better = TinyNetwork.lower_better
    min_size = TinyNetwork.min_size

    def __init__(self) -> None:
        self.network = load()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64."""
        return torch.cat([self.network(image[None] / 255) for image in images]).double()
