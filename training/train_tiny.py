"""Train the network of `tests/tiny_network.py`, for tests that want some trained network.

    python training/train_tiny.py [--pictures 300] [--epochs 60] [--out FILE]

Less than a minute on one core. Crops of the photographs that come with scikit-image, distorted and
labelled as those of the built-in model; those of the last photograph are kept to test it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from data import ROOT, random_steps
from iqattack.evaluation import srocc
from iqattack.samples.distortions import distort
from iqattack.samples.labels import pseudo_mos
from iqattack.samples.photos import photographs

sys.path.insert(0, str(ROOT))
from tests.tiny_network import WEIGHTS, TinyNetwork

SEED = 20262
SIDE = 176  # the least that can be labelled
BATCH = 32
RATE = 1e-2


def pictures(names: list[str], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Distorted crops (N, 3, 176, 176) float in 0..1, and their pseudo-MOS (N,) in 0..100."""
    photos, rng = photographs(), np.random.default_rng(seed)
    made, labels = [], []
    for k in range(count):
        photo = photos[names[k % len(names)]]
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in photo.shape[:2])
        crop = np.ascontiguousarray(photo[top : top + SIDE, left : left + SIDE])
        picture = distort(crop, random_steps(rng), rng)
        made.append(torch.from_numpy(picture).permute(2, 0, 1) / 255)
        labels.append(pseudo_mos(crop, picture))
    return torch.stack(made), torch.tensor(labels, dtype=torch.float32)


def train(images: Tensor, labels: Tensor, epochs: int) -> TinyNetwork:
    """The network after some passes over the pictures."""
    torch.manual_seed(SEED)
    network = TinyNetwork()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for drawn in torch.split(torch.randperm(len(images)), BATCH):
            loss = nn.functional.mse_loss(network(images[drawn]), labels[drawn])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return network


def main() -> None:
    """Make pictures, train, write, test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    *learning, test = photographs()
    network = train(*pictures(learning, options.pictures, SEED), options.epochs)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.out)
    images, labels = pictures([test], 100, SEED + 1)
    with torch.inference_mode():
        reached = srocc(network(images).numpy(), labels.numpy())
    weights = sum(weight.numel() for weight in network.parameters())
    print(f"SROCC with pseudo-MOS on crops of {test}: {reached:.3f}; {weights:,} parameters")


if __name__ == "__main__":
    main()
