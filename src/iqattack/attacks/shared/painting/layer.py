"""Applies image-independent patterns to an image."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from iqattack.attacks.contract import Task
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.first import brushes_of
from iqattack.directions import Pattern, Stroke, Tile

SIGNS = 4  # directions of the bank whose signs are cached


class Layer:
    """Applies patterns to one image; the same pattern always gives the same candidate."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._canvas: Canvas | None = None
        self._brush = lru_cache(SIGNS)(self._brush_of)

    def __call__(self, pattern: Pattern) -> Tensor:
        """The image with a pattern applied (3, H, W): grey levels, or white and black."""
        if isinstance(pattern, Tile) and pattern.filter is None:
            return self._tiled(pattern)
        return self._painted(pattern)

    def _tiled(self, tile: Tile) -> Tensor:
        """Values of a tile are fractions of the way from the image to the faces of the box."""
        image, values = self.task.image, self._repeated(tile)
        room = torch.where(values > 0, self.task.upper - image, image - self.task.lower)
        return image + values * room

    def _painted(self, pattern: Pattern) -> Tensor:
        if self._canvas is None:
            self._canvas = Canvas(self.task)
        if isinstance(pattern, Tile):
            brush = Brush("tile", self._repeated(pattern).sign().to(torch.int8))
        else:
            brush = self._brush(pattern.model_copy(update={"filter": None, "weight": 1.0}))
        if pattern.filter is not None:
            brush = replace(brush, theta=pattern.theta)
        return self._canvas.painted(brush)

    def _repeated(self, tile: Tile) -> Tensor:
        height, width = self.task.image8.shape[1:]
        down, across = tile.values.shape[1:]
        repeated = tile.values.repeat(1, -(-height // down), -(-width // across))
        return repeated[:, :height, :width]

    def _brush_of(self, direction: Stroke) -> Brush:
        # From the initial state, so that the bank's noise does not depend on earlier calls.
        task = replace(self.task, rng=self.task.rng.clone_state())
        return next(brushes_of(task, [direction]))
