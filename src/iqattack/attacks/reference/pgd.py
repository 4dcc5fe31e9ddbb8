"""PGD (Madry, Makelov, Schmidt, Tsipras & Vladu, ICLR 2018): the white-box ceiling.

It uses the attacked model's own gradient, so it is not a black-box attack: it shows how much an
attack could gain. The score replaces a classifier's loss. An attack does not know its direction, so
the first two candidates decide the sign of the gradient; while nothing gains, each restart flips
it. Steps are proportional to the width of the box at each value, so that boxes whose width differs
from pixel to pixel are crossed evenly.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import ATTACKED, Gradients, ModelOption, Positive

STEPS = 40  # per restart, as for MNIST in sec. 4
# Total length of all steps, in radii of the box (the authors' a = 2.5·ε/steps): every point of the
# box can be reached from any start, with some movement left at the boundary.
PATH = 2.5
ITSELF = Gradients(ATTACKED)


def pgd(
    task: Task,
    model: ModelOption = ITSELF,
    steps: Annotated[int, Field(ge=1)] = STEPS,
    path: Positive = PATH,
) -> Search:
    """Sign steps x ← Π(x + α·sgn ∇f(x)), eq. in sec. 2.1, with random restarts (sec. 4).

    model: whose gradients are used, `attacked` for the white-box attack; steps: per restart; path:
        their total length in radii of the box. Gradients are not counted: each query comes with
        one.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    alpha = path / steps * (task.upper - task.lower) / 2
    # One full grey level, because less may be lost in rounding to 8 bits.
    first = model(task.image[None])[0].sign()
    gains = (yield torch.stack([task.image + first, task.image - first])).gain
    upwards = 1.0 if gains[0] >= gains[1] else -1.0
    best, x = float(gains.max()), task.image
    if best >= task.reach:
        return
    while True:
        for _ in range(steps):
            x = x + upwards * alpha * model(x[None])[0].sign()
            x = x.clamp(task.lower, task.upper)
            best = max(best, float((yield x[None]).gain[0]))
            if best >= task.reach:
                return
        if best <= 0.0:
            upwards = -upwards
        x = torch.lerp(
            task.lower, task.upper, torch.rand(x.shape, generator=task.rng, dtype=torch.float32)
        )
