"""NES (Ilyas, Engstrom, Athalye & Lin, ICML 2018): a gradient from scores of noisy images.

The gain replaces the log-probability of a classifier. The published σ and η are 0.001 and 0.01 of
[0, 1]: the first is a quarter of a grey level and vanishes in 8 bits, the second is too large for a
narrow box. Both are one grey level here.

The defaults are the strongest options that we found (`benchmarks/baselines.py`): noise is grey,
since most models mainly use luma and only a third of the parameters is then left to estimate;
samples are compared with their mean instead of their mirror images, which measure one direction
twice; steps shrink towards the end. The form of the paper is `nes:mirrored=yes,grey=no,last=1`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.options import Fraction, Positive

# SAMPLES as in NR-IQA (Bychkov et al., ICME 2025), fewer than the authors'; MOMENTUM as in their
# code, whose step also shrinks, on a plateau.
SAMPLES = 20  # n
SIGMA = 1.0  # search deviation σ, grey levels
ETA, LAST = 1.0, 0.5  # step η at first and at the end, grey levels
MOMENTUM = 0.9


def nes(
    task: Task,
    samples: Annotated[int, Field(ge=2)] = SAMPLES,
    sigma: Positive = SIGMA,
    eta: Positive = ETA,
    last: Positive = LAST,
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = MOMENTUM,
    grey: bool = True,
    mirrored: bool = False,
    density: Fraction = 1.0,
) -> Search:
    """Sign steps (sec. 3.2) along the estimate of sec. 3.1.

    samples: number per estimate, rounded down to pairs; sigma: their standard deviation; eta, last:
    the step at the beginning and at the end of the budget, all in grey levels; momentum: share of
    the last direction that is kept in the next; grey: whether noise is the same in all channels;
    mirrored: whether each sample is paired with its mirror image (antithetic, as in the paper)
    instead of compared with the mean of all; density: share of the pixels that a sample changes.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    x_hat, direction = task.image, torch.zeros_like(task.image)
    while True:
        g = yield from estimated(task, x_hat, samples // 2, sigma, grey, mirrored, density)
        direction = momentum * direction + (1.0 - momentum) * g.gradient
        step = eta + (last - eta) * (1.0 - g.left / task.queries)
        x_hat = (x_hat + step * direction.sign()).clamp(task.lower, task.upper)
        if float((yield x_hat[None]).gain[0]) >= task.reach:
            return


@dataclass(frozen=True)
class Estimate:
    """Of the gradient of the gain, (3, H, W) per grey level; left: queries after it."""

    gradient: Tensor
    left: int


def estimated(
    task: Task, x_hat: Tensor, pairs: int, sigma: float, grey: bool, mirrored: bool, density: float
) -> Generator[Tensor, Answer, Estimate]:
    """The mean of noise times what it gained (sec. 3.1), over what the mean or the mirror gained.

    Two samples a turn, as large images leave no room for more.
    """
    shape = (1, *x_hat.shape[1:]) if grey else x_hat.shape

    def noise() -> Tensor:
        u = sigma * torch.randn(shape, generator=task.rng, dtype=torch.float32)
        if density < 1.0:
            u *= torch.rand(shape[1:], generator=task.rng, dtype=torch.float32) < density
        return u

    weighted, sum_of_noise, gains = torch.zeros_like(x_hat), torch.zeros_like(x_hat), 0.0
    for _ in range(pairs):
        u = noise()
        answer = yield torch.stack((x_hat + u, x_hat - u if mirrored else x_hat + noise()))
        # What was scored, not u: of a sample beyond the box less is left.
        scored = answer.images - x_hat
        gained = answer.gain - answer.gain.mean() if mirrored else answer.gain
        for change, gain in zip(scored, gained.tolist(), strict=True):
            weighted += gain * change
            sum_of_noise += change
            gains += gain
    g = weighted - gains / (2 * pairs) * sum_of_noise
    if grey:
        g = g.mean(0, keepdim=True).expand_as(g)
    return Estimate(g / (2 * pairs * sigma**2), answer.left)
