"""Filter search (ours): the image's own detail, filtered so that the model misreads it.

A perturbation that moves an NR-IQA score is no set of independent pixels. Such models pool
responses of filters over the picture, so what moves them is a texture that sits everywhere in the
right place: on edges with one sign, beside them with the other. One small filter over the image's
own high frequencies tells all of it, and 25 numbers can be searched by asking for scores where
150,528 cannot.

1. *Bank*: fixed directions, one query each (`directions/bank.py`): noise, stripes, blur, JPEG; or
   the strokes of a profile, which other images taught. The best of them is tried with one channel
   after the other turned to its contrary, as some models look at colours.
2. *Filter*: to the best of them, a filter of the image's high frequencies is added; CMA-ES searches
   the filter and the weight of the two, for as long as that helps. The sign of the sum is laid on
   the ends of the box.
3. *Regions*: squares, from coarse to fine, are repainted with the best filters and directions of
   the first stages, as different places of an image need different ones; what worked is drawn
   more often.

Where the objective has a score boundary, yes or no is all that counts, so a model that says no more
can be attacked too. Once it is crossed, the picture is brought back towards the image: as a whole
by halving, then square by square, as far as it still crosses.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isqrt
from pathlib import Path
from typing import Annotated, Protocol

import cv2
import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks.ascent import ascent
from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.options import Count, Fraction, Gradients, ModelOption, ProfileFile
from iqattack.attacks.start import towards_image
from iqattack.directions import (
    MOST_SIDE,
    Choice,
    Stroke,
    bank,
    high_frequencies,
    interval,
    read_profile,
)
from iqattack.perception import bands
from iqattack.students import Students

SIDE = 5  # of the filter, pixels
WEIGHT = 3.0  # of the bank's direction at first, in deviations of a filter's coefficient
KNOWN = 10.0  # norm of coefficients that a profile gives: how closely they are searched around
FILTERS = 500  # most queries for the filter
SHARE = 0.5  # of the budget, at most, for it
PATIENCE = 100  # queries for it that bring nothing, after which it ends
PALETTE = 15  # filters that regions are painted with
DIRECTIONS = 4  # directions of the bank among them
SQUARES = (2 / 7, 1 / 7, 1 / 14)  # sides of regions, of the image's shorter side, coarse to fine
HALVINGS = 10  # of the way back from a score boundary
MARGIN = MOST_SIDE // 2  # of the high frequencies, pixels
NO_STUDENTS: Students = {}

Window = tuple[slice, slice]
Coefficients = NDArray[np.float64]


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError("expected an odd number")
    return side


Side = Annotated[int, Field(ge=1, le=MOST_SIDE), AfterValidator(_odd)]


@dataclass(frozen=True)
class Brush:
    """Signs over the image: of a direction, plus filtered high frequencies.

    signs: (1 or 3, H, W) int8 of the direction; theta: coefficients of the filter, row by row, then
        the weight of the direction, as CMA-ES has them; None for no filter; turned: channels in
        which the signs are the contrary of the direction's.
    """

    name: str
    signs: Tensor
    theta: Coefficients | None = None
    turned: tuple[int, ...] = ()

    def turning(self, *channels: int) -> Brush:
        """With the contrary signs in some channels more."""
        signs = self.signs.expand(3, -1, -1).clone()
        signs[list(channels)] *= -1
        return replace(self, signs=signs, turned=(*self.turned, *channels))

    @property
    def stroke(self) -> Stroke:
        """As a profile keeps it, for any image."""
        if self.theta is None:
            return Stroke(direction=self.name, turned=self.turned)
        *coefficients, weight = self.theta.tolist()
        return Stroke(
            direction=self.name, weight=weight, filter=tuple(coefficients), turned=self.turned
        )


class Canvas:
    """Where brushes paint, and the best picture so far."""

    def __init__(self, task: Task) -> None:
        self.task, self.image = task, task.image8
        detail = high_frequencies(self.image)[None, None]
        self.detail = F.pad(detail, (MARGIN,) * 4, mode="replicate")[0, 0]
        self.best, self.gain, self.left = self.image, 0.0, task.queries

    def ask(self, candidate: Tensor) -> Generator[Tensor, Answer, float]:
        """The gain of a candidate; the best of them is kept, of equals the last."""
        answer = yield candidate[None]
        self.left = answer.left
        gain = float(answer.gain[0])
        if gain >= self.gain:
            self.best, self.gain = answer.pixels[0], gain
        return gain

    @property
    def crossed(self) -> bool:
        """Whether the score boundary is, where the objective has one."""
        goal = self.task.boundary
        return goal is not None and goal.crossed(self.gain)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to gain."""
        return self.crossed or self.gain >= self.task.reach

    def painted(self, brush: Brush, window: Window | None = None) -> Tensor:
        """The image, white or black where the brush says so; or the best one, in a window.

        The engine takes white and black to the ends of the box.
        """
        picture = self.best.clone() if window else torch.empty_like(self.image)
        rows, columns = window or tuple(slice(0, side) for side in self.image.shape[1:])
        for band in bands(rows, columns.stop - columns.start):
            field = self.field(brush, band, columns).numpy()
            place = (slice(None), band, columns)
            painted = picture.numpy()[place]
            np.bitwise_or(self.image.numpy()[place], _mask(field > 0), out=painted)
            np.bitwise_and(painted, _mask(field >= 0), out=painted)
        return picture

    def field(self, brush: Brush, rows: slice, columns: slice) -> Tensor:
        """What the signs are taken of, in a window: (1 or 3, h, w)."""
        signs: Tensor = brush.signs[:, rows, columns]
        if brush.theta is None:
            return signs
        weighted = np.multiply(signs.numpy(), np.float32(brush.theta[-1]), dtype=np.float32)
        weighted += self._filtered(brush.theta[:-1], rows, columns)
        return torch.from_numpy(weighted)

    def _filtered(
        self, coefficients: Coefficients, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        """By OpenCV, which takes a fifth of PyTorch's time for one plane."""
        half = isqrt(len(coefficients)) // 2
        down, across = (
            slice(part.start + MARGIN - half, part.stop + MARGIN + half) for part in (rows, columns)
        )
        kernel = coefficients.reshape(2 * half + 1, -1).astype(np.float32)
        filtered = cv2.filter2D(
            self.detail[down, across].numpy(), cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT
        )
        inside = tuple(slice(half, side - half) for side in filtered.shape)
        return np.asarray(filtered, dtype=np.float32)[inside]

    def square(self, first_left: int) -> Window:
        """A random one; its side shrinks in steps as fewer than the first queries are left."""
        progress = (first_left - self.left) / max(first_left, 1)
        height, width = self.image.shape[1:]
        stage = min(int(progress * len(SQUARES)), len(SQUARES) - 1)
        side = max(1, round(SQUARES[stage] * min(height, width)))
        down, across = torch.rand(2, generator=self.task.rng, dtype=torch.float32).tolist()
        return interval(height, side / height, down), interval(width, side / width, across)


def _mask(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """All bits set where something holds."""
    return np.negative(where.view(np.uint8))


def filter_search(
    task: Task,
    filters: Count = FILTERS,
    share: Fraction = SHARE,
    patience: Annotated[int, Field(ge=1)] = PATIENCE,
    side: Side = SIDE,
    palette: Annotated[int, Field(ge=1)] = PALETTE,
    channels: bool = True,
    regions: bool = True,
    profile: ProfileFile | None = None,
    substitute: ModelOption | None = None,
) -> Search:
    """Bank, filter, regions.

    filters: most queries for the filter; share: of the budget, at most, for it; patience: queries
        for it that may bring nothing, one after the other; side: of the filter, pixels, odd;
        palette: how many of the best filters regions are painted with; channels: whether those of
        the best direction are turned; regions: whether any are painted; profile: file of `iqattack
        profile`, whose strokes and students take the place of the bank; substitute: spec of a
        model whose gradients give two more directions.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    canvas = Canvas(task)
    task.stage("bank" if profile is None else "profile")
    brushes = yield from first_brushes(canvas, profile, substitute, channels)
    budget = min(filters, int(share * task.queries))
    task.stage("filter")
    found = yield from searched_filters(canvas, brushes[0], budget, patience, side)
    if regions:
        task.stage("regions")
        yield from painted_regions(canvas, [*found[:palette], *brushes])
    if task.boundary is not None and canvas.crossed:
        task.stage("way back")
        x = yield from towards_image(task, canvas.best, task.boundary, HALVINGS)
        yield from _taken_back(canvas, x)


Stage = Generator[Tensor, Answer, list[Brush]]


def first_brushes(
    canvas: Canvas,
    profile: Path | None = None,
    substitute: Gradients | None = None,
    channels: bool = True,
) -> Stage:
    """The best of the bank, or of a profile, and of a substitute's gradients; the best first.

    channels: whether those of the best are turned; where that gains, it comes before all others.
    """
    gains: list[tuple[float, Brush]] = []
    for brush in _known(canvas.task, profile, substitute):
        gains.append(((yield from canvas.ask(canvas.painted(brush))), brush))
        gains = sorted(gains, key=lambda pair: -pair[0])[:DIRECTIONS]
        if canvas.done:
            break
    brushes = [brush for _, brush in gains]
    turned = (yield from _turned(canvas, brushes[0])) if channels else brushes[0]
    return brushes if turned is brushes[0] else [turned, *brushes]


def _turned(canvas: Canvas, best: Brush) -> Generator[Tensor, Answer, Brush]:
    """With all the channels turned that gained by it."""
    for channel in range(3):
        if canvas.done:
            break
        brush, before = best.turning(channel), canvas.gain
        if (yield from canvas.ask(canvas.painted(brush))) > before:
            best = brush
    return best


def _known(task: Task, profile: Path | None, substitute: Gradients | None) -> Iterator[Brush]:
    if profile is None:
        yield from (Brush(*direction) for direction in bank(task.image8, task.rng))
    else:
        known = read_profile(profile)
        yield from brushes_of(task, known.strokes, known.taught())
    if substitute is not None:
        yield from _walks(task, substitute)


def brushes_of(
    task: Task, strokes: Sequence[Stroke], students: Students = NO_STUDENTS
) -> Iterator[Brush]:
    """Strokes that other images taught, for this one. students: whom strokes may ask for signs."""
    fixed = [stroke.direction for stroke in strokes if stroke.student is None]
    bank_ = bank(task.image8, task.rng, fixed)

    @cache
    def ascended(kind: str) -> Tensor:
        x = ascent(task, students[kind].smoothed(task.rng), 1.0 if task.rising else -1.0)
        return (x - task.image).sign().to(torch.int8)

    for stroke in strokes:
        kind = stroke.student
        name, signs = next(bank_) if kind is None else (stroke.direction, ascended(kind))
        theta = None if stroke.filter is None else np.array([*stroke.filter, stroke.weight])
        brush = Brush(name, signs, theta)
        yield brush.turning(*stroke.turned) if stroke.turned else brush


def _walks(task: Task, gradients: Gradients) -> Iterator[Brush]:
    """Signs of where a substitute's score rises and falls, a few steps along its gradient."""
    for name, sign in (("substitute up", 1.0), ("substitute down", -1.0)):
        x = ascent(task, gradients, sign)
        yield Brush(name, (x - task.image).sign().to(torch.int8))


def searched_filters(
    canvas: Canvas, first: Brush, budget: int, patience: int = PATIENCE, side: int = SIDE
) -> Stage:
    """The filters that CMA-ES (Hansen) tried beside the first brush's direction, the best first."""
    start = np.append(np.zeros(side**2), WEIGHT)
    if first.theta is not None:
        start = KNOWN * first.theta / np.linalg.norm(first.theta)
    seed = int(torch.randint(2**31, (), generator=canvas.task.rng))
    search = CMA(mean=start, sigma=1.0, seed=seed)
    return (yield from searched(canvas, first, search, budget, patience))


class Optimiser(Protocol):
    """A minimiser that is asked for a generation, point by point, and then told of it."""

    @property
    def population_size(self) -> int: ...  # noqa: D102
    def ask(self) -> Coefficients: ...  # noqa: D102
    def tell(self, solutions: list[tuple[Coefficients, float]]) -> None: ...  # noqa: D102


def searched(
    canvas: Canvas, first: Brush, search: Optimiser, budget: int, patience: int = PATIENCE
) -> Stage:
    """What an optimiser tried as theta of the first brush, the best first."""
    tried: list[tuple[float, Coefficients]] = []
    success, first_left = 0, canvas.left
    while not canvas.done and first_left - canvas.left < budget and len(tried) < success + patience:
        theta, before = search.ask(), canvas.gain
        gain = yield from canvas.ask(canvas.painted(replace(first, theta=theta)))
        tried.append((gain, theta))
        if gain > before:
            success = len(tried)
        if len(tried) % search.population_size == 0:
            generation = tried[-search.population_size :]
            search.tell([(point, -value) for value, point in generation])
    tried.sort(key=lambda pair: -pair[0])
    return [replace(first, theta=theta) for _, theta in tried]


def painted_regions(canvas: Canvas, brushes: list[Brush]) -> Search:
    """Random squares, coarse to fine, repainted with one of the brushes; kept where it gains."""
    choice, first_left = Choice(brushes), canvas.left
    while not canvas.done:
        pick = choice.draw(float(torch.rand((), generator=canvas.task.rng, dtype=torch.float32)))
        window = canvas.square(first_left)
        before = canvas.gain
        gain = yield from canvas.ask(canvas.painted(choice.options[pick], window))
        choice.learn(pick, gain > before)


def _taken_back(canvas: Canvas, x: Tensor) -> Search:
    """Random squares, coarse to fine, taken back to the image where the rest still crosses."""
    image, goal, first_left = canvas.image, canvas.task.boundary, canvas.left
    while goal is not None:
        window = (slice(None), *canvas.square(first_left))
        if torch.equal(x[window], image[window]):
            continue
        candidate = x.clone()
        candidate[window] = image[window]
        answer = yield candidate[None]
        canvas.left = answer.left
        if goal.crossed(float(answer.gain[0])):
            x = answer.pixels[0]
