"""What a defence is: it stands between whoever asks and the model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from iqattack.specs import text

Pixels = NDArray[np.uint8]
Answers = list[float | Exception]
Ask = Callable[[Tensor], Answers]
"""Raw scores of images (N, 3, H, W) uint8, or an exception for one that has none."""


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(size)
    return size


TOGETHER = 16  # versions of an image that a model is asked about at once

# What values of specs may be.
Quality = Annotated[int, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0.001, le=1.0)]
Size = Annotated[int, Field(ge=3, le=99), AfterValidator(_odd)]
Amount = Annotated[float, Field(gt=0.0, le=10.0)]
Sigma = Annotated[float, Field(gt=0.0, le=255.0)]
Passes = Annotated[int, Field(ge=1, le=10_000)]
Points = Annotated[float, Field(ge=0.001, le=100.0)]


@dataclass(frozen=True)
class Behind:
    """What a defence knows of the model behind it.

    score_range: of the model. key: of all random choices. place: of the defence that asks, among
    all before the model.
    """

    score_range: tuple[float, float]
    key: int = 0
    place: int = 0

    @property
    def point(self) -> float:
        """A hundredth of the score range."""
        low, high = self.score_range
        return (high - low) / 100.0

    def chance(self, image: Tensor, spec: str) -> np.random.Generator:
        """Randomness of a defence about an image (3, H, W) uint8.

        It hangs on the pixels: an image that is sent twice is answered alike, as the log of a run
        would have it, and no answer depends on the batch, on what was asked before, or on who
        scores. A single pixel that differs gives other numbers.
        """
        digest = xxhash.xxh3_128(image.contiguous().numpy().tobytes())
        digest.update(f"{spec} {tuple(image.shape)} {self.key} {self.place}".encode())
        return np.random.default_rng(digest.intdigest())


class Defence(BaseModel, ABC):
    """One defence; its fields are the values of its spec.

    name: with which its spec begins. random: whether its answers are random. tells: whether it only
    changes the reported scores, and passes images unchanged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    random: ClassVar[bool] = False
    tells: ClassVar[bool] = False

    @classmethod
    def values(cls) -> list[str]:
        """Names of the values of its spec, in their order: passes come last."""
        return sorted(cls.model_fields, key=lambda field: field == "passes")

    @property
    def spec(self) -> str:
        """As it is written, with all values."""
        values = (getattr(self, name) for name in self.values())
        return ":".join([self.name, *(v if isinstance(v, str) else text(v) for v in values)])

    @property
    def scored(self) -> int:
        """Images that the model behind it scores for each that it is asked about."""
        return 1

    def smallest(self, min_size: int) -> int:
        """Smallest height and width that it accepts, before a model with this smallest side."""
        return min_size

    @abstractmethod
    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:
        """Answers about images (N, 3, H, W) uint8, by asking what is behind it."""


class Purifier(Defence):
    """A defence that changes each image before it is scored, always in the same way."""

    @abstractmethod
    def purified(self, pixels: Pixels) -> NDArray[np.generic]:
        """Pixels (H, W, 3) as the model gets them; what is not uint8 is clipped and rounded.

        A defence that is not built in must keep to 0..255 itself (see `own`).
        """

    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:  # noqa: ARG002
        """See `Defence`."""
        found = []
        for image in images:
            pixels = self.purified(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
            if pixels.dtype != np.uint8:
                pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            found.append(torch.from_numpy(pixels).permute(2, 0, 1))
        return ask(torch.stack(found))


class Randomised(Defence):
    """A defence that shows the model random versions of each image, and averages their scores."""

    random: ClassVar[bool] = True

    passes: Passes = 1

    @property
    def scored(self) -> int:
        """See `Defence`."""
        return self.passes

    @abstractmethod
    def version(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """One random version of an image (3, H, W) uint8; all of an image have one size."""

    def together(self, scores: Sequence[float]) -> float:
        """One score of those of all versions: their mean."""
        return float(np.mean(scores))

    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:
        """See `Defence`."""
        found: Answers = []
        for image in images:
            rng = behind.chance(image, self.spec)
            answers: Answers = []
            for first in range(0, self.passes, TOGETHER):
                some = range(first, min(first + TOGETHER, self.passes))
                answers += ask(torch.stack([self.version(image, rng) for _ in some]))
            scores = [one for one in answers if not isinstance(one, Exception)]
            failure = next((one for one in answers if isinstance(one, Exception)), None)
            found.append(self.together(scores) if failure is None else failure)
        return found


class Reshaping(Defence):
    """A defence that changes the reported scores, and passes images unchanged."""

    tells: ClassVar[bool] = True

    @abstractmethod
    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:
        """The score reported in place of a finite raw score of an image (3, H, W) uint8."""

    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:
        """See `Defence`."""
        return [
            self.reshaped(answer, image, behind)
            if isinstance(answer, float) and np.isfinite(answer)
            else answer
            for image, answer in zip(images, ask(images), strict=True)
        ]


@dataclass(frozen=True)
class Chain:
    """Defences one behind the other: the first sees the image first, and the score last."""

    defences: tuple[Defence, ...]

    @property
    def spec(self) -> str:
        """As it is written: `jpeg:75+median:3`."""
        return "+".join(defence.spec for defence in self.defences)

    @property
    def scored(self) -> int:
        """Images that the model scores for each that it is asked about."""
        return math.prod(defence.scored for defence in self.defences)

    @property
    def random(self) -> bool:
        """Whether any of them is."""
        return any(defence.random for defence in self.defences)

    def smallest(self, min_size: int) -> int:
        """Smallest height and width that all of them take."""
        for defence in reversed(self.defences):
            min_size = defence.smallest(min_size)
        return min_size

    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:
        """See `Defence`."""
        if not self.defences:
            return ask(images)
        first, rest = self.defences[0], replace(self, defences=self.defences[1:])
        further = replace(behind, place=behind.place + 1)
        return first(images, lambda changed: rest(changed, ask, further), behind)
