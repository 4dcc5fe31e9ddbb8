"""Initialisation of decision-based attacks: across the score boundary, then towards the image."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import torch
from torch import Tensor

from iqattack.attacks.contract import Answer, Task
from iqattack.attacks.options import Norm
from iqattack.directions import SparseNoise
from iqattack.objectives import ScoreBoundary
from iqattack.perception import bands

Point = Generator[Tensor, Answer, Tensor]


class Goal(Protocol):
    """What must be crossed: a score boundary, or one that adapts to each candidate."""

    def crossed(self, gain: float) -> bool:
        """Whether a gain crosses it."""
        ...


def length(change: Tensor, norm: Norm) -> float:
    """L2 or L-infinity norm of a change, in grey levels."""
    return float(torch.linalg.vector_norm(change, 2.0 if norm == "l2" else float("inf")))


def start_across(
    task: Task, goal: Goal, starts: int, x_b: Tensor | None = None, gain: float = 0.0
) -> Generator[Tensor, Answer, Tensor | None]:
    """A crossing point made of texture in the box; None after `starts` candidates that fail.

    Each candidate adds texture to the best one so far, since a score carries more information than
    yes or no. x_b: where to start, with its gain; the clean image by default.
    """
    noise = SparseNoise(task.image8, task.lower8, task.upper8)
    start = task.image8 if x_b is None else x_b.round().to(torch.uint8)
    for _ in range(starts):
        answer = yield noise.draw(start, 1.0, task.rng).candidate[None]
        if answer.gain[0] > gain:
            start, gain = answer.pixels[0], float(answer.gain[0])
        if goal.crossed(gain):
            return start.float()
    return None


def towards_image(
    task: Task, x_b: Tensor, goal: ScoreBoundary, halvings: int, norm: Norm = "l2"
) -> Point:
    """Binary search between the image and x_b for the nearest crossing one.

    On the segment for L2; for L∞, the change is clipped to a radius. If x_b is uint8, so is the
    point, and no float images are made.
    """
    x = task.image8 if x_b.dtype == torch.uint8 else task.image
    low, high = 0.0, 1.0
    for _ in range(halvings):
        middle = (low + high) / 2
        answer = yield _between(x, x_b, middle, norm)[None]
        if goal.crossed(float(answer.gain[0])):
            high = middle
        else:
            low = middle
    return _between(x, x_b, high, norm)


def _between(x: Tensor, x_b: Tensor, share: float, norm: Norm) -> Tensor:
    most = share * length(x_b.float() - x.float(), norm) if norm == "linf" else 0.0

    def between(x: Tensor, x_b: Tensor) -> Tensor:
        return torch.lerp(x, x_b, share) if norm == "l2" else x + (x_b - x).clamp(-most, most)

    if x.dtype != torch.uint8:
        return between(x, x_b)
    point = torch.empty_like(x)
    for rows in bands(slice(0, x.shape[1]), x.shape[2]):
        point[:, rows] = between(x[:, rows].float(), x_b[:, rows].float()).round()
    return point
