"""Filter search (ours): the image's own detail, filtered so that the model misreads it.

A perturbation that moves an NR-IQA score is no set of independent pixels. Such models pool
responses of filters over the picture, so what moves them is a texture that sits everywhere in the
right place: on edges with one sign, beside them with the other. One small filter over the image's
own high frequencies tells all of it, and 25 numbers can be searched by asking for scores where
150,528 cannot.

1. *Bank*: fixed directions, one query each (`directions/bank.py`): noise, stripes, blur, JPEG.
2. *Filter*: to the best of them, a filter of the image's high frequencies is added; CMA-ES searches
   the filter and the weight of the two. The sign of the sum is laid on the ends of the box.
3. *Regions*: squares, from coarse to fine, are repainted with the best filters and directions of
   the first stages, as different places of an image need different ones; what worked is drawn
   more often.

Where the objective has a score boundary, what crossed it is brought back towards the image as far
as it still crosses, and the search is over.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.options import Count, Fraction
from iqattack.attacks.start import towards_image
from iqattack.directions import Choice, bank, high_frequencies, interval

SIDE = 5  # of the filter, pixels
WEIGHT = 3.0  # of the bank's direction at first, in deviations of a filter's coefficient
FILTERS = 500  # most queries for the filter
SHARE = 0.5  # of the budget, at most, for it
PALETTE = 30  # filters that regions are painted with
DIRECTIONS = 4  # directions of the bank among them
SQUARES = (2 / 7, 1 / 7, 1 / 14)  # sides of regions, of the image's shorter side, coarse to fine
HALVINGS = 10  # of the way back from a score boundary

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Brush:
    """Signs over the image: of a direction of the bank, plus filtered high frequencies."""

    direction: Tensor  # (1 or 3, H, W) int8
    weight: float = 1.0
    filter: Tensor | None = None  # (1, 1, SIDE, SIDE)

    @classmethod
    def of(cls, direction: Tensor, theta: NDArray[np.float64]) -> Brush:
        """As CMA-ES has it: coefficients of the filter, then the weight of the direction."""
        coefficients = torch.from_numpy(theta[:-1]).float()
        return cls(direction, float(theta[-1]), coefficients.reshape(1, 1, SIDE, SIDE))


class Canvas:
    """Where brushes paint, and the best picture so far."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.image, self.lower, self.upper = (
            values.byte() for values in (task.image, task.lower, task.upper)
        )
        margin = SIDE // 2
        detail = high_frequencies(task.image)[None, None]
        self.detail = F.pad(detail, (margin,) * 4, mode="replicate")
        self.best, self.gain, self.asked = self.image, 0.0, 0

    def ask(self, candidate: Tensor) -> Generator[Tensor, Answer, float]:
        """The gain of a candidate; the best of them is kept, of equals the last."""
        answer = yield candidate[None]
        self.asked += 1
        gain = float(answer.gain[0])
        if gain >= self.gain:
            self.best, self.gain = answer.pixels[0], gain
        return gain

    @property
    def done(self) -> bool:
        """Whether there is nothing left to gain."""
        goal = self.task.boundary
        return self.gain >= self.task.reach or (goal is not None and goal.crossed(self.gain))

    def painted(self, brush: Brush, window: Window | None = None) -> Tensor:
        """The image with the box's ends where the brush says so; or the best one, in a window."""
        rows, columns = window or tuple(slice(0, side) for side in self.image.shape[1:])
        field = brush.direction[:, rows, columns]
        if brush.filter is not None:
            down, across = (slice(part.start, part.stop + SIDE - 1) for part in (rows, columns))
            filtered = F.conv2d(self.detail[:, :, down, across], brush.filter)[0]
            field = brush.weight * field + filtered
        place = (slice(None), rows, columns)
        ends = torch.where(field > 0, self.upper[place], self.lower[place])
        picture = self.best.clone() if window else self.image.clone()
        picture[place] = torch.where(field == 0, self.image[place], ends)
        return picture


def filter_search(
    task: Task,
    filters: Count = FILTERS,
    share: Fraction = SHARE,
    palette: Annotated[int, Field(ge=1)] = PALETTE,
    regions: bool = True,
) -> Search:
    """Bank, filter, regions.

    filters: most queries for the filter; share: of the budget, at most, for it; palette: how many
        of the best filters regions are painted with; regions: whether any are.
    """
    if torch.equal(task.lower, task.upper):
        return
    canvas = Canvas(task)
    brushes = yield from _directions(canvas)
    budget = min(filters, int(share * task.queries))
    found = yield from _filters(canvas, brushes[0].direction, budget)
    if regions:
        yield from _regions(canvas, [*found[:palette], *brushes])
    if task.boundary is not None and task.boundary.crossed(canvas.gain):
        yield (yield from towards_image(task, canvas.best.float(), task.boundary, HALVINGS))[None]


Stage = Generator[Tensor, Answer, list[Brush]]


def _directions(canvas: Canvas) -> Stage:
    """The best directions of the bank, the best first."""
    gains: list[tuple[float, Brush]] = []
    for direction in bank(canvas.task.image, canvas.task.rng):
        brush = Brush(direction)
        gains.append(((yield from canvas.ask(canvas.painted(brush))), brush))
        gains = sorted(gains, key=lambda pair: -pair[0])[:DIRECTIONS]
        if canvas.done:
            break
    return [brush for _, brush in gains]


def _filters(canvas: Canvas, direction: Tensor, budget: int) -> Stage:
    """The filters that CMA-ES (Hansen) tried, the best first."""
    start = np.zeros(SIDE**2 + 1)
    start[-1] = WEIGHT
    seed = int(torch.randint(2**31, (), generator=canvas.task.rng))
    search = CMA(mean=start, sigma=1.0, seed=seed)
    tried: list[tuple[float, NDArray[np.float64]]] = []
    while len(tried) < budget and not canvas.done:
        theta = search.ask()
        gain = yield from canvas.ask(canvas.painted(Brush.of(direction, theta)))
        tried.append((gain, theta))
        if len(tried) % search.population_size == 0:
            generation = tried[-search.population_size :]
            search.tell([(point, -value) for value, point in generation])
    tried.sort(key=lambda pair: -pair[0])
    return [Brush.of(direction, theta) for _, theta in tried]


def _regions(canvas: Canvas, brushes: list[Brush]) -> Search:
    """Random squares, coarse to fine, repainted with one of the brushes; kept where it gains."""
    task, choice, first = canvas.task, Choice(brushes), canvas.asked
    height, width = canvas.image.shape[1:]
    while not canvas.done and canvas.asked < task.queries:
        stage = len(SQUARES) * (canvas.asked - first) // (task.queries - first)
        side = max(1, round(SQUARES[min(stage, len(SQUARES) - 1)] * min(height, width)))
        which, down, across = torch.rand(3, generator=task.rng).tolist()
        pick = choice.draw(which)
        rows = interval(height, side / height, down)
        columns = interval(width, side / width, across)
        before = canvas.gain
        gain = yield from canvas.ask(canvas.painted(choice.options[pick], (rows, columns)))
        choice.learn(pick, gain > before)
