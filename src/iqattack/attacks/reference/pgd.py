"""PGD (Madry, Makelov, Schmidt, Tsipras & Vladu, ICLR 2018): the white-box ceiling.

It uses the attacked model's own gradient, so it is not a black-box attack: it shows how much there
is to find. A classifier's loss is ascended there, the score here; which way is up the first two
candidates tell, as an attack does not know its direction, and the other one is tried for as long as
nothing gains. A step is a share of each value's own room, so that boxes whose width differs from
pixel to pixel are crossed evenly.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import ATTACKED, Gradients, ModelOption, Positive

STEPS = 40  # of a restart, as for MNIST in sec. 4
# All steps together, in radii of the box (the authors' a = 2.5·ε/steps): each end can be reached
# from any start, with some movement left at the boundary.
PATH = 2.5
ITSELF = Gradients(ATTACKED)


def pgd(
    task: Task,
    model: ModelOption = ITSELF,
    steps: Annotated[int, Field(ge=1)] = STEPS,
    path: Positive = PATH,
) -> Search:
    """Sign steps x ← Π(x + α·sgn ∇f(x)), eq. in sec. 2.1, with random restarts (sec. 4).

    model: whose gradients, `attacked` for the white-box attack; steps: of a restart; path: length
        of all of them in radii of the box. A gradient costs no query, so there is one a query.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    alpha = path / steps * (task.upper - task.lower) / 2
    # One grey level, as less may vanish in 8 bits.
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
