"""The pictures that the built-in model is trained, stopped and tested on, with their labels.

Kodak photographs, split by content, distorted and labelled by iqattack.samples.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor

from iqattack.models.builtin import CELL, JUDGES, LOCAL, OVERALL, Energies
from iqattack.samples.distortions import DISTORTIONS, LEVELS, Picture, distort
from iqattack.samples.labels import fused, measured

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

# By number alone, before anything was trained: every fifth from 3 for the test. Of the others each
# judge is stopped on some and learns from the rest, so that all judges together learned from all.
TEST = (3, 8, 13, 18, 23)
LEARNING = tuple(n for n in range(1, 25) if n not in TEST)
FOLDS = tuple(LEARNING[k::JUDGES] for k in range(JUDGES))

SIDE = 256  # of training pictures
SIZES = (1.0, 0.5)  # at which whole photographs are distorted for validation and test
MARGIN = 16  # lets the grid of JPEG lie anywhere
FAR = 0.65  # of the training pictures are smaller than the photograph they come from
QUANTILES = 101
Steps = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Labelled:
    """What was done to each of N pictures, and its measures (N, 3).

    content: number of the photograph.
    """

    content: NDArray[np.int64]
    steps: tuple[Steps, ...]
    measures: NDArray[np.float64]

    def mos(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pseudo-MOS (N,) by a ranking's table."""
        return fused(self.measures, table)


@dataclass(frozen=True)
class Seen(Labelled):
    """What a judge sees of them.

    local: (N, 82, h, w) float16, or a list of (82, h, w) where sizes differ; overall: (N, 689).
    """

    local: Sequence[Tensor] | Tensor
    overall: Tensor


@dataclass(frozen=True)
class Pictures(Labelled):
    """The pictures themselves: each (3, H, W) uint8."""

    pictures: Sequence[Picture]

    def seen(self) -> Seen:
        """Their energies."""
        local, overall = zip(*map(energies, self.pictures), strict=True)
        return Seen(
            self.content,
            self.steps,
            self.measures,
            [torch.from_numpy(part) for part in local],
            torch.from_numpy(np.stack(overall)),
        )


def photographs(numbers: Sequence[int]) -> dict[int, Picture]:
    """Kodak photographs by number; ends the program, saying so, where they are absent."""
    folder = SHARED / "kodak"
    if not folder.is_dir():
        sys.exit(
            f"{folder}: no such folder; put the 24 Kodak photographs there as 01.png to 24.png"
        )
    return {n: np.array(Image.open(folder / f"{n:02}.png").convert("RGB")) for n in numbers}


def ranking_of(training: Labelled) -> NDArray[np.float64]:
    """The table (101, 3) for `fused`: quantiles of the measures of what is distorted."""
    distorted = [k for k, steps in enumerate(training.steps) if steps]
    return np.quantile(training.measures[distorted], np.linspace(0, 1, QUANTILES), axis=0)


def random_steps(rng: np.random.Generator) -> Steps:
    """Nothing (8 %), one distortion (44 %) or two in a row (48 %), at any level."""
    kinds = list(DISTORTIONS)
    number = rng.choice(3, p=(0.08, 0.44, 0.48))
    chosen = rng.choice(len(kinds), number, replace=False)
    top = LEVELS if number == 1 else LEVELS - 1
    return tuple((kinds[k], float(rng.uniform(0, top))) for k in chosen)


def random_pictures(numbers: Sequence[int], count: int, seed: int, processes: int = 1) -> Seen:
    """Crops of random place, scale (1 to 1/2) and colours, mirrored or not, randomly distorted.

    Picture k is made from the seed and k alone, so that any number of processes makes the same.
    Of each, its energies are kept.
    """
    photos = photographs(numbers)
    contents = [numbers[k % len(numbers)] for k in range(count)]
    cells = SIDE // CELL - 1
    local = torch.empty((count, LOCAL, cells, cells), dtype=torch.float16)
    overall = torch.empty((count, OVERALL))
    steps, values = [], []
    given = ([photos[n] for n in contents], repeat(seed), range(count))
    with ExitStack() as stack:
        if processes > 1:
            pool = stack.enter_context(workers(processes))
            jobs = pool.map(_random_picture, *given, chunksize=50)
        else:
            jobs = map(_random_picture, *given)
        for k, (cell, whole, done, measures) in enumerate(
            track(jobs, "pictures, labels, energies", total=count)
        ):
            local[k], overall[k] = torch.from_numpy(cell), torch.from_numpy(whole)
            steps.append(done)
            values.append(measures)
    return Seen(np.array(contents), tuple(steps), np.stack(values), local, overall)


def workers(processes: int) -> ProcessPoolExecutor:
    """Processes of one thread each, started afresh: a fork would inherit torch's threads dead."""
    return ProcessPoolExecutor(processes, get_context("spawn"), _one_thread)


def _one_thread() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@cache
def _network() -> Energies:
    return Energies()


