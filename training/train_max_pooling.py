"""Train the victim of `benchmarks/max_pooling.py`, whose score rests on maxima.

    python training/train_max_pooling.py [--pictures 9000] [--epochs 16] [--out FILE]

Some ten minutes on two quiet cores. Pictures, distortions and labels are those of the built-in
model, and so are the photographs that it is tested on; of the others every fifth stops the
training. What it prints at the end stands in docs/limit.md.
"""

from __future__ import annotations

import argparse
import copy
import sys
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from data import (
    FOLDS,
    LEARNING,
    ROOT,
    TEST,
    Labelled,
    Pictures,
    augmented,
    graded_pictures,
    photographs,
    random_steps,
    workers,
)
from iqattack.evaluation import srocc
from iqattack.samples.distortions import Picture, distort
from iqattack.samples.labels import measured, ranking

sys.path.insert(0, str(ROOT / "benchmarks"))
from max_pooling import WEIGHTS, MaxPooling

SEED = 20261
SIDE = 192  # of training pictures
WINDOW = 160  # of them at a random place
CROP = 224  # of pictures that it is stopped and tested on
BATCH = 32
RATE, DECAY, DROPOUT = 2e-3, 1e-2, 0.3


def random_picture(photo: Picture, seed: int, number: int) -> tuple[Tensor, NDArray[np.float64]]:
    """A distorted crop (3, 192, 192) uint8, and its measures."""
    rng = np.random.default_rng((seed, number))
    original = augmented(photo, SIDE, rng)
    distorted = distort(original, random_steps(rng), rng)
    pixels = np.ascontiguousarray(distorted.transpose(2, 0, 1))
    return torch.from_numpy(pixels), measured(original, distorted)


def training_pictures(numbers: list[int], count: int, processes: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 192, 192) uint8, and their labels (N,) in 0..1."""
    photos = photographs(numbers)
    contents = [photos[numbers[k % len(numbers)]] for k in range(count)]
    with workers(processes) as pool:
        jobs = pool.map(random_picture, contents, repeat(SEED), range(count), chunksize=50)
        pixels, values = zip(*track(jobs, "pictures and labels", total=count), strict=True)
    labels = Labelled(np.zeros(count, int), ((),) * count, np.stack(values)).mos(ranking())
    return torch.stack(pixels), torch.from_numpy(labels).float() / 100


@torch.inference_mode()
def agreement(network: MaxPooling, pictures: Pictures) -> float:
    """SROCC with pseudo-MOS."""
    network.eval()
    found = [
        network(torch.from_numpy(part)[None].float() / 255).item() for part in pictures.pictures
    ]
    return srocc(np.array(found), pictures.mos(ranking()))


def train(pixels: Tensor, labels: Tensor, validation: Pictures, epochs: int) -> MaxPooling:
    """The network at its best validation SROCC."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    network = MaxPooling()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    steps = len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * steps)
    best, kept = -1.0, copy.deepcopy(network)
    for epoch in range(1, epochs + 1):
        network.train()
        losses = []
        for drawn in np.array_split(rng.permutation(len(pixels))[: steps * BATCH], steps):
            top, left = rng.integers(0, SIDE - WINDOW + 1, 2)
            window = pixels[drawn, :, top : top + WINDOW, left : left + WINDOW].float() / 255
            if rng.random() < 0.5:
                window = window.flip(3)
            found = torch.sigmoid(network.judged(network.pooled(window), DROPOUT))
            loss = nn.functional.huber_loss(found, labels[drawn], delta=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        reached = agreement(network, validation)
        print(f"epoch {epoch}: loss {np.mean(losses):.5f}, SROCC {reached:.4f}", flush=True)
        if reached > best:
            best, kept = reached, copy.deepcopy(network)
    return kept


def main() -> None:
    """Make pictures, train, write, test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=9000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    cv2.setNumThreads(1)
    stopping = FOLDS[0]
    learning = [number for number in LEARNING if number not in stopping]
    pixels, labels = training_pictures(learning, options.pictures, processes=2)
    validation = graded_pictures(stopping, SEED + 1, crop=CROP)
    network = train(pixels, labels, validation, options.epochs)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.out)
    reached = agreement(network, graded_pictures(TEST, SEED + 2, crop=CROP))
    weights = sum(weight.numel() for weight in network.parameters())
    print(f"SROCC with pseudo-MOS on contents {TEST}: {reached:.3f}; {weights:,} parameters")


if __name__ == "__main__":
    main()
