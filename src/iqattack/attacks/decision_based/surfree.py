"""SurFree (Maho, Furon & Le Merrer, CVPR 2021): a shorter perturbation on one score boundary.

Made for classifiers, where a candidate is adversarial or not. Here it is adversarial when its
score crossed a boundary (Yang et al., arXiv 2401.05217, sec. III-D). SurFree shortens the
perturbation and lets the gain fall to the boundary; what it is worth to an attack that maximises
gain is the room it leaves in the box. Two things are as in the release of Yang et al., not as in
the one of Maho et al.: one angle of each sign is tried where there are three, and a direction is
orthogonal to the ten before it at most, of the same ten steps, where there are a hundred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from math import cos, inf, pi, sin

import torch
from torch import Tensor

from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.options import Count, Fraction
from iqattack.attacks.shared.adaptive_boundaries import Allowance, on_boundaries
from iqattack.attacks.shared.start import towards_image
from iqattack.directions import low_frequency, orthogonal
from iqattack.objectives import ScoreBoundary


@dataclass(frozen=True)
class Constants:
    """SurFree's, as released for the score-boundary attack.

    steps: directions drawn; queries: most for all of them; theta_max: first angle in radians;
    shrink: factor on the angle after a failure, its inverse after a success; memory: directions
    that the next one is orthogonal to; spectrum: share of the frequencies, lowest first, that a
    direction is made of; halvings, precision: end of the search for the angle, the latter in cos θ.
    """

    steps: int = 10
    queries: int = 100
    theta_max: float = pi / 6
    shrink: float = 0.98
    memory: int = 10
    spectrum: float = 0.5
    halvings: int = 10
    precision: float = 0.01


RELEASED = Constants()


def surfree(
    task: Task,
    boundary: Fraction = 0.1,
    starts: Count = 200,
    halvings: Count = 8,
    adapt: Count = 0,
) -> Search:
    """SurFree from texture in the box, on one score boundary or on ones that adapt.

    boundary: fraction b of the way to the end of the score range, in (0, 1]; the boundary of an
        objective, such as rank:0.2, takes precedence.
    adapt: queries per boundary before moving to the next, starting with `boundary`; 0: only one.
    starts: candidates tried to cross it; halvings: of the first binary search towards the image.
    """

    def rounds(goal: ScoreBoundary, start: Tensor) -> Search:
        x_b = yield from towards_image(task, start, goal, halvings)
        theta_max = RELEASED.theta_max
        while not torch.equal(x_b, task.image):
            x_b, theta_max = yield from shorten(task, x_b, goal, RELEASED.queries, theta_max)

    yield from on_boundaries(task, boundary, starts, adapt, rounds)


def shorten(
    task: Task,
    x_b: Tensor,
    goal: ScoreBoundary,
    queries: int,
    theta_max: float,
    k: Constants = RELEASED,
) -> Generator[Tensor, Answer, tuple[Tensor, float]]:
    """Steps of SurFree from x_b, which crosses the boundary; the point and angle reached.

    Each walks the circle z(θ) = x + d·cos θ·(u cos θ + v sin θ) through x and x_b, d = ‖x_b − x‖,
    on which every point is nearer to x than x_b (eq. 6).
    """
    x = task.image
    past: deque[Tensor] = deque(maxlen=k.memory)
    allowance = Allowance(queries)
    for _ in range(k.steps):
        u = x_b - x
        d = float(torch.linalg.vector_norm(u))
        if d == 0.0 or allowance.queries <= 0:
            break
        u /= d
        # u last: past directions are not orthogonal to it, and what it takes off is what counts.
        v = orthogonal(low_frequency(x.shape, k.spectrum, task.rng), [*past, u])
        past.append(v)

        def z(theta: float, u: Tensor = u, v: Tensor = v, d: float = d) -> Tensor:
            along, across = d * cos(theta) ** 2, d * cos(theta) * sin(theta)
            return torch.add(x, u, alpha=along).add_(v, alpha=across)[None]

        theta = 0.0
        for trial in (theta_max, -theta_max)[: allowance.queries]:
            answer = yield z(trial)
            allowance.charge(answer)
            if goal.crossed(float(answer.gain[0])):
                theta = trial
                break
        if theta == 0.0:
            theta_max *= k.shrink
            continue
        theta_max /= k.shrink
        good, bad = theta, inf  # farthest that crosses, nearest that does not; signed like theta
        for _ in range(k.halvings):
            trial = min(2 * abs(good), pi / 2) if bad == inf else (abs(good) + bad) / 2
            if allowance.queries <= 0 or abs(cos(trial) - cos(good)) < k.precision:
                break
            answer = yield z(trial if theta > 0 else -trial)
            allowance.charge(answer)
            if goal.crossed(float(answer.gain[0])):
                good = trial if theta > 0 else -trial
            else:
                bad = trial
        x_b = z(good)[0]
    return x_b, theta_max
