"""Pooled search (ours): the images of one run teach each other what to try first.

A model responds to much the same changes in every image, yet an attack on a single image pays to
find them again each time. `iqattack profile` learns them beforehand, with queries of its own. Here,
images learn from those before them in the same run: every query belongs to the budget of the image
that it is about, and there are no others.

1. *Known strokes*: fixed directions, coloured checkerboards, and what earlier images found. Next is
   always the stroke that can be expected to add most to what this image has gained so far, judged
   by images whose scores were to move the same way. The stage ends once no stroke promises much.
2. *Channels*: the best stroke with one channel after the other negated.
3. *Filter* and *portfolio*, as in `portfolio_search.py`.

A stroke found in stage 2 or 3 becomes a known one for the images to come. As they depend on what
others gained, single images of a run cannot be attacked again on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.attacks.contract import Answer, Search, SearchEnded, SetSearch, SetTask, Task
from iqattack.attacks.lifting import single
from iqattack.attacks.options import Count, CountFromOne, Fraction
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.filters import (
    FILTERS,
    PATIENCE,
    SHARE,
    SIDE,
    Side,
    searched_filters,
)
from iqattack.attacks.shared.painting.portfolio import portfolio
from iqattack.attacks.shared.painting.regions import PALETTE
from iqattack.attacks.shared.painting.way_back import way_back
from iqattack.directions import BANK, COLOURED, bank, coloured_checkerboards

TOGETHER = 4  # images at a time: fewer learn more from each other, more keep more workers busy
# What a fixed direction is expected to add before any image has tried it, as a share of the score
# range: FRESH for the first one, half of that for the one in place HALVED. It counts as much as
# PRIOR images.
FRESH, HALVED, PRIOR = 0.02, 4, 2.0
LEAST = 0.001  # expected gain, as a share of the score range, below which no known stroke is tried
TRIED = 3  # strokes that are tried even so
# Lessons that are kept, so that choosing stays fast in large sets.
IMAGES, FOUND = 200, 64  # the latest images, and strokes that images found

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stroke:
    """A change that suits any image: a fixed direction, some of its channels negated; with a theta
    also a filter of the image's detail (see `Brush`).
    """

    direction: str
    theta: tuple[float, ...] | None = None
    negated: tuple[int, ...] = ()

    @classmethod
    def of(cls, brush: Brush) -> Stroke:
        """That of a brush on some image."""
        theta = None if brush.theta is None else tuple(brush.theta.tolist())
        return cls(brush.name, theta, brush.turned)


class Lessons:
    """What strokes gained on the images so far.

    strokes: the fixed ones first. rising: of each image (I,), whether its score was to rise. gains:
    (I, S) shares of the score range; NaN where a stroke was not tried on an image. trying: for
    either value of `rising`, how many images are trying each stroke at the moment, (2, S).
    """

    def __init__(self) -> None:
        self.strokes = [Stroke(name) for name in (*BANK, *COLOURED)]
        self.rising: list[bool] = []
        self.fixed = len(self.strokes)
        self.gains: Floats = np.empty((0, self.fixed))
        self.trying: Floats = np.zeros((2, self.fixed))
        self._before: Floats = FRESH / (1.0 + np.arange(self.fixed) / HALVED)

    def enter(self, *, rising: bool) -> int:
        """The number of a new image."""
        self.rising.append(rising)
        self.gains = np.vstack([self.gains, np.full((1, len(self.strokes)), np.nan)])
        return len(self.rising) - 1

    def expected(self, image: int) -> Floats:
        """What each stroke (S,) is expected to add to the gain of an image; −1 if it was tried.

        On each image that tried the stroke, it added what it gained beyond the best of those
        strokes that this image has tried, too.
        """
        alike = np.array(self.rising[-IMAGES:]) == self.rising[image]
        gains = self.gains[-IMAGES:][alike]
        tried, known = np.isfinite(self.gains[image]), np.isfinite(gains)
        best = np.max(np.where(tried & known, gains, 0.0), axis=1, initial=0.0)
        added = np.where(known, np.maximum(gains - best[:, None], 0.0), 0.0).sum(0)
        images = known.sum(0) + self.trying[int(self.rising[image])]
        before = np.append(self._before, np.zeros(len(self.strokes) - self.fixed))
        return np.where(tried, -1.0, (added + PRIOR * before) / (images + PRIOR))

    def choose(self, image: int) -> Stroke | None:
        """The most promising stroke for an image, now being tried; None if none is worth it."""
        expected = self.expected(image)
        number = int(np.argmax(expected))
        enough = np.isfinite(self.gains[image]).sum() >= TRIED
        if expected[number] < (LEAST if enough else 0.0):
            return None
        self.trying[int(self.rising[image]), number] += 1.0
        return self.strokes[number]

    def learn(self, image: int, stroke: Stroke, gain: float | None) -> None:
        """What the chosen stroke gained; None if it got no query."""
        number = self.strokes.index(stroke)
        self.trying[int(self.rising[image]), number] -= 1.0
        if gain is not None:
            self.gains[image, number] = gain

    def find(self, image: int, stroke: Stroke, before: float, gain: float | None) -> None:
        """Add a stroke if it gained more than what there was before."""
        if gain is not None and gain > before:
            self.add(image, stroke, gain)

    def add(self, image: int, stroke: Stroke, gain: float) -> None:
        """A stroke that an image found by itself."""
        if stroke not in self.strokes:
            self.strokes.append(stroke)
            self.gains = np.hstack([self.gains, np.full((len(self.gains), 1), np.nan)])
            self.trying = np.hstack([self.trying, np.zeros((2, 1))])
        self.gains[image, self.strokes.index(stroke)] = gain
        if len(self.strokes) > self.fixed + FOUND:
            self._forget()

    def _forget(self) -> None:
        """Drop the stroke that was found by an image and was the best on the fewest, of equals the
        oldest.
        """
        best = np.where(np.isfinite(self.gains), self.gains, -np.inf)[-IMAGES:].argmax(1)
        images = np.bincount(best, minlength=len(self.strokes)).astype(float)
        images[self.trying.any(0)] = np.inf
        number = self.fixed + int(np.argmin(images[self.fixed :]))
        if images[number] == np.inf:  # with very many images at a time
            return
        del self.strokes[number]
        self.gains = np.delete(self.gains, number, 1)
        self.trying = np.delete(self.trying, number, 1)


def pooled_search(
    given: SetTask,
    filters: Count = FILTERS,
    share: Fraction = SHARE,
    patience: CountFromOne = PATIENCE,
    side: Side = SIDE,
    palette: CountFromOne = PALETTE,
    together: CountFromOne = TOGETHER,
) -> SetSearch:
    """Known strokes, channels, filter, portfolio; a few images at a time.

    filters: maximum number of queries for the filter; share: maximum share of an image's budget for
        it; patience: consecutive queries without a gain after which it ends; side: of the filter in
        pixels, odd; palette: number of best filters in the portfolio; together: images at a time.
    """
    lessons = Lessons()

    def search(task: Task) -> Search:
        if torch.equal(task.lower8, task.upper8):
            return
        canvas = Canvas(task)
        image = lessons.enter(rising=task.rising)
        task.stage("known strokes")
        directions = yield from _known(canvas, lessons, image)
        task.stage("filter")
        before, budget = canvas.gain, min(filters, int(share * task.queries))
        found = yield from searched_filters(canvas, directions[0], budget, patience, side)
        if found and canvas.gain > before:
            lessons.add(image, Stroke.of(found[0]), canvas.gain)
        yield from portfolio(canvas, found, directions, palette)
        yield from way_back(canvas)

    search.__name__ = "pooled-search"  # for messages
    return (yield from single(search, together=together)(given))


def _known(canvas: Canvas, lessons: Lessons, image: int) -> Generator[Tensor, Answer, list[Brush]]:
    """The brushes that were tried, the best first, with channels negated where that gains."""
    gains: list[tuple[float, Brush]] = []
    brush_of = partial(_brush_of, canvas.task, canvas.task.rng.clone_state())
    while not canvas.done and (stroke := lessons.choose(image)) is not None:
        brush = brush_of(stroke)
        gain = yield from _asked(canvas, brush, partial(lessons.learn, image, stroke))
        gains.append((gain, brush))
    brushes = [brush for _, brush in sorted(gains, key=lambda pair: -pair[0])]
    best = brushes[0]
    for channel in range(3):
        if canvas.done or best.theta is not None:
            break
        brush, before = best.turning(channel), canvas.gain
        found = partial(lessons.find, image, Stroke.of(brush), before)
        if (yield from _asked(canvas, brush, found)) > before:
            best = brush
    return brushes if best is brushes[0] else [best, *brushes]


def _asked(
    canvas: Canvas, brush: Brush, heard: Callable[[float | None], None]
) -> Generator[Tensor, Answer, float]:
    """The gain of a brush. heard: is called with it before the search goes on or ends, as it does
    at the end of the score range; with None if there was no query left.
    """
    try:
        gain = yield from canvas.ask(canvas.painted(brush))
    except SearchEnded as ended:
        gains = ended.answer.gain
        heard(float(gains[0]) if len(gains) else None)
        raise
    heard(gain)
    return gain


def _brush_of(task: Task, rng: torch.Generator, stroke: Stroke) -> Brush:
    """For an image; its noise is the same, whatever was tried before."""
    if stroke.direction in BANK:
        ((_, signs),) = bank(task.image8, rng.clone_state(), [stroke.direction])
    else:
        signs = dict(coloured_checkerboards(task.image8))[stroke.direction]
    theta = None if stroke.theta is None else np.array(stroke.theta)
    brush = Brush(stroke.direction, signs, theta)
    return brush.turning(*stroke.negated) if stroke.negated else brush
