"""What a black box is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

Scores = Tensor | Sequence[float | Exception]


class Scorer(Protocol):
    """A no-reference image quality model of which only the scores are seen.

    name: how runs and tables call it.
    score_range: (lowest, highest) raw score that the model is meant to give; gains are fractions
        of its width.
    lower_better: True where a low score means good quality (BRISQUE, NIQE, DMOS-trained models).
    min_size: smallest height and width in pixels that it accepts.
    """

    name: str
    score_range: tuple[float, float]
    lower_better: bool
    min_size: int

    def __call__(self, images: Tensor) -> Scores:
        """Score images (N, 3, H, W) uint8 RGB; return N raw scores, (N,) float64 on the CPU.

        Where it fails on some of the images only, a sequence with an exception in their place.
        """
        ...


@dataclass(frozen=True)
class Traits:
    """What a model may say of itself beside what a `Scorer` must.

    spec: what it can be loaded from again, whatever the working folder; None for an object.
    files: that it depends on; a run keeps their hashes.
    batch: images that it takes in one call, at most. concurrency: calls at once that it takes, from
        several threads; None for one, always from the same thread.
    price: of one image. rate: images a second that it is asked for at most.
    notes: what a person should know before it is used, a phrase each.
    """

    spec: str | None = None
    files: tuple[Path, ...] = ()
    batch: int | None = None
    concurrency: int | None = None
    price: float | None = None
    rate: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: object) -> Self:
        """Those of any object: its `traits`, or attributes of these names."""
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
    """A model as its kind loads it: None stands for what it does not declare.

    Beside these it may have what `Traits` describes.
    """

    @property
    def name(self) -> str:
        """How runs and tables call it."""
        ...

    @property
    def score_range(self) -> tuple[float, float] | None:
        """(lowest, highest) raw score."""
        ...

    @property
    def lower_better(self) -> bool | None:
        """True where a low score means good quality."""
        ...

    @property
    def min_size(self) -> int:
        """Smallest height and width in pixels."""
        ...

    def __call__(self, images: Tensor) -> object:
        """Score images (N, 3, H, W) uint8 RGB; return N numbers in any form."""
        ...
