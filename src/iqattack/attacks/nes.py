"""NES (Ilyas, Engstrom, Athalye & Lin, ICML 2018): a gradient from antithetic samples.

A classifier's log-probability is the loss there; here it is the movement of the score. The
published σ and η, 0.001 and 0.01 of [0, 1], are a quarter of a grey level and too far for a narrow
box: the first vanishes in 8 bits, where a query costs the same. Both are one grey level here.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Positive

# SAMPLES as in NR-IQA (Bychkov et al., ICME 2025), fewer than the authors'; MOMENTUM as in their
# code, whose step also shrinks on a plateau, which whole grey levels leave no room for.
SAMPLES = 20  # n, half of them mirrored
SIGMA = 1.0  # search deviation σ, grey levels
ETA = 1.0  # step η, grey levels
MOMENTUM = 0.9


def nes(
    task: Task,
    samples: Annotated[int, Field(ge=2)] = SAMPLES,
    sigma: Positive = SIGMA,
    eta: Positive = ETA,
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = MOMENTUM,
) -> Search:
    """Sign steps (sec. 3.2) along the estimate of sec. 3.1.

    samples: scored for one estimate, rounded down to pairs; sigma: their deviation; eta: the step,
    both in grey levels; momentum: share of the last direction that stays in the next.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    x_hat, direction = task.image, torch.zeros_like(task.image)
    while True:
        g = torch.zeros_like(x_hat)
        for _ in range(samples // 2):
            u = sigma * torch.randn(x_hat.shape, generator=task.rng, dtype=torch.float32)
            answer = yield torch.stack((x_hat + u, x_hat - u))
            up, down = answer.gain.tolist()
            # What was scored, not u: of a sample beyond the box less is left.
            g += (up - down) * (answer.images[0] - answer.images[1])
        g /= 2 * sigma**2 * samples
        direction = momentum * direction + (1.0 - momentum) * g
        x_hat = (x_hat + eta * direction.sign()).clamp(task.lower, task.upper)
        if float((yield x_hat[None]).gain[0]) >= task.reach:
            return
