"""The score-boundary attack (Yang, Liu, Li & Jiang, arXiv 2401.05217, IEEE TCSVT 2024).

A score has no label that flips. The paper sets boundaries on the way to the end M of the score
range, f(x) past y0 + (M − y0)·b, and crosses one after the other: sparse noise made of natural
texture crosses a boundary (initial direction), SurFree shortens the perturbation, and the room that
this leaves in the JND box is spent on the next boundary. The objective decides towards which end of
the range an image moves: with `rank`, good images down and bad ones up.

Our changes: noise is placed in shrinking windows, since pooled scores are nearly additive over
regions; a candidate that gains without crossing is the starting point of the next (`greedy`), since
a score carries more information than yes or no; the kinds of noise that gained on this image are
drawn more often; and where the release stops, boundaries advance in steps of `step_min` until the
budget is spent.
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

# Windows (ours): number of candidates over the whole image, then the first and the last share of
# its area.
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
    amplitudes: standard deviations of the noise in units of the box; above about 10, only its sign
        matters.
    windows: place noise in shrinking windows; otherwise it covers the whole image.
    rounds: number of boundaries after which SurFree shortens the perturbation, 20 in the release;
        surfree: its maximum number of queries at each, 100 in the release; halvings: steps of the
        binary search towards the image before it.
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