@torch.inference_mode()
def energies(picture: Picture) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """What a judge sees of a picture (3, H, W): (82, h, w) and (689,)."""
    local, overall = _network()(torch.from_numpy(picture)[None].float())
    return local[0].half().numpy(), overall[0].numpy()


def _random_picture(
    photo: Picture, seed: int, number: int
) -> tuple[NDArray[np.float16], NDArray[np.float32], Steps, NDArray[np.float64]]:
    rng = np.random.default_rng((seed, number))
    original = augmented(photo, SIDE + MARGIN, rng)
    steps = random_steps(rng)
    distorted = distort(original, steps, rng)
    # Half of the pictures keep the corner, and with it the grid of JPEG.
    top, left = rng.integers(0, MARGIN + 1, 2) if rng.random() < 0.5 else (0, 0)
    window = (slice(top, top + SIDE), slice(left, left + SIDE))
    picture = np.ascontiguousarray(distorted[window].transpose(2, 0, 1))
    return *energies(picture), steps, measured(original[window], distorted[window])


def augmented(photo: Picture, side: int, rng: np.random.Generator) -> Picture:
    """A crop as another pristine photograph might have it."""
    size = round(side * rng.uniform(1.0, 512 / side)) if rng.random() < FAR else side
    top = rng.integers(0, photo.shape[0] - size + 1)
    left = rng.integers(0, photo.shape[1] - size + 1)
    crop = photo[top : top + size, left : left + size]
    if size != side:
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        crop = np.asarray(small, dtype=np.uint8)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.3:
        crop = crop[..., rng.permutation(3)]
    if rng.random() < 0.5:
        crop = _developed(crop, rng)
    return np.ascontiguousarray(crop, dtype=np.uint8)


def _developed(crop: Picture, rng: np.random.Generator) -> Picture:
    """The crop as another camera might have rendered it: tone curve, contrast, saturation."""
    tones = 255.0 * (crop / 255.0) ** rng.uniform(0.85, 1.2)
    tones = tones.mean() + rng.uniform(0.9, 1.1) * (tones - tones.mean())
    grey = tones.mean(axis=2, keepdims=True)
    tones = grey + rng.uniform(0.6, 1.2) * (tones - grey)
    return np.asarray(np.clip(np.rint(tones), 0, 255), dtype=np.uint8)


def graded_of_each(numbers: Sequence[int], seed: int, processes: int) -> dict[int, Seen]:
    """Graded pictures of each content at half size, what judges are stopped on."""
    with workers(processes) as pool:
        jobs = pool.map(_graded, numbers, repeat(seed))
        return dict(zip(numbers, track(jobs, "graded pictures", len(numbers)), strict=True))


def _graded(number: int, seed: int) -> Seen:
    return graded_pictures((number,), seed + number, sizes=SIZES[1:]).seen()


def joined(parts: Sequence[Seen]) -> Seen:
    """Pictures of any sizes as one set."""
    return Seen(
        np.concatenate([part.content for part in parts]),
        tuple(steps for part in parts for steps in part.steps),
        np.concatenate([part.measures for part in parts]),
        [local for part in parts for local in part.local],
        torch.cat([part.overall for part in parts]),
    )


def graded_pictures(
    numbers: Sequence[int], seed: int, crop: int | None = None, sizes: Sequence[float] = SIZES
) -> Pictures:
    """Whole photographs: clean, each distortion at each level, and 11 mixtures, at all sizes.

    Whole, as in data bases of opinion scores: what a crop of a blurred background was like before
    it was blurred, nobody can tell. Or crops of that side from the centres.
    """
    rng = np.random.default_rng(seed)
    pictures, contents, made, values = [], [], [], []
    for content, photo in photographs(numbers).items():
        for size in sizes:
            original = photo
            if size != 1.0:
                small = cv2.resize(photo, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
                original = np.asarray(small, dtype=np.uint8)
            if crop is not None:
                top, left = (original.shape[0] - crop) // 2, (original.shape[1] - crop) // 2
                original = np.ascontiguousarray(original[top : top + crop, left : left + crop])
            for steps in _plan(rng):
                distorted = distort(original, steps, rng)
                pictures.append(np.ascontiguousarray(distorted.transpose(2, 0, 1)))
                values.append(measured(original, distorted))
                contents.append(content)
                made.append(steps)
    return Pictures(np.array(contents), tuple(made), np.stack(values), pictures)


def _plan(rng: np.random.Generator) -> list[Steps]:
    kinds = list(DISTORTIONS)
    plan: list[Steps] = [()]
    plan += [((kind, float(level)),) for kind in kinds for level in range(1, LEVELS + 1)]
    for place, kind in enumerate(kinds):
        other = kinds[(place + rng.integers(1, len(kinds))) % len(kinds)]
        levels = rng.integers(1, LEVELS, 2)
        plan.append(((kind, float(levels[0])), (other, float(levels[1]))))
    return plan
