"""A few steps along the gradients of another model: a substitute or a student."""

from __future__ import annotations

from torch import Tensor

from iqattack.attacks.contract import Gradient, Task

STEPS = 10  # across the box


def ascent(task: Task, gradient: Gradient, sign: float, steps: int = STEPS) -> Tensor:
    """The image after `steps` steps along the signs of a gradient, (3, H, W).

    sign: 1 to ascend the other model's score, −1 to descend it. The total length of `STEPS` steps
    is the width of the box.
    """
    step = (task.upper - task.lower) / STEPS
    x = task.image
    for _ in range(steps):
        x = x + sign * step * gradient(x[None])[0].sign()
        x = x.clamp(task.lower, task.upper)
    return x
