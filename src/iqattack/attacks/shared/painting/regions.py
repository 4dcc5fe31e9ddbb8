"""The third stage: regions, painted one by one."""

from __future__ import annotations

import torch

from iqattack.attacks.contract import Search
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.directions import Choice

PALETTE = 15  # number of filters for painting regions


def painted_regions(canvas: Canvas, brushes: list[Brush]) -> Search:
    """Random squares, coarse to fine, repainted with one of the brushes; kept if that gains."""
    choice, first_left = Choice(brushes), canvas.left
    while not canvas.done:
        pick = choice.draw(float(torch.rand((), generator=canvas.task.rng, dtype=torch.float32)))
        window = canvas.square(first_left)
        before = canvas.gain
        gain = yield from canvas.ask(canvas.painted(choice.options[pick], window))
        choice.learn(pick, gain > before)
