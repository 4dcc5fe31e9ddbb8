"""Unrestricted attacks: a global transform whose few parameters are optimised by CMA-ES.

Siniukov, Antsiferova, Kulikov & Vatolin (Applied Sciences 2021) tune such transforms to raise a
full-reference score, and Bychkov et al. (ICME 2025) use them on no-reference models. They change
the appearance of the whole image, so their constraint is `none`; in a box, candidates are clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.attacks.contract import Search, Task

SIGMA = 0.3  # initial step size of CMA-ES, with parameters scaled to [0, 1]
Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Transform = Callable[..., Picture]


@dataclass(frozen=True)
class Parameter:
    """A range, searched from its middle; log: on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value at a fraction of the range."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return float(self.low + (self.high - self.low) * share)


def search_parameters(task: Task, transform: Transform, parameters: Sequence[Parameter]) -> Search:
    """CMA-ES (Hansen) over the parameters, one generation at a time, restarted on convergence."""
    from cmaes import CMA  # noqa: PLC0415 - imports scipy.stats, which takes a second

    image = np.ascontiguousarray(task.image8.permute(1, 2, 0).numpy())
    bounds = np.tile([0.0, 1.0], (len(parameters), 1))

    def candidate(shares: NDArray[np.float64]) -> Tensor:
        values = [p.at(float(share)) for p, share in zip(parameters, shares, strict=True)]
        return torch.from_numpy(transform(image, *values)).permute(2, 0, 1)

    if torch.equal(task.lower8, task.upper8):
        return
    best = 0.0
    while best < task.reach:
        seed = int(torch.randint(2**31, (), generator=task.rng))
        start = np.full(len(parameters), 0.5)
        search = CMA(mean=start, sigma=SIGMA, bounds=bounds, seed=seed)
        while not search.should_stop() and best < task.reach:
            shares = [search.ask() for _ in range(search.population_size)]
            answer = yield torch.stack([candidate(x) for x in shares])
            search.tell([(x, -float(gain)) for x, gain in zip(shares, answer.gain, strict=True)])
            best = max(best, float(answer.gain.max()))
