"""The contract between attacks, which propose, and the engine, which asks.

An attack is a generator over one image. It yields candidates, is sent back an `Answer`, and may
end when it likes::

    def attack(task: Task, **options) -> Search:
        answer = yield candidates          # (N, 3, H, W) grey levels, float32 or uint8
        ...

The engine projects and rounds every candidate before the model sees it, counts queries, and keeps
the best image of the whole search, so an attack need not; where one does, that is the state of its
search and no more. An attack keeps no count of queries either: `Answer.left` has it. Once the
budget is spent, or nothing is left to gain, a `SearchEnded` is thrown into the generator where it
waits; an attack that has something to return catches it, every other one just ends.

A set attack is a generator over several images. It yields (image, candidates) pairs and is sent
back one `Answer` for each; `single` lifts an attack on one image to a set.
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
    """Thrown into an attack whose image can be asked about no more.

    answer: for the candidates of the last `yield` that were scored all the same, often none.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class BudgetSpent(SearchEnded):
    """The budget did not suffice for the last candidates.

    limit: the budget in queries; spent: how many there were; source: what set the limit.
    """

    def __init__(self, limit: int, spent: int, source: str, answer: Answer) -> None:
        super().__init__(f"{spent} of {limit} queries are spent, as set by {source}", answer)
        self.limit = limit
        self.spent = spent
        self.source = source


class NothingLeft(SearchEnded):
    """The score reached the end of its range: nothing is left to gain."""


class NothingNew(SearchEnded):
    """Candidates were known already again and again: the search goes round in circles."""


class ImageFailed(SearchEnded):
    """The model failed on a candidate; the image counts as failed."""


class Answer:
    """What became of the candidates of one `yield`.

    pixels: (N, 3, H, W) uint8, what was really scored: projected and rounded to 8 bits.
    gain: (N,) float64, movement of the score in the wanted direction, as a fraction of the
        model's score range; 0 for the clean image, negative where the score moved back, −1 for a
        candidate whose score was not finite.
    left: queries that remain.
    end: why the image can be asked about no more; the answer is then for the first candidates
        only. Set attacks look at it; an attack on one image has it thrown instead.

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
        """The pixels as float32; made when asked for, since most answers are not looked at."""
        return self.pixels.float()


@dataclass(frozen=True)
class Task:
    """All that an attack may know of one image.

    image8: (3, H, W) uint8. lower8, upper8: likewise, the box that the attacked image must lie in.
        Where an attack works in whole grey levels anyway, uint8 is a quarter of the memory to
        touch, which is most of what a query costs here.
    project: maps (N, 3, H, W) candidates to the nearest allowed ones, for constraints that are
        more than a box; the engine applies it in any case.
    queries: how many images the model may still score for this task; at least one.
    reach: the largest gain that the score range leaves this image, > 0; 1 is the whole range.
    boundary: the score boundary that counts as success, where the objective has one: of the images
        that cross it, the engine keeps the least different one instead of the largest gain.
    rng: this image's own generator; the only source of randomness an attack may use.
    rising: whether the raw score is to rise; who asks for scores knows what they want.
    stage: names what the search does from its next query on, in a word or two, for those who look
        at the scores of a search; it changes nothing.

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
        """The image (3, H, W) as float32 grey levels 0..255; made when asked for."""
        return self.image8.float()

    @cached_property
    def lower(self) -> Tensor:
        """The lower end of the box, likewise."""
        return self.lower8.float()

    @cached_property
    def upper(self) -> Tensor:
        """The upper end of the box, likewise."""
        return self.upper8.float()


Search = Generator[Tensor, Answer, None]
AnySearch = Generator[Tensor, Answer, object]
"""One that returns something, for those who called it."""
Attack = Callable[[Task], AnySearch]
Gradient = Callable[[Tensor], Tensor]
"""From images (N, 3, H, W) float32 to the gradients of a model's raw scores, of the same shape."""


@dataclass(frozen=True)
class SetTask:
    """All that a set attack may know.

    tasks: of its images, in the order of the set, each made when it is looked at first. A task's
        `queries` are that image's own limit.
    rng: the set's own generator; tasks have theirs.
    queries: how many images the model may still score for all of them; None for no limit but their
        own.
    standing: how the images stand, and what that is worth, where the objective is one of the set.
    """

    tasks: Sequence[Task]
    rng: torch.Generator
    queries: int | None = None
    standing: Standing | None = None


@dataclass(frozen=True)
class Chosen:
    """What a set attack returns that decides itself which picture each image ends as.

    pictures: by number of the image, (3, H, W) uint8 that were scored; of the others, the clean
    image stays. failed: images that it could not attack, and why.
    """

    pictures: Mapping[int, Tensor]
    failed: Mapping[int, InputError] = field(default_factory=dict)


Proposal = tuple[int, Tensor]  # number of an image of the set, and candidates for it
SetSearch = Generator[Sequence[Proposal], Sequence[Answer], object]
SetAttack = Callable[[SetTask], SetSearch]
