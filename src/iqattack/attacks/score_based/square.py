"""Square Attack (Andriushchenko, Croce, Flammarion & Hein, ECCV 2020): random search by squares.

The gain replaces the margin of a classifier, and the search continues until the budget or the score
range ends. In place of x ± ε, candidates lie on the ends of the box, whose width may differ from
pixel to pixel.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Fraction, Norm, Positive
from iqattack.attacks.score_based.square_l2 import EPSILON, shift, tiles
from iqattack.directions import window

# p, the share of pixels that a square covers, halves after each of these queries of NOMINAL (sec.
# 3.2 and 5); another budget stretches the schedule.
HALVES = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
NOMINAL = 10_000


def square(
    task: Task,
    norm: Norm = "linf",
    p_init: Fraction = 0.05,
    epsilon: Positive = EPSILON,
    grey: bool = False,
) -> Search:
    """Algorithm 1.

    norm: linf, where every value lies on an end of the box, or l2, where the length of the change
        is at most ε as well; p_init: share of pixels of the first squares, for L2 0.1 in the paper.
    epsilon: ε of L2 as RMS over the image, in grey levels, before rounding to 8 bits: of less than
        one, rounding makes more or less.
    grey: whether the channels of a stripe or square have one sign (ours), not each its own.
    """
    if torch.equal(task.lower8, task.upper8):
        return

    def sampled(x_hat: Tensor, i: int) -> Tensor:
        h = side(task, i, p_init)
        if norm == "l2":
            return shift(task, x_hat, epsilon, h, grey)
        return repaint(task, x_hat, h, grey)

    start = tiles(task, epsilon, grey) if norm == "l2" else stripes(task, grey)
    yield from random_search(task, start, sampled)


def random_search(task: Task, x_hat: Tensor, sampled: Callable[[Tensor, int], Tensor]) -> Search:
    """Keep what gains more, from x̂ on; sampled: the candidate of x̂ and of i queries before."""
    answer = yield x_hat[None]
    best = float(answer.gain[0])
    while best < task.reach:
        new = sampled(x_hat, task.queries - answer.left)
        answer = yield new[None]
        if (gain := float(answer.gain[0])) > best:
            x_hat, best = new, gain


def side(task: Task, i: int, p_init: float) -> int:
    """Side h of the square after i queries (sec. 3.2), of which p is the share of the image."""
    p = p_init / 2.0 ** bisect_left(HALVES, i * NOMINAL // task.queries)
    return max(1, round(float((p * task.image8[0].numel()) ** 0.5)))


def stripes(task: Task, grey: bool = False) -> Tensor:
    """Vertical stripes one pixel wide, a sign for each channel of each (sec. 3.3)."""
    channels = 1 if grey else 3
    signs = torch.randint(2, (channels, 1, task.image8.shape[2]), generator=task.rng).bool()
    return torch.where(signs, task.upper8, task.lower8)


def repaint(task: Task, x_hat: Tensor, h: int, grey: bool = False) -> Tensor:
    """Algorithm 2: a square of one sign ρ a channel, drawn until it changes something."""
    while True:
        place = window(x_hat.shape, h, task.rng)
        rho = torch.randint(2, (1 if grey else 3, 1, 1), generator=task.rng).bool()
        square = torch.where(rho, task.upper8[place], task.lower8[place])
        if not torch.equal(square, x_hat[place]):
            new = x_hat.clone()
            new[place] = square
            return new
