"""The last stage: towards the clean image, as far as the best one still crosses the boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from iqattack.attacks.contract import Search
from iqattack.attacks.shared.painting.canvas import Canvas
from iqattack.attacks.shared.start import towards_image
from iqattack.objectives import ScoreBoundary

HALVINGS = 10  # of the binary search over the whole image


def way_back(canvas: Canvas) -> Search:
    """Binary search over the whole image, then square by square; none if no boundary is crossed."""
    goal = canvas.task.boundary
    if goal is not None and canvas.crossed:
        canvas.task.stage("way back")
        x = yield from towards_image(canvas.task, canvas.best, goal, HALVINGS)
        yield from _taken_back(canvas, x, goal)


def _taken_back(canvas: Canvas, x: Tensor, goal: ScoreBoundary) -> Search:
    """Random squares, coarse to fine, restored to the clean image if the rest still crosses."""
    image, first_left = canvas.image, canvas.left
    while True:
        window = (slice(None), *canvas.square(first_left))
        if torch.equal(x[window], image[window]):
            continue
        candidate = x.clone()
        candidate[window] = image[window]
        answer = yield candidate[None]
        canvas.left = answer.left
        if goal.crossed(float(answer.gain[0])):
            x = answer.pixels[0]
