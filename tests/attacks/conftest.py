"""The engine's part, played by a few lines: clamp to the box, round, tell the gain."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import pytest
import torch
from skimage import data
from torch import Tensor

from iqattack.attacks import Answer, Task
from iqattack.objectives import ScoreBoundary

Gain = Callable[[Tensor], float]


@dataclass
class Played:
    """candidates: as yielded; images: as scored; gains; result: what the generator returned."""

    candidates: list[Tensor] = field(default_factory=list)
    images: list[Tensor] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    ended: bool = False
    result: object = None


def _play(
    search: Generator[Tensor, Answer, object],
    task: Task,
    gain: Gain,
    queries: int | None = None,
    rounded: bool = True,
    remembered: bool = False,
) -> Played:
    """Run a search, or a part of one, until it ends or `queries` (the task's) are spent.

    An image that was asked about before costs a query like any other, unless they are remembered.
    """
    left = task.queries if queries is None else queries
    played = Played()
    try:
        candidates = next(search)
        while left > 0:
            wanted, candidates = len(candidates), candidates[:left]
            assert candidates.dtype in (torch.float32, torch.uint8)
            assert candidates.shape[1:] == task.image.shape
            images = candidates.float().clamp(task.lower, task.upper)
            images = images.round() if rounded else images
            gains = [gain(image) for image in images]
            known = [remembered and any(map(image.equal, played.images)) for image in images]
            left -= known.count(False)
            played.candidates += list(candidates)
            played.images += list(images)
            played.gains += gains
            if len(candidates) < wanted:
                break  # the last ones of a list are not paid for, and the search hears of none
            pixels = images.to(torch.uint8) if rounded else images
            answer = Answer(pixels, torch.tensor(gains, dtype=torch.float64), left)
            candidates = search.send(answer)
        search.close()
    except StopIteration as end:
        played.ended, played.result = True, end.value
    return played


def _task(
    image: Tensor,
    radius: float | Tensor = 8.0,
    queries: int = 100,
    reach: float = 1.0,
    boundary: ScoreBoundary | None = None,
    seed: int = 0,
) -> Task:
    lower, upper = (image - radius).clamp(min=0.0), (image + radius).clamp(max=255.0)
    return Task(
        image8=image.byte(),
        lower8=lower.byte(),
        upper8=upper.byte(),
        project=lambda candidates: candidates.clamp(lower, upper),
        queries=queries,
        reach=reach,
        boundary=boundary,
        rng=torch.Generator().manual_seed(seed),
    )


@pytest.fixture(scope="session")
def play() -> Callable[..., Played]:
    return _play


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    return _task


@pytest.fixture(scope="session")
def natural() -> Callable[[int, int], Tensor]:
    """A crop (3, height, width) of a photograph, with edges and something salient in it."""
    photograph = torch.from_numpy(data.coffee()).permute(2, 0, 1).float()
    return lambda height, width: photograph[:, 200 : 200 + height, 200 : 200 + width].clone()


@pytest.fixture(scope="session")
def linear() -> Callable[[Tensor, Tensor], Gain]:
    """The gain ⟨w, x − image⟩ of a linear model."""

    def gain_of(image: Tensor, w: Tensor) -> Gain:
        return lambda x: float((w.double() * (x - image).double()).sum())

    return gain_of
