"""Make the built-in model from scratch: pictures, labels, network, log.

    python training/train.py [--pictures 20000] [--epochs 12] [--out DIR]

Some 20 minutes on two quiet cores. The same seeds give the same weights on one kind of processor
with the pinned versions.

Writes into the package what it needs to run (models/builtin.safetensors, samples/ranking.csv) and
the log of this training beside this program (training/log.csv), or all of it into --out.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from data import (
    FOLDS,
    LEARNING,
    ROOT,
    Labelled,
    Seen,
    graded_of_each,
    joined,
    random_pictures,
    ranking_of,
)
from iqattack.evaluation import srocc
from iqattack.models.builtin import HIDDEN, BuiltinNetwork, Judge
from iqattack.samples.distortions import DISTORTIONS, LEVELS
from iqattack.samples.labels import MEASURES, ranks

Floats = NDArray[np.float64]
SEED = 20240
BATCH = 128
WINDOW = 24  # cells square of a picture's 31, at a random place
RATE = 2e-3  # highest, of a one-cycle schedule (Smith & Topin 2019)
DECAY = 0.05  # of AdamW
DROPOUT = 0.3
NOISE = 0.1  # of the statistics of the whole, in their deviations
AUXILIARY = 0.1  # weight of the loss of what was done to a picture, a label that only training has
PATIENCE = 5  # epochs without a better validation SROCC
THREADS = 2  # always, as the order of sums depends on it


@torch.inference_mode()
def scores_of(judge: nn.Module, seen: Seen) -> Floats:
    """Scores 0..100 (N,) of labelled pictures by one judge."""
    judge.eval()
    device = next(judge.parameters()).device
    return np.array(
        [
            100 * judge(local[None].float().to(device), overall[None].to(device)).item()
            for local, overall in zip(seen.local, seen.overall, strict=True)
        ]
    )


def auxiliary_targets(training: Labelled, table: Floats) -> Tensor:
    """What helps to find features (N, 14): the level of each distortion, 0 to 1, and each rank."""
    kinds = list(DISTORTIONS)
    levels = np.zeros((len(training.steps), len(kinds)), dtype=np.float32)
    for row, steps in zip(levels, training.steps, strict=True):
        for kind, level in steps:
            row[kinds.index(kind)] = max(level, 0.5) / LEVELS
    return torch.from_numpy(np.concatenate([levels, ranks(training.measures, table)], 1)).float()


def train(
    seed: int,
    training: Seen,
    pool: NDArray[np.int64],
    validation: Seen,
    table: Floats,
    epochs: int,
    log: Path,
) -> Judge:
    """One judge at its best validation SROCC; a line per epoch is added to the log.

    pool: places of the training pictures that it may learn from.
    """
    if not isinstance(training.local, Tensor):
        raise TypeError("training pictures have one size")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mos, known = torch.from_numpy(training.mos(table)).float() / 100, validation.mos(table)
    auxiliary = auxiliary_targets(training, table)
    judge = Judge().to(device)
    helper = nn.Linear(HIDDEN, len(DISTORTIONS) + len(MEASURES)).to(device)
    weights = [*judge.parameters(), *helper.parameters()]
    optimizer = torch.optim.AdamW(weights, RATE, weight_decay=DECAY)
    steps = len(pool) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * steps)
    best, kept, since, started = -1.0, copy.deepcopy(judge), 0, time.monotonic()
    for epoch in range(1, epochs + 1):
        judge.train()
        losses = []
        for drawn in np.array_split(rng.permutation(pool)[: steps * BATCH], steps):
            chosen = np.sort(drawn)  # memory is read in order
            top, left = rng.integers(0, training.local.shape[2] - WINDOW + 1, 2)
            window = training.local[chosen, :, top : top + WINDOW, left : left + WINDOW]
            overall = training.overall[chosen].to(device)
            features = judge.features(window.to(device).float(), overall, NOISE, DROPOUT)
            found = torch.sigmoid(judge.score(features)).flatten()
            loss = nn.functional.huber_loss(found, mos[chosen].to(device), delta=0.1)
            wanted = auxiliary[chosen].to(device)
            total = loss + AUXILIARY * nn.functional.mse_loss(helper(features), wanted)
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        scores = scores_of(judge, validation)
        agreement = srocc(scores, known)
        error = float(np.sqrt(np.mean((scores - known) ** 2)))
        minutes = (time.monotonic() - started) / 60
        row = (f"{minutes:.1f}", f"{np.mean(losses):.5f}", f"{agreement:.4f}", f"{error:.2f}")
        with log.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([seed - SEED + 1, epoch, *row])
        print(f"judge {seed - SEED + 1}, epoch {epoch}:", *row, flush=True)
        since += 1
        if agreement > best:
            best, kept, since = agreement, copy.deepcopy(judge), 0
        if since >= PATIENCE:
            break
    return kept.cpu()


def main() -> None:
    """Make pictures, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=12)
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
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(1)
    started = time.monotonic()
    training = random_pictures(LEARNING, options.pictures, SEED, processes=THREADS)
    graded = graded_of_each(LEARNING, SEED + 1, processes=THREADS)
    table = ranking_of(training)
    print(f"pictures, labels and energies: {(time.monotonic() - started) / 60:.1f} minutes")
    header = ",".join(MEASURES)
    np.savetxt(ranking, table, "%.6g", delimiter=",", header=header, comments="")
    table = np.loadtxt(ranking, delimiter=",", skiprows=1)  # as everyone else will read it
    log.write_text("judge,epoch,minutes,loss,validation_srocc,validation_rmse\n", encoding="utf-8")
    network = BuiltinNetwork()
    for k, fold in enumerate(FOLDS):
        pool = np.flatnonzero(~np.isin(training.content, fold))
        validation = joined([graded[number] for number in fold])
        network.judges[k] = train(SEED + k, training, pool, validation, table, options.epochs, log)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    print(f"written: {weights}, {ranking}, {log}")
    print(f"in all: {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
