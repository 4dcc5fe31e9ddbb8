"""Square Attack (Andriushchenko, Croce, Flammarion & Hein, ECCV 2020): random search by squares.

A classifier's margin is the loss there; here it is the movement of the score, and the search goes
on until the budget or the score range ends. Where the paper says x ± ε the candidate lies on the
end of the box, whose width may differ from pixel to pixel.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Fraction, Norm, Positive
from iqattack.attacks.square_l2 import EPSILON, shift, tiles
from iqattack.directions import window

# p, the share of pixels that a square covers, halves after each of these queries of NOMINAL (sec.
# 3.2 and 5); another budget stretches the schedule.
HALVES = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
NOMINAL = 10_000


def square(
    task: Task, norm: Norm = "linf", p_init: Fraction = 0.05, epsilon: Positive = EPSILON
) -> Search:
    """Algorithm 1.

    norm: linf, where every value lies on an end of the box, or l2, where the length of the change
        is at most ε as well; p_init: share of pixels of the first squares, for L2 0.1 in the paper.
    epsilon: ε of L2 as RMS over the image, in grey levels, before rounding to 8 bits: of less than
        one, rounding makes more or less.
    """
    low, high, rng = task.lower.byte(), task.upper.byte(), task.rng
    if torch.equal(low, high):
        return

    def sampled(x_hat: Tensor, i: int) -> Tensor:
        h = side(task, i, p_init)
        return shift(task, x_hat, epsilon, h) if norm == "l2" else repaint(x_hat, low, high, h, rng)

    start = tiles(task, epsilon) if norm == "l2" else stripes(low, high, rng)
    yield from random_search(task, start, sampled)


def random_search(task: Task, x_hat: Tensor, sampled: Callable[[Tensor, int], Tensor]) -> Search:
    """Keep what gains more, from x̂ on; sampled: the candidate of x̂ and the query's number i."""
    best = float((yield x_hat[None]).gain[0])
    for i in count(1):
        if best >= task.reach:
            return
        new = sampled(x_hat, i)
        gain = float((yield new[None]).gain[0])
        if gain > best:
            x_hat, best = new, gain


def side(task: Task, i: int, p_init: float) -> int:
    """Side h of the square at query i (sec. 3.2), of which p is the share of the image."""
    p = p_init / 2.0 ** bisect_left(HALVES, i * NOMINAL // task.queries)
    return max(1, round(float((p * task.image[0].numel()) ** 0.5)))


def stripes(low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
    """Vertical stripes one pixel wide, a sign for each channel of each (sec. 3.3)."""
    signs = torch.randint(2, (3, 1, low.shape[2]), generator=rng).bool()
    return torch.where(signs, high, low)


def repaint(x_hat: Tensor, low: Tensor, high: Tensor, h: int, rng: torch.Generator) -> Tensor:
    """Algorithm 2: a square of one sign ρ a channel, drawn until it changes something."""
    new = x_hat.clone()
    while torch.equal(new, x_hat):
        place = window(new.shape, h, rng)
        rho = torch.randint(2, (3, 1, 1), generator=rng).bool()
        new[place] = torch.where(rho, high[place], low[place])
    return new
