"""The score-boundary attack (Yang, Liu, Li & Jiang, arXiv 2401.05217, IEEE TCSVT 2024).

A score has no label that flips. The paper sets boundaries on the way to the end M of the score
range, f(x) past y0 + (M − y0)·b, and crosses one after the other: sparse noise made of natural
texture gets past a boundary (initial direction), SurFree shortens the perturbation that did, and
what is left of the JND box is spent on the next one. Which end an image goes to is the objective's
part: good images down and bad ones up (`rank`).

Ours, and why: noise is put into windows that shrink, since pooled scores are nearly additive over
regions; a candidate that gains without crossing is where the next one starts (`greedy`), since a
score is more informative than yes or no; an image's own answers decide which noise is drawn more
often; and where the release stops, the boundaries go on in steps of `step_min` until the budget is
spent.
"""

from __future__ import annotations

from itertools import count
from typing import Literal

import torch

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.decision_based.surfree import RELEASED, shorten
from iqattack.attacks.options import Count, Fraction, ImageFolder, Positive
from iqattack.attacks.shared.adaptive_boundaries import FIRST, Boundaries
from iqattack.attacks.shared.start import towards_image
from iqattack.directions import BUNDLED, Source, SparseNoise, Support

# Windows, ours: candidates over the whole image, then the share of its area, from first to last.
WHOLE = 20
WINDOW, WINDOW_END = 0.1, 0.008


def score_boundary(
    task: Task,
    boundaries: Literal["both", "increase", "fixed"] = "both",
    first: Fraction = FIRST,
    greedy: bool = True,
    supports: tuple[Support, ...] = ("edges", "salient", "everywhere"),
    sources: tuple[Source, ...] = ("sharp", "degraded"),
    amplitudes: tuple[Positive, ...] = (1.0, 30.0),
    windows: bool = True,
    rounds: Count = 20,
    surfree: Count = 20,
    halvings: Count = 2,
    textures: ImageFolder = BUNDLED,
) -> Search:
    """The whole method on one image.

    boundaries: which rules adapt them, both|increase|fixed; first: b of the first one.
    greedy: start the next candidate from one that gained without crossing.
    supports: where noise may lie, of edges, salient, everywhere.
    sources: what noise is made of, of sharp, degraded, smooth (reference images), gaussian,
        uniform.
    amplitudes: deviations of the noise in units of the box; from about 10, its sign alone counts.
    windows: put noise into windows that shrink; without, every candidate is the whole image.
    rounds: first boundaries, at which SurFree makes room, 20 in the release; surfree: the most
        queries of it at each, 100 in the release; halvings: of the binary search towards the image
        before it.
    textures: folder of reference images.
    """
    noise = SparseNoise(
        task.image8,
        task.lower8,
        task.upper8,
        supports=supports,
        sources=sources,
        amplitudes=amplitudes,
        folder=textures,
    )
    bounds = Boundaries(task.reach, boundaries, first)
    theta_max = RELEASED.theta_max
    x_b, gain_b = task.image8, 0.0
    for n in count():
        share = 1.0
        if windows and n >= WHOLE:
            share = WINDOW * (WINDOW_END / WINDOW) ** min(n / task.queries, 1.0)
        draw = noise.draw(x_b, share, task.rng)
        answer = yield draw.candidate[None]
        gain = float(answer.gain[0])
        crossed = bounds.crossed(gain)
        better = gain > gain_b if greedy else crossed
        noise.learn(draw, better)
        if better:
            x_b, gain_b = answer.pixels[0], gain
        if crossed and rounds:
            rounds -= 1
            goal = bounds.goal
            z = yield from towards_image(task, x_b.float(), goal, halvings)
            z, theta_max = yield from shorten(task, z, goal, surfree, theta_max)
            x_b, gain_b = task.project(z[None])[0].round().to(torch.uint8), goal.gain
        if crossed:
            bounds.advance()
            if bounds.previous >= 1.0:
                return  # the end of the score range
