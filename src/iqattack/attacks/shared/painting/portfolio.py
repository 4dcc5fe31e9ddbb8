"""The last stage of portfolio search: regions, painted in the ways that gained lately."""

from __future__ import annotations

from dataclasses import replace

import torch

from iqattack.attacks.contract import Search
from iqattack.attacks.shared.painting.canvas import EVERY, Brush, Canvas, Channels
from iqattack.attacks.shared.painting.first import DIRECTIONS
from iqattack.directions import ByGain

SOME: tuple[Channels, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
DOUBT = 0.5  # prior weight of directions beyond the first, relative to 1


def portfolio(canvas: Canvas, found: list[Brush], directions: list[Brush], palette: int) -> Search:
    """First whole channels, then regions. found: filters; directions: both the best first."""
    brushes = [*found[:palette], *directions]
    canvas.task.stage("channels")
    yield from _in_channels(canvas, brushes[0])
    canvas.task.stage("portfolio")
    first, rest = brushes[: palette + DIRECTIONS], brushes[palette + DIRECTIONS :]
    faith = [1.0] * len(first) + [DOUBT] * len(rest)
    yield from _painted(canvas, ByGain(brushes, faith), ByGain((EVERY, *SOME)))


def _in_channels(canvas: Canvas, brush: Brush) -> Search:
    """Paint the whole image with each choice of channels in turn, on top of the best candidate."""
    for channels in SOME:
        if canvas.done:
            break
        yield from canvas.ask(canvas.painted(replace(brush, channels=channels)))


def _painted(canvas: Canvas, brushes: ByGain[Brush], channels: ByGain[Channels]) -> Search:
    """Random squares, kept if they gain, until there is nothing left to gain."""
    first_left = canvas.left
    while not canvas.done:
        numbers = torch.rand(2, generator=canvas.task.rng, dtype=torch.float32).tolist()
        brush, way = brushes.draw(numbers[0]), channels.draw(numbers[1])
        candidate = replace(brushes.options[brush], channels=channels.options[way])
        before = canvas.gain
        gain = yield from canvas.ask(canvas.painted(candidate, canvas.square(first_left)))
        brushes.learn(brush, gain - before)
        channels.learn(way, gain - before)
