"""Sparse-RS (Croce, Andriushchenko, Singh, Flammarion & Hein, AAAI 2022): random search in L0.

The pixels of a set M differ from the image, each channel on a face of the box. Proposals change a
shrinking part of M or of its colours, and are accepted if they gain; the gain replaces the
classifier's margin. The constraint limits the number of pixels that may differ (`l0:K`); in a box,
all may.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import count
from math import isqrt
from typing import Literal

import torch
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Fraction

# As released.
NOMINAL = 10_000  # budget of the published schedules, which are rescaled to the actual one
AFTER = (50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the schedules change
ALPHA_OVER = (2, 4, 5, 6, 8, 10, 12, 15, 20)  # pixels: divisors of α
P_AFTER = (10, *AFTER)
P_OVER = (1, 2, 4, 8, 16, 32, 32, 64, 64, 128)  # patch, frame
# One in this many proposals moves the patch, the others repaint it; moves become rarer after a
# thousand proposals.
MOVE_EVERY, FEWER_AFTER = 5, 1000
FARTHEST = 0.75  # largest first move, relative to the image's side; falls to 0 with the budget


def sparse_rs(
    task: Task,
    kind: Literal["pixels", "patch", "frame"] = "pixels",
    alpha: Fraction = 0.3,
    p_init: Fraction = 0.4,
    grey: bool = True,
) -> Search:
    """Random search over which pixels differ, or over the colours of a patch or frame.

    kind: scattered pixels (sec. 4), a square patch that moves, or the image's frame (sec. 5), of as
        many pixels as the constraint allows.
    alpha: twice the initial share of M that is resampled, since its schedule starts at a half;
        p_init: initial share of the patch or frame that is repainted; authors: 0.5 for a frame;
        grey: whether the channels of a pixel change together (ours; see
        `benchmarks/baselines.py`) rather than independently, as in the paper.
    """
    k = allowed(task)
    if k == 0:
        return
    image, lower, upper = task.image8, task.lower8, task.upper8
    start = {"pixels": pixels, "patch": patch, "frame": frame}[kind]
    best_gain = float("-inf")
    M = best_M = start(task, k)
    # A patch starts as vertical stripes.
    channels = 1 if grey else 3
    colours = (channels, *((1, image.shape[-1]) if kind == "patch" else image.shape[1:]))
    high = torch.rand(colours, generator=task.rng, dtype=torch.float32) < 0.5  # else the lower face
    high = best_high = high.expand(image.shape)
    for proposal in count(1):
        z = torch.where(M, torch.where(high, upper, lower), image)
        answer = yield z[None]
        if (gain := float(answer.gain[0])) > best_gain:
            best_gain, best_M, best_high = gain, M, high
        if best_gain >= task.reach:
            return
        M, high = best_M.clone(), best_high.clone()
        spent = task.queries - answer.left
        nominal = spent * NOMINAL // task.queries
        if kind == "pixels":
            share = alpha / ALPHA_OVER[bisect_left(AFTER, nominal)]
            swap(M, high, max(1, round(share * k)), channels, task.rng)
        elif kind == "patch" and proposal % (MOVE_EVERY * (1 + proposal // FEWER_AFTER)) == 0:
            shift = moved(M, FARTHEST * (1.0 - spent / task.queries), task.rng)
            M, high = M.roll(shift, (0, 1)), high.roll(shift, (1, 2))
        else:
            share = p_init / P_OVER[bisect_left(P_AFTER, nominal)]
            repaint(M, high, max(1, isqrt(round(share * k))), channels, task.rng)


def allowed(task: Task) -> int:
    """K: the number of pixels that the constraint allows to differ."""
    up = task.upper8 - task.image8 > task.image8 - task.lower8
    farthest = task.project(torch.where(up, task.upper8, task.lower8)[None].float())[0]
    return int((farthest.round() != task.image8).any(dim=0).sum())


def pixels(task: Task, k: int) -> Tensor:
    """K random pixels, (H, W) bool."""
    M = torch.zeros(task.image8.shape[-2:], dtype=torch.bool)
    M.view(-1)[torch.randperm(M.numel(), generator=task.rng)[:k]] = True
    return M


def patch(task: Task, k: int) -> Tensor:
    """A square of at most k pixels at a random position, cropped to a narrower image."""
    M = torch.zeros(task.image8.shape[-2:], dtype=torch.bool)
    s = isqrt(k)
    rows, columns = (window(length, min(s, length), task.rng) for length in M.shape)
    M[rows, columns] = True
    return M


def moved(M: Tensor, farthest: float, rng: torch.Generator) -> tuple[int, ...]:
    """A random shift of a patch, in pixels down and to the right, that keeps it within the image.

    farthest: largest shift, as a fraction of each side of the image.
    """
    shift = []
    for length, inside in zip(M.shape, torch.nonzero(M).T, strict=True):
        most = int(farthest * length)
        step = int(torch.randint(-most, most + 1, (), generator=rng))
        shift.append(max(-int(inside.min()), min(step, length - 1 - int(inside.max()))))
    return tuple(shift)


def frame(task: Task, k: int) -> Tensor:
    """The widest frame of at most k pixels; the first k pixels if k is too small for any frame."""
    M = torch.zeros(task.image8.shape[-2:], dtype=torch.bool)
    for w in range(1, min(M.shape) // 2 + 2):
        wider = torch.ones_like(M)
        wider[w:-w, w:-w] = False
        if wider.sum() > k:
            break
        M = wider
    if not M.any():
        M.view(-1)[:k] = True
    return M


def swap(M: Tensor, high: Tensor, a: int, channels: int, rng: torch.Generator) -> None:
    """Swap `a` pixels of M for others, with random colours (algorithm 2)."""
    inside, outside = (torch.nonzero(mask.view(-1))[:, 0] for mask in (M, ~M))
    leaving = inside[torch.randperm(len(inside), generator=rng)[:a]]
    entering = outside[torch.randperm(len(outside), generator=rng)[: len(leaving)]]
    M.view(-1)[leaving[: len(entering)]] = False
    M.view(-1)[entering] = True
    # If all pixels may differ, none can enter, and those drawn are recoloured.
    drawn = entering if len(entering) else leaving
    high.view(3, -1)[:, drawn] = (
        torch.rand((channels, len(drawn)), generator=rng, dtype=torch.float32) < 0.5
    )


def repaint(M: Tensor, high: Tensor, h: int, channels: int, rng: torch.Generator) -> None:
    """Give a square of side h on M one random colour, a face of the box for each channel."""
    inside = torch.nonzero(M)
    place = inside[int(torch.randint(len(inside), (), generator=rng))].tolist()
    first = [max(0, x - int(torch.randint(h, (), generator=rng))) for x in place]
    rows, columns = (slice(x, x + h) for x in first)
    high[:, rows, columns] = torch.rand((channels, 1, 1), generator=rng, dtype=torch.float32) < 0.5


def window(length: int, part: int, rng: torch.Generator) -> slice:
    """A random slice of `part` entries within 0..length."""
    first = int(torch.randint(length - part + 1, (), generator=rng))
    return slice(first, first + part)
