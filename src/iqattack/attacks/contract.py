"""The contract between attacks, which propose, and the engine, which asks.

An attack is a generator over one image. It yields candidates, is sent back an `Answer`, and may
end when it likes; the engine closes it when the budget is spent::

    def attack(task: Task, **options) -> Search:
        answer = yield candidates          # (N, 3, H, W) grey levels, float32 or uint8
        ...

The engine projects and rounds every candidate before the model sees it, counts queries, and keeps
the best image of the whole search, so an attack need not; where one does, that is the state of its
search and no more. Where an attack works in whole
grey levels anyway, uint8 is a quarter of the memory to touch, which is most of what a query costs
here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from iqattack.objectives import ScoreBoundary


class Answer:
    """What became of the candidates of one `yield`.

    pixels: (N, 3, H, W) uint8, what was really scored: projected and rounded to 8 bits.
    gain: (N,) float64, movement of the score in the wanted direction, as a fraction of the
        model's score range; 0 for the clean image, negative where the score moved back, −1 for a
        candidate that the model gave no number.
    """

    def __init__(self, pixels: Tensor, gain: Tensor) -> None:
        self.pixels = pixels
        self.gain = gain

    @cached_property
    def images(self) -> Tensor:
        """The pixels as float32; made when asked for, since most answers are not looked at."""
        return self.pixels.float()


@dataclass(frozen=True)
class Task:
    """All that an attack may know of one image.

    image: (3, H, W) float32 grey levels 0..255.
    lower, upper: (3, H, W) float32, the box that the attacked image must lie in.
    project: maps (N, 3, H, W) candidates to the nearest allowed ones, for constraints that are
        more than a box; the engine applies it in any case.
    queries: how many images the model may still score for this task; at least one.
    reach: the largest gain that the score range leaves this image, > 0; 1 is the whole range.
    boundary: the score boundary that counts as success, where the objective has one: of the images
        that cross it, the engine keeps the least different one instead of the largest gain.
    rng: this image's own generator; the only source of randomness an attack may use.
    stage: tells how the search goes about it from its next query on, in a word or two, for those
        who look at the scores of a search; it changes nothing.
    """

    image: Tensor
    lower: Tensor
    upper: Tensor
    project: Callable[[Tensor], Tensor]
    queries: int
    reach: float
    boundary: ScoreBoundary | None
    rng: torch.Generator
    stage: Callable[[str], None] = lambda _: None


Search = Generator[Tensor, Answer, None]
Attack = Callable[[Task], Search]
Gradient = Callable[[Tensor], Tensor]
"""From images (N, 3, H, W) float32 to the gradients of a model's raw scores, of the same shape."""
