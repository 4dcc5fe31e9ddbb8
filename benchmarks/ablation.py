"""Ablation of the score-boundary attack: what each part contributes.

    python benchmarks/ablation.py [--queries 500] [--workers 2] [--quick]

CNNIQA, the 24 development images, box `jnd:0.38`, `rank`, seed 0. Every row changes one part of the
full method. Intervals are 95 % bootstrap intervals over images; all rows are measured on the same
images, so rows may be compared image by image: "less than full" is the mean of the paired
differences with its interval. Rows are kept in benchmarks/out/, so that an interrupted call can be
continued. Writes docs/ablation.md.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from common import (
    ROOT,
    Measured,
    cnniqa,
    dev_images,
    joined,
    machine,
    markdown,
    mean,
    measure,
    rank_directions,
    shared_data,
    with_interval,
    write_doc,
)
from iqattack.attacks import load_attack
from iqattack.constraints import Constraint, Linf, Region, parse_constraint
from iqattack.images import ImageSet, read_image

FULL = "full method"
OUT = ROOT / "benchmarks" / "out"
BOX = "jnd:0.38"


@dataclass(frozen=True)
class MeanBox(Constraint):
    """L∞ with the mean radius of another box, image by image."""

    other: Constraint
    spec: str = "linf:mean of jnd:0.38"

    def around(self, image: torch.Tensor) -> Region:
        """A box of one radius."""
        region = self.other.around(image)
        width = float((region.upper - region.lower).float().mean())
        return Linf(max(1.0, width / 2)).around(image)


def reference_sets() -> dict[str, Path]:
    """Three folders of reference images, disjoint from each other and from the bundled ones."""
    folder = OUT / "references"
    if not folder.exists():
        kodak = [
            read_image(path).pixels for path in sorted((shared_data() / "kodak").glob("*.png"))
        ]
        crops = {
            # Corners; the development images are the centres.
            "photographs": [image[:, :128, :128] for image in kodak[::4]],
            "things": [_colour(data("chelsea")), _colour(data("coffee"))],
            "science": [_colour(data("hubble_deep_field")), _grey(data("moon"))],
        }
        for name, images in crops.items():
            (folder / name).mkdir(parents=True)
            for index, image in enumerate(images):
                pixels = image.permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return {path.name: path for path in sorted(folder.iterdir())}


def data(name: str) -> NDArray[np.uint8]:
    """A photograph that ships with scikit-image."""
    pixels: NDArray[np.uint8] = getattr(skimage.data, name)()
    return pixels


def _grey(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).expand(3, *pixels.shape)


def _colour(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _one(options: str, box: str | Constraint = BOX) -> Callable[[str, int], Measured]:
    def row(label: str, queries: int) -> Measured:
        attack = load_attack(f"score-boundary:{options}")
        return measure(label, cnniqa(), dev_images(), attack, constraint=box, queries=queries)

    return row


def _by_quality(for_good: str, for_bad: str) -> Callable[[str, int], Measured]:
    """Textures chosen by the image's own quality, which an attack does not know."""

    def row(label: str, queries: int) -> Measured:
        scorer, images = cnniqa(), dev_images()
        wanted = rank_directions(scorer, images)
        parts = []
        for direction, source in (("down", for_good), ("up", for_bad)):
            entries = [entry for entry, way in zip(images, wanted, strict=True) if way == direction]
            attack = load_attack(f"score-boundary:sources={source}")
            parts.append(
                measure(
                    label, scorer, ImageSet(tuple(entries)), attack,
                    constraint=BOX, queries=queries, objective=direction,
                )
            )  # fmt: skip
        return joined(label, parts)

    return row


def variants() -> dict[str, Callable[[str, int], Measured]]:
    """All rows, the full method first."""
    rows = {
        FULL: _one(""),
        "one fixed boundary, b = 0.1": _one("boundaries=fixed,first=0.1"),
        "increase rule only": _one("boundaries=increase"),
        "no mask (everywhere)": _one("supports=everywhere"),
        "edges and salient regions only": _one("supports=edges+salient"),
        "edges only": _one("supports=edges"),
        "salient regions only": _one("supports=salient"),
        "Gaussian noise for texture": _one("sources=gaussian"),
        "uniform noise for texture": _one("sources=uniform"),
        "textures of the opposite quality": _by_quality("degraded", "sharp"),
        "textures of the same quality": _by_quality("sharp", "degraded"),
        "smooth textures": _one("sources=smooth"),
        "small amplitudes only": _one("amplitudes=1"),
        "no windows": _one("windows=false"),
        "yes or no for a score (not greedy)": _one("greedy=false"),
        "no SurFree": _one("rounds=0"),
        "100 queries of SurFree a boundary": _one("surfree=100"),
        "L∞ with the mean of the JND box": _one("", MeanBox(parse_constraint(BOX))),
    }
    for name, folder in reference_sets().items():
        rows[f"reference images: {name}"] = _one(f"textures={folder}")
    return rows


def compute(label: str, queries: int) -> Measured:
    """One row, in a process of its own."""
    torch.set_num_threads(1)
    return variants()[label](label, queries)


def difference(row: Measured, full: Measured) -> str:
    """Mean paired difference to the full method, in points of 100."""
    order, reference = np.argsort(row.clean), np.argsort(full.clean)
    points = 100.0 * (row.gain[order] - full.gain[reference])
    return with_interval("+.1f", mean, points)


def main() -> None:
    """Compute what is missing, print the table, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="20 queries, writes nothing")
    options = parser.parse_args()
    queries = 20 if options.quick else options.queries
    cache = OUT / f"ablation-{queries}"
    cache.mkdir(parents=True, exist_ok=True)
    labels = list(variants())
    print(machine())
    todo = [label for label in labels if not _kept(cache, label).exists()]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = {label: pool.submit(compute, label, queries) for label in todo}
        for label, future in futures.items():
            row = future.result()
            _kept(cache, label).write_bytes(pickle.dumps(row))
            print(label, row.row(), flush=True)
    rows = [pickle.loads(_kept(cache, label).read_bytes()) for label in labels]
    table = markdown([row.row() | {"less than full": difference(row, rows[0])} for row in rows])
    print(f"\n{table}")
    if not options.quick:
        note = (ROOT / "benchmarks" / "ablation.md").read_text(encoding="utf-8")
        command = f"python benchmarks/ablation.py --queries {queries}"
        write_doc(
            ROOT / "docs/ablation.md", "What each part contributes", command, f"{note}\n{table}"
        )


def _kept(cache: Path, label: str) -> Path:
    return cache / f"{label.replace('/', '_')}.pickle"


if __name__ == "__main__":
    main()
