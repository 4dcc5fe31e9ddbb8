"""The first stage: fixed directions, the strokes of a profile, and gradients of a substitute."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from iqattack.attacks.contract import Answer, Task
from iqattack.attacks.options import Gradients
from iqattack.attacks.shared.ascent import ascent
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.directions import Stroke, bank, read_profile
from iqattack.students import Students

DIRECTIONS = 4  # number of directions that later stages paint with
NO_STUDENTS: Students = {}

Stage = Generator[Tensor, Answer, list[Brush]]


def first_brushes(
    canvas: Canvas,
    profile: Path | None = None,
    substitute: Gradients | None = None,
    channels: bool = True,
    keep: int | None = DIRECTIONS,
) -> Stage:
    """The best directions of the bank or a profile, and of a substitute; the best first.

    channels: whether to try negating channels of the best, which comes first if that gains; keep:
    number of other directions, None for all.
    """
    gains: list[tuple[float, Brush]] = []
    for brush in _known(canvas.task, profile, substitute):
        gains.append(((yield from canvas.ask(canvas.painted(brush))), brush))
        gains = sorted(gains, key=lambda pair: -pair[0])[:keep]
        if canvas.done:
            break
    brushes = [brush for _, brush in gains]
    turned = (yield from _turned(canvas, brushes[0])) if channels else brushes[0]
    return brushes if turned is brushes[0] else [turned, *brushes]


def _turned(canvas: Canvas, best: Brush) -> Generator[Tensor, Answer, Brush]:
    """The best brush with each channel negated that gains by it."""
    for channel in range(3):
        if canvas.done:
            break
        brush, before = best.turning(channel), canvas.gain
        if (yield from canvas.ask(canvas.painted(brush))) > before:
            best = brush
    return best


def _known(task: Task, profile: Path | None, substitute: Gradients | None) -> Iterator[Brush]:
    if profile is None:
        yield from (Brush(*direction) for direction in bank(task.image8, task.rng))
    else:
        known = read_profile(profile)
        yield from brushes_of(task, known.strokes, known.taught())
    if substitute is not None:
        yield from _walks(task, substitute)


def brushes_of(
    task: Task, strokes: Sequence[Stroke], students: Students = NO_STUDENTS
) -> Iterator[Brush]:
    """Strokes learnt from other images, as brushes for this one. students: for their gradients."""
    fixed = [stroke.direction for stroke in strokes if stroke.student is None]
    bank_ = bank(task.image8, task.rng, fixed)

    @cache
    def ascended(kind: str) -> Tensor:
        x = ascent(task, students[kind].smoothed(task.rng), 1.0 if task.rising else -1.0)
        return (x - task.image).sign().to(torch.int8)

    for stroke in strokes:
        kind = stroke.student
        name, signs = next(bank_) if kind is None else (stroke.direction, ascended(kind))
        brush = Brush(name, signs, stroke.theta)
        yield brush.turning(*stroke.turned) if stroke.turned else brush


def _walks(task: Task, gradients: Gradients) -> Iterator[Brush]:
    """Signs of the change after a few steps up and down a substitute's gradient."""
    for name, sign in (("substitute up", 1.0), ("substitute down", -1.0)):
        x = ascent(task, gradients, sign)
        yield Brush(name, (x - task.image).sign().to(torch.int8))
