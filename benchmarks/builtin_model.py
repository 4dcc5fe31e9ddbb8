"""How well the built-in model predicts quality: the figures of its model card.

    python benchmarks/builtin_model.py

Prints every figure and writes them into the model card (in the package, and docs/builtin.md, which
is the same text).
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from common import (
    ROOT,
    Floats,
    dev_images,
    machine,
    markdown,
    mean,
    measure,
    shared_data,
    with_interval,
)
from iqattack.attacks import load_attack
from iqattack.evaluation import srocc
from iqattack.images import read_image
from iqattack.models import gradient_of
from iqattack.models.builtin import Builtin
from iqattack.models.cnniqa import Cnniqa
from iqattack.samples import DISTORTIONS, sample_set
from iqattack.samples.labels import ranking

sys.path.insert(0, str(ROOT / "training"))
from data import LEARNING, TEST, Pictures, graded_pictures, workers

SEED = 7
SIDE, BATCH, PASS = 224, 16, 8
BOX, QUERIES = "linf:3", 100  # of PGD
Scores = Callable[[Tensor], Tensor]  # (N,) of images (N, 3, H, W)
START, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
COMMAND = "python benchmarks/builtin_model.py"


def correlation(scores: Floats, labels: Floats) -> str:
    """SROCC with its 95 % bootstrap interval over images."""
    return with_interval(".3f", srocc, scores, labels)


def scores_of(model: Builtin, test: Pictures) -> Floats:
    """Scores (N,) of pictures of any sizes."""
    return torch.cat([model(torch.from_numpy(picture)[None]) for picture in test.pictures]).numpy()


def held_out(model: Builtin) -> tuple[str, str]:
    """SROCC on contents never trained on, over all and by distortion: a sentence and a table."""
    with workers(2) as pool:
        jobs = [pool.submit(graded_pictures, TEST, SEED, crop) for crop in (None, SIDE)]
        whole, crops = (job.result() for job in jobs)
    scores, mos = scores_of(model, whole), whole.mos(ranking())
    crop_scores, crop_mos = scores_of(model, crops), crops.mos(ranking())
    groups = {
        kind: [k for k, s in enumerate(whole.steps) if len(s) == 1 and s[0][0] == kind]
        for kind in DISTORTIONS
    }
    groups["mixtures of two"] = [k for k, s in enumerate(whole.steps) if len(s) == 2]
    rows = [
        {
            "distortion": name,
            "pictures": str(len(chosen)),
            "whole photographs": correlation(scores[chosen], mos[chosen]),
            "crops": correlation(crop_scores[chosen], crop_mos[chosen]),
        }
        for name, chosen in groups.items()
    ]
    everything = {
        "distortion": "all, and the clean",
        "pictures": str(len(scores)),
        "whole photographs": correlation(scores, mos),
        "crops": correlation(crop_scores, crop_mos),
    }
    clean = [k for k, s in enumerate(whole.steps) if not s]
    error = np.sqrt(np.mean((scores - mos) ** 2))
    text = (
        f"SROCC with pseudo-MOS on contents {', '.join(map(str, TEST))}, which the training never "
        "saw, at full and half size, five levels each: whole photographs, as in data bases of "
        f"opinion scores, and crops of {SIDE}×{SIDE} from their centres. On the whole ones the "
        f"RMSE is {error:.1f} points, and the {len(clean)} clean ones score "
        f"{scores[clean].mean():.0f} on average."
    )
    return text, markdown([everything, *rows])


def on_samples(model: Builtin) -> str:
    """SROCC on the sample set."""
    samples = sample_set().values()
    images = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture, _ in samples])
    return correlation(model(images).numpy(), np.array([mos for _, mos in samples]))


def on_dev(builtin: Builtin, cnniqa: Cnniqa, images: Tensor, names: list[str]) -> tuple[str, str]:
    """SROCC with CNNIQA-LIVE, sign turned: over all, and over contents never trained on."""
    ours, theirs = builtin(images).numpy(), -cnniqa(images).numpy()
    fresh = [k for k, name in enumerate(names) if int(name[5:7]) in TEST]
    some = f"{srocc(ours[fresh], theirs[fresh]):.3f} ({len(fresh)} images)"
    return f"{correlation(ours, theirs)}", some


def whitebox(model: Builtin | Cnniqa) -> str:
    """Mean gain of the white-box attack on the development set, and what remains of the ranking."""
    found = measure(
        "pgd",
        model,
        dev_images(),
        load_attack("pgd", lambda _: gradient_of(model)),
        constraint=BOX,
        queries=QUERIES,
    )
    points = 100 * found.gain
    return f"{with_interval('.1f', mean, points)} (SROCC of clean and attacked {found.srocc:.2f})"


def in_passes(model: Builtin) -> Scores:
    """The network in passes of 8 images: faster, and scores depend on their batch."""

    @torch.inference_mode()
    def score(images: Tensor) -> Tensor:
        return torch.cat([model.differentiable(part) for part in torch.split(images, PASS)])

    return score


def per_second(models: dict[str, Scores], rounds: int = 7) -> dict[str, float]:
    """Images of 224×224 a second in batches of 16, medians of rounds in turn."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=rng)
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            started = time.perf_counter()
            for _ in range(4):
                model(images)
            if turn:  # the first warms up
                times[name].append((time.perf_counter() - started) / (4 * BATCH))
    return {name: 1 / float(np.median(seconds)) for name, seconds in times.items()}


