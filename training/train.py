"""Make the built-in model from scratch: pictures, labels, network, log.

    python training/train.py [--pictures 12000] [--epochs 9] [--out DIR]

Some 25 minutes on one quiet core, less on a GPU; two cores are no faster. The same seeds give the
same weights on one kind of processor with the pinned versions.

Writes into the package what it needs to run (models/builtin.safetensors, samples/ranking.csv) and
the log of this training beside this program (training/log.csv), or all of it into --out.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from data import (
    ROOT,
    SIDE,
    TRAINING,
    VALIDATION,
    Labelled,
    graded_pictures,
    random_pictures,
    ranking_of,
)
from iqattack.evaluation import srocc
from iqattack.models.builtin import HIDDEN, BuiltinNetwork
from iqattack.samples.distortions import DISTORTIONS, LEVELS, Picture
from iqattack.samples.labels import MEASURES, ranks

Floats = NDArray[np.float64]
SEED = 20240
BATCH = 24
WINDOW = 192  # of the pictures of 256, for speed; the label is that of the whole
RATE = 1.5e-3
DECAY = 0.02  # of AdamW
DROPOUT = 0.2  # of features and of what the hidden layer makes of them
WARM_UP = 100  # steps
HELP = 0.5  # weight of the loss of what was done to a picture, which only training is told
AVERAGE = 0.998  # of the weights' running mean, which is what is kept
PATIENCE = 5  # epochs without a better validation SROCC


def scores_of(network: nn.Module, pictures: Sequence[Picture], device: torch.device) -> Floats:
    """Scores (N,) of pictures (3, H, W) in float32."""
    network.eval()
    scores = []
    with torch.inference_mode():
        for picture in pictures:
            image = torch.from_numpy(picture)[None].to(device).float()
            scores.append(network(image.contiguous(memory_format=torch.channels_last)).item())
    return np.array(scores)


def told(training: Labelled, table: Floats) -> Tensor:
    """What helps to find features (N, 15): the level of each distortion, 0 to 1, and each rank."""
    kinds = list(DISTORTIONS)
    levels = np.zeros((len(training.steps), len(kinds)), dtype=np.float32)
    for row, steps in zip(levels, training.steps, strict=True):
        for kind, level in steps:
            row[kinds.index(kind)] = max(level, 0.5) / LEVELS
    return torch.from_numpy(np.concatenate([levels, ranks(training.measures, table)], 1)).float()


def windows(pictures: Sequence[Picture], rng: np.random.Generator) -> Tensor:
    """One window of 192×192 of each, all at one place, on the grid of JPEG, in one orientation."""
    top, left = 8 * rng.integers(0, (SIDE - WINDOW) // 8 + 1, 2)
    window = np.stack([p[:, top : top + WINDOW, left : left + WINDOW] for p in pictures])
    turned = torch.rot90(torch.from_numpy(window), int(rng.integers(4)), (2, 3))
    return turned.flip(3) if rng.random() < 0.5 else turned


def fresh_network() -> BuiltinNetwork:
    """The network with which training begins."""
    torch.manual_seed(SEED)
    network = BuiltinNetwork()
    for name, weight in network.named_parameters():
        if weight.ndim == 4:  # a convolution; a block begins as the identity (Goyal et al. 2017)
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if name.endswith("conv2.weight"):
                nn.init.zeros_(weight)
    with torch.no_grad():  # most of the stem begins as strong high-pass filters: damage is faint
        fine = network.stem.weight[:12]
        network.stem.weight[:12] = 6 * (fine - fine.mean((2, 3), keepdim=True))
    return network


class Trainer:
    """A network, what moves it, and the running mean of its weights, which is what is kept."""

    def __init__(self, steps: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = fresh_network().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.helper = nn.Linear(HIDDEN, len(DISTORTIONS) + len(MEASURES)).to(self.device)
        average = get_ema_multi_avg_fn(AVERAGE)  # type: ignore[no-untyped-call]
        self.mean = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.weights = [*self.network.parameters(), *self.helper.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, RATE, weight_decay=DECAY)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda n: min(1, (n + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(n / steps, 1))),
        )

    def learn(self, pictures: Tensor, mos: Tensor, help_wanted: Tensor) -> float:
        """Learn from a batch (N, 3, h, w) of float grey levels; the loss of mos (N,) 0 to 1."""
        pictures = pictures.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            pooled = nn.functional.dropout(self.network.pooled(pictures), DROPOUT)
            features = nn.functional.relu(self.network.hidden(pooled))
            features = nn.functional.dropout(features, DROPOUT)
            found = torch.sigmoid(self.network.score(features).float().flatten())
            guess = self.helper(features).float()
        loss = nn.functional.huber_loss(found, mos.to(self.device), delta=0.1)
        total = loss + HELP * nn.functional.mse_loss(guess, help_wanted.to(self.device))
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, 0.5)
        self.optimizer.step()
        self.schedule.step()
        self.mean.update_parameters(self.network)
        return loss.item()


def train(
    training: Labelled,
    validation: Labelled,
    table: Floats,
    epochs: int,
    log: Path,
) -> nn.Module:
    """The network of the best validation SROCC."""
    rng = np.random.default_rng(SEED)
    mos, known = torch.from_numpy(training.mos(table)).float() / 100, validation.mos(table)
    help_wanted = told(training, table)
    trainer = Trainer(epochs * (len(mos) // BATCH))
    best, best_network, since, started = (
        -1.0,
        copy.deepcopy(trainer.mean.module),
        0,
        time.process_time(),
    )
    with log.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", "cpu_minutes", "loss", "validation_srocc", "validation_rmse"])
        for epoch in range(1, epochs + 1):
            trainer.network.train()
            order, losses = rng.permutation(len(mos)), []
            for start in range(0, len(order) - BATCH + 1, BATCH):
                chosen = order[start : start + BATCH]
                pictures = windows([training.pictures[k] for k in chosen], rng).float()
                losses.append(trainer.learn(pictures, mos[chosen], help_wanted[chosen]))
            kept = trainer.mean.module
            scores = scores_of(kept, validation.pictures, trainer.device)
            agreement = srocc(scores, known)
            error = float(np.sqrt(np.mean((scores - known) ** 2)))
            minutes = (time.process_time() - started) / 60
            row = (f"{minutes:.1f}", f"{np.mean(losses):.5f}", f"{agreement:.4f}", f"{error:.2f}")
            writer.writerow([epoch, *row])
            file.flush()
            print(f"epoch {epoch}:", *row, flush=True)
            since += 1
            if agreement > best:
                best, best_network, since = agreement, copy.deepcopy(kept), 0
            if since >= PATIENCE:
                break
    return best_network.cpu()


def main() -> None:
    """Make pictures, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--out", type=Path, help="a folder for everything, the package untouched")
    options = parser.parse_args()
    package = ROOT / "src" / "iqattack"
    weights, ranking, log = (
        package / "models" / "builtin.safetensors",
        package / "samples" / "ranking.csv",
        ROOT / "training" / "log.csv",
    )
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        weights, ranking, log = (options.out / path.name for path in (weights, ranking, log))
    # On one thread, sums come out the same on any number of cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.process_time()
    training = random_pictures(TRAINING, options.pictures, SEED)
    validation = graded_pictures(VALIDATION, SEED + 1)
    table = ranking_of(training)
    print(f"pictures and labels: {(time.process_time() - started) / 60:.1f} CPU minutes")
    header = ",".join(MEASURES)
    np.savetxt(ranking, table, "%.6g", delimiter=",", header=header, comments="")
    table = np.loadtxt(ranking, delimiter=",", skiprows=1)  # as everyone else will read it
    network = train(training, validation, table, options.epochs, log)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    print(f"written: {weights}, {ranking}, {log}")
    print(f"in all: {(time.process_time() - started) / 60:.1f} CPU minutes")


if __name__ == "__main__":
    main()
