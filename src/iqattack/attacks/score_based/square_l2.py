"""The L2 form of Square Attack (Andriushchenko et al., ECCV 2020, sec. 3.4): start and sampling.

`square:norm=l2` searches with it. The box of the task stands for the [0, 1] of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iqattack.attacks.contract import Task
from iqattack.directions import eta, window

EPSILON = 3.29  # ε as RMS in grey levels: the paper's ‖δ‖₂ = 5 of [0, 1] at 224×224×3
TILES = 5  # squares along the shorter side at the start
LEAST = 3  # side of a square


def tiles(task: Task, epsilon: float, grey: bool = False) -> Tensor:
    """The start: η of random sign in every tile of a grid, of length ε."""
    _, height, width = task.image.shape
    h = max(min(height, width) // TILES, 1)
    down, across = height // h, width // h
    nu = torch.zeros_like(task.image)
    nu[:, : down * h, : across * h] = torch.kron(_signs(task, grey, (down, across)), eta(h))
    return nu.mul_(epsilon * (nu.numel() / float(nu.square().sum())) ** 0.5).add_(task.image)


def shift(task: Task, x_hat: Tensor, epsilon: float, h: int, grey: bool = False) -> Tensor:
    """Algorithm 3: the change ν in window W2, and what it has not used of ε, go to window W1."""
    h = min(max(h, LEAST), *x_hat.shape[1:])
    eta_star = eta(h) if torch.rand((), generator=task.rng, dtype=torch.float32) < 0.5 else eta(h).T
    w1, w2 = window(x_hat.shape, h, task.rng), window(x_hat.shape, h, task.rng)
    nu = x_hat.clamp(task.lower, task.upper) - task.image
    rest = nu.clone()
    rest[w1] = rest[w2] = 0.0
    unused = (epsilon**2 * nu.numel() - nu.square().sum()).clamp(min=0.0)
    available = (nu.square() - rest.square()).sum((1, 2)) + unused / 3
    temp = _signs(task, grey, (1, 1)) * eta_star + _unit(nu[w1])
    rest[w1] = _unit(temp) * available.clamp(min=0.0).sqrt()[:, None, None]
    return task.image + rest


def _signs(task: Task, grey: bool, shape: tuple[int, int]) -> Tensor:
    """(1, *shape) where the channels have one sign, (3, *shape) where each has its own."""
    return torch.randint(2, (1 if grey else 3, *shape), generator=task.rng) * 2.0 - 1.0


def _unit(values: Tensor) -> Tensor:
    """Each channel of length 1; one of zeros as it is."""
    length = values.square().sum((1, 2), keepdim=True).sqrt()
    return values / length.clamp(min=1e-9)
