"""The contract between attacks, which propose, and the engine, which asks.

An attack is a generator over one image. It yields candidates, receives an `Answer`, and may end at
any time::

    def attack(task: Task, **options) -> Search:
        answer = yield candidates          # (N, 3, H, W) grey levels, float32 or uint8
        ...

The engine projects and rounds every candidate before the model sees it, counts queries, and keeps
the best image of the whole search, so an attack does none of this; an attack that tracks its own
best image does so for its search only. The queries that remain are in `Answer.left`. Once the
budget is spent, or nothing is left to gain, a `SearchEnded` is raised in the generator at its
`yield`; an attack that returns a value catches it, any other one simply ends.

A set attack is a generator over several images. It yields (image, candidates) pairs and receives
one `Answer` for each; `single` lifts an attack on one image to a set.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from iqattack.errors import InputError
from iqattack.objectives import ScoreBoundary, Standing


class SearchEnded(Exception):  # noqa: N818 - like GeneratorExit, no fault
    """Raised in an attack when its image gets no more queries.

    answer: for those candidates of the last `yield` that were still scored, often none.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class BudgetSpent(SearchEnded):
    """The budget did not suffice for all of the last candidates.

    limit: the budget in queries. spent: number of queries so far. source: what set the limit.
    """

    def __init__(self, limit: int, spent: int, source: str, answer: Answer) -> None:
        super().__init__(f"{spent} of {limit} queries are spent, as set by {source}", answer)
        self.limit = limit
        self.spent = spent
        self.source = source


class NothingLeft(SearchEnded):
    """The score reached the end of its range, so nothing is left to gain."""


class NothingNew(SearchEnded):
    """Repeatedly, all candidates had been scored before, so the search makes no progress."""


class ImageFailed(SearchEnded):
    """The model failed on a candidate; the image counts as failed."""


class Answer:
    """The scores of the candidates of one `yield`, as gains.

    pixels: (N, 3, H, W) uint8, the images that were scored: candidates, projected and rounded to 8
        bits.
    gain: (N,) float64, how far each score moved in the wanted direction, as a fraction of the
        model's score range; 0 for the clean image, negative in the other direction, −1 for a
        candidate with a non-finite score.
    left: number of queries that remain.
    end: why the image gets no more queries, or None; the answer then covers only the first
        candidates. For set attacks; in an attack on one image, it is raised instead.

    >>> import iqattack
    >>> import torch
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> def random_search(task):
    ...     best, most = task.image, 0.0
    ...     while True:
    ...         colours = torch.randn(4, 3, 1, 1, generator=task.rng)
    ...         answer = yield best + colours
    ...         gain, place = answer.gain.max(0)
    ...         if gain > most:
    ...             best, most = answer.images[place], gain
    >>> run = iqattack.attack(
    ...     "photos", model, attack=random_search, constraint="linf:3", queries=20, limit=1,
    ...     out="runs/random",
    ... )
    >>> run.results[0].gain > 0
    True
    """

    def __init__(
        self, pixels: Tensor, gain: Tensor, left: int, end: SearchEnded | None = None
    ) -> None:
        self.pixels = pixels
        self.gain = gain
        self.left = left
        self.end = end

    @cached_property
    def images(self) -> Tensor:
        """The pixels as float32, computed on first use."""
        return self.pixels.float()


@dataclass(frozen=True)
class Task:
    """Everything that an attack may know about one image.

    image8: the clean image, (3, H, W) uint8. lower8, upper8: the box in which the attacked image
        must lie, (3, H, W) uint8. An attack that works in whole grey levels should prefer these to
        `image`, `lower` and `upper`: they take a quarter of the memory, and memory traffic is most
        of the cost of a query here.
    project: maps candidates (N, 3, H, W) to the nearest allowed ones, for constraints that are
        more than a box; the engine applies it in any case.
    queries: number of images that the model may still score for this task, at least 1.
    reach: the largest gain that the score range leaves this image, > 0; 1 is the whole range.
    boundary: the score boundary that counts as success; None without one. Of the images that cross
        it, the engine keeps the one with the smallest change instead of the largest gain.
    rng: this image's own random generator, the only source of randomness that an attack may use.
    rising: whether the raw score has to rise.
    stage: call it with a word or two to name what the search does from its next query on, for
        those who analyse searches; it has no other effect.

    >>> import iqattack
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> def darken(task):
    ...     for step in range(1, task.queries):
    ...         yield (task.image - step)[None]
    >>> run = iqattack.attack(
    ...     "photos", model, attack=darken, objective="down", constraint="linf:4",
    ...     queries=10, limit=1, out="runs/darken",
    ... )
    >>> run.results[0].linf
    4.0
    """

    image8: Tensor
    lower8: Tensor
    upper8: Tensor
    project: Callable[[Tensor], Tensor]
    queries: int
    reach: float
    boundary: ScoreBoundary | None
    rng: torch.Generator
    rising: bool = True
    stage: Callable[[str], None] = lambda _: None

    @cached_property
    def image(self) -> Tensor:
        """The clean image (3, H, W) as float32 grey levels 0..255, computed on first use."""
        return self.image8.float()

    @cached_property
    def lower(self) -> Tensor:
        """The lower end of the box, (3, H, W) float32, computed on first use."""
        return self.lower8.float()

    @cached_property
    def upper(self) -> Tensor:
        """The upper end of the box, (3, H, W) float32, computed on first use."""
        return self.upper8.float()


Search = Generator[Tensor, Answer, None]
AnySearch = Generator[Tensor, Answer, object]
"""One that returns something, for those who called it."""
Attack = Callable[[Task], AnySearch]
Gradient = Callable[[Tensor], Tensor]
"""From images (N, 3, H, W) float32 to the gradients of a model's raw scores, of the same shape."""


@dataclass(frozen=True)
class SetTask:
    """Everything that a set attack may know.

    tasks: one per image, in the order of the set, each made on first use. `queries` of a task is
        the limit of that image.
    rng: the random generator of the set; each task has its own.
    queries: number of images that the model may still score for all tasks together; None if only
        the limits of the tasks apply.
    standing: the objective as a function of the positions of all images; None unless the objective
        is one of the set.
    """

    tasks: Sequence[Task]
    rng: torch.Generator
    queries: int | None = None
    standing: Standing | None = None


@dataclass(frozen=True)
class Chosen:
    """The return value of a set attack that selects the result of each image itself.

    pictures: by number of the image, a scored version (3, H, W) uint8; other images stay clean.
    failed: errors of images that it could not attack, by number.
    """

    pictures: Mapping[int, Tensor]
    failed: Mapping[int, InputError] = field(default_factory=dict)


Proposal = tuple[int, Tensor]  # number of an image of the set, and candidates for it
SetSearch = Generator[Sequence[Proposal], Sequence[Answer], object]
SetAttack = Callable[[SetTask], SetSearch]
