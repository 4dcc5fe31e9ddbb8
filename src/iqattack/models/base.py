"""What a black box is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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


class Loaded(Protocol):
    """A model as its kind loads it: None stands for what it does not declare."""

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
