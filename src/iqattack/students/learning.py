"""Training of students on how many small changes of an image moved its score.

The score of x + δ minus that of x approximates the directional derivative of the score at x along
δ. A student agrees with the model if its own gradient at x predicts this for every δ. One forward
and backward pass yields that gradient, and with it the predictions for all changes of an image.
Training therefore matches derivatives (Sobolev training: Czarnecki et al., NeurIPS 2017), which are
what gradient ascent follows, and thousands of scores cost hundreds of passes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

RATE = 4e-3  # of Adam, at first; falls along a cosine to a twentieth
WARM = 20  # steps until then
LONGEST = 1.0  # gradient of the weights
CHANGES = 48  # of a picture, for one step
COPIES, NOISE = 4, 4.0  # of images, for a smooth gradient; grey levels
FIRST = 0.5  # what a network's slopes are to the model's before it learns


@dataclass
class Lesson:
    """Training data: an image (3, H, W) uint8, changes of it, and how far each moved the score.

    kinds: kind of each change. moved: rise of the score for each change, in any unit that all
    lessons share.
    """

    picture: Tensor
    kinds: list[int] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    _changes: list[bytes] = field(default_factory=list)

    def add(self, pixels: Tensor, kind: int, moved: float) -> None:
        """Add a scored version (3, H, W) uint8, of which the difference to the image is stored."""
        change = pixels.to(torch.int16) - self.picture
        channels = change[:1] if torch.equal(change, change[:1].expand(3, -1, -1)) else change
        self._changes.append(zlib.compress(channels.numpy().tobytes(), 1))
        self.kinds.append(kind)
        self.moved.append(moved)

    def changes(self, numbers: Sequence[int]) -> Tensor:
        """The changes with these indices, (N, 3·H·W) in grey levels."""
        _, height, width = self.picture.shape
        found = torch.empty(len(numbers), 3, height, width)
        for row, number in zip(found, numbers, strict=True):
            raw = np.frombuffer(zlib.decompress(self._changes[number]), np.int16)
            row[:] = torch.from_numpy(raw.reshape(-1, height, width).astype(np.float32))
        return found.flatten(1)

    def deviation(self) -> dict[int, float]:
        """The standard deviation of the score movements, by kind of change."""
        moved, kinds = np.array(self.moved), np.array(self.kinds)
        return {kind: float(moved[kinds == kind].std()) for kind in sorted(set(self.kinds))}


class Student(nn.Module):
    """A network trained to have a model's derivatives: `scale` × `network`."""

    scale: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) in grey levels; only derivatives are meaningful."""
        scores: Tensor = self.scale * self.network(images)
        return scores

    def gradient(self, images: Tensor) -> Tensor:
        """The gradient (N, 3, H, W) of the scores at images (N, 3, H, W)."""
        with torch.inference_mode(False), torch.enable_grad():
            return self._slope(images.detach().clone().requires_grad_(), keep=False)

    def smoothed(self, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        """The mean gradient at noisy copies of images.

        The gradient at a single point transfers poorly to other networks (Wu et al., 2018, arXiv
        1802.09707, who smooth the gradients of surrogate classifiers in the same way).
        """

        def gradient(images: Tensor) -> Tensor:
            total = torch.zeros_like(images)
            for _ in range(COPIES):
                noise = torch.randn(images.shape, generator=rng, dtype=torch.float32)
                total += self.gradient(images + NOISE * noise)
            return total / COPIES

        return gradient

    def slopes(self, lesson: Lesson, numbers: Sequence[int]) -> Tensor:
        """Predicted score movements (N,) for changes of an image, with the autograd graph."""
        picture = lesson.picture[None].float().requires_grad_()
        return lesson.changes(numbers) @ self._slope(picture, keep=True).flatten()

    def _slope(self, images: Tensor, *, keep: bool) -> Tensor:
        (found,) = torch.autograd.grad(self(images).sum(), images, create_graph=keep)
        return found


def learn(student: Student, lessons: Sequence[Lesson], steps: int, rng: torch.Generator) -> float:
    """Train a student for a number of steps, each with some changes of one image.

    The mean effect of one kind of change on an image carries no information about directions (noise
    degrades it whatever its signs), so it is subtracted. Every kind has the same weight, however
    far it moves scores. Returns the mean loss over the last quarter of the steps; 1 means that the
    student predicts nothing.
    """
    scale = _scales(lessons)
    optimiser = torch.optim.Adam(student.network.parameters(), RATE)
    losses = []
    with torch.inference_mode(False), torch.enable_grad():
        for step in range(steps):
            fall = 0.5 * (1.0 + math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = RATE * (0.05 + 0.95 * fall) * min(1.0, (step + 1) / WARM)
            lesson = lessons[int(torch.randint(len(lessons), (), generator=rng))]
            numbers = torch.randperm(len(lesson.moved), generator=rng)[:CHANGES].tolist()
            loss = _loss(student, lesson, numbers, scale)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.network.parameters(), LONGEST)
            optimiser.step()
            losses.append(float(loss.detach()))
    last = losses[-max(steps // 4, 1) :]
    return sum(last) / len(last)


def fit_scale(student: Student, lessons: Sequence[Lesson]) -> None:
    """Match the scale of its derivatives to the model's, so that one learning rate suits all."""
    wanted, found = 0.0, 0.0
    for lesson in lessons:
        numbers = range(min(CHANGES, len(lesson.moved)))
        slopes = student.slopes(lesson, numbers).detach()
        moved = torch.tensor([lesson.moved[number] for number in numbers])
        wanted += float((moved - moved.mean()).norm())
        found += float((slopes - slopes.mean()).norm())
    if wanted > 0.0 and found > 0.0 and math.isfinite(found):
        student.scale *= FIRST * wanted / found


def _scales(lessons: Sequence[Lesson]) -> dict[int, float]:
    """Of each kind of change, over all lessons: the root of the mean square of its deviations."""
    squares: dict[int, list[float]] = {}
    for lesson in lessons:
        for kind, deviation in lesson.deviation().items():
            squares.setdefault(kind, []).append(deviation**2)
    return {kind: max(math.sqrt(sum(s) / len(s)), 1e-12) for kind, s in squares.items()}


def _loss(
    student: Student, lesson: Lesson, numbers: Sequence[int], scale: dict[int, float]
) -> Tensor:
    slopes = student.slopes(lesson, numbers)
    kinds = torch.tensor([lesson.kinds[number] for number in numbers])
    moved = torch.tensor([lesson.moved[number] for number in numbers], dtype=torch.float32)
    losses = []
    for kind in sorted(set(kinds.tolist())):
        of_kind = kinds == kind
        apart = slopes[of_kind] - moved[of_kind]
        losses.append(((apart - apart.mean()) / scale[kind]).square().mean())
    return torch.stack(losses).mean()
