"""The boundary attack (Brendel, Rauber & Bethge, ICLR 2018): a walk along the boundary.

Made for classifiers, where a candidate is adversarial or not. Here it is adversarial if its score
crossed a boundary (Yang et al., arXiv 2401.05217). Every step is a random one on the sphere around
the image, then one towards the image; the walk ends once the latter has shrunk to zero.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import count
from math import sqrt

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Count, Fraction
from iqattack.attacks.shared.adaptive_boundaries import on_boundaries
from iqattack.attacks.shared.start import towards_image
from iqattack.objectives import ScoreBoundary

# δ and ε, lengths of the two steps in units of the distance, adapt as in a trust region (sec. 2.4):
# half of the steps on the sphere are to succeed. The paper leaves the rest open. FACTOR, CHECK and
# CONVERGED are those of foolbox, which the authors name; its 100 and 30 trials are for tens of
# thousands of queries, and 10 and 20 let the lengths adapt within hundreds.
DELTA = EPSILON = 0.01
FACTOR = 1.5  # by which a length changes
CHECK = 10  # every CHECK-th step queries the point on the sphere by itself
SPHERE = (10, 0.5, 0.2)  # trials; δ and ε grow above the first share of successes, shrink below
SOURCE = (20, 0.25, 0.1)  # the other; likewise for ε alone
LEAST = 0.5  # RMS of a step on the sphere, grey levels: 8 bits leave little of a shorter one
CONVERGED = 1e-5  # ε of the end, far below what 8 bits show
HALVINGS = 10  # of the binary search that the walk begins with


def boundary_attack(
    task: Task, boundary: Fraction = 0.1, starts: Count = 200, adapt: Count = 0
) -> Search:
    """Algorithm 1, on one score boundary or on ones that adapt.

    boundary: fraction b of the way to the end of the score range, in (0, 1]; the boundary of an
        objective, such as rank:0.2, takes precedence.
    adapt: queries per boundary before moving to the next, starting with `boundary`; 0: only one.
    starts: candidates to try for the first crossing.
    """
    yield from on_boundaries(task, boundary, starts, adapt, partial(walk, task))


def walk(task: Task, goal: ScoreBoundary, start: Tensor) -> Search:
    """The walk from an image that crosses."""
    o = task.image
    o_tilde = yield from towards_image(task, start, goal, HALVINGS)
    delta, epsilon = DELTA, EPSILON
    on_sphere: deque[bool] = deque(maxlen=SPHERE[0])
    to_source: deque[bool] = deque(maxlen=SOURCE[0])
    for k in count():
        z = o_tilde - o
        d = float(torch.linalg.vector_norm(z))
        if torch.equal(o_tilde.round(), o) or epsilon < CONVERGED:
            return
        delta = max(delta, LEAST * sqrt(o.numel()) / d)
        eta = torch.randn(o.shape, generator=task.rng, dtype=torch.float32)
        eta.sub_(z, alpha=float(torch.dot(eta.flatten(), z.flatten())) / d**2)
        z = z.add_(eta, alpha=delta * d / float(torch.linalg.vector_norm(eta).clamp(min=1e-9)))
        z *= d / torch.linalg.vector_norm(z)
        if k % CHECK == 0:
            sphere = (o + z).clamp(task.lower, task.upper)
            on_sphere.append(goal.crossed(float((yield sphere[None]).gain[0])))
        nearer = torch.add(o, z, alpha=1.0 - epsilon).clamp(task.lower, task.upper)
        crossed = goal.crossed(float((yield nearer[None]).gain[0]))
        to_source.append(crossed)
        if crossed and torch.linalg.vector_norm(nearer - o) < d:
            o_tilde = nearer
        factor = adapted(on_sphere, *SPHERE)
        delta, epsilon = delta * factor, min(epsilon * factor * adapted(to_source, *SOURCE), 0.5)


def adapted(successes: deque[bool], trials: int, most: float, least: float) -> float:
    """By how much a length changes, once there were enough trials; they count anew after that."""
    if len(successes) < trials:
        return 1.0
    share = sum(successes) / trials
    successes.clear()
    return FACTOR if share > most else 1.0 / FACTOR if share < least else 1.0
