"""What happens while images are attacked, as values that a worker can send to whoever writes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from iqattack.engine.log import Row
from iqattack.images import ImageEntry
from iqattack.objectives import Target


@dataclass(frozen=True)
class Event:
    """Base of all."""


Events = Generator[Event, None, None]
"""What happens, as it does; who does not want to know the rest closes it."""


@dataclass(frozen=True)
class Replies(Event):
    """What came back from the model at once.

    rows, early, attempts: by image, as `QueryLog.append` takes them. scored: images, all together.
    gains: best so far of images in progress. batch: images of a call at present.
    """

    rows: Mapping[str, tuple[int, Sequence[Row]]] = field(default_factory=dict)
    early: Mapping[str, Mapping[int, Row]] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    scored: int = 0
    gains: Mapping[str, float] = field(default_factory=dict)
    batch: int = 1


@dataclass(frozen=True)
class Note(Event):
    """What a person should know of an image."""

    image: str
    phrase: str


@dataclass(frozen=True)
class Busy(Event):
    """No reply came for a while, as something else is being done: `what`."""

    what: str


@dataclass(frozen=True)
class CleanScore(Event):
    """The score of an image before it is attacked."""

    entry: ImageEntry
    score: float


@dataclass(frozen=True)
class Found(Event):
    """What a constraint had to find out about an image, see `constraints.Region`."""

    image: str
    value: float


@dataclass(frozen=True)
class Attacked(Event):
    """An image that is done, and what it gained as a fraction of the score range."""

    entry: ImageEntry
    gain: float


@dataclass(frozen=True)
class Outcome(Attacked):
    """The outcome of an attack on one image.

    clean, adversarial: uint8 (3, H, W); the adversarial image is the best that was scored, the
        clean one where nothing was gained.
    score_clean, score_adv: raw scores of exactly these pixels.
    queries: images that the model scored for it, the clean one included.
    stages: of the search, as the attack named them: number of the first query, the clean image
        being 1, and name.
    found: what the constraint had to find out about the image.
    """

    clean: Tensor
    adversarial: Tensor
    target: Target
    score_clean: float
    score_adv: float
    queries: int
    stages: tuple[tuple[int, str], ...] = ()
    found: float | None = None


@dataclass(frozen=True)
class Failure(Event):
    """An image that cannot be attacked, and why, in one line that names it.

    of_model: whether the model failed on it. transient: whether that may pass, as far as it says.
    """

    entry: ImageEntry
    reason: str
    queries: int = 0
    of_model: bool = field(default=False, compare=False)
    transient: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Returned(Event):
    """What a set attack returned.

    order: in which it asked: name of an image and queries about it, one round after the other.
    """

    value: object
    order: tuple[tuple[str, int], ...] = ()
