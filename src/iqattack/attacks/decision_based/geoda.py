"""GeoDA (Rahmati, Moosavi-Dezfooli, Frossard & Dai, CVPR 2020): a boundary that is almost flat.

Made for classifiers, where a candidate is adversarial or not. Here ρ is 1 where the score crossed a
boundary (Yang et al., arXiv 2401.05217), else −1. The published σ, 0.0002 of [0, 1], vanishes in
8 bits; probes have a deviation of one grey level. A step that runs into the box goes on along it.
"""

from __future__ import annotations

from functools import partial
from itertools import count

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Count, Fraction, Norm
from iqattack.attacks.shared.adaptive_boundaries import adapts, on_boundaries
from iqattack.attacks.shared.start import length, towards_image
from iqattack.directions import low_frequency
from iqattack.objectives import ScoreBoundary

SIGMA = 1.0  # deviation of a probe, grey levels
SPECTRUM = 0.11  # of the frequencies, lowest first: the paper's 75×75 of 224×224 (sec. 4)
# Estimates grow from one to the next by λ^(−2/3), the best split of a budget (sec. 3.3, eq. 13).
GROWTH = 0.6 ** (-2 / 3)
FIRST = 80  # probes of the first estimate, at most, released
RESERVE = 25  # queries beside each estimate, released
LEAST_PROBES = 10
HALVINGS = 10  # of a binary search
OUTWARDS, LONGEST = 1.25, 16  # factor on r until x + r·v crosses, and how often


def geoda(
    task: Task,
    boundary: Fraction = 0.1,
    norm: Norm = "l2",
    starts: Count = 200,
    adapt: Count = 0,
) -> Search:
    """Algorithm 1, on one score boundary or on ones that adapt.

    boundary: fraction b of the way to the end of the score range, in (0, 1]; the boundary of an
        objective, such as rank:0.2, takes precedence.
    adapt: queries per boundary before moving to the next, starting with `boundary`; 0: only one.
    norm: l2 or linf, the distance to minimise. starts: candidates to try for the first crossing.
    """
    budget = adapt if adapts(task, adapt) else task.queries
    yield from on_boundaries(task, boundary, starts, adapt, partial(shorten, task, norm, budget))


def shorten(task: Task, norm: Norm, budget: int, goal: ScoreBoundary, start: Tensor) -> Search:
    """Algorithm 1 from an image that crosses; `budget` queries are split over the iterations."""
    x = task.image
    x_b = yield from towards_image(task, start, goal, HALVINGS, norm)
    first = first_estimate(budget)
    for t in count():
        distance = length(x_b - x, norm)
        if torch.equal(x_b.round(), x):
            return
        w = torch.zeros_like(x)  # the normal, eq. 8
        for _ in range(max(round(first * GROWTH**t), LEAST_PROBES)):
            eta = low_frequency(x.shape, SPECTRUM, task.rng)
            eta *= SIGMA / eta.square().mean().sqrt().clamp(min=1e-9)
            crossed = goal.crossed(float((yield (x_b + eta)[None]).gain[0]))
            w.add_(eta, alpha=1.0 if crossed else -1.0)
        v = w / torch.linalg.vector_norm(w).clamp(min=1e-9) if norm == "l2" else w.sign()
        r = distance  # the least r such that x + r·v crosses, eq. 11: outwards, then by halves
        for _ in range(LONGEST):
            outer = torch.add(x, v, alpha=r).clamp(task.lower, task.upper)
            if goal.crossed(float((yield outer[None]).gain[0])):
                found = yield from towards_image(task, outer, goal, HALVINGS, norm)
                if length(found - x, norm) < distance:
                    x_b = found
                break
            r *= OUTWARDS


def first_estimate(budget: int) -> float:
    """Probes of the first estimate, of as few estimates as leave it no more than FIRST."""
    for T in count(1):
        probes = budget - HALVINGS - RESERVE * T
        first = probes * (GROWTH - 1.0) / (GROWTH**T - 1.0)
        if first <= FIRST:
            break
    return first
