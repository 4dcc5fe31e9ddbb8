"""HopSkipJump (Chen, Jordan & Wainwright, IEEE S&P 2020): the boundary's normal from yes and no.

Made for classifiers, where a candidate is adversarial or not. Here φ is 1 where the score crossed
a boundary (Yang et al., arXiv 2401.05217), else −1. In 8 bits the published probe length, a
millionth of the distance per value, scores the same image over and over, so it is at least one
grey level a value.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from itertools import count
from math import sqrt

import torch
from torch import Tensor

from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.options import Count, Fraction, Norm
from iqattack.attacks.shared.adaptive_boundaries import adapts, on_boundaries
from iqattack.attacks.shared.start import length, towards_image
from iqattack.objectives import ScoreBoundary

B_0 = 100  # probes of the first estimate; B_0·√t of the t-th (sec. V-A)
PROBE = 1.0  # least RMS of a probe, grey levels; ours
HALVINGS = 10  # of a binary search; the published θ, finer than 8 bits can tell, would take 26
LEAST_STEP = 0.5  # largest change of a step, grey levels, below which it vanishes in 8 bits


def hop_skip_jump(
    task: Task,
    boundary: Fraction = 0.1,
    norm: Norm = "l2",
    starts: Count = 200,
    adapt: Count = 0,
) -> Search:
    """Algorithm 2, on one score boundary or on ones that adapt.

    boundary: fraction b of the way to the end of the score range, in (0, 1]; the boundary of an
        objective, such as rank:0.2, takes precedence.
    adapt: queries per boundary before moving to the next, starting with `boundary`; 0: only one.
    norm: l2 or linf, the distance to minimise. starts: candidates to try for the first crossing.
    """
    # Half of what a boundary that adapts gets, at most: a step is to follow the estimate.
    b_0 = min(B_0, max(adapt // 2 - HALVINGS, 1)) if adapts(task, adapt) else B_0
    yield from on_boundaries(task, boundary, starts, adapt, partial(shorten, task, norm, b_0))


def shorten(task: Task, norm: Norm, b_0: int, goal: ScoreBoundary, x_tilde: Tensor) -> Search:
    """Algorithm 2 from an image x̃ that crosses."""
    x = task.image
    for t in count(1):
        x_t = yield from towards_image(task, x_tilde, goal, HALVINGS, norm)
        if torch.equal(x_t.round(), x):
            return
        # Probe length δ_t (sec. IV-B); d is the number of values.
        d, distance = x.numel(), length(x_t - x, norm)
        delta = max(distance / d, PROBE * sqrt(d))
        v = yield from gradient_direction(task, x_t, goal, round(b_0 * sqrt(t)), delta)
        v = v / torch.linalg.vector_norm(v) if norm == "l2" else v.sign()
        # Geometric progression of the step ξ_t (sec. IV-C).
        xi, x_tilde = distance / sqrt(t), x_t
        while xi * float(v.abs().max()) >= LEAST_STEP:
            step = (x_t + xi * v).clamp(task.lower, task.upper)
            if goal.crossed(float((yield step[None]).gain[0])):
                x_tilde = step
                break
            xi /= 2


def gradient_direction(
    task: Task, x_t: Tensor, goal: ScoreBoundary, batch: int, delta: float
) -> Generator[Tensor, Answer, Tensor]:
    """The Monte Carlo estimate with a baseline, eq. 16, from `batch` probes of length δ."""
    seen, weighted, phi_sum = torch.zeros_like(x_t), torch.zeros_like(x_t), 0.0
    for _ in range(batch):
        u = torch.randn(x_t.shape, generator=task.rng, dtype=torch.float32)
        u *= delta / torch.linalg.vector_norm(u)
        answer = yield (x_t + u)[None]
        phi = 1.0 if goal.crossed(float(answer.gain[0])) else -1.0
        u = answer.images[0] - x_t  # what the box and 8 bits left of it
        seen += u
        weighted += phi * u
        phi_sum += phi
    if abs(phi_sum) == batch:  # all on one side
        return weighted
    return weighted - phi_sum / batch * seen
