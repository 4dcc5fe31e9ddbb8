"""A few steps along gradients that are not the victim's: of a substitute, or of a student."""

from __future__ import annotations

from torch import Tensor

from iqattack.attacks.contract import Gradient, Task

STEPS = 10  # across the box


def ascent(task: Task, gradient: Gradient, sign: float, steps: int = STEPS) -> Tensor:
    """The image after `steps` steps along the signs of a gradient, (3, H, W).

    sign: 1 for where the score of the gradient rises, −1 for where it falls. `STEPS` of them are as
    long as the box is wide.
    """
    step = (task.upper - task.lower) / STEPS
    x = task.image
    for _ in range(steps):
        x = x + sign * step * gradient(x[None])[0].sign()
        x = x.clamp(task.lower, task.upper)
    return x
