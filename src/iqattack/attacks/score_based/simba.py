"""SimBA (Guo, Gardner, You, Wilson & Weinberger, ICML 2019): one direction of a basis at a time.

The gain replaces the decrease of a classifier's probability of the label. The published
step, ε = 0.2 of [0, 1] along a unit vector, changes no value of a 224×224 image by half a grey
level in the DCT basis and leaves every narrow box in the pixel basis, so steps are in units of the
box here. What the box cuts off stays in δ: directions that are added later may bring it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sqrt
from typing import Literal

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Positive

# Directions come in random order from the lowest 1/BANDS of the frequencies, rows and columns, of
# which the paper's r = 28 of 224 is the first (sec. 3.3); then from the next band.
BANDS = 8
STEP = 1.0  # ε, as peak of a DCT direction with both frequencies, in radii of the box (mean)


def simba(task: Task, basis: Literal["dct", "pixel"] = "dct", step: Positive = STEP) -> Search:
    """Algorithm 1; it ends once every direction was tried.

    basis: dct or pixel; step: peak of a direction that changes along rows and columns, in units of
        the box's mean radius, 0.7 of it for one that changes along one of them; a pixel always goes
        to the end of the box.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    x_hat, best = task.image, 0.0
    for channel, q in directions(task, step) if basis == "dct" else pixels(task):
        for alpha in (1.0, -1.0):
            new = x_hat.clone()
            new[channel] += alpha * q
            gain = float((yield new[None]).gain[0])
            if gain > best:
                x_hat, best = new, gain
                break
        if best >= task.reach:
            return


def directions(task: Task, step: float) -> Iterator[tuple[int, Tensor]]:
    """Channel and ε·q, with q (H, W) of the orthonormal DCT basis, without repetition."""
    _, height, width = task.image.shape
    epsilon = step * float((task.upper - task.lower).mean()) / 2 * sqrt(height * width) / 2
    rows, columns = (
        torch.arange(height, dtype=torch.int64)[:, None],
        torch.arange(width, dtype=torch.int64),
    )
    band = torch.maximum(rows * BANDS // height, columns * BANDS // width)
    shuffled = torch.randperm(task.image.numel(), generator=task.rng)
    bands = band.repeat(3, 1, 1).flatten()[shuffled]
    for index in shuffled[bands.argsort(stable=True)].int():
        channel, frequency = divmod(int(index), height * width)
        u, v = divmod(frequency, width)
        yield channel, epsilon * torch.outer(cosine(u, height), cosine(v, width))


def cosine(k: int, n: int) -> Tensor:
    """Vector k of the orthonormal DCT basis (type II) of length n."""
    scale = sqrt((1.0 if k == 0 else 2.0) / n)
    return torch.tensor(
        [scale * cos(pi * (i + 0.5) * k / n) for i in range(n)], dtype=torch.float32
    )


def pixels(task: Task) -> Iterator[tuple[int, Tensor]]:
    """Channel and a change (H, W) of one value by the width of the box, without repetition."""
    width = (task.upper - task.lower).contiguous()
    wide = width.flatten().nonzero()[:, 0]
    for index in wide[torch.randperm(len(wide), generator=task.rng)].int():
        q = torch.zeros_like(width)
        q.view(-1)[index] = width.view(-1)[index]
        yield int(index) // q[0].numel(), q[int(index) // q[0].numel()]
