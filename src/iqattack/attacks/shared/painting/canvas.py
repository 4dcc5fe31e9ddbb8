"""Brushes, which set the sign of the change at each value, and the canvas that they paint on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from math import isqrt

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks.contract import Answer, Task
from iqattack.directions import MOST_SIDE, Stroke, high_frequencies, interval
from iqattack.perception import bands

SQUARES = (2 / 7, 1 / 7, 1 / 14)  # of the shorter side: sides of regions, coarse to fine
MARGIN = MOST_SIDE // 2  # of the high frequencies, pixels

Window = tuple[slice, slice]
Channels = tuple[int, int, int]
EVERY: Channels = (1, 1, 1)
Coefficients = NDArray[np.float64]


@dataclass(frozen=True)
class Brush:
    """Signs over the image: of a direction, plus filtered high frequencies.

    signs: (1 or 3, H, W) int8 of the direction; theta: coefficients of the filter, row by row, then
        the weight of the direction, as CMA-ES orders them; None for no filter; turned: channels in
        which the direction is negated; channels: 1 for each channel that is painted, -1 for each
        that is painted with all signs negated, 0 for each that stays unchanged.
    """

    name: str
    signs: Tensor
    theta: Coefficients | None = None
    turned: tuple[int, ...] = ()
    channels: Channels = EVERY

    def turning(self, *channels: int) -> Brush:
        """The brush with its direction negated in further channels."""
        signs = self.signs.expand(3, -1, -1).clone()
        signs[list(channels)] *= -1
        return replace(self, signs=signs, turned=(*self.turned, *channels))

    @property
    def stroke(self) -> Stroke:
        """The brush as a profile stores it, for any image."""
        if self.theta is None:
            return Stroke(direction=self.name, turned=self.turned)
        *coefficients, weight = self.theta.tolist()
        return Stroke(
            direction=self.name, weight=weight, filter=tuple(coefficients), turned=self.turned
        )


class Canvas:
    """The image that brushes paint on, and the best candidate so far."""

    def __init__(self, task: Task) -> None:
        self.task, self.image = task, task.image8
        detail = high_frequencies(self.image)[None, None]
        self.detail = F.pad(detail, (MARGIN,) * 4, mode="replicate")[0, 0]
        self.best, self.gain, self.left = self.image, 0.0, task.queries

    def ask(self, candidate: Tensor) -> Generator[Tensor, Answer, float]:
        """The gain of a candidate; the best one is kept, the latest among equals."""
        answer = yield candidate[None]
        self.left = answer.left
        gain = float(answer.gain[0])
        if gain >= self.gain:
            self.best, self.gain = answer.pixels[0], gain
        return gain

    @property
    def crossed(self) -> bool:
        """Whether the objective has a score boundary that is crossed."""
        goal = self.task.boundary
        return goal is not None and goal.crossed(self.gain)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to gain."""
        return self.crossed or self.gain >= self.task.reach

    def painted(self, brush: Brush, window: Window | None = None) -> Tensor:
        """The image made white or black by the signs of a brush; or, in a window, the best one.

        The engine projects white and black onto the faces of the box.
        """
        picture = self.best.clone() if window else torch.empty_like(self.image)
        rows, columns = window or tuple(slice(0, side) for side in self.image.shape[1:])
        signs = np.array(brush.channels, np.int8)[:, None, None]
        for band in bands(rows, columns.stop - columns.start):
            field = self.field(brush, band, columns).numpy()
            if brush.channels != EVERY:
                field = field * signs
            place = (slice(None), band, columns)
            painted = picture.numpy()[place]
            np.bitwise_or(self.image.numpy()[place], _mask(field > 0), out=painted)
            np.bitwise_and(painted, _mask(field >= 0), out=painted)
        for channel in (number for number, sign in enumerate(brush.channels) if not sign):
            picture[channel] = self.best[channel]
        return picture

    def field(self, brush: Brush, rows: slice, columns: slice) -> Tensor:
        """The field whose signs are painted, in a window: (1 or 3, h, w)."""
        signs: Tensor = brush.signs[:, rows, columns]
        if brush.theta is None:
            return signs
        weighted = np.multiply(signs.numpy(), np.float32(brush.theta[-1]), dtype=np.float32)
        weighted += self._filtered(brush.theta[:-1], rows, columns)
        return torch.from_numpy(weighted)

    def _filtered(
        self, coefficients: Coefficients, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        """Filtered with OpenCV, which takes a fifth of PyTorch's time for one plane."""
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
        """A random square; its side shrinks in steps as the first queries are spent."""
        progress = (first_left - self.left) / max(first_left, 1)
        height, width = self.image.shape[1:]
        stage = min(int(progress * len(SQUARES)), len(SQUARES) - 1)
        side = max(1, round(SQUARES[stage] * min(height, width)))
        down, across = torch.rand(2, generator=self.task.rng, dtype=torch.float32).tolist()
        return interval(height, side / height, down), interval(width, side / width, across)


def _mask(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """All bits set where `where` holds."""
    return np.negative(where.view(np.uint8))
