"""Noise at the boundary of the box: the baseline that every attack must beat."""

from __future__ import annotations

from typing import Literal

import torch

from iqattack.attacks.contract import Search, Task


def noise(task: Task, kind: Literal["both", "gaussian", "uniform"] = "both") -> Search:
    """Gaussian and uniform noise in turn; the best sample within the budget counts.

    kind: both, or one of them. Their standard deviation is the radius of the box, to which they are
        clipped.
    """
    radius = torch.maximum(task.upper - task.image, task.image - task.lower)
    shape = task.image.shape
    while True:
        if kind != "uniform":
            values = torch.randn(shape, generator=task.rng, dtype=torch.float32)
            yield (task.image + radius * values)[None]
        if kind != "gaussian":
            values = (
                2.0 * torch.rand(shape, generator=task.rng, dtype=torch.float32) - 1.0
            ) * 3.0**0.5
            yield (task.image + radius * values)[None]
