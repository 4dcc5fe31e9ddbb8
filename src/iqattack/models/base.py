"""The contract of black-box models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

Scores = Tensor | Sequence[float | Exception]


class Scorer(Protocol):
    """A no-reference image quality model, of which only the scores are visible.

    name: shown in runs and tables. score_range: (lowest, highest) raw score that the model is meant
    to give; gains are fractions of its width.
    lower_better: True where a low score means good quality (BRISQUE, NIQE, DMOS-trained models).
    min_size: smallest height and width in pixels that it accepts.
    """

    name: str
    score_range: tuple[float, float]
    lower_better: bool
    min_size: int

    def __call__(self, images: Tensor) -> Scores:
        """Score images (N, 3, H, W) uint8 RGB; return N raw scores, (N,) float64 on the CPU.

        If it fails on only some of the images, return a sequence with exceptions in their places.
        """
        ...


@dataclass(frozen=True)
class Traits:
    """Optional declarations of a model, besides those of a `Scorer`.

    spec: what it can be loaded from again, whatever the working folder; None for an object.
    files: that it depends on; a run keeps their hashes.
    batch: images that it takes in one call, at most. concurrency: calls at once that it takes, from
        several threads; None for one, always from the same thread.
    price: of one image. rate: images a second that it is asked for at most.
    notes: what a person should know before it is used, a phrase each.
    drawn: whether random choices decide a score that are drawn once for each picture, so that a
        repeated query shows no noise.
    """

    spec: str | None = None
    files: tuple[Path, ...] = ()
    batch: int | None = None
    concurrency: int | None = None
    price: float | None = None
    rate: float | None = None
    notes: tuple[str, ...] = ()
    drawn: bool = False

    @classmethod
    def of(cls, model: object) -> Self:
        """The traits of any object: its `traits`, or attributes of these names."""
        own = getattr(model, "traits", None)
        if isinstance(own, cls):
            return own
        given: dict[str, Any] = {
            field.name: getattr(model, field.name)
            for field in fields(cls)
            if hasattr(model, field.name)
        }
        for name in {"files", "notes"}.intersection(given):
            given[name] = tuple(given[name])
        return cls(**given)


class Loaded(Protocol):
    """A model as loaded by its kind; undeclared values are None.

    It may also have the attributes of `Traits`.
    """

    @property
    def name(self) -> str:
        """Shown in runs and tables."""
        ...

    @property
    def score_range(self) -> tuple[float, float] | None:
        """(lowest, highest) raw score."""
        ...

    @property
    def lower_better(self) -> bool | None:
        """True if a low score means good quality."""
        ...

    @property
    def min_size(self) -> int:
        """Smallest height and width in pixels."""
        ...

    def __call__(self, images: Tensor) -> object:
        """Score images (N, 3, H, W) uint8 RGB; return N numbers in any form."""
        ...
