"""The score boundary, which turns the movement of a score into a binary decision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

from torch import Tensor

from iqattack.errors import InputError


@dataclass(frozen=True)
class ScoreBoundary:
    """A score boundary: a fraction b of the way from the clean score to the end aimed at.

    Yang et al. (arXiv 2401.05217): an image is adversarial at b if its score has passed
    y₀ + (M − y₀)·b. In units of gain, M − y₀ is the reach, so the condition is gain ≥ b·reach. At
    b = 0, or without a reach, the clean image itself is adversarial.

    reach: the largest gain that the score range leaves, finite and ≥ 0.
    fraction: b, 0..1.

    Raises InputError for a reach or fraction outside of these.

    >>> from iqattack.objectives import ScoreBoundary
    >>> boundary = ScoreBoundary(reach=0.4, fraction=0.5)
    >>> boundary.gain, boundary.crossed(0.25)
    (0.2, True)
    """

    reach: float
    fraction: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.fraction <= 1.0:
            raise InputError(f"score boundary at {self.fraction}: expected a fraction from 0 to 1")
        if not (self.reach >= 0.0 and math.isfinite(self.reach)):
            raise InputError(f"score boundary with reach {self.reach}: expected 0 or more")

    @property
    def gain(self) -> float:
        """The gain at the boundary, as a fraction of the score range."""
        return self.fraction * self.reach

    @overload
    def crossed(self, gain: float) -> bool: ...
    @overload
    def crossed(self, gain: Tensor) -> Tensor: ...
    def crossed(self, gain: float | Tensor) -> bool | Tensor:
        """Whether a gain reaches the boundary; elementwise for a tensor. NaN does not."""
        return gain >= self.gain