def invariance(model: Scores, images: Tensor) -> float:
    """Largest difference between scores alone and in batches of 2 to 24, of the range."""
    alone = torch.cat([model(image[None]) for image in images])
    sizes = (2, 5, 16, 24)
    together = [torch.cat([model(part) for part in torch.split(images, n)]) for n in sizes]
    return max(float((scores - alone).abs().max()) / 100 for scores in together)


def training_log() -> str:
    """A summary of the training log of the weights."""
    with (ROOT / "training" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    judges = sorted({row["judge"] for row in rows})
    best = [max(float(r["validation_srocc"]) for r in rows if r["judge"] == j) for j in judges]
    return (
        f"{len(judges)} judges, {len(rows)} epochs in all; best validation SROCC of each "
        + ", ".join(f"{value:.3f}" for value in best)
    )


def write_card(figures: str) -> None:
    """Put the figures into the card and copy it to docs/."""
    path = ROOT / "src" / "iqattack" / "models" / "builtin.md"
    before, rest = path.read_text(encoding="utf-8").split(START)
    text = before + START + figures + END + rest.split(END)[1]
    for target in (path, ROOT / "docs" / "builtin.md"):
        target.write_text(text, encoding="utf-8")
        print(f"written: {target.relative_to(ROOT)}")


def main() -> None:
    """Measure, print and write."""
    cv2.setNumThreads(1)
    shared = shared_data()
    builtin, cnniqa = Builtin(), Cnniqa(shared / "models" / "cnniqa_live.pth")
    entries = list(dev_images())
    dev = torch.stack([read_image(entry.path).pixels for entry in entries])
    passes = in_passes(builtin)
    speed = per_second({"builtin": builtin, "passes": passes, "cnniqa": cnniqa})
    overall, by_kind = held_out(builtin)
    everywhere, fresh = on_dev(builtin, cnniqa, dev, [entry.name for entry in entries])
    weights = Path(ROOT / "src" / "iqattack" / "models" / "builtin.safetensors").stat().st_size
    parameters = sum(p.numel() for p in builtin.network.parameters())
    rows = [
        ("parameters; file", f"{parameters:,}; {weights / 1e6:.2f} MB"),
        (f"training ({len(LEARNING)} contents)", training_log()),
        ("sample set: SROCC with pseudo-MOS, 24 images", on_samples(builtin)),
        ("development set: SROCC with negated CNNIQA-LIVE, 24 images", everywhere),
        ("the same on contents never trained on", fresh),
        (
            f"images a second, {SIDE}×{SIDE}, batches of {BATCH}",
            f"{speed['builtin']:.0f} (CNNIQA {speed['cnniqa']:.0f}, "
            f"ratio {speed['builtin'] / speed['cnniqa']:.2f})",
        ),
        (
            f"the network alone in passes of {PASS}, which makes a score depend on its batch",
            f"{speed['passes']:.0f} (ratio {speed['passes'] / speed['cnniqa']:.2f}); "
            f"largest difference {invariance(passes, dev):.1e} of the range",
        ),
        (
            "largest difference between a score alone and in a batch, of the range",
            f"{invariance(builtin, dev):.1e}",
        ),
        (
            f"white-box attack pgd, {BOX}, {QUERIES} queries: mean gain, points of 100, "
            "development set",
            whitebox(builtin),
        ),
        ("the same of CNNIQA-LIVE", whitebox(cnniqa)),
    ]
    table = markdown([{"what": what, "measured": value} for what, value in rows])
    figures = f"Printed by `{COMMAND}` on {machine()}.\n\n{overall}\n\n{by_kind}\n\n{table}\n"
    print(figures)
    write_card(figures)


if __name__ == "__main__":
    main()
